//! Stage 1: the exact mean of each point over all samples, rounded once, and where points are masked.

use super::source::Source;
use super::table::{Bad, Table, Wrong};
use crate::monte_carlo::bigint::{Natural, nearest_f64};
use crate::monte_carlo::exact::{SUM_UNIT, Sum, parts};
use alloc::vec;
use alloc::vec::Vec;
use core::ops::Range;
use forge_event::Digest;

/// Points looked at together where the hub looks for wrong numbers.
const SCAN_POINTS: u64 = 1 << 16;

/// What stage 1 finds for a run of points.
#[derive(Clone, PartialEq, Debug)]
pub enum Means {
    /// By group, then by point; NaN where masked.
    Found(Vec<f64>),
    /// The first number that is wrong, and what stands there.
    Wrong(Bad, f64),
}

/// Means of `points`.
///
/// # Errors
/// As [`Source::read`].
pub fn means<S: Source>(source: &mut S, table: &Table, points: Range<u64>) -> Result<Means, S::Error> {
    let count = (points.end - points.start) as usize;
    let first = table.row(source, 0, points.clone())?;
    let (mut row, mut bytes) = (vec![0.0; count], Vec::new());
    let mut sums = vec![Sum::default(); count];
    let mut means = Vec::with_capacity(count * table.groups());
    let (mut sample, mut summed) = (0, 0);
    for (i, member) in table.members.iter().enumerate() {
        for local in 0..member.samples {
            source.progress(0)?;
            member.read(source, local, points.clone(), &mut bytes, &mut row)?;
            if let Some((place, wrong)) = first_wrong(&row, &first) {
                let bad = Bad { sample, point: points.start + place as u64, wrong };
                return Ok(Means::Wrong(bad, row[place]));
            }
            for (sum, value) in sums.iter_mut().zip(&row).filter(|(_, value)| !value.is_nan()) {
                let (negative, size, bit) = parts(value.to_bits());
                sum.add(negative, u128::from(size), bit);
            }
            sample += 1;
            summed += 1;
        }
        if table.center_member || i + 1 == table.members.len() {
            means.extend(sums.iter().zip(&first).map(|(sum, v)| if v.is_nan() { f64::NAN } else { mean(sum, summed) }));
            sums.iter_mut().for_each(|sum| *sum = Sum::default());
            summed = 0;
        }
    }
    Ok(Means::Found(means))
}

fn mean(sum: &Sum, count: u64) -> f64 {
    let sum = sum.canonical().integer();
    let size = nearest_f64(&sum.size, &Natural::from(count), SUM_UNIT);
    if sum.negative { -size } else { size }
}

fn first_wrong(row: &[f64], first: &[f64]) -> Option<(usize, Wrong)> {
    let values = row.iter().zip(first).enumerate();
    values.filter_map(|(place, (value, first))| Some((place, Wrong::of(*value, first.is_nan())?))).next()
}

/// What a look at every number shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Scan {
    /// Points that are not masked.
    pub valid: u64,
    pub bad: Option<Bad>,
}

/// Looks at every number, without computing anything.
///
/// # Errors
/// As [`Source::read`].
pub fn scan<S: Source>(source: &mut S, table: &Table) -> Result<Scan, S::Error> {
    let mut scan = Scan { valid: 0, bad: None };
    let all = table.points();
    for start in (0..all).step_by(SCAN_POINTS as usize) {
        let points = start..all.min(start + SCAN_POINTS);
        let first = table.row(source, 0, points.clone())?;
        scan.valid += first.iter().filter(|v| !v.is_nan()).count() as u64;
        for sample in 0..table.samples() {
            let row = table.row(source, sample, points.clone())?;
            if let Some((place, wrong)) = first_wrong(&row, &first) {
                let bad = Bad { sample, point: start + place as u64, wrong };
                scan.bad = Some(scan.bad.map_or(bad, |before| before.min(bad)));
                break;
            }
        }
    }
    Ok(scan)
}

/// True if the number that `bad` speaks of is `value`, and wrong in that way.
///
/// # Errors
/// As [`Source::read`].
pub fn is_so<S: Source>(source: &mut S, table: &Table, bad: &Bad, value: f64) -> Result<bool, S::Error> {
    let point = bad.point..bad.point + 1;
    let first = table.row(source, 0, point.clone())?[0];
    let found = table.row(source, bad.sample, point)?[0];
    let same = found.to_bits() == value.to_bits() || (found.is_nan() && value.is_nan());
    Ok(same && Wrong::of(found, first.is_nan()) == Some(bad.wrong))
}

/// A place drawn from a result's digest, so that it cannot be known before the result is.
pub fn drawn(digest: &Digest, draw: u64, count: u64) -> u64 {
    let mut bytes = digest.0.to_vec();
    bytes.extend_from_slice(&draw.to_le_bytes());
    let Digest(hash) = Digest::of(&bytes);
    u64::from_le_bytes(hash[..8].try_into().expect("eight of 32 bytes")) % count
}
