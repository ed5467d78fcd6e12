//! The checks of a result that read blobs: its tile, and the panels from which it follows.

use super::again::Chosen;
use super::draws::Draws;
use super::real::{Real, numbers};
use super::trials::{self, Problem};
use super::work::{Part, Product};
use alloc::vec;
use alloc::vec::Vec;
use core::ops::Range;
use forge_event::Digest;
use forge_projections::family::{Blobs, Fault};

/// The result is not one that this tile can have.
pub const CHECK_FORM: u32 = 1 << 0;
/// The tile's blob has another length than the result says.
pub const CHECK_LENGTH: u32 = 1 << 1;
/// A residual is larger than rounding can make it.
pub const CHECK_RESIDUAL: u32 = 1 << 2;
/// An entry has other bits than the same entry computed again.
pub const CHECK_BITS: u32 = 1 << 3;
/// An entry above the diagonal of a factor is not zero, or one on it is not positive and finite.
pub const CHECK_TRIANGLE: u32 = 1 << 4;

/// The entries of a result's tile, or nothing if it has another length.
///
/// # Errors
/// [`Fault`] if the blob is not there.
pub fn tile<T: Real>(part: &Part, blobs: &dyn Blobs) -> Result<Option<Vec<T>>, Fault> {
    if blobs.bytes(&part.blob)? != part.bytes {
        return Ok(None);
    }
    let mut raw = vec![0; part.bytes as usize];
    blobs.read(&part.blob, 0, &mut raw)?;
    let tile: Vec<T> = numbers(&raw);
    // A NaN that is not the canonical one is no entry of an honest tile.
    Ok((super::real::bytes(&tile) == raw).then_some(tile))
}

/// Checks a tile of a product: bits of what failed.
///
/// # Errors
/// [`Fault`] if a blob cannot be read; that says nothing about the result.
pub fn product<T: Real>(work: &Product, part: &Part, blobs: &dyn Blobs) -> Result<u32, Fault> {
    let Some(all) = tile::<T>(part, blobs)? else { return Ok(CHECK_LENGTH) };
    let (rows, cols) = (work.rows.end - work.rows.start, (work.cols.end - work.cols.start) as usize);
    let scaling = work.scaling::<T>();
    let inner = if scaling.multiplies() { work.inner } else { 0 };
    let mut bits = 0;
    for (product, tile) in work.products.clone().zip(all.chunks_exact(rows as usize * cols)) {
        let read = |blob: &Digest, first: u64, buffer: &mut [u8]| blobs.read(blob, first, buffer);
        let c: Vec<T> = work.added(product, &mut { read })?;
        let left = |inner: Range<u64>| work.a.block(product, work.rows.clone(), inner, &mut { read });
        let right = |inner: Range<u64>| work.b.block(product, inner, work.cols.clone(), &mut { read });
        let mut draws = Draws::new(&part.blob, work.tile, product);
        let mut problem = Problem {
            rows: rows as usize,
            cols,
            inner,
            left: &mut { left },
            right: &mut { right },
            alpha: scaling.alpha.wide(),
            beta: scaling.beta.wide(),
            c: &c,
            target: tile,
        };
        let verdict = trials::run(&mut problem, &mut draws)?;
        if verdict.wrong {
            bits |= CHECK_RESIDUAL;
            continue;
        }
        let chosen = Chosen::new(&verdict, tile, cols, inner, &mut draws);
        let finish = |row: usize, col: usize, sum: T| scaling.entry(sum, c[row * cols + col]);
        if !chosen.agree(tile, cols, inner, &mut { left }, &mut { right }, &|_, _| T::ZERO, &finish)? {
            bits |= CHECK_BITS;
        }
    }
    Ok(bits)
}
