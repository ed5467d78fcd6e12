//! The free checks of one result: exact, linear in its bytes, and never wrong about an honest one.

use super::bigint::Integer;
use super::exact::{SQUARE_LIMBS, SUM_LIMBS, integer_of};
use super::model::Model;
use super::order;
use super::plan::{self, Grouping};
use super::sketch::{self, Sketch};
use super::spec::Spec;
use super::tally::Tally;
use forge_event::ShardIndex;
use forge_event::limits::INLINE_BYTES_MAX;

/// Not the canonical bytes of a tally of this version, or past the inline limit.
pub const CHECK_FORM: u32 = 1 << 0;
/// The count is not the shard's, or NaN and infinities are more than that.
pub const CHECK_COUNT: u32 = 1 << 1;
/// The histogram is missing, unasked for, of another shape, or does not count every value once.
pub const CHECK_HIST: u32 = 1 << 2;
/// The same for the sketch.
pub const CHECK_SKETCH: u32 = 1 << 3;
/// A sum is not in its canonical form.
pub const CHECK_SUM_FORM: u32 = 1 << 4;
/// Least and greatest value contradict each other, the counts or the sketch.
pub const CHECK_RANGE: u32 = 1 << 5;
/// `n·min ≤ sum ≤ n·max` does not hold.
pub const CHECK_SUM_BOUNDS: u32 = 1 << 6;
/// `n·Σx² ≥ (Σx)²` does not hold.
pub const CHECK_CAUCHY_SCHWARZ: u32 = 1 << 7;
/// The tail is missing, unasked for, out of order, or not of this shard.
pub const CHECK_TAIL: u32 = 1 << 8;
/// A value that the model cannot give.
pub const CHECK_MODEL: u32 = 1 << 9;

/// All checks of one result. Shape: a bit for each failed one.
pub fn check(spec: &Spec, grouping: Grouping, shard: ShardIndex, result: &[u8]) -> u32 {
    let tally = if result.len() <= INLINE_BYTES_MAX { Tally::decode(result) } else { None };
    let Some((tally, (first, count))) = tally.zip(grouping.range(spec.samples, shard)) else { return CHECK_FORM };
    let Some(finite) = finite_count(&tally).filter(|_| tally.count == count) else { return CHECK_COUNT };
    if !tally.sum.is_canonical(SUM_LIMBS) || !tally.squares.is_canonical(SQUARE_LIMBS) {
        return CHECK_SUM_FORM;
    }
    let mut bits = 0;
    let mut check = |bit: u32, passed: bool| bits |= if passed { 0 } else { bit };
    check(CHECK_HIST, hist_fits(spec, &tally));
    check(CHECK_SKETCH, sketch_fits(spec, &tally, finite));
    check(CHECK_RANGE, range_fits(&tally, finite));
    check(CHECK_SUM_BOUNDS, sum_is_bounded(&tally, finite));
    check(CHECK_CAUCHY_SCHWARZ, cauchy_schwarz_holds(&tally, finite));
    check(CHECK_TAIL, tail_fits(spec, &tally, first));
    check(CHECK_MODEL, model_allows(&spec.model, &tally));
    bits
}

/// Values that are neither NaN nor infinite, if the counts allow any such number.
fn finite_count(tally: &Tally) -> Option<u64> {
    let others = [tally.nan, tally.positive_infinite, tally.negative_infinite];
    others.into_iter().try_fold(tally.count, u64::checked_sub)
}

fn hist_fits(spec: &Spec, tally: &Tally) -> bool {
    match (&spec.edges, &tally.hist) {
        (None, None) => true,
        (Some(edges), Some(hist)) => {
            hist.counts.len() + 1 == edges.len() && hist.total() == Some(tally.count - tally.nan)
        }
        _ => false,
    }
}

fn sketch_fits(spec: &Spec, tally: &Tally, finite: u64) -> bool {
    match &tally.sketch {
        None => !spec.outputs.quantiles(),
        Some(sketch) => spec.outputs.quantiles() && sketch.total() == Some(finite),
    }
}

fn range_fits(tally: &Tally, finite: u64) -> bool {
    let (min, max) = (tally.min.value(), tally.max.value());
    if tally.count == tally.nan {
        return min.is_nan() && max.is_nan();
    }
    let ordered = !min.is_nan() && !max.is_nan() && order::key(min.to_bits()) <= order::key(max.to_bits());
    // An infinity is the extreme value exactly if there is one, unless there is nothing else.
    let low = (min == f64::NEG_INFINITY) == (tally.negative_infinite > 0);
    let high = (max == f64::INFINITY) == (tally.positive_infinite > 0);
    let inner = finite > 0
        || ((min.is_infinite() && max.is_infinite())
            && (min > 0.0) == (tally.negative_infinite == 0)
            && (max < 0.0) == (tally.positive_infinite == 0));
    ordered && low && high && inner && tally.sketch.as_ref().is_none_or(|s| ends_fit(s, min, max, finite))
}

/// The outermost buckets are those of the finite ends.
fn ends_fit(sketch: &Sketch, min: f64, max: f64, finite: u64) -> bool {
    let fits = |value: f64, lowest: bool| {
        if !value.is_finite() || finite == 0 {
            return true;
        }
        let (near, far) = match lowest {
            true => (&sketch.negative, &sketch.positive),
            false => (&sketch.positive, &sketch.negative),
        };
        // The outermost bucket of its own side; else zero; else the innermost of the other side.
        let outermost = match (near.last(), sketch.zero, far.first()) {
            (Some((key, _)), _, _) => Some((lowest, *key)),
            (None, 0, Some((key, _))) => Some((!lowest, *key)),
            _ => None,
        };
        let own = (value != 0.0).then(|| (value < 0.0, sketch::key(value)));
        own == outermost
    };
    fits(min, true) && fits(max, false)
}

fn sum_is_bounded(tally: &Tally, finite: u64) -> bool {
    let sum = tally.sum.integer();
    let (min, max) = (tally.min.value(), tally.max.value());
    if finite == 0 {
        return sum.size.is_zero();
    }
    let above = |bound: f64| bound.is_nan() || bound.is_infinite() || sum >= integer_of(bound).times(finite);
    let below = |bound: f64| bound.is_nan() || bound.is_infinite() || sum <= integer_of(bound).times(finite);
    above(min) && below(max)
}

fn cauchy_schwarz_holds(tally: &Tally, finite: u64) -> bool {
    let (sum, squares) = (tally.sum.integer(), tally.squares.integer());
    if squares.negative {
        return false;
    }
    // Units agree: a square's is the square of the sum's.
    let square_of_sum = Integer::new(false, sum.size.times(&sum.size));
    let bounded = match (tally.min.value(), tally.max.value()) {
        (min, max) if min.is_finite() && max.is_finite() && finite > 0 => {
            let size = integer_of(min).size.max(integer_of(max).size);
            squares <= Integer::new(false, size.times(&size)).times(finite)
        }
        _ => finite > 0 || squares.size.is_zero(),
    };
    bounded && squares.times(finite) >= square_of_sum
}

fn tail_fits(spec: &Spec, tally: &Tally, first: u64) -> bool {
    let (keep, tail) = match (plan::keep(spec), &tally.tail) {
        (None, None) => return true,
        (Some(keep), Some(tail)) => (keep, tail),
        _ => return false,
    };
    let own = |sample: u64| sample >= first && sample - first < tally.count;
    let valid = tail.iter().all(|k| !k.value().is_nan() && own(k.sample()));
    let starts_at_max = tail.first().is_none_or(|k| k.value().to_bits() == tally.max.value().to_bits());
    let length = tail.len() as u64 == keep.min(tally.count - tally.nan);
    valid && length && starts_at_max && tail.is_sorted_by(|a, b| a < b)
}

fn model_allows(model: &Model, tally: &Tally) -> bool {
    let (min, max) = (tally.min.value(), tally.max.value());
    match model {
        // A pair of points gives 2 if one of them is inside.
        Model::Pi => {
            tally.count == finite_count(tally).unwrap_or(0) && [min, max].iter().all(|v| [0.0, 2.0, 4.0].contains(v))
        }
        // No payoff is negative, and +0 is the only zero.
        model => !model.is_payoff() || min.is_nan() || !min.is_sign_negative(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::Faults;
    use crate::monte_carlo::exact::Sum;
    use crate::monte_carlo::kernel;
    use crate::monte_carlo::tail::Kept;
    use crate::monte_carlo::tally::Bits;
    use alloc::vec::Vec;
    use serde_json::json;

    const CELLS: Grouping = Grouping { cells: 300, values: 0, part: None };

    fn spec() -> Spec {
        let spec = json!({"model": "european", "samples": 1000, "seed": 1, "params": {"spot": 100, "strike": 100,
            "rate": 0.05, "dividend_yield": 0, "volatility": 0.2, "maturity": 1, "option": "call"},
            "outputs": ["hist", "quantiles"], "quantiles": [0.99], "exact_tail": true, "hist": {"edges": [0.0, 10.0, 20.0]}});
        Spec::read(&spec, &mut Faults::default()).expect("the test's spec has no fault")
    }

    fn honest(shard: ShardIndex) -> Vec<u8> {
        kernel::run(&plan::work(&spec(), CELLS, shard).encode()).expect("a payload")
    }

    /// What the checks say of a tally that was tampered with.
    fn lie(tamper: impl FnOnce(&mut Tally)) -> u32 {
        let mut tally = Tally::decode(&honest(1)).expect("an honest result reads");
        tamper(&mut tally);
        check(&spec(), CELLS, 1, &tally.encode())
    }

    #[test]
    fn an_honest_result_passes_for_its_own_shard_only() {
        assert_eq!(check(&spec(), CELLS, 1, &honest(1)), 0);
        assert_eq!(check(&spec(), CELLS, 1, &honest(2)), CHECK_TAIL);
        assert_eq!(check(&spec(), CELLS, 3, &honest(1)), CHECK_COUNT);
        assert_eq!(check(&spec(), CELLS, 4, &honest(1)), CHECK_FORM);
    }

    #[test]
    fn each_lie_sets_its_bit() {
        assert_eq!(lie(|_| ()), 0);
        assert_eq!(lie(|t| t.format = 2), CHECK_FORM);
        assert_eq!(lie(|t| t.count += 1), CHECK_COUNT);
        assert_eq!(lie(|t| t.nan = u64::MAX), CHECK_COUNT);
        assert_ne!(lie(|t| t.nan = 1) & (CHECK_HIST | CHECK_SKETCH), 0);
        assert_eq!(lie(|t| t.hist.iter_mut().for_each(|h| h.under += 1)), CHECK_HIST);
        assert_eq!(lie(|t| t.hist.iter_mut().for_each(|h| h.over = u64::MAX)), CHECK_HIST);
        assert_eq!(lie(|t| t.hist = None), CHECK_HIST);
        assert_eq!(lie(|t| t.sketch.iter_mut().for_each(|s| s.zero += 1)), CHECK_SKETCH);
        assert_eq!(lie(|t| t.sketch = None), CHECK_SKETCH);
        assert_eq!(lie(|t| t.min = Bits::new(0.5)), CHECK_RANGE);
        assert_ne!(lie(|t| t.max = Bits::new(1e6)) & CHECK_RANGE, 0);
        assert_ne!(lie(|t| t.max = Bits::new(f64::INFINITY)) & CHECK_RANGE, 0);
        let large = |t: &mut Tally| {
            let mut sum = Sum::default();
            sum.add(false, 1, 1100);
            t.sum = sum.canonical();
        };
        assert_ne!(lie(large) & CHECK_SUM_BOUNDS, 0);
        assert_eq!(lie(|t| t.sum = t.squares.clone()), CHECK_SUM_FORM);
        assert_eq!(lie(|t| t.squares = t.sum.clone()), CHECK_CAUCHY_SCHWARZ);
        assert_eq!(lie(|t| t.tail = None), CHECK_TAIL);
        assert_eq!(lie(|t| t.tail.iter_mut().for_each(|t| t.reverse())), CHECK_TAIL);
        assert_eq!(lie(|t| t.tail.iter_mut().for_each(|t| t.truncate(1))), CHECK_TAIL);
        let foreign = |t: &mut Tally| t.tail.iter_mut().for_each(|t| t[0] = Kept::new(t[0].value(), 299));
        assert_eq!(lie(foreign), CHECK_TAIL);
        assert_ne!(lie(|t| t.min = Bits::new(-1.0)) & CHECK_MODEL, 0);
    }
}
