//! The two number types, and the one rule by which an entry is finished.

use super::kernel::Gemm;
use crate::json::CANONICAL_NAN;
use crate::npy::Dtype;
use alloc::vec::Vec;
use core::fmt::Debug;
use core::ops::{Add, Div, Mul, Neg};

/// f32 or f64. Every operation rounds once, to nearest even, in the type itself.
pub trait Real:
    Copy + PartialEq + Debug + Add<Output = Self> + Mul<Output = Self> + Div<Output = Self> + Neg<Output = Self>
{
    const ZERO: Self;
    const DTYPE: Dtype;
    /// Units: bytes.
    const BYTES: usize;
    /// Half the distance from 1 to the next number.
    const UNIT: f64;
    /// The smallest positive number.
    const TINY: f64;

    /// Nearest number.
    fn from_f64(value: f64) -> Self;
    /// The same number.
    fn wide(self) -> f64;
    fn root(self) -> Self;
    /// From exactly [`Real::BYTES`] little-endian bytes.
    fn from_le(bytes: &[u8]) -> Self;
    /// Little-endian; every NaN as the one canonical NaN.
    fn to_le(self, out: &mut Vec<u8>);
    /// `acc += a·b` by [`Gemm`]'s rule.
    fn multiply(gemm: &dyn Gemm, shape: [usize; 3], a: &[Self], b: &[Self], acc: &mut [Self]);

    /// True for everything but NaN and infinities.
    fn is_finite(self) -> bool {
        self.wide().is_finite()
    }

    /// True if both are written as the same bytes.
    fn same(self, other: Self) -> bool {
        let (x, y) = (self.wide(), other.wide());
        x.to_bits() == y.to_bits() || (x.is_nan() && y.is_nan())
    }
}

impl Real for f64 {
    const ZERO: f64 = 0.0;
    const DTYPE: Dtype = Dtype::F64;
    const BYTES: usize = 8;
    const UNIT: f64 = f64::EPSILON / 2.0;
    const TINY: f64 = f64::from_bits(1);

    fn from_f64(value: f64) -> f64 {
        value
    }

    fn wide(self) -> f64 {
        self
    }

    fn root(self) -> f64 {
        libm::sqrt(self)
    }

    fn from_le(bytes: &[u8]) -> f64 {
        f64::from_le_bytes(bytes.try_into().expect("eight bytes"))
    }

    fn to_le(self, out: &mut Vec<u8>) {
        let bits = if self.is_nan() { CANONICAL_NAN } else { self.to_bits() };
        out.extend_from_slice(&bits.to_le_bytes());
    }

    fn multiply(gemm: &dyn Gemm, shape: [usize; 3], a: &[f64], b: &[f64], acc: &mut [f64]) {
        gemm.f64(shape, a, b, acc);
    }
}

impl Real for f32 {
    const ZERO: f32 = 0.0;
    const DTYPE: Dtype = Dtype::F32;
    const BYTES: usize = 4;
    const UNIT: f64 = f32::EPSILON as f64 / 2.0;
    const TINY: f64 = f32::from_bits(1) as f64;

    fn from_f64(value: f64) -> f32 {
        value as f32
    }

    fn wide(self) -> f64 {
        f64::from(self)
    }

    fn root(self) -> f32 {
        libm::sqrtf(self)
    }

    fn from_le(bytes: &[u8]) -> f32 {
        f32::from_le_bytes(bytes.try_into().expect("four bytes"))
    }

    fn to_le(self, out: &mut Vec<u8>) {
        const NAN: u32 = 0x7fc0_0000;
        let bits = if self.is_nan() { NAN } else { self.to_bits() };
        out.extend_from_slice(&bits.to_le_bytes());
    }

    fn multiply(gemm: &dyn Gemm, shape: [usize; 3], a: &[f32], b: &[f32], acc: &mut [f32]) {
        gemm.f32(shape, a, b, acc);
    }
}

/// How sums of products become entries: `RN(RN(alpha·acc) + RN(beta·c))`.
///
/// With `beta` 0 the entry is `RN(alpha·acc)` and C is not looked at; else with `alpha` 0 it is `RN(beta·c)` and A and
/// B are not looked at: a NaN of what is not looked at does not leak.
#[derive(Clone, Copy, Debug)]
pub struct Scaling<T> {
    pub alpha: T,
    pub beta: T,
}

impl<T: Real> Scaling<T> {
    /// A and B matter.
    pub fn multiplies(self) -> bool {
        self.alpha != T::ZERO || !self.adds()
    }

    /// C matters.
    pub fn adds(self) -> bool {
        self.beta != T::ZERO
    }

    /// The entry of a sum of products and an entry of C.
    pub fn entry(self, acc: T, c: T) -> T {
        match (self.multiplies(), self.adds()) {
            (_, false) => self.alpha * acc,
            (false, true) => self.beta * c,
            (true, true) => self.alpha * acc + self.beta * c,
        }
    }
}

/// Reads little-endian numbers.
///
/// Shape: `bytes` is a whole number of them.
pub fn numbers<T: Real>(bytes: &[u8]) -> Vec<T> {
    bytes.chunks_exact(T::BYTES).map(T::from_le).collect()
}

/// Writes little-endian numbers.
pub fn bytes<T: Real>(numbers: &[T]) -> Vec<u8> {
    let mut out = Vec::with_capacity(numbers.len() * T::BYTES);
    numbers.iter().for_each(|x| x.to_le(&mut out));
    out
}
