//! A tile of a Cholesky factor: what stands left of it subtracted, then its own columns, each after the other.

use super::again::Chosen;
use super::draws::Draws;
use super::kernel::{Gemm, pieces};
use super::real::{Real, bytes};
use super::trials::{self, Problem};
use super::verify::{CHECK_BITS, CHECK_LENGTH, CHECK_RESIDUAL, CHECK_TRIANGLE, tile};
use super::view::{Read, View};
use super::work::{Factor, Part};
use crate::host::{Host, Stop};
use alloc::format;
use alloc::vec;
use alloc::vec::Vec;
use core::cmp::Ordering;
use core::ops::Range;
use forge_event::Digest;
use forge_projections::family::{Blobs, Fault};

impl Factor {
    /// Entries of a row or column of tiles, in the whole matrix.
    pub fn range(&self, at: u64) -> Range<u64> {
        (at * self.side).min(self.order)..((at + 1) * self.side).min(self.order)
    }

    /// On the diagonal.
    fn is_diagonal(&self) -> bool {
        self.row == self.col
    }

    /// Entries left of the tile, or above it.
    fn inner(&self) -> u64 {
        self.col * self.side
    }

    /// Entries of A of this tile, the lower triangle mirrored.
    fn entries<T: Real, E>(&self, read: Read<'_, E>) -> Result<Vec<T>, E> {
        self.a.symmetric(0, self.range(self.row), self.range(self.col), read)
    }

    /// A piece of what stands left of the tile: rows × piece.
    fn left<T: Real, E>(&self, inner: Range<u64>, read: Read<'_, E>) -> Result<Vec<T>, E> {
        let rows = self.range(self.row);
        across(&self.left, self.side, rows.end - rows.start, inner, read)
    }

    /// The same piece of row `col`, transposed: piece × columns.
    fn right<T: Real, E>(&self, inner: Range<u64>, read: Read<'_, E>) -> Result<Vec<T>, E> {
        let cols = self.range(self.col);
        let above = if self.is_diagonal() { &self.left } else { &self.above };
        let rows = across(above, self.side, cols.end - cols.start, inner.clone(), read)?;
        Ok(transposed(&rows, (inner.end - inner.start) as usize))
    }

    /// The diagonal tile of the column; nothing if this is it.
    fn diagonal<T: Real, E>(&self, read: Read<'_, E>) -> Result<Vec<T>, E> {
        let cols = self.range(self.col);
        let width = cols.end - cols.start;
        match self.diagonal {
            Some(blob) => View::tile(blob, width, false).block(0, 0..width, 0..width, read),
            None => Ok(Vec::new()),
        }
    }
}

/// Columns `inner` of a row of square tiles.
fn across<T: Real, E>(
    tiles: &[Digest],
    side: u64,
    height: u64,
    inner: Range<u64>,
    read: Read<'_, E>,
) -> Result<Vec<T>, E> {
    let width = (inner.end - inner.start) as usize;
    let mut out = vec![T::ZERO; height as usize * width];
    let mut at = inner.start;
    while at < inner.end {
        let (tile, first) = (at / side, at % side);
        let stop = inner.end.min((tile + 1) * side);
        let cols = first..first + (stop - at);
        let part: Vec<T> = View::tile(tiles[tile as usize], side, false).block(0, 0..height, cols, read)?;
        let start = (at - inner.start) as usize;
        let length = (stop - at) as usize;
        for (line, part) in out.chunks_exact_mut(width).zip(part.chunks_exact(length)) {
            line[start..start + length].copy_from_slice(part);
        }
        at = stop;
    }
    Ok(out)
}

fn transposed<T: Real>(matrix: &[T], cols: usize) -> Vec<T> {
    let rows = matrix.len() / cols.max(1);
    (0..matrix.len()).map(|at| matrix[at % rows * cols + at / rows]).collect()
}

fn negated<T: Real>(mut matrix: Vec<T>) -> Vec<T> {
    matrix.iter_mut().for_each(|entry| *entry = -*entry);
    matrix
}

/// Runs a shard.
///
/// # Errors
/// [`Stop`]; `not-positive-definite` if a pivot is not a positive number.
pub fn run<T: Real>(work: &Factor, host: &mut dyn Host, gemm: &dyn Gemm) -> Result<Part, Stop> {
    let (rows, cols) = (work.range(work.row), work.range(work.col));
    let (height, width) = ((rows.end - rows.start) as usize, (cols.end - cols.start) as usize);
    let mut tile: Vec<T> = work.entries(&mut |blob, first, buffer| host.read(blob, first, buffer))?;
    let cells = (height * width) as u64;
    for inner in pieces(height as u64, width as u64, work.inner()) {
        let read: Read<'_, Stop> = &mut |blob, first, buffer| host.read(blob, first, buffer);
        // Subtracting a product is adding that of the negated factor: the same bits.
        let left = negated(work.left::<T, Stop>(inner.clone(), read)?);
        let right = work.right::<T, Stop>(inner.clone(), read)?;
        T::multiply(gemm, [height, (inner.end - inner.start) as usize, width], &left, &right, &mut tile);
        host.progress((u128::from(cells) * u128::from(inner.end) / u128::from(work.inner() + work.side)) as u64)?;
    }
    if work.is_diagonal() {
        pivots(&mut tile, width, cols.start, host)?;
    } else {
        let diagonal = work.diagonal(&mut |blob, first, buffer| host.read(blob, first, buffer))?;
        let above: Vec<T> = transposed(&diagonal, width);
        for row in tile.chunks_exact_mut(width) {
            for col in 0..width {
                row[col] = row[col] / above[col * width + col];
                subtract(row, col, width, &above);
            }
            host.progress(cells)?;
        }
    }
    let raw = bytes(&tile);
    let blob = host.put(&raw)?;
    Ok(Part { tile: work.tile, rows: height as u64, cols: width as u64, blob, bytes: raw.len() as u64 })
}

/// Takes a finished entry of a row out of those right of it, as far as `end`; `above` is the factor transposed.
fn subtract<T: Real>(row: &mut [T], col: usize, end: usize, above: &[T]) {
    let width = row.len();
    let factor = -row[col];
    let others = &above[col * width + col + 1..col * width + end];
    for (sum, other) in row[col + 1..end].iter_mut().zip(others) {
        *sum = *sum + factor * *other;
    }
}

/// Factors a diagonal tile in place, zeros above; `first` is its place in the matrix, for the message.
fn pivots<T: Real>(tile: &mut [T], width: usize, first: u64, host: &mut dyn Host) -> Result<(), Stop> {
    let mut above = vec![T::ZERO; width * width];
    for col in 0..width {
        let pivot = tile[col * width + col];
        if !(pivot.wide() > 0.0 && pivot.is_finite()) {
            let (at, found) = (first + col as u64, pivot.wide());
            let detail = format!("the pivot of row {at}, counted from 0, is {found:?}: A has no Cholesky factor");
            return Err(Stop::failed("not-positive-definite", detail));
        }
        let root = pivot.root();
        for row in col..width {
            let entry = if row == col { root } else { tile[row * width + col] / root };
            tile[row * width + col] = entry;
            above[col * width + row] = entry;
        }
        for (at, row) in tile.chunks_exact_mut(width).enumerate() {
            match at.cmp(&col) {
                Ordering::Less => {}
                Ordering::Equal => row[col + 1..].fill(T::ZERO),
                Ordering::Greater => subtract(row, col, at + 1, &above),
            }
        }
        host.progress(first)?;
    }
    Ok(())
}

/// Checks a tile: bits of what failed.
///
/// # Errors
/// [`Fault`] if a blob cannot be read; that says nothing about the result.
pub fn check<T: Real>(work: &Factor, part: &Part, blobs: &dyn Blobs) -> Result<u32, Fault> {
    let Some(tile) = tile::<T>(part, blobs)? else { return Ok(CHECK_LENGTH) };
    let (height, width) = (part.rows as usize, part.cols as usize);
    let on_diagonal = work.is_diagonal();
    let zero = |(at, entry): (usize, &T)| at % width <= at / width || entry.same(T::ZERO);
    let positive = |at: usize| tile[at * width + at].wide() > 0.0 && tile[at * width + at].is_finite();
    if on_diagonal && !(tile.iter().enumerate().all(zero) && (0..width).all(positive)) {
        return Ok(CHECK_TRIANGLE);
    }
    let read = |blob: &Digest, first: u64, buffer: &mut [u8]| blobs.read(blob, first, buffer);
    let entries: Vec<T> = work.entries(&mut { read })?;
    let diagonal = work.diagonal::<T, Fault>(&mut { read })?;
    let above = transposed(if on_diagonal { &tile } else { &diagonal }, width);
    // The tile's own columns, and those of the diagonal tile, are the last piece of both factors.
    let inner = work.inner();
    let left = |piece: Range<u64>| {
        let own = columns(&tile, width, piece.start.max(inner) - inner..piece.end.max(inner) - inner);
        let before = work.left(piece.start.min(inner)..piece.end.min(inner), &mut { read })?;
        Ok(beside(&before, &own, height))
    };
    let right = |piece: Range<u64>| {
        let mut rows: Vec<T> = work.right(piece.start.min(inner)..piece.end.min(inner), &mut { read })?;
        let own = (piece.start.max(inner) - inner) as usize..(piece.end.max(inner) - inner) as usize;
        rows.extend_from_slice(&above[own.start * width..own.end * width]);
        Ok(rows)
    };
    let mut problem = Problem {
        rows: height,
        cols: width,
        inner: inner + width as u64,
        left: &mut { left },
        right: &mut { right },
        alpha: 1.0,
        beta: 0.0,
        c: &[],
        target: &entries,
    };
    let mut draws = Draws::new(&part.blob, part.tile, 0);
    let verdict = trials::run(&mut problem, &mut draws)?;
    if verdict.wrong {
        return Ok(CHECK_RESIDUAL);
    }
    let chosen = Chosen::new(&verdict, &tile, width, inner + width as u64, &mut draws);
    // Each entry from those it follows from, as the tile has them: if all agree, all are right.
    let finish = |row: usize, col: usize, mut sum: T| {
        if on_diagonal && col > row {
            return T::ZERO;
        }
        for k in 0..col {
            sum = sum + -tile[row * width + k] * above[k * width + col];
        }
        if on_diagonal && row == col { sum.root() } else { sum / above[col * width + col] }
    };
    let start = |row: usize, col: usize| entries[row * width + col];
    let minus = |piece: Range<u64>| Ok(negated(work.left(piece, &mut { read })?));
    let before = |piece: Range<u64>| work.right(piece, &mut { read });
    let agree = chosen.agree(&tile, width, inner, &mut { minus }, &mut { before }, &start, &finish)?;
    Ok(if agree { 0 } else { CHECK_BITS })
}

/// Some columns of a matrix.
fn columns<T: Real>(matrix: &[T], width: usize, cols: Range<u64>) -> Vec<T> {
    let cols = cols.start as usize..cols.end as usize;
    matrix.chunks_exact(width).flat_map(|row| &row[cols.clone()]).copied().collect()
}

/// Two matrices of `rows` rows, side by side.
fn beside<T: Real>(left: &[T], right: &[T], rows: usize) -> Vec<T> {
    let (a, b) = (left.len() / rows, right.len() / rows);
    let row = |row: usize| left[row * a..(row + 1) * a].iter().chain(&right[row * b..(row + 1) * b]);
    (0..rows).flat_map(row).copied().collect()
}
