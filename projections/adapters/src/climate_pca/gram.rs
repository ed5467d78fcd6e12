//! Stage 2: tiles of the Gram matrix (samples by samples) or of the scatter matrix (points by points).
//!
//! An entry is a sum in one fixed order, RN(sum + RN(a · b)), along all points or all samples. So it has the same bits
//! in whatever tile it is computed, and no sums are ever merged.

use super::certificate::exceeds;
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
    let (height, width) = ((rows.end - rows.start) as usize, (columns.end - columns.start) as usize);
    let padded = width.next_multiple_of(LANES);
    let mut sums = vec![0.0; height * padded];
    let mut panels = Vec::new();
    let cells = (height * width) as u64;
    pieces(source, table, field, basis, rows, columns, cells, &mut |source, lines, terms, done| {
        let (left, right) = lines.split_at(height * terms);
        arrange(right, terms, padded, &mut panels);
        for (left, sums) in left.chunks_exact(terms).zip(sums.chunks_exact_mut(padded)) {
            source.progress(done)?;
            add_products(left, &panels, sums);
        }
        Ok(())
    })?;
    Ok(sums.chunks_exact(padded).flat_map(|row| &row[..width]).copied().collect())
}

/// Columns side by side: by panel of [`LANES`] columns, then by term, then by lane.
fn arrange(columns: &[f64], terms: usize, padded: usize, panels: &mut Vec<f64>) {
    panels.clear();
    panels.resize(padded * terms, 0.0);
    for (column, values) in columns.chunks_exact(terms).enumerate() {
        let panel = &mut panels[column / LANES * LANES * terms..];
        for (lanes, value) in panel.chunks_exact_mut(LANES).zip(values) {
            lanes[column % LANES] = *value;
        }
    }
}

/// Adds the products of one row with every column, term by term.
fn add_products(row: &[f64], panels: &[f64], sums: &mut [f64]) {
    for (sums, panel) in sums.chunks_exact_mut(LANES).zip(panels.chunks_exact(LANES * row.len())) {
        let mut lanes: [f64; LANES] = core::array::from_fn(|lane| sums[lane]);
        for (a, b) in row.iter().zip(panel.chunks_exact(LANES)) {
            for (sum, b) in lanes.iter_mut().zip(b) {
                *sum += a * b;
            }
        }
        sums.copy_from_slice(&lanes);
    }
}

/// True if `tile` can be the entries of `rows` by `columns`: its product with a vector of signs is what two products with
/// the lines themselves give, within what rounding can do at most. A single entry that is off by more is always seen.
///
/// Source: R. Freivalds, "Probabilistic machines can use less running time", 1977.
///
/// # Errors
/// As [`Source::read`].
pub fn is_product<S: Source>(
    source: &mut S,
    table: &Table,
    field: &Digest,
    basis: Basis,
    (rows, columns): (Range<u64>, Range<u64>),
    tile: &[f64],
    signs: &[f64],
) -> Result<bool, S::Error> {
    let height = (rows.end - rows.start) as usize;
    let (mut products, mut sizes, mut count) = (vec![0.0; height], vec![0.0; height], 0);
    pieces(source, table, field, basis, rows, columns, 0, &mut |_, lines, terms, _| {
        let (left, right) = lines.split_at(height * terms);
        let (mut signed, mut sized) = (vec![0.0; terms], vec![0.0; terms]);
        for (column, sign) in right.chunks_exact(terms).zip(signs) {
            signed.iter_mut().zip(column).for_each(|(sum, x)| *sum += sign * x);
            sized.iter_mut().zip(column).for_each(|(sum, x)| *sum += x.abs());
        }
        for (row, left) in left.chunks_exact(terms).enumerate() {
            products[row] = left.iter().zip(&signed).fold(products[row], |sum, (a, b)| sum + a * b);
            sizes[row] = left.iter().zip(&sized).fold(sizes[row], |sum, (a, b)| sum + a.abs() * b);
        }
        count += terms;
        Ok(())
    })?;
    // Each side is off by at most (terms + columns) · u of the sum of sizes; products that underflow are worth the rest.
    let slack = 4.0 * (count + signs.len() + 8) as f64 * f64::EPSILON;
    let tiny = (count * signs.len()) as f64 * f64::MIN_POSITIVE;
    let rows = tile.chunks_exact(signs.len()).zip(products.iter().zip(&sizes));
    let off = rows.map(|(row, (product, size))| {
        let found = row.iter().zip(signs).fold(0.0, |sum, (entry, sign)| sum + entry * sign);
        exceeds((found - product).abs(), slack * size + tiny)
    });
    Ok(!off.into_iter().any(|off| off))
}

/// What is done with a piece: the lines (rows, then columns) by their terms, how many terms, cells done so far.
type Take<'a, S> = &'a mut dyn FnMut(&mut S, &[f64], usize, u64) -> Result<(), <S as Source>::Error>;

/// Calls `take` with the lines of a tile, cut into pieces of [`PIECE`] terms, in ascending order.
fn pieces<S: Source>(
    source: &mut S,
    table: &Table,
    field: &Digest,
    basis: Basis,
    rows: Range<u64>,
    columns: Range<u64>,
    cells: u64,
    take: Take<'_, S>,
) -> Result<(), S::Error> {
    let (mut lines, mut bytes) = (Vec::new(), Vec::new());
    let all = if basis == Basis::Samples { table.points() } else { table.samples() };
    let starts = (0..all).step_by(PIECE as usize).map(|start| (start..all.min(start + PIECE), cells * start / all));
    match basis {
        Basis::Samples => {
            let chosen: Vec<u64> = rows.chain(columns).collect();
            for (points, done) in starts {
                let patch = Patch::read(source, field, table, points)?;
                let terms = patch.len();
                lines.resize(chosen.len() * terms, 0.0);
                for (sample, line) in chosen.iter().zip(lines.chunks_exact_mut(terms)) {
                    source.progress(done)?;
                    patch.anomalies(source, table, *sample, &mut bytes, line)?;
                }
                take(source, &lines, terms, done)?;
            }
        }
        Basis::Points => {
            let valid = valid_points(source, field, table)?;
            let chosen: Vec<u64> = rows.chain(columns).map(|i| valid[i as usize]).collect();
            let (low, high) = (chosen.iter().min(), chosen.iter().max());
            let (low, high) = (*low.expect("a tile has rows"), *high.expect("a tile has rows"));
            let patch = Patch::read(source, field, table, low..high + 1)?;
            let mut row = vec![0.0; patch.len()];
            for (samples, done) in starts {
                let terms = (samples.end - samples.start) as usize;
                lines.resize(chosen.len() * terms, 0.0);
                for (term, sample) in samples.enumerate() {
                    source.progress(done)?;
                    patch.anomalies(source, table, sample, &mut bytes, &mut row)?;
                    for (line, point) in chosen.iter().enumerate() {
                        lines[line * terms + term] = row[(point - low) as usize];
                    }
                }
                take(source, &lines, terms, done)?;
            }
        }
    }
    Ok(())
}
