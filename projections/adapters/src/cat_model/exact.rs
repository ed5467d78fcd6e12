//! Sums of doubles, and of products of two, rounded once.

use crate::monte_carlo::bigint::{Natural, nearest_f64};
use crate::monte_carlo::exact::{Accumulator, Canonical, SQUARE_LIMBS, SQUARE_UNIT, SUM_LIMBS, SUM_UNIT, parts};

/// An exact sum of finite doubles.
#[derive(Clone, Debug, Default)]
pub struct Total(Accumulator<SUM_LIMBS>);

impl Total {
    #[inline]
    pub fn add(&mut self, value: f64) {
        let (negative, size, bit) = parts(value.to_bits());
        self.0.add(negative, u128::from(size), bit);
    }

    /// The nearest double; infinite if the sum is past all of them.
    pub fn rounded(&self) -> f64 {
        rounded(&self.0.canonical(), SUM_UNIT)
    }
}

/// The sum of finite doubles, rounded once.
pub fn total(values: impl Iterator<Item = f64>) -> f64 {
    let mut total = Total::default();
    values.for_each(|value| total.add(value));
    total.rounded()
}

/// The sum of products of finite doubles, rounded once.
pub fn total_of_products(pairs: impl Iterator<Item = (f64, f64)>) -> f64 {
    let mut sum = Accumulator::<SQUARE_LIMBS>::default();
    for (a, b) in pairs {
        let ((a_negative, a, a_bit), (b_negative, b, b_bit)) = (parts(a.to_bits()), parts(b.to_bits()));
        // 53 bits by 53 bits.
        sum.add(a_negative != b_negative, u128::from(a) * u128::from(b), a_bit + b_bit);
    }
    rounded(&sum.canonical(), SQUARE_UNIT)
}

fn rounded(sum: &Canonical, unit: i32) -> f64 {
    let integer = sum.integer();
    let size = nearest_f64(&integer.size, &Natural::from(1), unit);
    if integer.negative { -size } else { size }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_are_exact_until_the_end() {
        let tiny = 2f64.powi(-30);
        let pairs = [(1.0 + tiny, 1.0 + tiny), (-1.0, 1.0), (-2.0, tiny)];
        assert_eq!(total_of_products(pairs.into_iter()), tiny * tiny);
        assert_eq!(total([0.1; 10].into_iter()), 1.0);
        assert!(total([f64::MAX; 2].into_iter()).is_infinite());
    }
}
