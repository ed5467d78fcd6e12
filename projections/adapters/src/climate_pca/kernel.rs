//! Running a shard. Agents call it; the hub calls the same functions for the few entries it recomputes.

use super::eigen::{Pairs, Symmetric, packed_len};
use super::gram::{self, Basis};
use super::mean::{self, Means};
use super::source::{Agent, Source, bytes_of, doubles};
use super::stage::{Answer, Body, FORMAT, Payload, Stage, tile_of};
use super::{certificate, project};
use crate::host::{Host, Stop};
use alloc::vec;
use alloc::vec::Vec;
use forge_event::{Digest, ShardIndex};

/// Code of a shard whose eigenvectors do not pass their own checks: no other machine would find others.
pub const NOT_CONVERGED: &str = "not-converged";

/// Runs a payload to its end.
///
/// # Errors
/// [`Stop`]: not wanted, not a payload of this version, or a blob cannot be had.
pub fn run(payload: &[u8], host: &mut dyn Host) -> Result<Vec<u8>, Stop> {
    let Payload { body, shard } = Payload::decode(payload).ok_or(Stop::BadPayload)?;
    let (bad, part) = part(&body, shard, host)?;
    let blob = host.put(&bytes_of(&part))?;
    Ok(Answer { format: FORMAT, bad, blob }.encode())
}

fn part(body: &Body, shard: ShardIndex, host: &mut dyn Host) -> Result<(Option<super::table::Bad>, Vec<f64>), Stop> {
    let (table, source) = (&body.table, &mut Agent(host));
    let part = match &body.stage {
        Stage::Mean { .. } => match mean::means(source, table, body.run(shard))? {
            Means::Found(means) => means,
            Means::Wrong(bad, value) => return Ok((Some(bad), vec![value])),
        },
        Stage::Gram { field, basis, order, edge } => {
            let (rows, columns) = tile_of(shard, *order, *edge);
            gram::tile(source, table, field, *basis, rows, columns)?
        }
        Stage::Eigen { order, modes, matrix, .. } => {
            let packed = doubles(source, matrix, 0, packed_len(*order))?;
            let matrix = Symmetric { order: *order as usize, packed };
            let pairs = matrix.largest(*modes as usize, &mut || source.progress(0))?;
            let sound = pairs.filter(|pairs| certificate::faults(&matrix, pairs) == 0);
            sound.ok_or_else(|| Stop::failed(NOT_CONVERGED, "the eigenvectors do not pass their own checks"))?.flat()
        }
        Stage::Project { field, basis, order, modes, pairs, reconstruct, .. } => {
            let pairs = read_pairs(source, pairs, *order, *modes)?;
            match basis {
                Basis::Samples => project::points(source, table, field, &pairs, body.run(shard), *reconstruct)?,
                Basis::Points => project::samples(source, table, field, &pairs, body.run(shard), *reconstruct)?,
            }
        }
    };
    Ok((None, part))
}

/// The pairs in a blob.
///
/// # Errors
/// As [`Source::read`].
pub fn read_pairs<S: Source>(source: &mut S, blob: &Digest, order: u64, modes: u64) -> Result<Pairs, S::Error> {
    let flat = doubles(source, blob, 0, modes * (order + 1))?;
    Ok(Pairs::of(&flat, order as usize, modes as usize))
}
