//! A quantile sketch whose buckets are cut by the float's own bits: no logarithm, exact merge.
//!
//! A bucket is a power of two and the next seven bits of the fraction, so 128 buckets an octave; its middle is
//! within 2⁻⁸ of every value in it. Below the normal range the same holds, with the true power of two.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// Bits of the fraction in a bucket's key.
const FRACTION_BITS: u32 = 7;
const BUCKETS_AN_OCTAVE: usize = 1 << FRACTION_BITS;
/// Octaves of finite doubles, from 2⁻¹⁰⁷⁴ on.
const OCTAVES: usize = 1074 + 1024;
/// Adds to the exponent field of a normal double to give its octave.
const OCTAVE_OF_FIELD: u32 = 1074 - 1023;
/// Key of the largest double, plus one.
pub const KEYS: u32 = (OCTAVES * BUCKETS_AN_OCTAVE) as u32;
/// A bucket's middle is off by at most this share of the value.
pub const RELATIVE_ERROR: f64 = 1.0 / 256.0;

/// The bucket of a finite double that is not zero.
#[inline]
pub fn key(value: f64) -> u32 {
    let size = value.to_bits() & (u64::MAX >> 1);
    let shifted = size >> (52 - FRACTION_BITS);
    if size >> 52 != 0 {
        return shifted as u32 + (OCTAVE_OF_FIELD << FRACTION_BITS);
    }
    let octave = 63 - size.leading_zeros();
    let fraction = size ^ 1 << octave;
    let fraction = match octave.checked_sub(FRACTION_BITS) {
        Some(down) => fraction >> down,
        None => fraction << (FRACTION_BITS - octave),
    };
    octave << FRACTION_BITS | fraction as u32
}

/// The middle of a bucket, as a positive double.
pub fn middle(key: u32) -> f64 {
    let octave = key >> FRACTION_BITS;
    let fraction = u64::from(key) & (BUCKETS_AN_OCTAVE as u64 - 1);
    if octave > OCTAVE_OF_FIELD {
        let field = u64::from(octave - OCTAVE_OF_FIELD);
        return f64::from_bits(field << 52 | fraction << (52 - FRACTION_BITS) | 1 << (51 - FRACTION_BITS));
    }
    // Units of the smallest subnormal; a bucket that is narrower than one unit is that unit.
    let doubled = ((BUCKETS_AN_OCTAVE as u64 | fraction) << 1 | 1) << octave;
    f64::from_bits((doubled >> (FRACTION_BITS + 1)).max(1))
}

/// Counts by bucket.
///
/// Invariant: keys ascend, no count is zero.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Sketch {
    pub zero: u64,
    /// `(key, count)` of the values above zero.
    pub positive: Vec<(u32, u64)>,
    /// The same for those below, by the key of their size.
    pub negative: Vec<(u32, u64)>,
}

impl Sketch {
    /// Adds the counts of `other`.
    pub fn merge(&mut self, other: &Sketch) {
        self.zero += other.zero;
        merge_side(&mut self.positive, &other.positive);
        merge_side(&mut self.negative, &other.negative);
    }

    /// All values counted, or `None` if that passes u64.
    pub fn total(&self) -> Option<u64> {
        let counts = self.positive.iter().chain(&self.negative).map(|(_, count)| *count);
        counts.into_iter().try_fold(self.zero, u64::checked_add)
    }

    /// The middle of the bucket that holds the value of this rank, from 0, in ascending order.
    pub fn at_rank(&self, rank: u64) -> Option<f64> {
        let negative = self.negative.iter().rev().map(|(key, count)| (-middle(*key), *count));
        let positive = self.positive.iter().map(|(key, count)| (middle(*key), *count));
        let mut passed = 0;
        for (value, count) in negative.chain(core::iter::once((0.0, self.zero))).chain(positive) {
            passed += count;
            if rank < passed {
                return Some(value);
            }
        }
        None
    }

    /// Buckets in use.
    pub fn len(&self) -> usize {
        self.positive.len() + self.negative.len()
    }

    /// True if no value but zeros was counted.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn merge_side(into: &mut Vec<(u32, u64)>, other: &[(u32, u64)]) {
    let mut at = 0;
    let mut missing = Vec::new();
    for (key, count) in other {
        at += into[at..].iter().take_while(|(k, _)| k < key).count();
        match into.get_mut(at) {
            Some((k, sum)) if k == key => *sum += count,
            _ => missing.push((*key, *count)),
        }
    }
    if !missing.is_empty() {
        into.extend_from_slice(&missing);
        // Two ascending runs: the stable sort merges them in one pass.
        into.sort_by_key(|(key, _)| *key);
    }
}

/// A sketch being filled: one page an octave, allocated when it is first met.
#[derive(Debug)]
pub struct DenseSketch {
    zero: u64,
    /// Place of each octave's page plus one, 0 for none; positive octaves first.
    places: Box<[u32]>,
    pages: Vec<[u64; BUCKETS_AN_OCTAVE]>,
}

impl Default for DenseSketch {
    fn default() -> Self {
        DenseSketch { zero: 0, places: vec![0; 2 * OCTAVES].into_boxed_slice(), pages: Vec::new() }
    }
}

impl DenseSketch {
    /// Counts finite values; NaN and infinities are skipped.
    pub fn add(&mut self, values: &[f64]) {
        for value in values.iter().filter(|v| v.is_finite()) {
            if *value == 0.0 {
                self.zero += 1;
                continue;
            }
            let key = key(*value) as usize;
            let side = if *value < 0.0 { OCTAVES } else { 0 };
            let place = &mut self.places[side + key / BUCKETS_AN_OCTAVE];
            if *place == 0 {
                self.pages.push([0; BUCKETS_AN_OCTAVE]);
                *place = self.pages.len() as u32;
            }
            self.pages[*place as usize - 1][key % BUCKETS_AN_OCTAVE] += 1;
        }
    }

    /// The counts as a [`Sketch`].
    pub fn sketch(&self) -> Sketch {
        let side = |from: usize| {
            let mut buckets = Vec::new();
            for (octave, place) in self.places[from..from + OCTAVES].iter().enumerate().filter(|(_, p)| **p != 0) {
                for (i, count) in self.pages[*place as usize - 1].iter().enumerate().filter(|(_, c)| **c != 0) {
                    buckets.push(((octave * BUCKETS_AN_OCTAVE + i) as u32, *count));
                }
            }
            buckets
        };
        Sketch { zero: self.zero, positive: side(0), negative: side(OCTAVES) }
    }
}

/// How a [`Sketch`] is frozen: keys as gaps, so that they ascend whatever the bytes say.
#[derive(Serialize, Deserialize)]
struct Frozen {
    zero: u64,
    positive: Vec<(u32, u64)>,
    negative: Vec<(u32, u64)>,
}

impl Serialize for Sketch {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let gaps = |side: &[(u32, u64)]| {
            let mut next = 0;
            let gap = |(key, count): &(u32, u64)| {
                let gap = key - next;
                next = key + 1;
                (gap, *count)
            };
            side.iter().map(gap).collect()
        };
        Frozen { zero: self.zero, positive: gaps(&self.positive), negative: gaps(&self.negative) }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Sketch {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let frozen = Frozen::deserialize(deserializer)?;
        let keys = |side: Vec<(u32, u64)>| {
            let mut next = 0u32;
            let mut buckets = Vec::with_capacity(side.len());
            for (gap, count) in side {
                let key = next.checked_add(gap).filter(|key| *key < KEYS && count > 0)?;
                buckets.push((key, count));
                next = key + 1;
            }
            Some(buckets)
        };
        let sides = keys(frozen.positive).zip(keys(frozen.negative));
        let (positive, negative) = sides.ok_or_else(|| serde::de::Error::custom("no such bucket"))?;
        Ok(Sketch { zero: frozen.zero, positive, negative })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_ascend_with_the_value() {
        let mut last = 0;
        let mut value = f64::from_bits(1);
        while value.is_finite() {
            let k = key(value);
            assert!(k >= last && k < KEYS, "{value:e}");
            last = k;
            value *= 1.37 + if value < 1e-320 { 1.0 } else { 0.0 };
        }
        assert_eq!(key(f64::MAX), KEYS - 1);
        assert_eq!(key(f64::from_bits(1)), 0);
    }

    #[test]
    fn a_middle_is_within_the_promised_error_of_its_bucket() {
        let in_octave = |e: u64| [1, (1 << 45) - 1, 0xfffff << 32].map(|fraction: u64| (e << 52) | fraction);
        let ends = (1..4000u64).chain((0..2046).flat_map(in_octave));
        for bits in ends {
            let value = f64::from_bits(bits);
            let middle = middle(key(value));
            assert_eq!(key(middle), key(value), "{value:e}");
            assert!((middle - value).abs() <= value * RELATIVE_ERROR, "{value:e} {middle:e}");
        }
    }

    #[test]
    fn a_rank_counts_from_the_lowest_value() {
        let mut dense = DenseSketch::default();
        dense.add(&[-8.0, -1.0, 0.0, -0.0, 1.0, 8.0, f64::NAN, f64::INFINITY]);
        let sketch = dense.sketch();
        assert_eq!(sketch.total(), Some(6));
        let near = |rank: u64, value: f64| {
            let found = sketch.at_rank(rank).expect("the rank exists");
            assert!((found - value).abs() <= value.abs() * RELATIVE_ERROR, "{rank}: {found}");
        };
        for (rank, value) in [-8.0, -1.0, 0.0, 0.0, 1.0, 8.0].into_iter().enumerate() {
            near(rank as u64, value);
        }
        assert_eq!(sketch.at_rank(6), None);
    }

    #[test]
    fn merging_is_adding_counts() {
        let of = |values: &[f64]| {
            let mut dense = DenseSketch::default();
            dense.add(values);
            dense.sketch()
        };
        let (a, b) = ([1.0, 3.0, -2.0, 0.0, 1e9], [2.0, 1.0, 7e-5, -2.0]);
        let mut merged = of(&a);
        merged.merge(&of(&b));
        let mut other_way = of(&b);
        other_way.merge(&of(&a));
        let whole: Vec<f64> = a.into_iter().chain(b).collect();
        assert_eq!((&merged, &other_way), (&of(&whole), &of(&whole)));
    }
}
