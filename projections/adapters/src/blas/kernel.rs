//! A shard run on an agent: panels read by range, sums of products, the tile kept as a blob.

use super::factor;
use super::real::{Real, bytes};
use super::work::{Part, Product, Work};
use crate::host::{Host, Stop};
use crate::npy::Dtype;
use alloc::vec;
use alloc::vec::Vec;
use core::ops::Range;
use forge_event::Digest;

/// Adds products to sums.
///
/// Invariant: `acc[r][c] = RN(acc[r][c] + RN(a[r][l]·b[l][c]))` for `l` ascending, each operation rounded once in the
/// type itself, never fused. So an entry's bits depend neither on blocks nor on vectors.
pub trait Gemm {
    /// Shape: `[rows, inner, cols]`; `a` rows × inner, `b` inner × cols, `acc` rows × cols, row by row.
    fn f64(&self, shape: [usize; 3], a: &[f64], b: &[f64], acc: &mut [f64]);
    /// As [`Gemm::f64`].
    fn f32(&self, shape: [usize; 3], a: &[f32], b: &[f32], acc: &mut [f32]);
}

/// The rule as it is read: the reference of every faster one.
#[derive(Clone, Copy, Debug, Default)]
pub struct Plain;

impl Gemm for Plain {
    fn f64(&self, shape: [usize; 3], a: &[f64], b: &[f64], acc: &mut [f64]) {
        plain(shape, a, b, acc);
    }

    fn f32(&self, shape: [usize; 3], a: &[f32], b: &[f32], acc: &mut [f32]) {
        plain(shape, a, b, acc);
    }
}

fn plain<T: Real>([_, inner, cols]: [usize; 3], a: &[T], b: &[T], acc: &mut [T]) {
    if inner == 0 || cols == 0 {
        return;
    }
    for (a, acc) in a.chunks_exact(inner).zip(acc.chunks_exact_mut(cols)) {
        for (factor, b) in a.iter().zip(b.chunks_exact(cols)) {
            for (sum, entry) in acc.iter_mut().zip(b) {
                *sum = *sum + *factor * *entry;
            }
        }
    }
}

/// Runs a shard with the plain multiplication.
///
/// # Errors
/// [`Stop`].
pub fn run(payload: &[u8], host: &mut dyn Host) -> Result<Vec<u8>, Stop> {
    run_with(payload, host, &Plain)
}

/// Runs a shard; every [`Gemm`] gives the same bytes.
///
/// # Errors
/// [`Stop`]; a matrix that is not positive definite fails with `not-positive-definite`.
pub fn run_with(payload: &[u8], host: &mut dyn Host, gemm: &dyn Gemm) -> Result<Vec<u8>, Stop> {
    let part = match Work::decode(payload).ok_or(Stop::BadPayload)? {
        Work::Product(work) => match work.dtype {
            Dtype::F32 => product::<f32>(&work, host, gemm)?,
            Dtype::F64 => product::<f64>(&work, host, gemm)?,
        },
        Work::Factor(work) => match work.dtype {
            Dtype::F32 => factor::run::<f32>(&work, host, gemm)?,
            Dtype::F64 => factor::run::<f64>(&work, host, gemm)?,
        },
    };
    Ok(part.encode())
}

/// Pieces of the inner axis: a few milliseconds of work, panels of some megabytes. They change no bit.
///
/// Invariant: ascending, disjoint, covering `0..inner`.
pub fn pieces(rows: u64, cols: u64, inner: u64) -> impl Iterator<Item = Range<u64>> {
    const PRODUCTS: u64 = 1 << 26;
    const PANEL_ENTRIES: u64 = 1 << 22;
    let few = (PRODUCTS / (rows * cols).max(1)).max(64);
    let length = few.min(PANEL_ENTRIES / (rows + cols)).max(1);
    (0..inner.div_ceil(length)).map(move |at| at * length..((at + 1) * length).min(inner))
}

fn product<T: Real>(work: &Product, host: &mut dyn Host, gemm: &dyn Gemm) -> Result<Part, Stop> {
    let scaling = work.scaling::<T>();
    let (rows, cols) = (work.rows.end - work.rows.start, work.cols.end - work.cols.start);
    let mut out = Vec::new();
    for (done, product) in work.products.clone().enumerate() {
        let mut acc = vec![T::ZERO; (rows * cols) as usize];
        for inner in pieces(rows, cols, if scaling.multiplies() { work.inner } else { 0 }) {
            let read = &mut |blob: &Digest, first: u64, buffer: &mut [u8]| host.read(blob, first, buffer);
            let a = work.a.block::<T, Stop>(product, work.rows.clone(), inner.clone(), read)?;
            let b = work.b.block::<T, Stop>(product, inner.clone(), work.cols.clone(), read)?;
            T::multiply(gemm, [rows as usize, (inner.end - inner.start) as usize, cols as usize], &a, &b, &mut acc);
            let part = u128::from(rows * cols) * u128::from(inner.end) / u128::from(work.inner);
            host.progress(done as u64 * rows * cols + part as u64)?;
        }
        let read = &mut |blob: &Digest, first: u64, buffer: &mut [u8]| host.read(blob, first, buffer);
        for (sum, c) in acc.iter_mut().zip(work.added::<T, Stop>(product, read)?) {
            *sum = scaling.entry(*sum, c);
        }
        out.extend(bytes(&acc));
    }
    let (blob, bytes) = (host.put(&out)?, out.len() as u64);
    Ok(Part { tile: work.tile, rows: (work.products.end - work.products.start) * rows, cols, blob, bytes })
}

impl Product {
    /// The entries of C of this tile; zeros if C is not looked at.
    ///
    /// # Errors
    /// The first one of `read`.
    pub fn added<T: Real, E>(&self, product: u64, read: super::view::Read<'_, E>) -> Result<Vec<T>, E> {
        let (rows, cols) = (self.rows.clone(), self.cols.clone());
        match &self.c {
            Some(c) if self.symmetric => c.symmetric(product, rows, cols, read),
            Some(c) => c.block(product, rows, cols, read),
            None => Ok(vec![T::ZERO; ((rows.end - rows.start) * (cols.end - cols.start)) as usize]),
        }
    }
}
