//! Checks of a result: its form for free, then the numbers in its blob, a few of them recomputed to the bit.

use super::eigen::{Pairs, Symmetric, packed_len};
use super::gram::{self, Basis};
use super::kernel::read_pairs;
use super::mean::{self, Means, drawn};
use super::source::{Hub, canonical, doubles};
use super::stage::{Answer, Body, Stage, tile_of};
use super::table::VALUE_MAX;
use super::{certificate, project};
use alloc::vec::Vec;
use forge_event::{Digest, ShardIndex};
use forge_projections::family::{Blobs, Fault};

/// The result is not an answer, or not in the one form it has.
pub const CHECK_FORM: u32 = 1 << 0;
/// It speaks of a wrong number that cannot be there.
pub const CHECK_PLACE: u32 = 1 << 1;
/// The blob has another length.
pub const CHECK_LENGTH: u32 = 1 << 8;
/// A number is not finite where it must be, or another NaN than the canonical one.
pub const CHECK_FINITE: u32 = 1 << 9;
/// A diagonal tile is not symmetric, or an entry larger than the diagonal allows.
pub const CHECK_SYMMETRIC: u32 = 1 << 10;
/// A number that was recomputed has other bits.
pub const CHECK_RECOMPUTED: u32 = 1 << 11;
/// The number said to be wrong is not.
pub const CHECK_NOT_WRONG: u32 = 1 << 12;
/// First bit of [`certificate`].
pub const CHECK_CERTIFICATE_SHIFT: u32 = 16;

/// Places recomputed of each part.
const DRAWS: u64 = 4;

/// The free checks.
pub fn check_result(body: &Body, shard: ShardIndex, result: &[u8]) -> u32 {
    let Some(answer) = Answer::decode(result) else { return CHECK_FORM };
    match answer.bad {
        None => 0,
        Some(bad) => {
            let (run, stage) = (body.run(shard), matches!(body.stage, Stage::Mean { .. }));
            if stage && run.contains(&bad.point) && bad.sample < body.table.samples() { 0 } else { CHECK_PLACE }
        }
    }
}

/// The checks that read the blob.
///
/// # Errors
/// A blob cannot be read here.
pub fn check_blobs(body: &Body, shard: ShardIndex, result: &[u8], blobs: &dyn Blobs) -> Result<u32, Fault> {
    let answer = Answer::decode(result).expect("a result whose form was checked");
    let (table, source) = (&body.table, &mut Hub(blobs));
    let length = if answer.bad.is_some() { 1 } else { body.part_len(shard) };
    if blobs.bytes(&answer.blob)? != length * 8 {
        return Ok(CHECK_LENGTH);
    }
    let part = doubles(source, &answer.blob, 0, length)?;
    if part.iter().any(|x| x.is_nan() && x.to_bits() != canonical(*x).to_bits()) {
        return Ok(CHECK_FINITE);
    }
    if let Some(bad) = answer.bad {
        return Ok(if mean::is_so(source, table, &bad, part[0])? { 0 } else { CHECK_NOT_WRONG });
    }
    match &body.stage {
        Stage::Mean { .. } => check_means(body, shard, &answer.blob, &part, blobs),
        Stage::Gram { field, basis, order, edge } => {
            let (rows, columns) = tile_of(shard, *order, *edge);
            let mut bits = check_tile(&part, (columns.end - columns.start) as usize, rows == columns);
            for draw in 0..DRAWS {
                let at = drawn(&answer.blob, draw, length);
                let width = columns.end - columns.start;
                let (row, column) = (rows.start + at / width, columns.start + at % width);
                let entry = gram::tile(source, table, field, *basis, row..row + 1, column..column + 1)?;
                bits |= differs(&part, at, entry[0]);
            }
            Ok(bits)
        }
        Stage::Eigen { order, modes, matrix, .. } => {
            let packed = doubles(source, matrix, 0, packed_len(*order))?;
            let matrix = Symmetric { order: *order as usize, packed };
            let pairs = Pairs::of(&part, *order as usize, *modes as usize);
            Ok(certificate::faults(&matrix, &pairs) << CHECK_CERTIFICATE_SHIFT)
        }
        Stage::Project { .. } => check_projection(body, shard, &answer.blob, &part, blobs),
    }
}

/// A place among the first `count` numbers: any one by even draws, one that holds a number by odd draws, if there is one.
fn place(blob: &Digest, draw: u64, part: &[f64], count: u64) -> u64 {
    let first = drawn(blob, draw, count);
    let mut from_there = (first..count).chain(0..first);
    let holds = |at: &u64| draw.is_multiple_of(2) || !part[*at as usize].is_nan();
    from_there.find(holds).unwrap_or(first)
}

fn differs(part: &[f64], at: u64, expected: f64) -> u32 {
    let same = part[at as usize].to_bits() == canonical(expected).to_bits();
    if same { 0 } else { CHECK_RECOMPUTED }
}

fn check_means(body: &Body, shard: ShardIndex, blob: &Digest, part: &[f64], blobs: &dyn Blobs) -> Result<u32, Fault> {
    let run = body.run(shard);
    let count = run.end - run.start;
    let mask = &part[..count as usize];
    let agrees = |group: &[f64]| group.iter().zip(mask).all(|(x, first)| x.is_nan() == first.is_nan());
    let sized = part.iter().all(|x| x.is_nan() || x.abs() <= VALUE_MAX);
    let mut bits = if sized && part.chunks_exact(count as usize).all(agrees) { 0 } else { CHECK_FINITE };
    for draw in 0..DRAWS {
        let place = place(blob, draw, part, count);
        let point = run.start + place;
        match mean::means(&mut Hub(blobs), &body.table, point..point + 1)? {
            Means::Wrong(..) => bits |= CHECK_RECOMPUTED,
            Means::Found(means) => {
                let groups = (0..).zip(means);
                bits |= groups.fold(0, |bits, (group, mean)| bits | differs(part, group * count + place, mean));
            }
        }
    }
    Ok(bits)
}

fn check_tile(part: &[f64], width: usize, diagonal: bool) -> u32 {
    if part.iter().any(|x| !x.is_finite()) {
        return CHECK_FINITE;
    }
    let entry = |row: usize, column: usize| part[row * width + column];
    let sound = |row: usize, column: usize| {
        let bound = libm::sqrt(entry(row, row)) * libm::sqrt(entry(column, column));
        // Sums of many terms are off by far less than this; a planted entry seldom is.
        entry(row, column).to_bits() == entry(column, row).to_bits()
            && entry(row, column).abs() <= bound * (1.0 + 1e-6) + f64::MIN_POSITIVE * 1e9
    };
    let all = !diagonal || (0..width).all(|row| entry(row, row) >= 0.0 && (0..row).all(|column| sound(row, column)));
    if all { 0 } else { CHECK_SYMMETRIC }
}

fn check_projection(
    body: &Body,
    shard: ShardIndex,
    blob: &Digest,
    part: &[f64],
    blobs: &dyn Blobs,
) -> Result<u32, Fault> {
    let Stage::Project { field, basis, order, modes, pairs, reconstruct, .. } = &body.stage else {
        unreachable!("asked of the last stage only");
    };
    let (table, source) = (&body.table, &mut Hub(blobs));
    let pairs = read_pairs(source, pairs, *order, *modes)?;
    let run = body.run(shard);
    let count = run.end - run.start;
    let mut bits = if part.iter().any(|x| x.is_infinite()) { CHECK_FINITE } else { 0 };
    for draw in 0..DRAWS {
        let place = place(blob, draw, part, count);
        let one = run.start + place..run.start + place + 1;
        let (found, at): (Vec<f64>, Vec<u64>) = match basis {
            // A column: each mode's value at the point, then each sample's.
            Basis::Samples => {
                let column = project::points(source, table, field, &pairs, one, *reconstruct)?;
                let at = (0..column.len() as u64).map(|row| row * count + place).collect();
                (column, at)
            }
            // A sample's series, then its values by point.
            Basis::Points => {
                let row = project::samples(source, table, field, &pairs, one, *reconstruct)?;
                let values = row.len() as u64 - modes;
                let series = place * modes..(place + 1) * modes;
                let at = series.chain((0..values).map(|i| count * modes + place * values + i)).collect();
                (row, at)
            }
        };
        bits |= found.into_iter().zip(at).fold(0, |bits, (x, at)| bits | differs(part, at, x));
    }
    Ok(bits)
}
