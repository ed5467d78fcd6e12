//! Cutting samples into shards, and the bounds that keep results and documents inline.
//!
//! Only the grouping depends on costs and hints; a cell is a sample, whatever the grouping.

use super::exact::{SQUARE_LIMBS, SUM_LIMBS};
use super::expr::Variable;
use super::model::{Gbm, Model};
use super::sketch::KEYS;
use super::spec::Spec;
use super::tail::KEPT_MAX;
use super::work::{self, ShardWork};
use crate::cutting::cells_a_shard;
use crate::faults::Faults;
use crate::json::FLOAT_OBJECT_BYTES_MAX;
use alloc::format;
use alloc::vec::Vec;
use forge_event::ShardIndex;
use forge_event::limits::{INLINE_BYTES_MAX, JOB_SHARDS_MAX};
use forge_projections::family::{Plan, PlanHints};

/// Most shards of the planner's own choice.
pub const SHARDS_PLANNED_MAX: u64 = 1 << 20;

/// Estimated time of one cell; `values` counts the model's column. Units: nanoseconds, at least 1.
pub fn cell_cost_ns(model: &Model, antithetic: bool, values: u64) -> u64 {
    // Measured on one 2.8 GHz core: a draw is Philox and AS241, a step an exp (and a ln).
    let signs = if antithetic { 2 } else { 1 };
    let steps = u64::from(model.steps());
    match model {
        Model::Pi => 35,
        Model::European(_) | Model::Barrier { .. } => 20 + steps * (16 + signs * 8),
        Model::Asian { geometric, .. } => 20 + steps * (16 + signs * if *geometric { 14 } else { 8 }),
        Model::Heston(_) => 30 + steps * (32 + signs * 4),
        Model::Integral { .. } | Model::Expr { .. } => {
            let program = model.program().expect("a model that is planned or run is sound");
            let draw = |v: &Variable| if matches!(v, Variable::Normal(_)) { 16 } else { 5 };
            20 + program.variables().iter().map(draw).sum::<u64>() + signs * program.cost_ns()
        }
        Model::PortfolioVar { weights, covariance, .. } => {
            20 + 16 * weights.len() as u64 + signs * (2 * covariance.len() as u64).div_ceil(5)
        }
        Model::Bootstrap { median, .. } => 20 + values * if *median { 14 } else { 8 },
    }
}

/// The plan's own bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Grouping {
    /// Cells of every shard but the last, which may have fewer.
    pub cells: u64,
    /// Values of the model's column; models without one have 0 here.
    pub values: u64,
    /// Shard 0 is these samples, first and count, and there is no other: a part of a shard.
    pub part: Option<(u64, u64)>,
}

impl Grouping {
    /// The plan's body. Shape: postcard of `cells`; of `values` unless that is 0 and no part follows; of the part.
    pub fn encode(self) -> Vec<u8> {
        let (first, count) = self.part.unwrap_or_default();
        let numbers = [self.cells, self.values, first, count];
        let written = match (self.part, self.values) {
            (Some(_), _) => &numbers[..],
            (None, 0) => &numbers[..1],
            (None, _) => &numbers[..2],
        };
        written.iter().flat_map(|n| postcard::to_allocvec(n).expect("a number has no failure")).collect()
    }

    /// Reads back a plan's body.
    pub fn decode(body: &[u8]) -> Option<Grouping> {
        let mut rest = body;
        let mut next = || {
            let (number, behind) = postcard::take_from_bytes::<u64>(rest).ok()?;
            rest = behind;
            Some(number)
        };
        let (cells, values) = (next()?, next());
        let part = next().map(|first| Some((first, next()?)));
        // A part that breaks off is no part.
        let grouping = Grouping { cells, values: values.unwrap_or(0), part: part.map_or(Some(None), |p| p.map(Some))? };
        (cells > 0 && grouping.encode() == body).then_some(grouping)
    }

    /// First sample and count of a shard; `None` past the last one.
    pub fn range(self, samples: u64, shard: ShardIndex) -> Option<(u64, u64)> {
        if let Some((first, count)) = self.part {
            let fits = count > 0 && first.checked_add(count).is_some_and(|end| end <= samples);
            return (shard == 0 && fits).then_some((first, count));
        }
        let first = self.cells.checked_mul(u64::from(shard)).filter(|first| *first < samples)?;
        Some((first, self.cells.min(samples - first)))
    }
}

/// Cuts the job; `values` counts the model's column.
pub fn plan(spec: &Spec, values: u64, hints: PlanHints) -> Plan {
    let cells = match hints.shard_cells {
        Some(cells) => cells.clamp(1, spec.samples),
        None => chosen_cells(spec, values, hints.slots),
    };
    let body = Grouping { cells, values, part: None }.encode();
    Plan { shard_count: spec.samples.div_ceil(cells), segments: 1, body, last: true }
}

fn chosen_cells(spec: &Spec, values: u64, slots: u32) -> u64 {
    let cost = cell_cost_ns(&spec.model, spec.antithetic, values);
    let cells = cells_a_shard(spec.samples, cost, slots).max(spec.samples.div_ceil(SHARDS_PLANNED_MAX));
    cells.min(cells_max(spec).expect("a checked spec fits inline"))
}

/// The payload of a shard.
pub fn work(spec: &Spec, grouping: Grouping, shard: ShardIndex) -> ShardWork {
    let (first, count) = grouping.range(spec.samples, shard).expect("a shard of the plan");
    ShardWork {
        format: work::FORMAT,
        model: spec.model.clone(),
        seed: spec.seed,
        stream: spec.stream,
        antithetic: spec.antithetic,
        first,
        count,
        edges: spec.edges.clone(),
        sketch: spec.outputs.quantiles(),
        keep: keep(spec),
    }
}

/// The rank from 0, in ascending order, of the `lower` order statistic at `q` of `count` values.
///
/// The product is rounded once to a double, as NumPy does, so that 0.7 of 11 values is rank 7.
pub fn rank(q: f64, count: u64) -> u64 {
    let last = count.saturating_sub(1);
    ((q * last as f64) as u64).min(last)
}

/// How many of the largest values the job keeps; `None` without an exact tail.
pub fn keep(spec: &Spec) -> Option<u64> {
    if !spec.exact_tail {
        return None;
    }
    let needed = |q: &f64| spec.samples - rank(*q, spec.samples) + 1;
    let kept = spec.quantiles.iter().filter(|q| **q > 0.5).map(needed).filter(|k| *k <= KEPT_MAX).max()?;
    Some(kept.min(spec.samples))
}

/// Most cells of a shard whose result is sure to be inline; `None` if not even one cell is.
pub fn cells_max(spec: &Spec) -> Option<u64> {
    let fits = |cells: u64| result_bytes_max(spec, cells) <= INLINE_BYTES_MAX as u64;
    if fits(spec.samples) {
        return Some(spec.samples);
    }
    let (mut good, mut bad) = (0, spec.samples);
    while bad - good > 1 {
        let middle = good + (bad - good) / 2;
        if fits(middle) {
            good = middle;
        } else {
            bad = middle;
        }
    }
    (good > 0).then_some(good)
}

/// Faults of a spec whose results, or whose document, would not be inline, or whose shards would be too many.
pub fn check_sizes(spec: &Spec, shard_cells: Option<u64>, faults: &mut Faults) {
    let inline = INLINE_BYTES_MAX;
    if document_bytes_max(spec) > inline as u64 {
        let edges = spec.edges.as_ref().map_or(0, Vec::len);
        let pointer = if edges >= spec.quantiles.len() { "/spec/hist/edges" } else { "/spec/quantiles" };
        let detail = format!("the result document could pass {inline} bytes");
        faults.add(pointer, "too-large-inline", detail, "ask for about 600 edges or 200 quantiles at most");
        return;
    }
    let most = cells_max(spec).filter(|cells| spec.samples.div_ceil(*cells) <= SHARDS_PLANNED_MAX);
    let Some(most) = most else {
        let (pointer, fix) = match (keep(spec), &spec.edges) {
            (Some(_), _) => ("/spec/exact_tail", "set it to false, or ask for quantiles nearer to 1"),
            (None, Some(_)) => ("/spec/hist/edges", "ask for fewer bins or fewer samples"),
            (None, None) => (
                "/spec/quantiles",
                "ask for fewer samples, for a lower volatility where there is one, or for no quantiles",
            ),
        };
        let detail = format!("a shard's result could pass {inline} bytes in any of {SHARDS_PLANNED_MAX} shards");
        faults.add(pointer, "too-large-inline", detail, fix);
        return;
    };
    let Some(cells) = shard_cells else { return };
    let least = spec.samples.div_ceil(JOB_SHARDS_MAX).max(1);
    if cells < least {
        let detail = format!("{cells} cells a shard make more than {JOB_SHARDS_MAX} shards");
        faults.add("/shard_cells", "out-of-range", detail, &format!("take at least {least}"));
    } else if cells.min(spec.samples) > most {
        let detail = format!("the result of {cells} cells could pass {inline} bytes");
        faults.add("/shard_cells", "too-large-inline", detail, &format!("take at most {most}, or leave it out"));
    }
}

/// Bound of a shard's result. Units: bytes.
fn result_bytes_max(spec: &Spec, cells: u64) -> u64 {
    // Six numbers of at most six bytes, two doubles, three tags, and the two sums with their headers.
    let fixed = 64 + 4 * (SUM_LIMBS + SQUARE_LIMBS) as u64 + 16;
    let hist = spec.edges.as_ref().map_or(0, |edges| 4 + (edges.len() as u64 + 1) * number_bytes(cells));
    let sketch = if spec.outputs.quantiles() { sketch_bytes_max(&spec.model, cells) } else { 0 };
    let tail = keep(spec).map_or(0, |k| 4 + k.min(cells) * (8 + number_bytes(spec.samples)));
    fixed + hist + sketch + tail
}

fn sketch_bytes_max(model: &Model, cells: u64) -> u64 {
    let keys = keys_max(model);
    let buckets = keys.min(cells);
    // A gap takes one byte, and more only where it skips 128 keys or 16384.
    let gaps = buckets + (keys / 128).min(buckets) + (keys / 16_384).min(buckets);
    // Counts add up to `cells`: they get long in the cheapest way.
    let mut counts = buckets;
    let mut left = cells - buckets;
    for bits in [7, 14, 21, 28, 35] {
        let price = (1u64 << bits) - (1u64 << (bits - 7));
        let longer = (left / price).min(buckets);
        counts += longer;
        left -= longer * price;
    }
    16 + gaps + counts
}

/// Buckets between the least and the greatest value other than zero that a model can give.
fn keys_max(model: &Model) -> u64 {
    let Some(gbm) = model.gbm() else {
        return match model {
            Model::Pi => 3,
            Model::Heston(_) => u64::from(KEYS),
            // Values of either sign, of any size.
            _ => 2 * u64::from(KEYS),
        };
    };
    let (low, high) = octaves(gbm, model.steps());
    let octaves = (high - low + 1.0).max(1.0);
    ((octaves * 128.0) as u64 + 1).min(u64::from(KEYS))
}

/// Octaves, with room to spare, of the least and the greatest value of an option.
fn octaves(gbm: &Gbm, steps: u32) -> (f64, f64) {
    const LOG2_E: f64 = core::f64::consts::LOG2_E;
    // No normal is beyond 8.3; each step adds its rounding.
    const NORMAL_MAX: f64 = 8.5;
    let log2 = |x: f64| core_math::log(x) * LOG2_E;
    let (n, v) = (f64::from(steps), gbm.volatility);
    let drift = (gbm.rate - gbm.dividend_yield - 0.5 * v * v).max(0.0) * gbm.maturity * LOG2_E;
    let spread = NORMAL_MAX * v * libm::sqrt(gbm.maturity * n) * LOG2_E;
    let discount = -gbm.rate * gbm.maturity * LOG2_E;
    let highest = if gbm.call { log2(gbm.spot) + drift + spread } else { log2(gbm.strike) };
    // A gain that is not zero is at least the last bit of the strike; antithetic values may be half of one.
    let lowest = log2(gbm.strike) - 54.0;
    let clamp = |octave: f64| if octave.is_nan() { 1024.0 } else { octave.clamp(-1075.0, 1024.0) };
    let high = clamp(highest + discount + 3.0);
    let low = clamp(lowest + discount - 3.0);
    if (lowest + discount).is_nan() { (-1075.0, 1024.0) } else { (low, high.max(low)) }
}

/// Bound of the result document. Units: bytes.
fn document_bytes_max(spec: &Spec) -> u64 {
    const COUNT_DIGITS_MAX: u64 = 13;
    let edges = spec.edges.as_ref().map_or(0, |e| e.len() as u64);
    let quantile = 3 * FLOAT_OBJECT_BYTES_MAX + 80;
    512 + 5 * FLOAT_OBJECT_BYTES_MAX
        + edges * (FLOAT_OBJECT_BYTES_MAX + COUNT_DIGITS_MAX + 2)
        + spec.quantiles.len() as u64 * quantile
}

/// Bytes of a number up to `most` in postcard.
fn number_bytes(most: u64) -> u64 {
    u64::from(64 - most.max(1).leading_zeros()).div_ceil(7)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monte_carlo::kernel;
    use forge_projections::family::{Family, NoBlobs, Past};
    use serde_json::{Value, json};

    fn spec(volatility: f64, more: Value) -> Spec {
        let mut value = json!({"model": "european", "samples": 1000000, "seed": 1, "params": {"spot": 100, "strike": 100,
            "rate": 0.05, "dividend_yield": 0, "volatility": volatility, "maturity": 1, "option": "call"}});
        for (key, field) in more.as_object().expect("fields") {
            value[key] = field.clone();
        }
        Spec::read(&value, &mut Faults::default()).expect("the test's specs have no fault")
    }

    fn hints(slots: u32) -> PlanHints {
        PlanHints { shard_cells: None, slots }
    }

    #[test]
    fn shards_take_about_a_second_and_every_slot_gets_several() {
        let large = spec(0.2, json!({"samples": 10_000_000_000u64}));
        let count = plan(&large, 0, hints(8)).shard_count;
        let seconds = 10_000_000_000 * cell_cost_ns(&large.model, false, 0) / 1_000_000_000;
        assert!((seconds..=seconds + 1).contains(&count), "{count} shards for {seconds} s");
        assert_eq!(plan(&spec(0.2, json!({"samples": 20_000_000})), 0, hints(4)).shard_count, 16);
        assert_eq!(plan(&spec(0.2, json!({"samples": 1000})), 0, hints(64)).shard_count, 1);
        let most = spec(0.2, json!({"samples": 1u64 << 40}));
        assert!(plan(&most, 0, hints(1_000_000)).shard_count <= SHARDS_PLANNED_MAX);
    }

    #[test]
    fn shards_cover_the_samples_once() {
        for (samples, cells) in [(10, 3), (9, 3), (1, 1), (7, 100)] {
            let spec = spec(0.2, json!({"samples": samples}));
            let plan = plan(&spec, 0, PlanHints { shard_cells: Some(cells), slots: 1 });
            let grouping = Grouping::decode(&plan.body).expect("a plan's body");
            let mut next = 0;
            for shard in 0..plan.shard_count as u32 {
                let (first, count) = grouping.range(samples, shard).expect("a shard of the plan");
                assert!(first == next && count > 0);
                next += count;
            }
            assert_eq!((next, grouping.range(samples, plan.shard_count as u32)), (samples, None));
        }
    }

    #[test]
    fn a_result_keeps_its_bound_even_where_values_are_far_apart() {
        let quantiles = json!({"outputs": ["hist", "quantiles"], "quantiles": [0.1, 0.999], "exact_tail": true,
            "hist": {"edges": [0.0, 1e-3, 1.0, 1e3]}});
        for volatility in [0.0, 0.2, 3.0, 60.0] {
            let spec = spec(volatility, quantiles.clone());
            let most = cells_max(&spec).expect("one cell fits");
            assert!(result_bytes_max(&spec, most) <= INLINE_BYTES_MAX as u64);
            assert!(most == spec.samples || result_bytes_max(&spec, most + 1) > INLINE_BYTES_MAX as u64);
            let cells = most.min(30_000);
            let bytes = kernel::run(&work(&spec, Grouping { cells, values: 0, part: None }, 0).encode())
                .expect("a payload")
                .len();
            assert!(bytes as u64 <= result_bytes_max(&spec, cells), "{bytes} at volatility {volatility}");
        }
    }

    #[test]
    fn no_market_makes_the_planner_stumble() {
        let extreme = [1e-308, 1e-5, 1.0, 1e5, 1e308];
        for spot in extreme {
            for volatility in [0.0, 1e-300, 1.0, 1e10, 1e308] {
                for rate in [-1e308, -5.0, 0.0, 5.0, 1e308] {
                    let spec = json!({"model": "european", "samples": 1000, "seed": 1, "outputs": ["quantiles"],
                        "quantiles": [0.5], "params": {"spot": spot, "strike": 1, "rate": rate, "dividend_yield": 0,
                        "volatility": volatility, "maturity": 2, "option": "put"}});
                    let family = crate::monte_carlo::MonteCarlo;
                    let spec = family.check_spec(&spec, None).expect("a thousand samples always fit").spec;
                    let plan =
                        family.plan(&Past::new(&spec), hints(3), &NoBlobs).expect("this family plans without blobs");
                    let result = kernel::run(&family.payload(&spec, &plan.body, 0)).expect("a payload");
                    assert_eq!(family.check_result(&spec, &plan.body, 0, &result), 0, "{spot} {volatility} {rate}");
                }
            }
        }
    }

    #[test]
    fn a_rank_is_numpys() {
        assert_eq!(rank(0.7, 11), 7);
        assert_eq!([rank(0.0, 5), rank(1.0, 5), rank(0.5, 1), rank(0.5, 0)], [0, 4, 0, 0]);
        assert_eq!(rank(1.0, 1 << 40), (1 << 40) - 1);
    }
}
