//! Natural numbers of any length, as far as exact checks and one correct rounding need them.

use alloc::vec;
use alloc::vec::Vec;
use core::cmp::Ordering;

/// A natural number. Shape: 32-bit limbs, lowest first, no leading zero limb; zero is empty.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Natural(Vec<u32>);

impl Natural {
    pub fn new(mut limbs: Vec<u32>) -> Self {
        while limbs.last() == Some(&0) {
            limbs.pop();
        }
        Natural(limbs)
    }

    pub fn is_zero(&self) -> bool {
        self.0.is_empty()
    }

    /// Position of the highest set bit plus one; 0 for zero.
    pub fn bit_length(&self) -> u32 {
        self.0.last().map_or(0, |top| self.0.len() as u32 * 32 - top.leading_zeros())
    }

    /// `self · 2^bits`.
    pub fn shifted(&self, bits: u32) -> Self {
        let mut limbs = vec![0; (bits / 32) as usize];
        let rest = bits % 32;
        let mut carry = 0;
        for limb in &self.0 {
            let wide = u64::from(*limb) << rest | carry;
            limbs.push(wide as u32);
            carry = wide >> 32;
        }
        limbs.push(carry as u32);
        Natural::new(limbs)
    }

    pub fn times(&self, other: &Natural) -> Self {
        let mut limbs = vec![0u32; self.0.len() + other.0.len()];
        for (i, a) in self.0.iter().enumerate() {
            let mut carry = 0u64;
            for (limb, b) in limbs[i..].iter_mut().zip(other.0.iter()) {
                let wide = u64::from(*a) * u64::from(*b) + u64::from(*limb) + carry;
                *limb = wide as u32;
                carry = wide >> 32;
            }
            limbs[i + other.0.len()] = carry as u32;
        }
        Natural::new(limbs)
    }

    /// `self − other`, or `None` if that is negative.
    pub fn minus(&self, other: &Natural) -> Option<Self> {
        if (self as &Natural).cmp(other) == Ordering::Less {
            return None;
        }
        let mut limbs = self.0.clone();
        let mut borrow = false;
        for (i, limb) in limbs.iter_mut().enumerate() {
            let (less, under) = limb.overflowing_sub(other.0.get(i).copied().unwrap_or(0));
            let (less, under_again) = less.overflowing_sub(u32::from(borrow));
            *limb = less;
            borrow = under || under_again;
        }
        Some(Natural::new(limbs))
    }
}

impl From<u64> for Natural {
    fn from(number: u64) -> Self {
        Natural::new(vec![number as u32, (number >> 32) as u32])
    }
}

impl Ord for Natural {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.len().cmp(&other.0.len()).then_with(|| self.0.iter().rev().cmp(other.0.iter().rev()))
    }
}

impl PartialOrd for Natural {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// An integer as sign and size. Invariant: zero is not negative.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Integer {
    pub negative: bool,
    pub size: Natural,
}

impl Integer {
    /// `(−1)^negative · size`.
    pub fn new(negative: bool, size: Natural) -> Self {
        Integer { negative: negative && !size.is_zero(), size }
    }

    pub fn times(&self, factor: u64) -> Self {
        Integer::new(self.negative, self.size.times(&Natural::from(factor)))
    }
}

impl Ord for Integer {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self.negative, other.negative) {
            (false, true) => Ordering::Greater,
            (true, false) => Ordering::Less,
            (false, false) => self.size.cmp(&other.size),
            (true, true) => other.size.cmp(&self.size),
        }
    }
}

impl PartialOrd for Integer {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Bits of the quotient that are formed: more than 53, so that one sticky bit makes the rounding right.
const QUOTIENT_BITS: u32 = 56;

/// `numerator / denominator · 2^exponent`, rounded once to the nearest double, ties to even.
///
/// # Panics
/// If the denominator is zero.
pub fn nearest_f64(numerator: &Natural, denominator: &Natural, exponent: i32) -> f64 {
    assert!(!denominator.is_zero(), "a mean is over at least one sample");
    if numerator.is_zero() {
        return 0.0;
    }
    // Zero limbs at the low end are only a power of two.
    let zeros = numerator.0.iter().take_while(|limb| **limb == 0).count();
    match (small(&numerator.0[zeros..]), small(&denominator.0)) {
        (Some(n), Some(d)) if d <= u128::from(u64::MAX) => nearest_f64_small(n, d, exponent + 32 * zeros as i32),
        _ => nearest_f64_large(numerator, denominator, exponent),
    }
}

/// A number of at most four limbs.
fn small(limbs: &[u32]) -> Option<u128> {
    (limbs.len() <= 4).then(|| limbs.iter().rev().fold(0, |number, limb| number << 32 | u128::from(*limb)))
}

/// [`nearest_f64`] by the machine's own division. `denominator` is below 2⁶⁴.
fn nearest_f64_small(numerator: u128, denominator: u128, exponent: i32) -> f64 {
    let up = numerator.leading_zeros();
    let (scaled, exponent) = (numerator << up, exponent - up as i32);
    let (quotient, rest) = (scaled / denominator, scaled % denominator);
    // At least 64 bits, of which the highest are kept.
    let down = 128 - quotient.leading_zeros() - QUOTIENT_BITS;
    let sticky = rest != 0 || quotient.trailing_zeros() < down;
    round((quotient >> down) as u64, sticky, exponent + down as i32)
}

fn nearest_f64_large(numerator: &Natural, denominator: &Natural, exponent: i32) -> f64 {
    // Scale so that the quotient has QUOTIENT_BITS bits, or one less.
    let shift = QUOTIENT_BITS as i32 - 1 - (numerator.bit_length() as i32 - denominator.bit_length() as i32);
    let up = |n: &Natural, by: i32| n.shifted(by.max(0) as u32);
    let mut rest = up(numerator, shift);
    let divisor = up(denominator, -shift).shifted(QUOTIENT_BITS - 1);
    let mut quotient = 0u64;
    for _ in 0..QUOTIENT_BITS {
        quotient <<= 1;
        if let Some(less) = rest.minus(&divisor) {
            quotient |= 1;
            rest = less;
        }
        rest = rest.shifted(1);
    }
    round(quotient, !rest.is_zero(), exponent - shift)
}

/// `(quotient + a little if sticky) · 2^exponent` as a double. The quotient has at least 54 bits.
fn round(quotient: u64, sticky: bool, exponent: i32) -> f64 {
    const LOWEST: i32 = -1074;
    let top = exponent + 63 - quotient.leading_zeros() as i32;
    if top > 1023 {
        return f64::INFINITY;
    }
    let last = (top - 52).max(LOWEST);
    let dropped = last - exponent;
    if dropped > 63 {
        return 0.0;
    }
    let (kept, low) = (quotient >> dropped, quotient & ((1u64 << dropped) - 1));
    let half = 1u64 << (dropped - 1);
    let up = low > half || (low == half && (sticky || kept & 1 == 1));
    // A carry out of the fraction moves into the exponent by itself, up to infinity.
    f64::from_bits(kept + u64::from(up) + (((last - LOWEST) as u64) << 52))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ratio(a: u64, b: u64, e: i32) -> f64 {
        nearest_f64(&Natural::from(a), &Natural::from(b), e)
    }

    #[test]
    fn a_quotient_of_small_numbers_is_the_machines() {
        for a in [1u64, 2, 3, 7, 10, 1 << 52, (1 << 53) - 1, 12345678901] {
            for b in [1u64, 3, 7, 10, 49, (1 << 53) - 1, 99999999977] {
                assert_eq!(ratio(a, b, 0), a as f64 / b as f64, "{a}/{b}");
            }
        }
    }

    #[test]
    fn small_and_large_numbers_round_alike() {
        let mut state = 0x9E37_79B9_7F4A_7C15u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state >> (state % 64)
        };
        for i in 0..2000 {
            let (high, low, d) = (next(), next(), next().max(1));
            let n = u128::from(high) << 64 | u128::from(low);
            if n == 0 {
                continue;
            }
            let natural = Natural::from(high).shifted(64 + i % 3 * 32);
            let natural =
                if i % 3 == 0 { Natural::new((0..4).map(|k| (n >> (32 * k)) as u32).collect()) } else { natural };
            if natural.is_zero() {
                continue;
            }
            for exponent in [-1074, -1100, -300, 0, 900] {
                let found = nearest_f64(&natural, &Natural::from(d), exponent);
                let expected = nearest_f64_large(&natural, &Natural::from(d), exponent);
                assert_eq!(found.to_bits(), expected.to_bits(), "{natural:?} / {d} · 2^{exponent}");
            }
        }
    }

    #[test]
    fn ties_go_to_even_and_a_sticky_bit_breaks_them() {
        let tie = (1u64 << 54) + 2;
        assert_eq!(ratio(tie, 1, 0), (1u64 << 54) as f64);
        assert_eq!(ratio(tie + 4, 1, 0), ((1u64 << 54) + 8) as f64);
        let mut over = Natural::from(tie).shifted(200);
        over = over.minus(&Natural::from(0)).expect("x - 0 = x");
        over.0[0] |= 1;
        assert_eq!(nearest_f64(&over, &Natural::from(1), -200), ((1u64 << 54) + 4) as f64);
    }

    #[test]
    fn the_ends_of_the_range_round_as_ieee_says() {
        assert_eq!(ratio(1, 1, -1074), f64::from_bits(1));
        assert_eq!(ratio(1, 2, -1074), 0.0);
        assert_eq!(ratio(3, 2, -1074), f64::from_bits(2));
        assert_eq!(ratio(3, 4, -1074), f64::from_bits(1));
        assert_eq!(ratio((1 << 53) - 1, 1, 971), f64::MAX);
        assert_eq!(ratio((1 << 54) - 1, 1, 970), f64::INFINITY);
        assert_eq!(ratio(1, 1, 1024), f64::INFINITY);
        assert_eq!(ratio((1 << 53) - 1, 2, -1074), f64::MIN_POSITIVE);
    }

    #[test]
    fn integers_compare_by_sign_first() {
        let int = |n: i64| Integer::new(n < 0, Natural::from(n.unsigned_abs()));
        let mut all = [3, -5, 0, 7, -1].map(int);
        all.sort();
        assert_eq!(all, [-5, -1, 0, 3, 7].map(int));
    }
}
