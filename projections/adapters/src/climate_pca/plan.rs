//! Planning: four stages, each named by what the one before it kept.
//!
//! Only the cutting depends on costs and hints. A cell is one output number (a mean, an entry of the matrix, a pattern's
//! value at a point), so `shard_cells` counts points, entries, points.

use super::eigen::{Pairs, Symmetric, packed_len};
use super::field;
use super::gram::Basis;
use super::inputs::{Inputs, check_modes};
use super::source::{Hub, bytes_of, doubles};
use super::spec::Spec;
use super::stage::{Answer, Body, Stage, tile_of};
use super::table::Table;
use super::{certificate, mean};
use crate::cutting::cells_a_shard;
use crate::faults::Faults;
use crate::gathered::Gathered;
use alloc::format;
use alloc::vec::Vec;
use forge_event::{Digest, ShardIndex};
use forge_projections::family::{Blobs, DoneStage, Fault, Past, Plan, PlanHints, SpecFault};

/// Largest order of the matrix that is decomposed.
pub const ORDER_MAX: u64 = 4096;
/// Most points of a shard: each has an exact sum, of half a kilobyte.
const BLOCK_MAX: u64 = 16_384;
/// Most shards of the first stage.
const BLOCKS_MAX: u64 = 4096;
/// Largest edge of a tile.
const EDGE_MAX: u64 = 256;
/// Most tiles along an edge of the matrix.
const TILES_MAX: u64 = 64;
/// Most doubles of a shard's part.
const PART_LEN_MAX: u64 = 1 << 23;

/// The next stage.
///
/// # Errors
/// What is wrong with the inputs or with what was found so far.
pub fn plan(past: &Past<'_>, hints: PlanHints, blobs: &dyn Blobs) -> Result<Plan, Fault> {
    let spec = Spec::reread(past.spec);
    let body = match past.stages {
        [] => means(&spec, hints, blobs)?,
        [done] => gram(&spec, done, hints, blobs)?,
        [_, done] => eigen(&spec, done, blobs)?,
        [_, _, done] => project(&spec, done, hints, blobs)?,
        _ => unreachable!("the stage after this one is not planned"),
    };
    let last =
        matches!(body.stage, Stage::Project { .. }) || (matches!(body.stage, Stage::Eigen { .. }) && !spec.projects());
    Ok(Plan { shard_count: body.shards(), segments: 1, body: body.encode(), last })
}

/// About how long a shard takes. Units: nanoseconds.
pub fn shard_cost_ns(body: &Body) -> u64 {
    let (n, p) = (body.table.samples(), body.table.points());
    match &body.stage {
        Stage::Mean { block } => block * n * MEAN_NS,
        Stage::Gram { basis, edge, .. } => edge * edge * if *basis == Basis::Samples { p } else { n },
        Stage::Eigen { order, .. } => 10 * order * order * order,
        Stage::Project { basis, modes, block, reconstruct, .. } => {
            block * projected_ns(if *basis == Basis::Samples { n } else { p }, *modes, *reconstruct)
        }
    }
}

/// One number into an exact sum.
const MEAN_NS: u64 = 12;

/// One point over `length` samples, or one sample over as many points.
fn projected_ns(length: u64, modes: u64, reconstruct: bool) -> u64 {
    length * (modes + 8) * if reconstruct { 3 } else { 1 }
}

fn first(faults: Vec<SpecFault>) -> Fault {
    let fault = faults.into_iter().next().expect("faults are at least one");
    Fault::new(fault.code, format!("{}: {}", fault.pointer, fault.detail))
}

/// Cells a shard, of `all` cells at `cost_ns` each.
fn cells(all: u64, cost_ns: u64, hints: PlanHints) -> u64 {
    hints.shard_cells.map_or_else(|| cells_a_shard(all, cost_ns, hints.slots), |cells| cells.clamp(1, all))
}

fn means(spec: &Spec, hints: PlanHints, blobs: &dyn Blobs) -> Result<Body, Fault> {
    let table = Inputs::read(spec, blobs).map_err(first)?.table;
    let points = table.points();
    let block = cells(points, table.samples() * MEAN_NS, hints).clamp(points.div_ceil(BLOCKS_MAX), BLOCK_MAX);
    Ok(Body::new(table, Stage::Mean { block }))
}

/// Answers of a finished stage, shard 0 first.
pub fn answers(done: &DoneStage<'_>) -> Vec<Answer> {
    let decode = |part: &[u8]| Answer::decode(part).expect("a result that passed its checks");
    Gathered::of(done).parts().map(decode).collect()
}

/// A fault unless there can be modes in what is not masked.
pub fn check_valid(spec: &Spec, table: &Table, valid: u64) -> Result<(), Vec<SpecFault>> {
    let mut faults = Faults::default();
    let samples = table.samples();
    if valid == 0 {
        faults.add("/spec/members", "all-masked", "every point is missing", "check `mask` and the files' fill values");
    } else if samples.min(valid) > ORDER_MAX {
        let detail = format!(
            "{samples} samples at {valid} points: one of both must be at most {ORDER_MAX} (a randomised \
             decomposition is not part of this version)"
        );
        faults.add("/spec/members", "too-large", detail, "take fewer samples, a coarser grid or a region");
    } else {
        check_modes(spec, samples, valid, &mut faults);
    }
    faults.unless_any(Some(()))
}

fn gram(spec: &Spec, done: &DoneStage<'_>, hints: PlanHints, blobs: &dyn Blobs) -> Result<Body, Fault> {
    let before = Body::decode(done.plan);
    let answers = answers(done);
    if let Some(bad) = answers.iter().filter_map(|answer| answer.bad).min() {
        return Err(bad.fault(&before.table));
    }
    let latitudes = Inputs::read(spec, blobs).map_err(first)?.latitudes;
    let table = before.table.clone();
    let weights = field::weights(spec.weights, latitudes.as_ref(), &table.space);
    let mut valid = 0;
    let runs = |group: u64| answers.iter().enumerate().map(move |(shard, answer)| (group, shard, answer));
    let mut parts = weights.chunks(BLOCK_MAX as usize).map(|chunk| Ok(bytes_of(chunk))).chain(
        (0..table.groups() as u64).flat_map(runs).map(|(group, shard, answer)| {
            let run = before.run(shard as ShardIndex);
            let count = run.end - run.start;
            let means = doubles(&mut Hub(blobs), &answer.blob, group * count, count)?;
            if group == 0 {
                valid += means.iter().filter(|mean| !mean.is_nan()).count() as u64;
            }
            Ok(bytes_of(&means))
        }),
    );
    let (field, _) = blobs.put(&mut parts)?;
    drop(parts);
    check_valid(spec, &table, valid).map_err(first)?;
    let samples = table.samples();
    let (basis, order, length) =
        if samples <= valid { (Basis::Samples, samples, table.points()) } else { (Basis::Points, valid, samples) };
    let edge = cells(packed_len(order), length, hints).isqrt();
    let edge = edge.clamp(order.div_ceil(TILES_MAX), EDGE_MAX);
    Ok(Body::new(table, Stage::Gram { field, basis, order, edge }))
}

fn eigen(spec: &Spec, done: &DoneStage<'_>, blobs: &dyn Blobs) -> Result<Body, Fault> {
    let before = Body::decode(done.plan);
    let Stage::Gram { field, basis, order, edge } = before.stage else {
        unreachable!("the second stage is the matrix");
    };
    let matrix = assemble(&answers(done), order, edge, blobs)?;
    let terms = if basis == Basis::Samples { before.table.points() } else { before.table.samples() };
    bounded_by_diagonal(&matrix, terms)?;
    let trace = matrix.diagonal().fold(0.0, |sum, x| sum + x);
    let floor = certificate::tolerance(&matrix);
    let mut rows = (0..matrix.order).map(|row| Ok(bytes_of(matrix.row(row))));
    let (matrix, _) = blobs.put(&mut rows)?;
    let stage = Stage::Eigen { field, basis, order, modes: spec.modes, matrix, trace, floor };
    Ok(Body::new(before.table, stage))
}

/// The matrix from its tiles.
fn assemble(answers: &[Answer], order: u64, edge: u64, blobs: &dyn Blobs) -> Result<Symmetric, Fault> {
    let mut packed = alloc::vec![0.0; packed_len(order) as usize];
    for (shard, answer) in answers.iter().enumerate() {
        let (rows, columns) = tile_of(shard as ShardIndex, order, edge);
        let width = columns.end - columns.start;
        let tile = doubles(&mut Hub(blobs), &answer.blob, 0, (rows.end - rows.start) * width)?;
        for (row, entries) in rows.zip(tile.chunks_exact(width as usize)) {
            let below = (row + 1).saturating_sub(columns.start).min(width) as usize;
            let start = (packed_len(row) + columns.start) as usize;
            packed[start..start + below].copy_from_slice(&entries[..below]);
        }
    }
    Ok(Symmetric { order: order as usize, packed })
}

/// Cauchy-Schwarz for every entry; no tile alone could be checked for it.
fn bounded_by_diagonal(matrix: &Symmetric, terms: u64) -> Result<(), Fault> {
    let diagonal: Vec<f64> = matrix.diagonal().collect();
    // Each sum is off by at most its length times u; products that underflow are worth the rest.
    let slack = 1.0 + 4.0 * (terms as f64 + 8.0) * f64::EPSILON;
    let tiny = terms as f64 * f64::MIN_POSITIVE;
    for row in 0..matrix.order {
        for (column, entry) in matrix.row(row).iter().enumerate() {
            let bound = libm::sqrt(diagonal[row]) * libm::sqrt(diagonal[column]) * slack + tiny;
            if certificate::exceeds(entry.abs(), bound) {
                let detail = format!("entry ({row}, {column}) of the matrix is larger than its diagonal allows");
                return Err(Fault::new("matrix-inconsistent", detail));
            }
        }
    }
    Ok(())
}

/// The pairs that a finished third stage found.
///
/// # Errors
/// `rank-deficient` if an eigenvalue cannot be told from rounding.
pub fn pairs(done: &DoneStage<'_>, blobs: &dyn Blobs) -> Result<(Body, Pairs, Digest), Fault> {
    let body = Body::decode(done.plan);
    let Stage::Eigen { order, modes, floor, .. } = body.stage else {
        unreachable!("the third stage is the eigenvectors");
    };
    let blob = answers(done)[0].blob;
    let flat = doubles(&mut Hub(blobs), &blob, 0, body.part_len(0))?;
    let pairs = Pairs::of(&flat, order as usize, modes as usize);
    let rank = pairs.values.iter().filter(|value| **value > floor).count();
    if rank < pairs.values.len() {
        let detail = format!("the members have {rank} modes above rounding, {modes} are asked for");
        return Err(Fault::new("rank-deficient", detail));
    }
    Ok((body, pairs, blob))
}

fn project(spec: &Spec, done: &DoneStage<'_>, hints: PlanHints, blobs: &dyn Blobs) -> Result<Body, Fault> {
    let (before, _, pairs) = pairs(done, blobs)?;
    let Stage::Eigen { field, basis, order, modes, .. } = before.stage else {
        unreachable!("the third stage is the eigenvectors");
    };
    let table = before.table;
    let (all, length) = match basis {
        Basis::Samples => (table.points(), table.samples()),
        Basis::Points => (table.samples(), table.points()),
    };
    let reconstruct = spec.reconstruction();
    let each = modes + if reconstruct { length } else { 0 };
    let block =
        cells(all, projected_ns(length, modes, reconstruct), hints).clamp(1, (PART_LEN_MAX / each).clamp(1, BLOCK_MAX));
    Ok(Body::new(table, Stage::Project { field, basis, order, modes, pairs, block, reconstruct }))
}

/// Looks at the numbers themselves, if there are few enough to be read before the job is taken.
///
/// # Errors
/// Every fault found, at least one.
pub fn check_contents(spec: &Spec, table: &Table, blobs: &dyn Blobs) -> Result<(), Vec<SpecFault>> {
    let mut faults = Faults::default();
    match mean::scan(&mut Hub(blobs), table) {
        Err(fault) => faults.add("/spec/members", fault.code, fault.detail, "upload the files again, whole"),
        Ok(mean::Scan { bad: Some(bad), .. }) => {
            let (member, _) = table.locate(bad.sample);
            let fault = bad.fault(table);
            let fix = "mark what is missing by NaN or the fill value, at the same points in all samples";
            faults.add(format!("/spec/members/{member}"), fault.code, fault.detail, fix);
        }
        Ok(mean::Scan { valid, .. }) => return check_valid(spec, table, valid),
    }
    Err(faults.into_vec())
}
