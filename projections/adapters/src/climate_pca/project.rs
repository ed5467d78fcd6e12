//! Stage 4: patterns, series and reconstructions from the eigenvectors.
//!
//! In the samples' basis an eigenvector u gives the pattern v = Yᵀu / √g and the series √g · u; in the points' basis it is
//! the pattern itself, and the series is Y v. Sums run over samples or points in ascending order, whatever the shard.

use super::eigen::Pairs;
use super::field::Patch;
use super::gram::valid_points;
use super::source::Source;
use super::table::Table;
use alloc::vec;
use alloc::vec::Vec;
use core::ops::Range;
use forge_event::Digest;

/// What a run of points shows, in the samples' basis.
///
/// Shape: patterns by mode and point, then (if `reconstruct`) reconstructed values by sample and point; NaN where masked.
///
/// # Errors
/// As [`Source::read`].
pub fn points<S: Source>(
    source: &mut S,
    table: &Table,
    field: &Digest,
    pairs: &Pairs,
    points: Range<u64>,
    reconstruct: bool,
) -> Result<Vec<f64>, S::Error> {
    let patch = Patch::read(source, field, table, points)?;
    let (width, modes) = (patch.len(), pairs.values.len());
    let mut patterns = vec![0.0; modes * width];
    let (mut row, mut bytes) = (vec![0.0; width], Vec::new());
    for sample in 0..table.samples() {
        source.progress(0)?;
        patch.anomalies(source, table, sample, &mut bytes, &mut row)?;
        for (sums, u) in patterns.chunks_exact_mut(width).zip(&pairs.vectors) {
            let factor = u[sample as usize];
            sums.iter_mut().zip(&row).for_each(|(sum, y)| *sum += y * factor);
        }
    }
    for (pattern, value) in patterns.chunks_exact_mut(width).zip(&pairs.values) {
        let root = libm::sqrt(*value);
        for (place, entry) in pattern.iter_mut().enumerate() {
            *entry = if patch.masked(place) { f64::NAN } else { *entry / root };
        }
    }
    if !reconstruct {
        return Ok(patterns);
    }
    let mut out = patterns.clone();
    for sample in 0..table.samples() {
        source.progress(0)?;
        let series: Vec<f64> = (0..modes).map(|k| series(pairs, k, sample)).collect();
        let (member, _) = table.locate(sample);
        for place in 0..width {
            let pattern = |k: usize| patterns[k * width + place];
            out.push(reconstructed(&patch, member, place, &series, pattern));
        }
    }
    Ok(out)
}

/// The series of a mode at one sample, in the samples' basis.
pub fn series(pairs: &Pairs, mode: usize, sample: u64) -> f64 {
    libm::sqrt(pairs.values[mode]) * pairs.vectors[mode][sample as usize]
}

/// What a run of samples shows, in the points' basis.
///
/// Shape: for each sample its series by mode, then (if `reconstruct`) for each sample its reconstructed values by point.
///
/// # Errors
/// As [`Source::read`].
pub fn samples<S: Source>(
    source: &mut S,
    table: &Table,
    field: &Digest,
    pairs: &Pairs,
    samples: Range<u64>,
    reconstruct: bool,
) -> Result<Vec<f64>, S::Error> {
    let patch = Patch::read(source, field, table, 0..table.points())?;
    let valid = valid_points(source, field, table)?;
    let modes = pairs.values.len();
    let (mut row, mut bytes) = (vec![0.0; patch.len()], Vec::new());
    let (mut out, mut fields) = (Vec::new(), Vec::new());
    // By point, then by mode.
    let patterns: Vec<f64> = (0..valid.len()).flat_map(|i| pairs.vectors.iter().map(move |v| v[i])).collect();
    for sample in samples {
        source.progress(0)?;
        patch.anomalies(source, table, sample, &mut bytes, &mut row)?;
        let mut series = vec![0.0; modes];
        for (point, pattern) in valid.iter().zip(patterns.chunks_exact(modes)) {
            let y = row[*point as usize];
            series.iter_mut().zip(pattern).for_each(|(sum, v)| *sum += y * v);
        }
        if reconstruct {
            let (member, _) = table.locate(sample);
            let start = fields.len();
            fields.resize(start + patch.len(), f64::NAN);
            for (point, pattern) in valid.iter().zip(patterns.chunks_exact(modes)) {
                let place = *point as usize;
                fields[start + place] = reconstructed(&patch, member, place, &series, |k| pattern[k]);
            }
        }
        out.extend(series);
    }
    out.extend(fields);
    Ok(out)
}

/// mean + Σ series · pattern / weight; the mean alone where the weight is zero; NaN where masked.
fn reconstructed(patch: &Patch, member: usize, place: usize, series: &[f64], pattern: impl Fn(usize) -> f64) -> f64 {
    if patch.masked(place) {
        return f64::NAN;
    }
    let (mean, weight) = (patch.means_of(member)[place], patch.weights[place]);
    let sum = series.iter().enumerate().fold(0.0, |sum, (k, pc)| sum + pc * pattern(k));
    if weight == 0.0 { mean } else { mean + sum / weight }
}
