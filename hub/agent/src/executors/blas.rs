//! `blas`: the multiplication that agents use, as fast as the machine allows and with the bits of the plain one.
//!
//! Rows and columns are spread over vectors and registers, the inner axis never is, and nothing is fused: an entry is the
//! same sum in the same order on every instruction set. Panels are packed so that the innermost loop reads straight on.
//!
//! Source: K. Goto and R. van de Geijn, *Anatomy of High-Performance Matrix Multiplication*, 2008.

use forge_adapters::blas::kernel::{self, Gemm};
use forge_adapters::host::{Host, Stop};
use pulp::{Arch, Scalar128b, Simd, WithSimd};
use std::array;
use std::ops::Range;

/// Rows of the block of sums that is held in registers.
const HEIGHT: usize = 6;
/// Vectors of each of its rows: 12 sums, 2 vectors of B, an entry of A and a product fill 16 registers.
const VECTORS: usize = 2;
/// Inner axis of a packed panel: HEIGHT + 2 vectors of it stay in the first cache.
const INNER: usize = 256;
/// Rows of A that are packed at a time; a multiple of HEIGHT, to stay in the second cache.
const ROWS: usize = 96;
/// Columns of B that are packed at a time.
const COLS: usize = 2048;

/// Runs a shard.
///
/// # Errors
/// [`Stop`], as [`kernel::run_with`].
pub fn run(payload: &[u8], host: &mut dyn Host) -> Result<Vec<u8>, Stop> {
    kernel::run_with(payload, host, &Fast::default())
}

/// Multiplies with the best vectors of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fast(Arch);

impl Gemm for Fast {
    fn f64(&self, shape: [usize; 3], a: &[f64], b: &[f64], acc: &mut [f64]) {
        self.multiply(Product { shape, a, b, acc });
    }

    fn f32(&self, shape: [usize; 3], a: &[f32], b: &[f32], acc: &mut [f32]) {
        self.multiply(Product { shape, a, b, acc });
    }
}

impl Fast {
    fn multiply<T: Lanes>(self, product: Product<'_, T>) {
        match self.0 {
            // Two or four numbers at a time are in the base set of every machine we run on.
            Arch::Scalar => Scalar128b.vectorize(product),
            arch => arch.dispatch(product),
        }
    }
}

/// A number and its vectors.
trait Lanes: Copy + Default {
    type Vector<S: Simd>: Copy;

    /// Numbers of a vector.
    fn count<S: Simd>() -> usize;
    fn splat<S: Simd>(simd: S, x: Self) -> Self::Vector<S>;
    /// `sum + x·y`, each rounded.
    fn plus_product<S: Simd>(simd: S, sum: Self::Vector<S>, x: Self::Vector<S>, y: Self::Vector<S>) -> Self::Vector<S>;
    /// Whole vectors of a slice.
    fn vectors<S: Simd>(x: &[Self]) -> &[Self::Vector<S>];
    fn vectors_mut<S: Simd>(x: &mut [Self]) -> &mut [Self::Vector<S>];
}

macro_rules! lanes {
    ($number:ty, $vector:ident, $count:ident, $splat:ident, $mul:ident, $add:ident, $as:ident, $as_mut:ident) => {
        impl Lanes for $number {
            type Vector<S: Simd> = S::$vector;

            #[inline(always)]
            fn count<S: Simd>() -> usize {
                S::$count
            }

            #[inline(always)]
            fn splat<S: Simd>(simd: S, x: Self) -> S::$vector {
                simd.$splat(x)
            }

            #[inline(always)]
            fn plus_product<S: Simd>(simd: S, sum: S::$vector, x: S::$vector, y: S::$vector) -> S::$vector {
                simd.$add(sum, simd.$mul(x, y))
            }

            #[inline(always)]
            fn vectors<S: Simd>(x: &[Self]) -> &[S::$vector] {
                S::$as(x).0
            }

            #[inline(always)]
            fn vectors_mut<S: Simd>(x: &mut [Self]) -> &mut [S::$vector] {
                S::$as_mut(x).0
            }
        }
    };
}

lanes!(f64, f64s, F64_LANES, splat_f64s, mul_f64s, add_f64s, as_simd_f64s, as_mut_simd_f64s);
lanes!(f32, f32s, F32_LANES, splat_f32s, mul_f32s, add_f32s, as_simd_f32s, as_mut_simd_f32s);

/// `acc += a·b`, as [`Gemm`] says.
struct Product<'a, T> {
    shape: [usize; 3],
    a: &'a [T],
    b: &'a [T],
    acc: &'a mut [T],
}

impl<T: Lanes> WithSimd for Product<'_, T> {
    type Output = ();

    // Everything below is inlined into the one function that is compiled for each instruction set.
    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let [rows, inner, cols] = self.shape;
        let width = VECTORS * T::count::<S>();
        let mut a_panels = vec![T::default(); ROWS * INNER.min(inner)];
        let mut b_panels = vec![T::default(); COLS.min(cols.next_multiple_of(width)) * INNER.min(inner)];
        let mut edge = vec![T::default(); HEIGHT * width];
        for across in pieces(cols, COLS) {
            // Ascending: the sums of one piece go on in the next one.
            for along in pieces(inner, INNER) {
                self.pack_b(&mut b_panels, along.clone(), across.clone(), width);
                for down in pieces(rows, ROWS) {
                    self.pack_a(&mut a_panels, down.clone(), along.clone());
                    for (block, b) in pieces(across.len(), width).zip(b_panels.chunks_exact(along.len() * width)) {
                        let block = across.start + block.start..across.start + block.end;
                        for (piece, a) in pieces(down.len(), HEIGHT).zip(a_panels.chunks_exact(along.len() * HEIGHT)) {
                            let piece = down.start + piece.start..down.start + piece.end;
                            self.block(simd, a, b, piece, block.clone(), &mut edge);
                        }
                    }
                }
            }
        }
    }
}

impl<T: Lanes> Product<'_, T> {
    /// Columns, `width` at a time, each row of them together; zeros where there are none.
    #[inline(always)]
    fn pack_b(&self, panels: &mut [T], along: Range<usize>, across: Range<usize>, width: usize) {
        for (block, panel) in pieces(across.len(), width).zip(panels.chunks_exact_mut(along.len() * width)) {
            for (row, line) in along.clone().zip(panel.chunks_exact_mut(width)) {
                let first = row * self.shape[2] + across.start + block.start;
                let (there, missing) = line.split_at_mut(block.len());
                there.copy_from_slice(&self.b[first..first + block.len()]);
                missing.fill(T::default());
            }
        }
    }

    /// Rows, [`HEIGHT`] at a time, each column of them together; zeros where there are none.
    #[inline(always)]
    fn pack_a(&self, panels: &mut [T], down: Range<usize>, along: Range<usize>) {
        for (piece, panel) in pieces(down.len(), HEIGHT).zip(panels.chunks_exact_mut(along.len() * HEIGHT)) {
            for row in 0..HEIGHT {
                let first = (down.start + piece.start + row) * self.shape[1] + along.start;
                let found = if row < piece.len() { &self.a[first..first + along.len()] } else { &[] };
                let entries = found.iter().copied().chain(std::iter::repeat(T::default()));
                for (column, entry) in panel.chunks_exact_mut(HEIGHT).zip(entries) {
                    column[row] = entry;
                }
            }
        }
    }

    /// Adds the products of two packed panels to a block of sums; one that is cut short goes through `edge`.
    #[inline(always)]
    fn block<S: Simd>(&mut self, simd: S, a: &[T], b: &[T], rows: Range<usize>, cols: Range<usize>, edge: &mut [T]) {
        let (line, width) = (self.shape[2], VECTORS * T::count::<S>());
        if rows.len() == HEIGHT && cols.len() == width {
            return micro(simd, a, b, &mut self.acc[rows.start * line + cols.start..], line);
        }
        let at = |row: usize| row * line + cols.start..row * line + cols.end;
        for (row, held) in rows.clone().zip(edge.chunks_exact_mut(width)) {
            held[..cols.len()].copy_from_slice(&self.acc[at(row)]);
        }
        micro(simd, a, b, edge, width);
        for (row, held) in rows.zip(edge.chunks_exact(width)) {
            self.acc[at(row)].copy_from_slice(&held[..cols.len()]);
        }
    }
}

/// The innermost loop: a block of sums in registers; `line` is the distance of its rows.
#[inline(always)]
fn micro<S: Simd, T: Lanes>(simd: S, a: &[T], b: &[T], acc: &mut [T], line: usize) {
    let width = VECTORS * T::count::<S>();
    let mut sums: [[T::Vector<S>; VECTORS]; HEIGHT] = array::from_fn(|row| {
        let held = T::vectors::<S>(&acc[row * line..row * line + width]);
        array::from_fn(|at| held[at])
    });
    let (a, b) = (a.as_chunks::<HEIGHT>().0, T::vectors::<S>(b).as_chunks::<VECTORS>().0);
    for (column, row) in a.iter().zip(b) {
        for (sums, entry) in sums.iter_mut().zip(column) {
            let entry = T::splat(simd, *entry);
            for (sum, vector) in sums.iter_mut().zip(row) {
                *sum = T::plus_product(simd, *sum, entry, *vector);
            }
        }
    }
    for (row, sums) in sums.iter().enumerate() {
        T::vectors_mut::<S>(&mut acc[row * line..row * line + width]).copy_from_slice(sums);
    }
}

/// `0..end` in pieces of `length`, the last one shorter.
#[inline(always)]
fn pieces(end: usize, length: usize) -> impl Iterator<Item = Range<usize>> {
    (0..end).step_by(length).map(move |start| start..end.min(start + length))
}

#[cfg(test)]
mod tests {
    use super::*;
    use forge_adapters::blas::kernel::Plain;
    use pulp::{Scalar, Scalar256b, Scalar512b};

    const SHAPES: [[usize; 3]; 10] = [
        [1, 1, 1],
        [6, 8, 8],
        [5, 0, 7],
        [7, 3, 17],
        [13, 257, 9],
        [97, 300, 33],
        [100, 513, 31],
        [192, 256, 64],
        [3, 700, 2051],
        [98, 2, 1],
    ];

    /// Signed numbers of many sizes, some zeros of both signs.
    fn noise(count: usize, state: &mut u64) -> Vec<f64> {
        let mut one = || {
            *state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let x = (*state >> 12) as f64 / (1u64 << 51) as f64 - 1.0;
            if *state >> 60 == 0 { 0.0f64.copysign(x) } else { x * f64::from(1 << (*state >> 40 & 15)) }
        };
        (0..count).map(|_| one()).collect()
    }

    /// The reference: shape, left, right, what is added to.
    type Reference<T> = fn([usize; 3], &[T], &[T], &mut [T]);
    /// One way to multiply, by name.
    type Level<'a, T> = (&'a str, &'a dyn Fn(Product<'_, T>));

    fn equal_bits<T: Lanes, B: PartialEq + std::fmt::Debug>(from: fn(f64) -> T, bits: fn(T) -> B, plain: Reference<T>) {
        for (seed, shape) in SHAPES.into_iter().enumerate() {
            let [rows, inner, cols] = shape;
            let mut state = seed as u64;
            let mut matrix = |count| -> Vec<T> { noise(count, &mut state).into_iter().map(from).collect() };
            let (a, b, start) = (matrix(rows * inner), matrix(inner * cols), matrix(rows * cols));
            let mut expected = start.clone();
            plain(shape, &a, &b, &mut expected);
            let levels: [Level<'_, T>; 6] = [
                ("best", &|product| Fast::default().multiply(product)),
                ("without detection", &|product| Fast(Arch::Scalar).multiply(product)),
                ("one number", &|product| Scalar.vectorize(product)),
                ("128 bits", &|product| Scalar128b.vectorize(product)),
                ("256 bits", &|product| Scalar256b.vectorize(product)),
                ("512 bits", &|product| Scalar512b.vectorize(product)),
            ];
            for (level, multiply) in levels {
                let mut acc = start.clone();
                multiply(Product { shape, a: &a, b: &b, acc: &mut acc });
                let wrong = acc.iter().zip(&expected).position(|(x, y)| bits(*x) != bits(*y));
                assert_eq!((wrong, acc.len()), (None, expected.len()), "{level} {shape:?}");
            }
        }
    }

    #[test]
    fn every_instruction_set_gives_the_bits_of_the_plain_loops() {
        equal_bits(|x| x, f64::to_bits, |shape, a, b, acc| Plain.f64(shape, a, b, acc));
        equal_bits(|x| x as f32, f32::to_bits, |shape, a, b, acc| Plain.f32(shape, a, b, acc));
    }

    #[test]
    fn other_bytes_are_no_payload() {
        let stop = run(b"what", &mut forge_adapters::host::Bare);
        assert_eq!(stop, Err(Stop::BadPayload));
    }
}
