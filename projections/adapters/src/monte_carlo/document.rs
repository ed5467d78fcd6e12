//! The canonical result document of a job.

use super::bigint::{Integer, Natural, nearest_f64};
use super::exact::{SQUARE_UNIT, SUM_UNIT};
use super::hist::Histogram;
use super::plan;
use super::sketch::RELATIVE_ERROR;
use super::spec::Spec;
use super::tally::Tally;
use crate::json::{float_object, float_object_or_null, list, write};
use alloc::string::String;

/// The document: fixed field order, no white space, nothing of the run.
pub fn document(spec: &Spec, tally: &Tally) -> String {
    let mut out = String::with_capacity(1024);
    let infinite = tally.positive_infinite + tally.negative_infinite;
    let (samples, nan) = (tally.count, tally.nan);
    write(
        &mut out,
        format_args!(r#"{{"kind":"monte_carlo","format":1,"samples":{samples},"nan":{nan},"inf":{infinite}"#),
    );
    let variance = variance(tally);
    out.push_str(",\"mean\":");
    float_object(&mut out, mean(tally));
    out.push_str(",\"variance\":");
    float_object_or_null(&mut out, variance.filter(|_| spec.outputs.variance()));
    out.push_str(",\"stderr\":");
    float_object_or_null(&mut out, variance.filter(|_| spec.outputs.stderr()).map(|v| standard_error(v, samples)));
    out.push_str(",\"min\":");
    float_object(&mut out, tally.min.value());
    out.push_str(",\"max\":");
    float_object(&mut out, tally.max.value());
    out.push_str(",\"hist\":");
    match (&spec.edges, &tally.hist) {
        (Some(edges), Some(hist)) => write_hist(&mut out, edges, hist, nan),
        _ => out.push_str("null"),
    }
    out.push_str(",\"quantiles\":");
    if spec.outputs.quantiles() {
        list(&mut out, &spec.quantiles, |out, q| write_quantile(out, spec, tally, q));
    } else {
        out.push_str("null");
    }
    out.push('}');
    out
}

fn write_hist(out: &mut String, edges: &[f64], hist: &Histogram, nan: u64) {
    out.push_str("{\"edges\":");
    list(out, edges, float_object);
    out.push_str(",\"counts\":");
    list(out, &hist.counts, |out, count| write(out, format_args!("{count}")));
    write(out, format_args!(",\"under\":{},\"over\":{},\"nan\":{nan}}}", hist.under, hist.over));
}

fn write_quantile(out: &mut String, spec: &Spec, tally: &Tally, q: f64) {
    let (value, exact) = quantile(spec, tally, q);
    out.push_str("{\"q\":");
    float_object(out, q);
    out.push_str(",\"value\":");
    float_object(out, value);
    write(out, format_args!(",\"rule\":\"lower\",\"exact\":{exact},\"relative_error\":"));
    float_object(out, if exact { 0.0 } else { RELATIVE_ERROR });
    out.push('}');
}

/// The mean of all samples, rounded once. NaN or infinite if the samples make it so.
pub fn mean(tally: &Tally) -> f64 {
    let (up, down) = (tally.positive_infinite > 0, tally.negative_infinite > 0);
    if tally.nan > 0 || (up && down) {
        return f64::NAN;
    }
    if up || down {
        return if up { f64::INFINITY } else { f64::NEG_INFINITY };
    }
    let sum = tally.sum.integer();
    let size = nearest_f64(&sum.size, &Natural::from(tally.count), SUM_UNIT);
    if sum.negative { -size } else { size }
}

/// The unbiased variance `(n·Σx² − (Σx)²) / (n·(n−1))`, rounded once; `None` for one sample.
pub fn variance(tally: &Tally) -> Option<f64> {
    let count = tally.count;
    if count < 2 {
        return None;
    }
    if tally.nan + tally.positive_infinite + tally.negative_infinite > 0 {
        return Some(f64::NAN);
    }
    let (sum, squares): (Integer, Integer) = (tally.sum.integer(), tally.squares.integer());
    let spread = squares.times(count).size.minus(&sum.size.times(&sum.size));
    let spread = spread.expect("sums of real samples obey Cauchy and Schwarz");
    let pairs = Natural::from(count).times(&Natural::from(count - 1));
    Some(nearest_f64(&spread, &pairs, SQUARE_UNIT))
}

/// `RN(sqrt(RN(variance / n)))`.
pub fn standard_error(variance: f64, count: u64) -> f64 {
    libm::sqrt(variance / count as f64)
}

/// The `lower` order statistic at `q` of what is not NaN, and whether it is exact.
fn quantile(spec: &Spec, tally: &Tally, q: f64) -> (f64, bool) {
    let count = tally.count - tally.nan;
    if count == 0 {
        return (f64::NAN, false);
    }
    let rank = plan::rank(q, count);
    let from_top = count - 1 - rank;
    if let Some(tail) = tally.tail.as_ref().filter(|_| spec.exact_tail && q > 0.5)
        && let Some(kept) = usize::try_from(from_top).ok().and_then(|i| tail.get(i))
    {
        return (kept.value(), true);
    }
    if rank < tally.negative_infinite {
        return (f64::NEG_INFINITY, false);
    }
    let sketch = tally.sketch.as_ref().expect("quantiles were asked for, so there is a sketch");
    match sketch.at_rank(rank - tally.negative_infinite) {
        // A bucket's middle may lie outside of what was seen; the true value does not.
        Some(value) => (value.max(tally.min.value()).min(tally.max.value()), false),
        None => (f64::INFINITY, false),
    }
}
