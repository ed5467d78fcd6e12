//! Freivalds' check of one product, with a threshold that no honest tile passes and one that only settles what to look at.
//!
//! The tile is multiplied by vectors of ±1, and so are the factors: `C·x` against `A·(B·x)`. Both sides are summed in
//! f64. A residual past the rigorous bound of rounding convicts. One that is only unlikely makes its row suspect: it is
//! computed again, bit by bit ([`super::again`]), which decides without error. Constant or all-positive data is suspect
//! by nature (21 to 71 of the units in which random signed data stays below 2), which is why this bound never convicts.
//!
//! Source: R. Freivalds 1977; N. Higham, *Accuracy and Stability of Numerical Algorithms*, §3.1 and theorem 10.3;
//! N. Higham and T. Mary 2019 for the statistical bound.

use super::draws::Draws;
use super::kernel::{Gemm, Plain, pieces};
use super::real::Real;
use alloc::vec;
use alloc::vec::Vec;
use core::ops::Range;
use forge_projections::family::Fault;

/// Vectors of ±1. A row whose error is 4 thresholds long passes one with at most 0.8125, all of them with 1.3e-3; a
/// single wrong entry shows its full size in each.
pub const TRIALS: usize = 32;
/// Units of the statistical bound above which a row is suspect.
const SUSPECT: f64 = 8.0;

/// A panel of a factor for a range of the inner axis, row by row.
pub type Panel<'a, T> = &'a mut dyn FnMut(Range<u64>) -> Result<Vec<T>, Fault>;

/// `target = alpha·left·right + beta·c`, to be believed or not.
pub struct Problem<'a, T> {
    pub rows: usize,
    pub cols: usize,
    pub inner: u64,
    /// Rows × inner.
    pub left: Panel<'a, T>,
    /// Inner × columns.
    pub right: Panel<'a, T>,
    pub alpha: f64,
    pub beta: f64,
    pub c: &'a [T],
    pub target: &'a [T],
}

/// What the trials say.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Verdict {
    /// No rounding explains a residual.
    pub wrong: bool,
    /// Rows with NaN or infinities somewhere: trials say nothing about them.
    pub blind_rows: Vec<usize>,
    /// Columns of the right factor with NaN or infinities; they take part in no trial.
    pub blind_cols: Vec<usize>,
    /// Rows whose residual is unlikely, the least likely first.
    pub suspects: Vec<usize>,
}

/// Sums over one row of something, weighted by the trials.
#[derive(Clone)]
struct Sums {
    trials: Vec<f64>,
    absolute: Vec<f64>,
    squares: Vec<f64>,
}

impl Sums {
    fn new(rows: usize) -> Sums {
        Sums { trials: vec![0.0; rows * TRIALS], absolute: vec![0.0; rows], squares: vec![0.0; rows] }
    }

    /// Of each row of `matrix`, times `x`; columns that are blind count as zeros.
    fn of<T: Real>(matrix: &[T], blind: &[bool], x: &[f64]) -> Sums {
        let cols = blind.len();
        let rows = matrix.len() / cols;
        let mut sums = Sums::new(rows);
        let wide: Vec<f64> =
            matrix.iter().enumerate().map(|(at, e)| if blind[at % cols] { 0.0 } else { e.wide() }).collect();
        Plain.f64([rows, cols, TRIALS], &wide, x, &mut sums.trials);
        for (row, entries) in wide.chunks_exact(cols).enumerate() {
            sums.absolute[row] = entries.iter().map(|e| e.abs()).sum();
            sums.squares[row] = entries.iter().map(|e| e * e).sum();
        }
        sums
    }

    /// Adds `left · right`, where `right` are sums of the rows of a piece of the right factor.
    fn add_product<T: Real>(&mut self, left: &[T], right: &Sums) {
        let inner = right.absolute.len();
        let wide: Vec<f64> = left.iter().map(|e| e.wide()).collect();
        Plain.f64([self.absolute.len(), inner, TRIALS], &wide, &right.trials, &mut self.trials);
        for (row, entries) in wide.chunks_exact(inner).enumerate() {
            for (at, entry) in entries.iter().enumerate() {
                self.absolute[row] += entry.abs() * right.absolute[at];
                self.squares[row] += entry * entry * right.squares[at];
            }
        }
    }
}

/// Runs the trials.
///
/// # Errors
/// The first fault of a panel.
pub fn run<T: Real>(problem: &mut Problem<'_, T>, draws: &mut Draws) -> Result<Verdict, Fault> {
    let (rows, cols) = (problem.rows, problem.cols);
    let signs: Vec<u32> = (0..cols).map(|_| draws.word()).collect();
    let mut blind = vec![false; cols];
    let (product, x) = loop {
        // A column that holds NaN or infinities takes part in no trial: 0 · infinity is no 0.
        let sign = |col: usize, trial: usize| match (blind[col], signs[col] >> trial & 1) {
            (true, _) => 0.0,
            (false, 0) => 1.0,
            (false, _) => -1.0,
        };
        let x: Vec<f64> = (0..cols * TRIALS).map(|at| sign(at / TRIALS, at % TRIALS)).collect();
        let mut product = Sums::new(rows);
        let mut found = vec![false; cols];
        for inner in pieces(rows as u64, cols as u64, problem.inner) {
            let right = (problem.right)(inner.clone())?;
            for (at, _) in right.iter().enumerate().filter(|(_, e)| !e.is_finite()) {
                found[at % cols] = true;
            }
            product.add_product(&(problem.left)(inner)?, &Sums::of(&right, &blind, &x));
        }
        if found == blind {
            break (product, x);
        }
        blind = found;
    };
    let target = Sums::of(problem.target, &blind, &x);
    let added = match problem.beta {
        0.0 => Sums::new(rows),
        _ => Sums::of(problem.c, &blind, &x),
    };
    let mut verdict = Verdict { blind_cols: (0..cols).filter(|col| blind[*col]).collect(), ..Verdict::default() };
    let mut suspects = Vec::new();
    for row in 0..rows {
        let (alpha, beta) = (problem.alpha, problem.beta);
        let residuals = (row * TRIALS..(row + 1) * TRIALS)
            .map(|at| (alpha * product.trials[at] + beta * added.trials[at] - target.trials[at]).abs());
        // `max` would lose a NaN.
        let worst = residuals.fold(0.0, |worst: f64, r| if r <= worst { worst } else { r });
        let size = alpha.abs() * product.absolute[row] + beta.abs() * added.absolute[row];
        let rigorous = rigorous::<T>(problem, size, target.absolute[row]);
        let spread = alpha.abs() * libm::sqrt(product.squares[row] * (problem.inner + 1) as f64)
            + beta.abs() * libm::sqrt(added.squares[row])
            + libm::sqrt(target.squares[row]);
        let unlikely = SUSPECT * T::UNIT * spread;
        match worst.is_finite() && rigorous.is_finite() {
            false => verdict.blind_rows.push(row),
            true if worst > rigorous => verdict.wrong = true,
            true if worst > unlikely => suspects.push((row, worst / unlikely)),
            true => {}
        }
    }
    suspects.sort_by(|a, b| b.1.total_cmp(&a.1));
    verdict.suspects = suspects.into_iter().map(|(row, _)| row).collect();
    Ok(verdict)
}

/// The most that the residual of a right row can be: rounding of the tile in its type, rounding of the check in f64, and
/// what underflow takes. `size` is the row's `|alpha| |A| |B| 1 + |beta| |C| 1`, `tile` its `|T| 1`.
fn rigorous<T: Real>(problem: &Problem<'_, T>, size: f64, tile: f64) -> f64 {
    let gamma = |count: f64, unit: f64| count * unit / (1.0 - count * unit);
    let (inner, cols) = (problem.inner as f64, problem.cols as f64);
    let in_tile = gamma(inner + 4.0, T::UNIT) * size;
    let in_check = gamma(inner + cols + 16.0, f64::UNIT) * (size + tile);
    let underflow = T::TINY * cols * (inner + 4.0) * (2.0 + problem.alpha.abs());
    // The bound itself is rounded, too.
    1.001 * (in_tile + in_check + underflow)
}
