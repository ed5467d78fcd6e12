//! The largest values with their samples: exact quantiles of the upper tail.

use super::order;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::cmp::Reverse;
use serde::{Deserialize, Serialize};

/// Most values a job keeps; a quantile that needs more is the sketch's.
pub const KEPT_MAX: u64 = 1_000_000;

/// A value of the tail.
///
/// Ordered: the greater value first, then the lower sample.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Kept {
    value: Reverse<i64>,
    sample: u64,
}

impl Kept {
    pub fn new(value: f64, sample: u64) -> Self {
        Kept { value: Reverse(order::key(value.to_bits())), sample }
    }

    pub fn value(self) -> f64 {
        f64::from_bits(order::bits(self.value.0))
    }

    pub fn sample(self) -> u64 {
        self.sample
    }
}

impl Serialize for Kept {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (order::bits(self.value.0).to_le_bytes(), self.sample).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Kept {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (bits, sample) = <([u8; 8], u64)>::deserialize(deserializer)?;
        Ok(Kept::new(f64::from_bits(u64::from_le_bytes(bits)), sample))
    }
}

/// The tail of a shard being filled.
#[derive(Clone, Debug)]
pub struct Filling {
    keep: usize,
    kept: Vec<Kept>,
    /// The last value that still belongs to the tail, once it is full.
    worst: Option<Kept>,
}

impl Filling {
    /// A tail of the `keep` largest.
    pub fn new(keep: usize) -> Self {
        Filling { keep, kept: Vec::with_capacity(2 * keep), worst: None }
    }

    /// Takes the values of samples `first`, `first + 1`, …; NaN is skipped.
    pub fn add(&mut self, first: u64, values: &[f64]) {
        for (i, value) in values.iter().enumerate() {
            let kept = Kept::new(*value, first + i as u64);
            if self.worst.is_some_and(|worst| kept > worst) || value.is_nan() {
                continue;
            }
            self.kept.push(kept);
            if self.kept.len() >= 2 * self.keep {
                self.cut();
            }
        }
    }

    /// The tail, in order.
    pub fn finish(mut self) -> Vec<Kept> {
        self.kept.sort_unstable();
        self.kept.truncate(self.keep);
        self.kept
    }

    fn cut(&mut self) {
        let (_, worst, _) = self.kept.select_nth_unstable(self.keep - 1);
        self.worst = Some(*worst);
        self.kept.truncate(self.keep);
    }
}

/// The tail of a job, merged from those of its shards.
#[derive(Clone, Debug)]
pub struct Merged {
    keep: usize,
    kept: BTreeSet<Kept>,
}

impl Merged {
    /// A tail of the `keep` largest.
    pub fn new(keep: usize) -> Self {
        Merged { keep, kept: BTreeSet::new() }
    }

    /// Takes in a tail, which is in order.
    pub fn merge(&mut self, other: &[Kept]) {
        for kept in other {
            if self.kept.len() >= self.keep && self.kept.last().is_some_and(|worst| worst < kept) {
                break;
            }
            self.kept.insert(*kept);
            if self.kept.len() > self.keep {
                self.kept.pop_last();
            }
        }
    }

    /// In order, largest value first.
    pub fn kept(&self) -> impl ExactSizeIterator<Item = Kept> + '_ {
        self.kept.iter().copied()
    }

    /// Values held.
    pub fn len(&self) -> usize {
        self.kept.len()
    }

    /// True if no value is held.
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn samples(kept: &[Kept]) -> Vec<u64> {
        kept.iter().map(|k| k.sample()).collect()
    }

    #[test]
    fn ties_keep_the_lower_sample() {
        let mut tail = Filling::new(3);
        tail.add(10, &[1.0, 5.0, 5.0, f64::NAN, 5.0, 5.0, 2.0, 5.0]);
        assert_eq!(samples(&tail.finish()), vec![11, 12, 14]);
    }

    #[test]
    fn merged_tails_are_the_tail_of_the_whole() {
        let values: Vec<f64> = (0..200).map(|i| f64::from((i * 7919) % 31)).collect();
        let tail = |first: usize, values: &[f64]| {
            let mut tail = Filling::new(20);
            tail.add(first as u64, values);
            tail.finish()
        };
        let mut merged = Merged::new(20);
        for (i, part) in values.chunks(13).enumerate().collect::<Vec<_>>().into_iter().rev() {
            merged.merge(&tail(13 * i, part));
        }
        assert_eq!(merged.kept().collect::<Vec<_>>(), tail(0, &values));
    }
}
