//! `A = L·Lᵀ` by square tiles, column of tiles after column: the plan of `cholesky`.
//!
//! Each column of tiles takes two stages: its diagonal tile, then the tiles below it, which need the diagonal one.
//! An entry is `l_ij = RN(s / l_jj)`, on the diagonal `RN(√s)`, where `s` begins with `a_ij` and
//! `s = RN(s - RN(l_ik·l_jk))` for `k` ascending: tiles change no bit. Only the lower triangle of A is read; that the
//! upper one mirrors it is not checked.

use super::shape::Operands;
use super::spec::Spec;
use super::view::View;
use super::work::{Factor, Part};
use crate::gathered::Gathered;
use crate::npy::{Dtype, Header};
use alloc::boxed::Box;
use alloc::format;
use alloc::vec;
use alloc::vec::Vec;
use forge_event::Digest;
use forge_projections::family::{Blobs, DoneStage, Fault};
use serde::{Deserialize, Serialize};

/// Most tiles along the diagonal: a plan names up to 32 × 32 earlier tiles, which keeps it inline.
pub const TILES_ACROSS_MAX: u64 = 64;
/// Tiles along the diagonal that the planner aims at.
const TILES_ACROSS: u64 = 16;
/// Shortest and longest side that it chooses.
const SIDES: [u64; 2] = [64, 2048];
const TILE_ENTRIES_MAX: u64 = super::grid::TILE_ENTRIES_MAX;

/// One stage: the diagonal tile of a column of tiles, or those below it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Level {
    pub dtype: Dtype,
    a: View,
    pub order: u64,
    side: u64,
    /// The column, counted in tiles.
    col: u64,
    /// Finished tiles left of the column, row by row: of row `col`, then of those below it, if they are needed.
    left: Vec<Digest>,
    /// The column's diagonal tile, once it is there.
    diagonal: Option<Digest>,
}

impl Level {
    /// The stage that follows from those done.
    ///
    /// # Errors
    /// `too-many-tiles`, `tile-too-large`: what is asked for, or the matrix, is beyond the limits.
    pub fn next(spec: &Spec, operands: Operands, done: &[DoneStage<'_>]) -> Result<Level, Fault> {
        let order = operands.rows;
        let chosen = order.div_ceil(TILES_ACROSS).next_multiple_of(64).clamp(SIDES[0], SIDES[1]);
        let side = spec.tile.map_or(chosen.max(order.div_ceil(TILES_ACROSS_MAX)), |tile| tile[0]).min(order);
        if side.saturating_mul(side) > TILE_ENTRIES_MAX {
            let detail = format!("tiles of {side} by {side}; one has at most {TILE_ENTRIES_MAX} entries");
            return Err(Fault::new("tile-too-large", detail));
        }
        if order.div_ceil(side) > TILES_ACROSS_MAX {
            let detail = format!("tiles of {side} give {} along the diagonal", order.div_ceil(side));
            return Err(Fault::new("too-many-tiles", format!("{detail}; at most {TILES_ACROSS_MAX}")));
        }
        let tiles = Tiles::of(done);
        let col = done.len() as u64 / 2;
        let below = done.len() % 2 == 1;
        let last_row = if below { order.div_ceil(side) } else { col + 1 };
        let left = (col..last_row).flat_map(|row| (0..col).map(move |col| (row, col)));
        let left = left.map(|(row, col)| tiles.get(row, col)).collect();
        let diagonal = below.then(|| tiles.get(col, col));
        Ok(Level { dtype: spec.dtype, a: operands.a, order, side, col, left, diagonal })
    }

    /// Tiles along the diagonal.
    fn across(&self) -> u64 {
        self.order.div_ceil(self.side)
    }

    /// Tiles of this stage.
    pub fn tile_count(&self) -> u64 {
        if self.diagonal.is_some() { self.across() - self.col - 1 } else { 1 }
    }

    /// Stages of the whole factorisation: a diagonal tile each, and what lies below all but the last.
    pub fn stage_count(&self) -> u32 {
        u32::try_from(2 * self.across() - 1).unwrap_or(u32::MAX)
    }

    /// Nothing follows.
    pub fn is_last(&self) -> bool {
        self.col + 1 == self.across()
    }

    /// What an agent is given for a tile of this stage.
    pub fn work(&self, index: u64) -> Factor {
        let of_row = |row: u64| self.left[(row * self.col) as usize..((row + 1) * self.col) as usize].to_vec();
        let below = if self.diagonal.is_some() { index + 1 } else { 0 };
        Factor {
            tile: index,
            dtype: self.dtype,
            a: self.a.clone(),
            order: self.order,
            side: self.side,
            row: self.col + below,
            col: self.col,
            left: of_row(below),
            above: if below > 0 { of_row(0) } else { Vec::new() },
            diagonal: self.diagonal,
        }
    }

    /// True if `part` is one that a tile can have, whatever its entries.
    pub fn admits(&self, index: u64, part: &Part) -> bool {
        let work = self.work(index);
        let length = |range: core::ops::Range<u64>| range.end - range.start;
        part.fits(index, length(work.range(work.row)), length(work.range(work.col)), self.dtype)
    }

    /// Rows and columns of every tile but those at the edges.
    pub fn tile_shape(&self) -> [u64; 2] {
        [self.side; 2]
    }

    /// About how long a tile takes. Units: nanoseconds.
    pub fn tile_cost_ns(&self) -> u64 {
        let products = self.side * self.side * (self.side * (self.col + 1) + 16);
        products.saturating_mul(super::grid::PRODUCT_PS) / 1000
    }
}

/// The finished tiles of all stages.
struct Tiles(Vec<Vec<Digest>>);

impl Tiles {
    fn of(done: &[DoneStage<'_>]) -> Tiles {
        let blob = |result: &[u8]| Part::decode(result).expect("what was folded passed its checks").blob;
        Tiles(done.iter().map(|stage| Gathered::of(stage).parts().map(blob).collect()).collect())
    }

    fn get(&self, row: u64, col: u64) -> Digest {
        match row == col {
            true => self.0[2 * col as usize][0],
            false => self.0[2 * col as usize + 1][(row - col - 1) as usize],
        }
    }
}

/// Keeps L as `numpy.save` would write it, zeros above the diagonal: a row of tiles at a time.
///
/// # Errors
/// [`Fault`] of a blob.
pub fn assemble(last: &Level, done: &[DoneStage<'_>], blobs: &dyn Blobs) -> Result<(Digest, u64), Fault> {
    let tiles = Tiles::of(done);
    let (order, side, entry) = (last.order, last.side, last.dtype.bytes());
    let header = Header::c_order(last.dtype, &[order, order]).encode();
    let tiles = &tiles;
    // A tile's own rows, cut so that a few megabytes are held.
    let held = ((8 << 20) / (order * entry)).max(1);
    let cuts = (0..last.across()).flat_map(move |row| {
        let height = side.min(order - row * side);
        (0..height.div_ceil(held)).map(move |cut| (row, cut * held, ((cut + 1) * held).min(height)))
    });
    let rows = cuts.map(move |(row, from, to)| {
        let mut out = vec![0; ((to - from) * order * entry) as usize];
        for col in 0..=row {
            let width = (side.min(order - col * side) * entry) as usize;
            let mut part = vec![0; (to - from) as usize * width];
            blobs.read(&tiles.get(row, col), from * width as u64, &mut part)?;
            let start = (col * side * entry) as usize;
            for (line, part) in out.chunks_exact_mut((order * entry) as usize).zip(part.chunks_exact(width)) {
                line[start..start + width].copy_from_slice(part);
            }
        }
        Ok(out)
    });
    let mut all: Box<dyn Iterator<Item = Result<Vec<u8>, Fault>>> = Box::new(core::iter::once(Ok(header)).chain(rows));
    blobs.put(&mut all)
}
