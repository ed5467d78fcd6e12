//! Stage 2: tiles of the Gram matrix (samples by samples) or of the scatter matrix (points by points).
//!
//! An entry is a sum in one fixed order, RN(sum + RN(a · b)), along all points or all samples. So it has the same bits
//! in whatever tile it is computed, and no sums are ever merged.

use super::field::Patch;
use super::source::{Source, doubles};
use super::table::Table;
use alloc::vec;
use alloc::vec::Vec;
use core::ops::Range;
use forge_event::Digest;
use serde::{Deserialize, Serialize};

/// Columns summed side by side.
const LANES: usize = 8;
/// Length of the pieces that sums are made in. Units: terms.
const PIECE: u64 = 1024;
/// Points fetched at once where the mask is read.
const MASK_POINTS: u64 = 1 << 16;

/// Which matrix is decomposed: the smaller one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Basis {
    /// Gram: entry (s, t) sums over points that are not masked.
    Samples,
    /// Scatter: entry (i, j) sums over samples; masked points are left out of the count.
    Points,
}

/// Places of the points that are not masked, ascending.
///
/// # Errors
/// As [`Source::read`].
pub fn valid_points<S: Source>(source: &mut S, field: &Digest, table: &Table) -> Result<Vec<u64>, S::Error> {
    let (all, mut valid) = (table.points(), Vec::new());
    for start in (0..all).step_by(MASK_POINTS as usize) {
        let means = doubles(source, field, all + start, MASK_POINTS.min(all - start))?;
        valid.extend((start..).zip(means).filter(|(_, mean)| !mean.is_nan()).map(|(point, _)| point));
    }
    Ok(valid)
}

/// The entries of `rows` by `columns`, row by row.
///
/// # Errors
/// As [`Source::read`].
pub fn tile<S: Source>(
    source: &mut S,
    table: &Table,
    field: &Digest,
    basis: Basis,
    rows: Range<u64>,
    columns: Range<u64>,
) -> Result<Vec<f64>, S::Error> {
    let mut tile = Tile::new(&rows, &columns);
    match basis {
        Basis::Samples => {
            let all = table.points();
            for start in (0..all).step_by(PIECE as usize) {
                let patch = Patch::read(source, field, table, start..all.min(start + PIECE))?;
                tile.begin(patch.len());
                let (mut row, mut bytes) = (vec![0.0; patch.len()], Vec::new());
                for sample in rows.clone().chain(columns.clone()) {
                    source.progress(0)?;
                    patch.anomalies(source, table, sample, &mut bytes, &mut row)?;
                    tile.put_terms(&row);
                }
                tile.add(source)?;
            }
        }
        Basis::Points => {
            let valid = valid_points(source, field, table)?;
            let span = |range: &Range<u64>| &valid[range.start as usize..range.end as usize];
            let chosen: Vec<u64> = span(&rows).iter().chain(span(&columns)).copied().collect();
            let (low, high) = (chosen.iter().min(), chosen.iter().max());
            let (low, high) = (*low.expect("a tile has rows"), *high.expect("a tile has rows"));
            let patch = Patch::read(source, field, table, low..high + 1)?;
            let (mut row, mut bytes) = (vec![0.0; patch.len()], Vec::new());
            let all = table.samples();
            for start in (0..all).step_by(PIECE as usize) {
                let count = PIECE.min(all - start);
                tile.begin(count as usize);
                for (term, sample) in (start..start + count).enumerate() {
                    source.progress(0)?;
                    patch.anomalies(source, table, sample, &mut bytes, &mut row)?;
                    for (line, point) in chosen.iter().enumerate() {
                        tile.put(line, term, row[(point - low) as usize]);
                    }
                }
                tile.add(source)?;
            }
        }
    }
    Ok(tile.entries())
}

/// A tile in the making.
struct Tile {
    rows: usize,
    columns: usize,
    /// By row, columns padded to whole lanes.
    sums: Vec<f64>,
    /// Terms of the running piece.
    terms: usize,
    /// By row, then by term.
    left: Vec<f64>,
    /// By panel of columns, then by term, then by lane.
    right: Vec<f64>,
    /// Lines put since the piece began, rows first.
    lines: usize,
}

impl Tile {
    fn new(rows: &Range<u64>, columns: &Range<u64>) -> Tile {
        let (rows, columns) = ((rows.end - rows.start) as usize, (columns.end - columns.start) as usize);
        let sums = vec![0.0; rows * columns.next_multiple_of(LANES)];
        Tile { rows, columns, sums, terms: 0, left: Vec::new(), right: Vec::new(), lines: 0 }
    }

    fn begin(&mut self, terms: usize) {
        self.terms = terms;
        self.lines = 0;
        self.left.resize(self.rows * terms, 0.0);
        self.right.clear();
        self.right.resize(self.columns.next_multiple_of(LANES) * terms, 0.0);
    }

    fn put_terms(&mut self, values: &[f64]) {
        let line = self.lines;
        values.iter().enumerate().for_each(|(term, value)| self.put(line, term, *value));
        self.lines += 1;
    }

    fn put(&mut self, line: usize, term: usize, value: f64) {
        if line < self.rows {
            self.left[line * self.terms + term] = value;
        } else {
            let column = line - self.rows;
            self.right[(column / LANES * self.terms + term) * LANES + column % LANES] = value;
        }
    }

    fn add<S: Source>(&mut self, source: &mut S) -> Result<(), S::Error> {
        let width = self.columns.next_multiple_of(LANES);
        for (row, sums) in self.sums.chunks_exact_mut(width).enumerate() {
            source.progress(0)?;
            let left = &self.left[row * self.terms..(row + 1) * self.terms];
            for (sums, right) in sums.chunks_exact_mut(LANES).zip(self.right.chunks_exact(LANES * self.terms)) {
                let mut lanes: [f64; LANES] = core::array::from_fn(|lane| sums[lane]);
                for (a, b) in left.iter().zip(right.chunks_exact(LANES)) {
                    for (sum, b) in lanes.iter_mut().zip(b) {
                        *sum += a * b;
                    }
                }
                sums.copy_from_slice(&lanes);
            }
        }
        Ok(())
    }

    fn entries(&self) -> Vec<f64> {
        let width = self.columns.next_multiple_of(LANES);
        self.sums.chunks_exact(width).flat_map(|row| &row[..self.columns]).copied().collect()
    }
}
