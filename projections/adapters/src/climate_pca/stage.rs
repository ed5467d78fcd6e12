//! A stage as its plan says it: what each shard computes, from which blobs, and how long its answer is.

use super::gram::Basis;
use super::table::{Bad, Table};
use alloc::vec::Vec;
use core::ops::Range;
use forge_event::{Digest, ShardIndex};
use serde::{Deserialize, Serialize};

/// Version of plans, payloads and answers.
pub const FORMAT: u8 = 1;
/// Longest answer. Units: bytes.
pub const ANSWER_BYTES_MAX: u64 = 64;

/// What a stage computes. Each shard gives a disjoint part of it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum Stage {
    /// Means and mask; a shard is a run of `block` points.
    Mean { block: u64 },
    /// The lower triangle of the matrix; a shard is a tile of `edge` by `edge` entries.
    Gram { field: Digest, basis: Basis, order: u64, edge: u64 },
    /// Its largest pairs; one shard.
    Eigen {
        field: Digest,
        basis: Basis,
        order: u64,
        modes: u64,
        matrix: Digest,
        /// Sum of the diagonal.
        trace: f64,
        /// An eigenvalue must be above this to be told from rounding.
        floor: f64,
    },
    /// Patterns, series, reconstructions; a shard is a run of `block` points (or samples, in the points' basis).
    Project { field: Digest, basis: Basis, order: u64, modes: u64, pairs: Digest, block: u64, reconstruct: bool },
}

impl Stage {
    pub fn name(&self) -> &'static str {
        match self {
            Stage::Mean { .. } => "mean",
            Stage::Gram { .. } => "gram",
            Stage::Eigen { .. } => "eigen",
            Stage::Project { .. } => "project",
        }
    }

    /// `dual` if the matrix is one of samples, `primal` if it is one of points; `None` before that is known.
    pub fn route(&self) -> Option<&'static str> {
        match self {
            Stage::Mean { .. } => None,
            Stage::Gram { basis, .. } | Stage::Eigen { basis, .. } | Stage::Project { basis, .. } => match basis {
                Basis::Samples => Some("dual"),
                Basis::Points => Some("primal"),
            },
        }
    }
}

/// The body of a plan.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Body {
    pub format: u8,
    pub table: Table,
    pub stage: Stage,
}

/// What an agent gets: the stage, and which shard of it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Payload {
    pub body: Body,
    pub shard: ShardIndex,
}

/// What a shard answers.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Answer {
    pub format: u8,
    /// Of the first stage only: the first number that is wrong. Then `blob` holds this one number.
    pub bad: Option<Bad>,
    /// The shard's part of the stage: little-endian doubles.
    pub blob: Digest,
}

impl Body {
    pub fn new(table: Table, stage: Stage) -> Body {
        Body { format: FORMAT, table, stage }
    }

    pub fn encode(&self) -> Vec<u8> {
        postcard::to_allocvec(self).expect("a plan has no value that postcard cannot write")
    }

    /// Reads back what [`Body::encode`] wrote.
    ///
    /// # Panics
    /// If it did not.
    pub fn decode(bytes: &[u8]) -> Body {
        let body: Body = postcard::from_bytes(bytes).expect("the body of a plan of this version");
        assert_eq!(body.format, FORMAT, "a plan of this version");
        body
    }

    /// Shards of the stage.
    pub fn shards(&self) -> u64 {
        match &self.stage {
            Stage::Mean { block } => self.table.points().div_ceil(*block),
            Stage::Gram { order, edge, .. } => super::eigen::packed_len(order.div_ceil(*edge)),
            Stage::Eigen { .. } => 1,
            Stage::Project { basis, block, .. } => self.projected(*basis).div_ceil(*block),
        }
    }

    /// What the last stage is cut along.
    fn projected(&self, basis: Basis) -> u64 {
        match basis {
            Basis::Samples => self.table.points(),
            Basis::Points => self.table.samples(),
        }
    }

    /// The run of points or samples that a shard of the first or last stage is; empty past the last shard.
    pub fn run(&self, shard: ShardIndex) -> Range<u64> {
        let (block, all) = match &self.stage {
            Stage::Mean { block } => (*block, self.table.points()),
            Stage::Project { basis, block, .. } => (*block, self.projected(*basis)),
            Stage::Gram { .. } | Stage::Eigen { .. } => (1, 1),
        };
        let start = (u64::from(shard) * block).min(all);
        start..all.min(start + block)
    }

    /// Blobs that a shard reads, ascending.
    pub fn blobs(&self, shard: ShardIndex) -> Vec<Digest> {
        let all = 0..self.table.samples();
        let (samples, mut blobs) = match &self.stage {
            Stage::Mean { .. } => (alloc::vec![all], Vec::new()),
            Stage::Gram { field, basis, order, edge } => {
                let (rows, columns) = tile_of(shard, *order, *edge);
                let samples = if *basis == Basis::Samples { alloc::vec![rows, columns] } else { alloc::vec![all] };
                (samples, alloc::vec![*field])
            }
            Stage::Eigen { matrix, .. } => (Vec::new(), alloc::vec![*matrix]),
            Stage::Project { field, pairs, basis, .. } => {
                let samples = if *basis == Basis::Samples { all } else { self.run(shard) };
                (alloc::vec![samples], alloc::vec![*field, *pairs])
            }
        };
        blobs.extend(self.table.blobs(&samples));
        blobs.sort_unstable();
        blobs.dedup();
        blobs
    }

    /// Doubles of a shard's part.
    pub fn part_len(&self, shard: ShardIndex) -> u64 {
        let run = self.run(shard);
        let length = run.end - run.start;
        match &self.stage {
            Stage::Mean { .. } => length * self.table.groups() as u64,
            Stage::Gram { order, edge, .. } => {
                let (rows, columns) = tile_of(shard, *order, *edge);
                (rows.end - rows.start) * (columns.end - columns.start)
            }
            Stage::Eigen { order, modes, .. } => modes * (order + 1),
            Stage::Project { basis, modes, reconstruct, .. } => {
                let other = match basis {
                    Basis::Samples => self.table.samples(),
                    Basis::Points => self.table.points(),
                };
                length * (modes + if *reconstruct { other } else { 0 })
            }
        }
    }
}

/// Rows and columns of a tile; tiles of the lower triangle are counted row by row.
pub fn tile_of(shard: ShardIndex, order: u64, edge: u64) -> (Range<u64>, Range<u64>) {
    let (mut row, mut column) = (0, u64::from(shard));
    while column > row {
        row += 1;
        column -= row;
    }
    let range = |block: u64| (block * edge).min(order)..((block + 1) * edge).min(order);
    (range(row), range(column))
}

impl Payload {
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_allocvec(self).expect("a payload has no value that postcard cannot write")
    }

    /// Reads a payload of this version.
    pub fn decode(bytes: &[u8]) -> Option<Payload> {
        let (payload, rest) = postcard::take_from_bytes::<Payload>(bytes).ok()?;
        (rest.is_empty() && payload.body.format == FORMAT).then_some(payload)
    }
}

impl Answer {
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_allocvec(self).expect("an answer has no value that postcard cannot write")
    }

    /// Reads bytes that are the only ones of their answer.
    pub fn decode(bytes: &[u8]) -> Option<Answer> {
        let (answer, rest) = postcard::take_from_bytes::<Answer>(bytes).ok()?;
        (rest.is_empty() && answer.format == FORMAT && answer.encode() == bytes).then_some(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_cover_the_lower_triangle_once() {
        for (order, edge) in [(1, 1), (7, 3), (9, 3), (5, 8), (20, 1)] {
            let mut seen = alloc::vec![0; (order * order) as usize];
            for shard in 0..super::super::eigen::packed_len(u64::div_ceil(order, edge)) {
                let (rows, columns) = tile_of(shard as ShardIndex, order, edge);
                assert!(!rows.is_empty() && !columns.is_empty());
                rows.for_each(|r| columns.clone().for_each(|c| seen[(r * order + c) as usize] += 1));
            }
            for row in 0..order {
                for column in 0..=row {
                    assert_eq!(seen[(row * order + column) as usize], 1, "{order} {edge}: ({row}, {column})");
                }
            }
        }
    }
}
