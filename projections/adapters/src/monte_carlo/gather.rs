//! The fast front of the accumulators: one slot an exponent, emptied into them now and then.
//!
//! Doubles of one exponent are integers of one unit, so a slot adds them and their squares in 128 bits;
//! that costs a few instructions a value, where carrying through limbs costs tens.

use super::exact::{SquareSum, Sum, parts};
use alloc::boxed::Box;
use alloc::vec;

/// Values a slot takes before it is emptied: squares are below 2¹⁰⁶, and 2¹⁰⁶ · 2²⁰ < 2¹²⁸.
const VALUES_MAX: u32 = 1 << 20;
const SLOTS: usize = 2046;

#[derive(Clone, Copy, Default, Debug)]
struct Slot {
    sum: i128,
    squares: u128,
}

/// Exact sum and sum of squares of finite doubles, and a count of the others.
#[derive(Debug)]
pub struct Gather {
    slots: Box<[Slot]>,
    pending: u32,
    sum: Sum,
    squares: SquareSum,
    pub nan: u64,
    pub positive_infinite: u64,
    pub negative_infinite: u64,
}

impl Default for Gather {
    fn default() -> Self {
        Gather {
            slots: vec![Slot::default(); SLOTS].into_boxed_slice(),
            pending: 0,
            sum: Sum::default(),
            squares: SquareSum::default(),
            nan: 0,
            positive_infinite: 0,
            negative_infinite: 0,
        }
    }
}

impl Gather {
    /// Adds a batch. Shape: at most 2²⁰ values.
    #[inline]
    pub fn add(&mut self, values: &[f64]) {
        let count = values.len() as u32;
        assert!(count <= VALUES_MAX, "a batch is short");
        if self.pending + count > VALUES_MAX {
            self.empty_slots();
        }
        self.pending += count;
        for value in values {
            let (negative, size, slot) = parts(value.to_bits());
            match self.slots.get_mut(slot as usize) {
                Some(slot) => {
                    let signed = if negative { -(size as i64) } else { size as i64 };
                    slot.sum = slot.sum.wrapping_add(i128::from(signed));
                    slot.squares = slot.squares.wrapping_add(u128::from(size).wrapping_mul(u128::from(size)));
                }
                None if value.is_nan() => self.nan += 1,
                None if negative => self.negative_infinite += 1,
                None => self.positive_infinite += 1,
            }
        }
    }

    /// The sums of all values added.
    pub fn sums(&mut self) -> (&Sum, &SquareSum) {
        self.empty_slots();
        (&self.sum, &self.squares)
    }

    fn empty_slots(&mut self) {
        for (bit, slot) in self.slots.iter_mut().enumerate() {
            // A value of this slot is an integer times 2^bit units, its square one times 2^(2·bit).
            if slot.sum != 0 {
                self.sum.add(slot.sum < 0, slot.sum.unsigned_abs(), bit as u32);
            }
            if slot.squares != 0 {
                self.squares.add(false, slot.squares, 2 * bit as u32);
            }
            *slot = Slot::default();
        }
        self.pending = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_give_what_one_by_one_gives() {
        let values: [f64; 8] = [1.5, -2.25, 5e-324, -1e308, 0.0, -0.0, 3.7e-310, 1e308];
        let mut gather = Gather::default();
        let (mut sum, mut squares) = (Sum::default(), SquareSum::default());
        for value in values {
            let (negative, size, bit) = parts(value.to_bits());
            sum.add(negative, u128::from(size), bit);
            squares.add(false, u128::from(size) * u128::from(size), 2 * bit);
        }
        gather.add(&values[..3]);
        gather.empty_slots();
        gather.add(&values[3..]);
        let (s, q) = gather.sums();
        assert_eq!((s.canonical(), q.canonical()), (sum.canonical(), squares.canonical()));
    }

    #[test]
    fn what_is_not_finite_is_counted_apart() {
        let mut gather = Gather::default();
        gather.add(&[f64::NAN, -f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::INFINITY, 1.0]);
        assert_eq!((gather.nan, gather.positive_infinite, gather.negative_infinite), (2, 2, 1));
    }
}
