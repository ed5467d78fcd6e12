//! What agents are given, and what they answer.

use super::view::View;
use crate::npy::Dtype;
use alloc::vec::Vec;
use core::ops::Range;
use forge_event::Digest;
use serde::{Deserialize, Serialize};

/// Longest encoding of a [`Part`]. Units: bytes.
pub const PART_BYTES_MAX: u64 = 32 + 4 * 10;

/// A shard of a job.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Work {
    Product(Product),
    Factor(Factor),
}

/// A tile of `alpha·A·B + beta·C`, or of several products one below the other.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Product {
    pub tile: u64,
    pub dtype: Dtype,
    /// Bits of an f64, to be rounded to `dtype`.
    pub alpha: u64,
    pub beta: u64,
    pub inner: u64,
    pub a: View,
    pub b: View,
    pub c: Option<View>,
    /// Of C the lower triangle is read.
    pub symmetric: bool,
    pub products: Range<u64>,
    pub rows: Range<u64>,
    pub cols: Range<u64>,
}

/// A tile of a Cholesky factor, from the tiles to its left.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Factor {
    pub tile: u64,
    pub dtype: Dtype,
    pub a: View,
    /// Order of the matrix, and side of its tiles.
    pub order: u64,
    pub side: u64,
    /// Row and column of the tile, counted in tiles; never above the diagonal.
    pub row: u64,
    pub col: u64,
    /// Tiles of this row of tiles, left of this one.
    pub left: Vec<Digest>,
    /// Tiles of row `col`, as many; on the diagonal, none: they are `left`.
    pub above: Vec<Digest>,
    /// The diagonal tile of the column, unless this is it.
    pub diagonal: Option<Digest>,
}

impl Work {
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_allocvec(self).expect("work has no value that postcard cannot write")
    }

    /// Reads what [`Work::encode`] wrote; `None` if it did not, or if it is not work that can be done.
    pub fn decode(bytes: &[u8]) -> Option<Work> {
        let (work, rest) = postcard::take_from_bytes::<Work>(bytes).ok()?;
        rest.is_empty().then_some(work)
    }
}

/// A tile that an agent kept: raw little-endian entries, row by row.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Part {
    pub tile: u64,
    /// Of all products of the shard, one below the other.
    pub rows: u64,
    pub cols: u64,
    pub blob: Digest,
    pub bytes: u64,
}

impl Part {
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_allocvec(self).expect("a part has no value that postcard cannot write")
    }

    /// Reads what [`Part::encode`] wrote; `None` if it did not.
    pub fn decode(bytes: &[u8]) -> Option<Part> {
        let (part, _) = postcard::take_from_bytes::<Part>(bytes).ok()?;
        // Numbers have longer encodings as well: only one is taken.
        (part.encode() == bytes).then_some(part)
    }

    /// Says what it should.
    pub fn fits(&self, tile: u64, rows: u64, cols: u64, dtype: Dtype) -> bool {
        (self.tile, self.rows, self.cols) == (tile, rows, cols) && self.bytes == rows * cols * dtype.bytes()
    }
}
