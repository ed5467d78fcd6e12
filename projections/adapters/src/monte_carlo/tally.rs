//! What is known of a set of samples: the result of a shard, and the frozen mid-state of a job.
//!
//! Every part is an integer, a count or a set, so merging tallies of disjoint samples is exact.

use super::exact::Canonical;
use super::hist::Histogram;
use super::order;
use super::sketch::Sketch;
use super::tail::Kept;
use crate::json::CANONICAL_NAN;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// Version of the encoding.
pub const FORMAT: u8 = 1;

/// A double by its little-endian bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Bits([u8; 8]);

impl Bits {
    pub fn new(value: f64) -> Self {
        Bits(if value.is_nan() { CANONICAL_NAN } else { value.to_bits() }.to_le_bytes())
    }

    pub fn value(self) -> f64 {
        f64::from_bits(u64::from_le_bytes(self.0))
    }
}

/// Shape: postcard in this order. `min` and `max` are over what is not NaN, infinities included; NaN if nothing is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Tally {
    pub format: u8,
    /// Samples, NaN and infinite ones included.
    pub count: u64,
    pub nan: u64,
    pub positive_infinite: u64,
    pub negative_infinite: u64,
    /// Sum of the finite values.
    pub sum: Canonical,
    /// Sum of their exact squares.
    pub squares: Canonical,
    pub min: Bits,
    pub max: Bits,
    pub hist: Option<Histogram>,
    /// Of the finite values.
    pub sketch: Option<Sketch>,
    /// The largest values that are not NaN, in order.
    pub tail: Option<Vec<Kept>>,
}

impl Tally {
    /// Canonical bytes.
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_allocvec(self).expect("a tally has no value that postcard cannot write")
    }

    /// Reads back bytes that are the canonical ones of their tally.
    pub fn decode(bytes: &[u8]) -> Option<Tally> {
        let tally = Tally::decode_checked(bytes)?;
        // postcard reads a number in more than one spelling.
        (tally.encode() == bytes).then_some(tally)
    }

    /// The same for bytes that [`Tally::decode`] has read before.
    pub fn decode_checked(bytes: &[u8]) -> Option<Tally> {
        let (tally, rest) = postcard::take_from_bytes::<Tally>(bytes).ok()?;
        (rest.is_empty() && tally.format == FORMAT).then_some(tally)
    }
}

/// Least and greatest value so far, in the total order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Range {
    min: i64,
    max: i64,
}

impl Default for Range {
    fn default() -> Self {
        Range { min: i64::MAX, max: i64::MIN }
    }
}

impl Range {
    /// Takes in a batch; NaN is skipped.
    #[inline]
    pub fn add(&mut self, values: &[f64]) {
        for value in values {
            let key = order::key(value.to_bits());
            // NaN lies outside the infinities in this order.
            if (LOWEST..=HIGHEST).contains(&key) {
                self.min = self.min.min(key);
                self.max = self.max.max(key);
            }
        }
    }

    /// Takes in a tally's `min` and `max`.
    pub fn merge(&mut self, min: Bits, max: Bits) {
        self.add(&[min.value(), max.value()]);
    }

    /// The least value, NaN if there is none.
    pub fn min(self) -> Bits {
        if self.min > self.max { Bits::new(f64::NAN) } else { Bits::new(f64::from_bits(order::bits(self.min))) }
    }

    /// The greatest value, NaN if there is none.
    pub fn max(self) -> Bits {
        if self.min > self.max { Bits::new(f64::NAN) } else { Bits::new(f64::from_bits(order::bits(self.max))) }
    }
}

/// Key of +∞.
const HIGHEST: i64 = 0x7ff0_0000_0000_0000;
/// Key of −∞.
const LOWEST: i64 = !HIGHEST;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_skips_nan_and_holds_infinities() {
        let mut range = Range::default();
        assert!(range.min().value().is_nan() && range.max().value().is_nan());
        range.add(&[f64::NAN, -f64::NAN, 2.0, -1.0]);
        assert_eq!((range.min().value(), range.max().value()), (-1.0, 2.0));
        range.add(&[f64::INFINITY, f64::NEG_INFINITY]);
        assert_eq!((range.min().value(), range.max().value()), (f64::NEG_INFINITY, f64::INFINITY));
        assert_eq!((LOWEST, HIGHEST), (order::key(f64::NEG_INFINITY.to_bits()), order::key(f64::INFINITY.to_bits())));
    }
}
