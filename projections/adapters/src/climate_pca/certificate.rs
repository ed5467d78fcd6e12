//! Whether numbers are the largest eigenpairs of a matrix, without solving for them.
//!
//! Backward-stable solvers stay a decade below these bounds, and nothing here is random, so no honest result fails.

use super::eigen::{Pairs, Symmetric, dot};
use alloc::vec::Vec;
use core::convert::Infallible;

/// Some number is not finite.
pub const NOT_FINITE: u32 = 1;
/// Eigenvalues do not descend, or add up to more than the trace.
pub const VALUES: u32 = 2;
/// ‖C v − λ v‖ is too large for a pair.
pub const RESIDUAL: u32 = 4;
/// Vectors are not orthonormal.
pub const ORTHOGONALITY: u32 = 8;
/// There is a direction left along which the matrix is larger than along the last vector.
pub const NOT_LARGEST: u32 = 16;

/// Bounds are this many times n · u.
const SLACK: f64 = 50.0;
/// Multiplications by the matrix when looking for a larger direction.
const STEPS: usize = 32;

/// How far rounding may move an eigenvalue. Units: those of the matrix.
pub fn tolerance(matrix: &Symmetric) -> f64 {
    SLACK * matrix.order as f64 * (f64::EPSILON / 2.0) * matrix.frobenius()
}

/// True unless `value` is at most `bound`; what is not a number always does.
pub fn exceeds(value: f64, bound: f64) -> bool {
    value.is_nan() || value > bound
}

/// A bit for each property that does not hold; 0 if all do.
pub fn faults(matrix: &Symmetric, pairs: &Pairs) -> u32 {
    if pairs.values.iter().chain(pairs.vectors.iter().flatten()).any(|x| !x.is_finite()) {
        return NOT_FINITE;
    }
    let mut bits = 0;
    let unit = SLACK * matrix.order as f64 * (f64::EPSILON / 2.0);
    let tolerance = tolerance(matrix);
    let trace = matrix.diagonal().fold(0.0, |sum, x| sum + x);
    // Beyond the rounding of each value by the tolerance, those that remain are not negative.
    let room = tolerance * matrix.order as f64;
    let sum = pairs.values.iter().fold(0.0, |sum, x| sum + x);
    if !pairs.values.is_sorted_by(|a, b| a >= b) || exceeds(sum, trace + room) {
        bits |= VALUES;
    }
    for (value, vector) in pairs.values.iter().zip(&pairs.vectors) {
        let mut rest = matrix.times(vector);
        rest.iter_mut().zip(vector).for_each(|(r, v)| *r -= value * v);
        if exceeds(libm::sqrt(dot(&rest, &rest)), tolerance) {
            bits |= RESIDUAL;
        }
    }
    for (k, vector) in pairs.vectors.iter().enumerate() {
        for (l, other) in pairs.vectors[..=k].iter().enumerate() {
            let expected = if k == l { 1.0 } else { 0.0 };
            if exceeds((dot(vector, other) - expected).abs(), unit) {
                bits |= ORTHOGONALITY;
            }
        }
    }
    if bits == 0 && larger_is_left(matrix, pairs, tolerance) {
        bits |= NOT_LARGEST;
    }
    bits
}

/// Lanczos on what the pairs leave: its values never pass the largest eigenvalue there, so one above the last value of the
/// pairs proves that a larger one was left out.
fn larger_is_left(matrix: &Symmetric, pairs: &Pairs, tolerance: f64) -> bool {
    let last = pairs.values.last().copied().unwrap_or(f64::INFINITY);
    // Any start will do that is orthogonal to nothing in particular.
    let start = |i: usize| 0.5 + (i * 7919 % 1009) as f64 / 1009.0 - (i % 2) as f64;
    let mut next: Vec<f64> = (0..matrix.order).map(start).collect();
    let mut basis: Vec<Vec<f64>> = Vec::new();
    let mut packed = Vec::new();
    for step in 0..STEPS.min(matrix.order) {
        let before = libm::sqrt(dot(&next, &next));
        // Twice: what one pass leaves by rounding, the next one takes.
        for _ in 0..2 {
            pairs.vectors.iter().chain(&basis).for_each(|v| remove(&mut next, v));
        }
        let length = libm::sqrt(dot(&next, &next));
        if length.is_nan() || length <= before * 1e-6 {
            break;
        }
        next.iter_mut().for_each(|x| *x /= length);
        let image = matrix.times(&next);
        basis.push(next);
        packed.extend(basis.iter().map(|v| dot(v, &image)));
        next = image;
        let projected = Symmetric { order: step + 1, packed: packed.clone() };
        let found = projected.largest(1, &mut || Ok::<(), Infallible>(()));
        let Ok(Some(found)) = found else { return false };
        if found.values[0] > last + 4.0 * tolerance {
            return true;
        }
    }
    false
}

/// Takes out the part of `vector` along a unit vector.
fn remove(vector: &mut [f64], unit: &[f64]) {
    let along = dot(unit, vector);
    vector.iter_mut().zip(unit).for_each(|(x, v)| *x -= along * v);
}
