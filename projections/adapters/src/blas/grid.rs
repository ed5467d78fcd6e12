//! How the output of a product is cut into tiles: the plan of every op but `cholesky`.

use super::real::{Real, Scaling};
use super::shape::Operands;
use super::spec::{Op, Spec};
use super::view::View;
use super::work::{Part, Product};
use crate::npy::Dtype;
use alloc::format;
use core::ops::Range;
use forge_projections::family::Fault;
use serde::{Deserialize, Serialize};

/// Most tiles of a job.
pub const TILES_MAX: u64 = 65_536;
/// Most entries of a shard's result. Units: entries.
pub const TILE_ENTRIES_MAX: u64 = 1 << 23;
/// Multiplications that the planner gives a shard, if the output is large enough: about a second of one core.
const SHARD_PRODUCTS: u64 = 10_000_000_000;
/// Longest side of a tile that the planner chooses.
const SIDE_MAX: u64 = 2048;
/// Longest column that it chooses.
const COLUMN_MAX: u64 = 1 << 18;
/// It does not cut tiles smaller than this for the sake of more agents.
const SIDE_MIN: u64 = 128;
/// Tiles a slot that it tries to reach.
const TILES_A_SLOT: u64 = 4;
/// Time of a multiplication and an addition, on one core with vectors of four. Units: picoseconds.
pub const PRODUCT_PS: u64 = 60;

/// Tiles of `rows` × `cols` entries, or runs of whole products.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Grid {
    pub dtype: Dtype,
    /// Bits of an f64, to be rounded to `dtype`.
    pub alpha: u64,
    pub beta: u64,
    pub inner: u64,
    pub a: View,
    pub b: View,
    pub c: Option<View>,
    /// Only tiles that meet the lower triangle are computed; C is read there only.
    pub lower: bool,
    pub products: u64,
    pub rows: u64,
    pub cols: u64,
    /// Products of a shard; 1 unless a tile covers the whole of one.
    run: u64,
    tile_rows: u64,
    tile_cols: u64,
}

/// A shard's place in the output.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tile {
    pub products: Range<u64>,
    pub rows: Range<u64>,
    pub cols: Range<u64>,
}

impl Grid {
    /// Cuts the output; `tile` of the spec wins over the planner's choice.
    ///
    /// # Errors
    /// `too-many-tiles`, `tile-too-large`: what is asked for, or the output, is beyond the limits.
    pub fn new(spec: &Spec, operands: Operands, slots: u32) -> Result<Grid, Fault> {
        let Operands { products, rows, cols, inner, a, b, c } = operands;
        let [tile_rows, tile_cols] = spec.tile.unwrap_or_else(|| chosen_tile(products, rows, cols, inner, slots));
        let (tile_rows, tile_cols) = (tile_rows.min(rows), tile_cols.min(cols));
        let whole = tile_rows == rows && tile_cols == cols;
        let run = if whole { chosen_run(products, rows * cols, inner, slots) } else { 1 };
        let (alpha, beta) = (spec.alpha.to_bits(), spec.beta.to_bits());
        let (dtype, lower) = (spec.dtype, spec.op == Op::Syrk);
        let c = c.filter(|_| spec.beta != 0.0);
        let grid = Grid { dtype, alpha, beta, inner, a, b, c, lower, products, rows, cols, run, tile_rows, tile_cols };
        let entries = tile_rows.saturating_mul(tile_cols);
        if entries > TILE_ENTRIES_MAX {
            let detail = format!("tiles of {tile_rows} by {tile_cols}; one has at most {TILE_ENTRIES_MAX} entries");
            return Err(Fault::new("tile-too-large", detail));
        }
        let [runs, down, across] = grid.counts();
        let count = runs.checked_mul(down).and_then(|tiles| tiles.checked_mul(across));
        if count.is_none_or(|count| count > TILES_MAX) {
            let detail = format!("tiles of {tile_rows} by {tile_cols} give more than {TILES_MAX} of them");
            return Err(Fault::new("too-many-tiles", detail));
        }
        Ok(grid)
    }

    /// Runs of products, tiles down, tiles across.
    fn counts(&self) -> [u64; 3] {
        [self.products.div_ceil(self.run), self.rows.div_ceil(self.tile_rows), self.cols.div_ceil(self.tile_cols)]
    }

    /// Tiles of a row of tiles.
    fn across(&self, down: u64) -> u64 {
        match self.lower {
            true => ((down + 1) * self.tile_rows).min(self.rows).div_ceil(self.tile_cols),
            false => self.counts()[2],
        }
    }

    /// Number of tiles; each is a shard.
    pub fn tile_count(&self) -> u64 {
        let [runs, down, _] = self.counts();
        match self.lower {
            true => (0..down).map(|down| self.across(down)).sum(),
            false => runs * down * self.across(0),
        }
    }

    /// Runs of products, each with its rows of tiles: where the tiles of a row begin, and how many there are.
    /// Tiles are numbered along rows, so that an agent that goes on with the next one has its panel of A already.
    pub fn stripes(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let [runs, down, _] = self.counts();
        let mut first = 0;
        (0..runs * down).map(move |stripe| {
            let across = self.across(stripe % down);
            first += across;
            (first - across, across)
        })
    }

    /// The number of the tile that holds an entry of the lower triangle.
    pub fn lower_tile(&self, row: u64, col: u64) -> u64 {
        let down = row / self.tile_rows;
        (0..down).map(|down| self.across(down)).sum::<u64>() + col / self.tile_cols
    }

    /// Where a tile is.
    ///
    /// # Panics
    /// If there are not so many.
    pub fn tile(&self, index: u64) -> Tile {
        let [_, down_count, _] = self.counts();
        let (stripe, across) = match self.lower {
            false => (index / self.across(0), index % self.across(0)),
            true => {
                let (mut down, mut left) = (0, index);
                while left >= self.across(down) {
                    left -= self.across(down);
                    down += 1;
                }
                (down, left)
            }
        };
        let cut = |at: u64, length: u64, end: u64| (at * length).min(end)..((at + 1) * length).min(end);
        let tile = Tile {
            products: cut(stripe / down_count, self.run, self.products),
            rows: cut(stripe % down_count, self.tile_rows, self.rows),
            cols: cut(across, self.tile_cols, self.cols),
        };
        assert!(
            !tile.products.is_empty() && !tile.rows.is_empty() && !tile.cols.is_empty(),
            "there is no tile {index}"
        );
        tile
    }

    /// What an agent is given for a tile.
    pub fn work(&self, index: u64) -> Product {
        let Tile { products, rows, cols } = self.tile(index);
        Product {
            tile: index,
            dtype: self.dtype,
            alpha: self.alpha,
            beta: self.beta,
            inner: self.inner,
            a: self.a.clone(),
            b: self.b.clone(),
            c: self.c.clone(),
            symmetric: self.lower,
            products,
            rows,
            cols,
        }
    }

    /// True if `part` is one that a tile can have, whatever its entries.
    pub fn admits(&self, index: u64, part: &Part) -> bool {
        let Tile { products, rows, cols } = self.tile(index);
        let rows = (products.end - products.start) * (rows.end - rows.start);
        part.fits(index, rows, cols.end - cols.start, self.dtype)
    }

    /// Rows and columns of every tile but those at the edges.
    pub fn tile_shape(&self) -> [u64; 2] {
        [self.tile_rows, self.tile_cols]
    }

    /// About how long a tile takes. Units: nanoseconds.
    pub fn tile_cost_ns(&self) -> u64 {
        let entries = self.run * self.tile_rows * self.tile_cols;
        let products = u128::from(entries) * u128::from(self.inner + 16);
        (products * u128::from(PRODUCT_PS) / 1000).min(u128::from(u64::MAX)) as u64
    }
}

impl Product {
    /// The scalars in the job's type.
    pub fn scaling<T: Real>(&self) -> Scaling<T> {
        let scalar = |bits| T::from_f64(f64::from_bits(bits));
        Scaling { alpha: scalar(self.alpha), beta: scalar(self.beta) }
    }
}

/// Square tiles worth about a second, smaller ones if that feeds more slots; panels of narrow outputs stay in memory.
fn chosen_tile(products: u64, rows: u64, cols: u64, inner: u64, slots: u32) -> [u64; 2] {
    let entries = (SHARD_PRODUCTS / inner.max(1)).clamp(SIDE_MIN * SIDE_MIN, SIDE_MAX * SIDE_MAX);
    let mut side = entries.isqrt().next_multiple_of(64).min(SIDE_MAX);
    if cols == 1 {
        // A column is bound by reading A: 64 MiB of it are enough, and are read at once.
        let side = (TILE_ENTRIES_MAX / inner.max(1)).clamp(1, COLUMN_MAX).max(rows.div_ceil(TILES_MAX));
        return [side, 1];
    }
    let tiles = |side: u64| products.saturating_mul(rows.div_ceil(side)).saturating_mul(cols.div_ceil(side));
    while side > SIDE_MIN && tiles(side) < TILES_A_SLOT * u64::from(slots.max(1)) {
        side /= 2;
    }
    while tiles(side) > TILES_MAX && side < SIDE_MAX {
        side = (side * 2).min(SIDE_MAX);
    }
    [side, side]
}

/// Whole products of a shard.
fn chosen_run(products: u64, entries: u64, inner: u64, slots: u32) -> u64 {
    let cost = entries.saturating_mul(inner + 16);
    let run = (SHARD_PRODUCTS / cost.max(1)).min(products.div_ceil(TILES_A_SLOT * u64::from(slots.max(1))));
    run.max(products.div_ceil(TILES_MAX)).min(TILE_ENTRIES_MAX / entries.max(1)).max(1)
}
