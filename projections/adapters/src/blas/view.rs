//! A matrix inside a `.npy` blob, as an operand sees it: transposed or not, one of many or alone.

use super::real::{Real, numbers};
use crate::npy::Header;
use alloc::vec;
use alloc::vec::Vec;
use core::ops::Range;
use forge_event::Digest;
use serde::{Deserialize, Serialize};

/// Where the entries of `op(X)` are.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct View {
    pub blob: Digest,
    /// Byte of the first entry.
    first: u64,
    /// Entries from one matrix of a batch to the next.
    stride: u64,
    /// Entries from one stored row to the next.
    row: u64,
    /// Stored rows are the columns of `op(X)`.
    transposed: bool,
}

/// Fills a buffer from byte `first` of a blob on.
pub type Read<'a, E> = &'a mut dyn FnMut(&Digest, u64, &mut [u8]) -> Result<(), E>;

impl View {
    /// The last two axes of an array, transposed if asked; a vector is one column.
    ///
    /// Shape: one to three axes; Fortran order with one or two.
    pub fn new(blob: Digest, header: &Header, transposed: bool) -> View {
        let (stored, row) = match (header.shape.as_slice(), header.fortran) {
            (&[n], _) => (n, 1),
            (&[rows, cols], true) => (rows * cols, rows),
            (&[.., rows, cols], _) => (rows * cols, cols),
            ([], _) => (1, 1),
        };
        // A matrix in Fortran order is its transpose in C order.
        let transposed = transposed != (header.fortran && header.shape.len() == 2);
        View { blob, first: header.data_start, stride: stored, row, transposed }
    }

    /// A tile that a shard kept: raw entries, row by row, as one matrix of `cols` columns, transposed if asked.
    pub fn tile(blob: Digest, cols: u64, transposed: bool) -> View {
        View { blob, first: 0, stride: 0, row: cols, transposed }
    }

    /// The same matrix, transposed.
    pub fn transpose(&self) -> View {
        View { transposed: !self.transposed, ..self.clone() }
    }

    /// Entries of a rectangle of `op(X)`, row by row.
    ///
    /// # Errors
    /// The first one of `read`.
    pub fn block<T: Real, E>(
        &self,
        product: u64,
        rows: Range<u64>,
        cols: Range<u64>,
        read: Read<'_, E>,
    ) -> Result<Vec<T>, E> {
        let (height, width) = ((rows.end - rows.start) as usize, (cols.end - cols.start) as usize);
        let (lines, along) = if self.transposed { (cols, rows) } else { (rows, cols) };
        let length = (along.end - along.start) as usize;
        let count = (lines.end - lines.start) as usize;
        let mut bytes = vec![0; length * count * T::BYTES];
        let at = |line: u64| self.first + (product * self.stride + line * self.row + along.start) * T::BYTES as u64;
        if bytes.is_empty() {
            return Ok(Vec::new());
        }
        if length as u64 == self.row {
            read(&self.blob, at(lines.start), &mut bytes)?;
        } else {
            for (line, part) in (lines.start..).zip(bytes.chunks_exact_mut(length * T::BYTES)) {
                read(&self.blob, at(line), part)?;
            }
        }
        let stored: Vec<T> = numbers(&bytes);
        if !self.transposed {
            return Ok(stored);
        }
        let mut turned = vec![T::ZERO; stored.len()];
        for (c, column) in stored.chunks_exact(height).enumerate() {
            for (r, entry) in column.iter().enumerate() {
                turned[r * width + c] = *entry;
            }
        }
        Ok(turned)
    }

    /// As [`View::block`], of a symmetric matrix of which only the lower triangle is read.
    ///
    /// # Errors
    /// The first one of `read`.
    pub fn symmetric<T: Real, E>(
        &self,
        product: u64,
        rows: Range<u64>,
        cols: Range<u64>,
        read: Read<'_, E>,
    ) -> Result<Vec<T>, E> {
        let width = (cols.end - cols.start) as usize;
        let mut block = self.block(product, rows.clone(), cols.clone(), read)?;
        if cols.end > rows.start + 1 {
            let mirrored: Vec<T> = self.transpose().block(product, rows.clone(), cols.clone(), read)?;
            for (at, entry) in mirrored.into_iter().enumerate() {
                if cols.start + (at % width) as u64 > rows.start + (at / width) as u64 {
                    block[at] = entry;
                }
            }
        }
        Ok(block)
    }
}
