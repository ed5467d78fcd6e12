//! Exact sums of doubles, and of their squares: big integers times a power of two.
//!
//! Adding is exact, so a sum does not depend on the order or the grouping of what was added.
//! Source: R. M. Neal, "Fast exact summation using small and large superaccumulators", arXiv 1505.05571.

use super::bigint::{Integer, Natural};
use alloc::vec;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// Limbs of a sum: 2046 exponents, 53 bits, 2⁴⁰ terms, a sign.
pub const SUM_LIMBS: usize = 68;
/// Limbs of a sum of squares.
pub const SQUARE_LIMBS: usize = 136;
/// The unit of a sum is 2 to this power: the smallest subnormal.
pub const SUM_UNIT: i32 = -1074;
/// The unit of a sum of squares is 2 to this power.
pub const SQUARE_UNIT: i32 = -2148;

/// A sum of doubles.
pub type Sum = Accumulator<SUM_LIMBS>;
/// A sum of squares of doubles.
pub type SquareSum = Accumulator<SQUARE_LIMBS>;

/// Additions after which carries are passed on; a limb takes 2³¹ of them.
const ADDITIONS_MAX: u32 = 1 << 30;

/// `Σ limbs[i] · 2^(32·i)` units. Limbs overlap: each may pass 32 bits and be negative until carries are passed on.
#[derive(Clone, Debug)]
pub struct Accumulator<const LIMBS: usize> {
    limbs: [i64; LIMBS],
    additions: u32,
}

impl<const LIMBS: usize> Default for Accumulator<LIMBS> {
    fn default() -> Self {
        Accumulator { limbs: [0; LIMBS], additions: 0 }
    }
}

impl<const LIMBS: usize> Accumulator<LIMBS> {
    /// Adds `± size · 2^bit` units.
    pub fn add(&mut self, negative: bool, size: u128, bit: u32) {
        let (limb, shift) = ((bit / 32) as usize, bit % 32);
        let low = size << shift;
        let high = if shift == 0 { 0 } else { (size >> (128 - shift)) as u32 };
        let pieces = [low as u32, (low >> 32) as u32, (low >> 64) as u32, (low >> 96) as u32, high];
        for (i, piece) in pieces.into_iter().enumerate().filter(|(_, piece)| *piece != 0) {
            self.add_to_limb(limb + i, negative, piece);
        }
        self.count_addition();
    }

    /// Adds a sum in its canonical form.
    ///
    /// # Panics
    /// If it does not fit, which [`Canonical::is_canonical`] excludes.
    pub fn add_canonical(&mut self, other: &Canonical) {
        for (i, piece) in other.limbs().enumerate() {
            self.add_to_limb(usize::from(other.lowest) + i, other.negative, piece);
        }
        self.count_addition();
    }

    /// The canonical form.
    pub fn canonical(&self) -> Canonical {
        let mut limbs = self.limbs;
        carry(&mut limbs);
        let negative = limbs[LIMBS - 1] < 0;
        if negative {
            limbs.iter_mut().for_each(|l| *l = -*l);
            carry(&mut limbs);
        }
        let used = limbs.iter().rposition(|l| *l != 0).map_or(0, |top| top + 1);
        let lowest = limbs.iter().position(|l| *l != 0).unwrap_or(0);
        let limbs = limbs[lowest..used].iter().map(|l| (*l as u32).to_le_bytes()).collect();
        Canonical { negative, lowest: lowest as u16, limbs }
    }

    fn add_to_limb(&mut self, limb: usize, negative: bool, piece: u32) {
        let piece = i64::from(piece);
        self.limbs[limb] += if negative { -piece } else { piece };
    }

    fn count_addition(&mut self) {
        self.additions += 1;
        if self.additions == ADDITIONS_MAX {
            carry(&mut self.limbs);
            self.additions = 0;
        }
    }
}

/// Brings all limbs but the highest into 0..2³².
fn carry(limbs: &mut [i64]) {
    let mut carried = 0;
    let top = limbs.len() - 1;
    for limb in &mut limbs[..top] {
        let sum = *limb + carried;
        *limb = sum & 0xffff_ffff;
        carried = sum >> 32;
    }
    limbs[top] += carried;
}

/// A sum in the one form that equal sums share.
///
/// Invariant: neither the first nor the last limb is zero; zero is not negative, has no limb and `lowest` 0.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Canonical {
    negative: bool,
    /// Units: limbs of 32 bits.
    lowest: u16,
    /// Little-endian bytes of each limb, lowest limb first.
    limbs: Vec<[u8; 4]>,
}

impl Canonical {
    /// True if the invariant holds and the number leaves room for 2⁴⁰ more of its size in `limbs_max` limbs.
    pub fn is_canonical(&self, limbs_max: usize) -> bool {
        match (self.limbs.first(), self.limbs.last()) {
            (Some(first), Some(last)) => {
                *first != [0; 4] && *last != [0; 4] && usize::from(self.lowest) + self.limbs.len() < limbs_max
            }
            _ => !self.negative && self.lowest == 0,
        }
    }

    /// The number. Units: those of the accumulator.
    pub fn integer(&self) -> Integer {
        let mut limbs = vec![0; usize::from(self.lowest)];
        limbs.extend(self.limbs());
        Integer::new(self.negative, Natural::new(limbs))
    }

    fn limbs(&self) -> impl Iterator<Item = u32> + '_ {
        self.limbs.iter().map(|l| u32::from_le_bytes(*l))
    }
}

/// A finite double as integer times 2^bit units of a [`Sum`]: `(negative, size below 2⁵³, bit)`.
#[inline]
pub fn parts(bits: u64) -> (bool, u64, u32) {
    let exponent = (bits >> 52) as u32 & 0x7ff;
    let fraction = bits & ((1 << 52) - 1);
    let hidden = u64::from(exponent != 0) << 52;
    (bits >> 63 == 1, fraction | hidden, exponent.saturating_sub(1))
}

/// A finite double in units of a [`Sum`].
pub fn integer_of(value: f64) -> Integer {
    let (negative, size, bit) = parts(value.to_bits());
    Integer::new(negative, Natural::from(size).shifted(bit))
}

#[cfg(test)]
mod tests {
    use super::super::bigint::nearest_f64;
    use super::*;

    fn sum(values: &[f64]) -> Sum {
        let mut sum = Sum::default();
        for value in values {
            let (negative, size, bit) = parts(value.to_bits());
            sum.add(negative, u128::from(size), bit);
        }
        sum
    }

    fn rounded(sum: &Sum) -> f64 {
        let integer = sum.canonical().integer();
        let size = nearest_f64(&integer.size, &Natural::from(1), SUM_UNIT);
        if integer.negative { -size } else { size }
    }

    #[test]
    fn what_cancels_leaves_the_small_term() {
        assert_eq!(rounded(&sum(&[1e300, 1.0, -1e300])), 1.0);
        assert_eq!(rounded(&sum(&[f64::MAX, f64::MAX, -f64::MAX])), f64::MAX);
        assert_eq!(rounded(&sum(&[5e-324, -1.0, 1.0])), 5e-324);
    }

    #[test]
    fn equal_sums_have_equal_forms() {
        assert_eq!(sum(&[0.1, 0.2, -0.2]).canonical(), sum(&[0.1]).canonical());
        assert_eq!(sum(&[3.0, -3.0]).canonical(), Canonical::default());
        let halves = sum(&[0.1, -7.5]).canonical();
        let mut merged = sum(&[1e22]);
        merged.add_canonical(&halves);
        assert_eq!(merged.canonical(), sum(&[-7.5, 1e22, 0.1]).canonical());
    }

    #[test]
    fn a_negative_sum_is_sign_and_size() {
        let form = sum(&[-1.0]).canonical();
        assert!(form.negative && form.is_canonical(SUM_LIMBS));
        assert_eq!(form.integer(), integer_of(-1.0));
    }

    #[test]
    fn the_crate_that_failed_at_5000_terms_is_no_model() {
        assert_eq!(rounded(&sum(&[1.5; 5000])), 7500.0);
    }
}
