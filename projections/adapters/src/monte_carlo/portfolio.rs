//! The model `portfolio_var`: profit and loss of weights in assets whose returns are jointly normal.
//!
//! Asset k takes word k. The value is `Σ w_i·(mean_i + Σ_k l_ik·z_k)`, both sums from 0 in ascending order, k up to i.

use super::draws::Draws;
use super::model::{LANES, Lanes};
use alloc::vec;
use alloc::vec::Vec;

/// Most assets: a full covariance of them is the most that a spec holds inline.
pub const ASSETS_MAX: usize = 128;

/// The place of row `i`, column `j ≤ i` in a lower triangle, row by row.
#[inline]
pub fn place(i: usize, j: usize) -> usize {
    i * (i + 1) / 2 + j
}

/// The lower Cholesky factor of a covariance, both as lower triangles row by row; else the first asset at which the matrix
/// is not positive semidefinite.
///
/// A pivot within `n·2⁻⁵⁰` of the variance it came from is taken as zero, and with it its column, whose entries must
/// then be zero within the square root of that share: a singular covariance is fine, one that is only nearly positive
/// semidefinite is not.
///
/// # Errors
/// The asset.
pub fn factor(covariance: &[f64], count: usize) -> Result<Vec<f64>, usize> {
    let share = count as f64 * (1.0 / (1u64 << 50) as f64);
    let mut l = covariance.to_vec();
    let rest = |l: &[f64], i: usize, j: usize| {
        (0..j).fold(covariance[place(i, j)], |rest, k| rest - l[place(i, k)] * l[place(j, k)])
    };
    for j in 0..count {
        let variance = covariance[place(j, j)];
        let pivot = rest(&l, j, j);
        let positive = pivot > share * variance;
        let nothing = (-share * variance..=share * variance).contains(&pivot);
        // NaN is neither.
        if !positive && !nothing {
            return Err(j);
        }
        let root = if positive { libm::sqrt(pivot) } else { 0.0 };
        l[place(j, j)] = root;
        for i in j + 1..count {
            let entry = rest(&l, i, j);
            let size = libm::sqrt(share) * libm::sqrt(variance) * libm::sqrt(covariance[place(i, i)]);
            if nothing && !(-size..=size).contains(&entry) {
                return Err(i);
            }
            l[place(i, j)] = if positive { entry / root } else { 0.0 };
        }
    }
    Ok(l)
}

/// The model with its scratch memory.
#[derive(Debug)]
pub struct Portfolio {
    weights: Vec<f64>,
    mean: Vec<f64>,
    factor: Vec<f64>,
    normals: Vec<Lanes>,
}

impl Portfolio {
    /// `None` if the covariance, a lower triangle, is not positive semidefinite.
    pub fn new(weights: &[f64], mean: &[f64], covariance: &[f64]) -> Option<Portfolio> {
        let factor = factor(covariance, weights.len()).ok()?;
        let normals = vec![[0.0; LANES]; weights.len()];
        Some(Portfolio { weights: weights.to_vec(), mean: mean.to_vec(), factor, normals })
    }

    /// The values of a batch.
    pub fn evaluate(&mut self, draws: &mut Draws, antithetic: bool, values: &mut [f64]) {
        for (word, normals) in (0..).zip(&mut self.normals) {
            draws.normals(word, normals);
        }
        self.once(1.0, values);
        if antithetic {
            let mut other = [0.0; LANES];
            let other = &mut other[..values.len()];
            self.once(-1.0, other);
            for (value, other) in values.iter_mut().zip(other) {
                *value = (*value + *other) / 2.0;
            }
        }
    }

    fn once(&self, sign: f64, values: &mut [f64]) {
        values.fill(0.0);
        let mut moves = [0.0; LANES];
        let moves = &mut moves[..values.len()];
        for (i, (weight, mean)) in self.weights.iter().zip(&self.mean).enumerate() {
            moves.fill(0.0);
            for (k, normals) in self.normals[..=i].iter().enumerate() {
                let l = self.factor[place(i, k)];
                for (sum, z) in moves.iter_mut().zip(normals) {
                    *sum += l * (sign * z);
                }
            }
            for (value, sum) in values.iter_mut().zip(moves.iter()) {
                *value += weight * (mean + sum);
            }
        }
    }
}
