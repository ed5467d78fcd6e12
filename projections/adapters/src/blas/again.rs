//! Entries of a tile computed again, bit by bit: what decides where trials only doubt, or see nothing.
//!
//! The budget is what the trials cost, so that the whole check stays linear in the bytes it reads. In this order:
//! columns and rows that trials are blind to, suspects, entries that are zero (whose sign no residual shows); and
//! always a few entries drawn by chance. Rows past the budget stay accepted by the rigorous bound alone.

use super::draws::Draws;
use super::kernel::{Plain, pieces};
use super::real::Real;
use super::trials::{Panel, TRIALS, Verdict};
use alloc::vec::Vec;
use forge_projections::family::Fault;

/// Entries drawn by chance: a tile with a share p of wrong entries passes with (1 - p)^8.
const ENTRIES_DRAWN: usize = 8;

/// What is computed again.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Chosen {
    rows: Vec<usize>,
    cols: Vec<usize>,
    entries: Vec<(usize, usize)>,
}

impl Chosen {
    /// From what the trials say about `tile`.
    pub fn new<T: Real>(verdict: &Verdict, tile: &[T], cols: usize, inner: u64, draws: &mut Draws) -> Chosen {
        let rows = tile.len() / cols;
        let inner = inner.max(1) as usize;
        let mut budget = TRIALS * (rows * inner + inner * cols + tile.len());
        let mut chosen = Chosen::default();
        // Where not all of them fit, chance says which.
        let mut turned = |list: &[usize]| {
            let first = if list.is_empty() { 0 } else { draws.below(list.len()) };
            [&list[first..], &list[..first]].concat()
        };
        for col in turned(&verdict.blind_cols) {
            take(&mut budget, rows * inner, || chosen.cols.push(col));
        }
        for row in turned(&verdict.blind_rows).iter().chain(&verdict.suspects) {
            take(&mut budget, inner * cols, || chosen.rows.push(*row));
        }
        let zeros: Vec<usize> = (0..tile.len()).filter(|at| tile[*at] == T::ZERO).collect();
        let drawn: Vec<usize> = (0..ENTRIES_DRAWN).map(|_| draws.below(tile.len())).collect();
        let first = if zeros.is_empty() { 0 } else { draws.below(zeros.len()) };
        for at in zeros[first..].iter().chain(&zeros[..first]) {
            take(&mut budget, inner, || chosen.entries.push((at / cols, at % cols)));
        }
        chosen.entries.extend(drawn.iter().map(|at| (at / cols, at % cols)));
        chosen
    }

    /// True if every chosen entry of `tile` has the bits that `finish` gives for its row, its column and its sum of
    /// products over `inner`, which begins with `start` of the same place.
    ///
    /// # Errors
    /// The first fault of a panel.
    pub fn agree<T: Real>(
        &self,
        tile: &[T],
        cols: usize,
        inner: u64,
        left: Panel<'_, T>,
        right: Panel<'_, T>,
        start: &dyn Fn(usize, usize) -> T,
        finish: &dyn Fn(usize, usize, T) -> T,
    ) -> Result<bool, Fault> {
        let rows = tile.len() / cols;
        let of_rows = self.rows.iter().flat_map(|row| (0..cols).map(|col| (*row, col)));
        let of_cols = (0..rows).flat_map(|row| self.cols.iter().map(move |col| (row, *col)));
        let places: [Vec<(usize, usize)>; 3] = [of_rows.collect(), of_cols.collect(), self.entries.clone()];
        let mut sums = places.clone().map(|places| places.iter().map(|(row, col)| start(*row, *col)).collect());
        let [row_sums, col_sums, entry_sums]: &mut [Vec<T>; 3] = &mut sums;
        for piece in pieces(rows as u64, cols as u64, inner) {
            let length = (piece.end - piece.start) as usize;
            let (left, right) = (left(piece.clone())?, right(piece)?);
            let some_rows: Vec<T> =
                self.rows.iter().flat_map(|row| left[row * length..(row + 1) * length].iter().copied()).collect();
            T::multiply(&Plain, [self.rows.len(), length, cols], &some_rows, &right, row_sums);
            let some_cols: Vec<T> =
                right.chunks_exact(cols).flat_map(|line| self.cols.iter().map(|col| line[*col])).collect();
            T::multiply(&Plain, [rows, length, self.cols.len()], &left, &some_cols, col_sums);
            for ((row, col), sum) in self.entries.iter().zip(entry_sums.iter_mut()) {
                for at in 0..length {
                    *sum = *sum + left[row * length + at] * right[at * cols + col];
                }
            }
        }
        let mut found = places.iter().flatten().zip(sums.iter().flatten());
        Ok(found.all(|((row, col), sum)| tile[row * cols + col].same(finish(*row, *col, *sum))))
    }
}

/// Does something that costs `cost`, if the budget allows it.
fn take(budget: &mut usize, cost: usize, then: impl FnOnce()) {
    if *budget >= cost {
        *budget -= cost;
        then();
    }
}
