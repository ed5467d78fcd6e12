//! The model `bootstrap`: a statistic of a column's values drawn again with replacement.
//!
//! A sample is one resample: n indices, drawn from the sample's own words of purpose 1, one after the other; a word that
//! Lemire's method rejects is passed over. `mean` adds the drawn values up from 0 in the order drawn and divides once.
//! `median` is the middle one in the order −∞ … −0, +0 … +∞, or `(lower + upper) / 2` of the two middle ones.
//!
//! Source: D. Lemire, "Fast random integer generation in an interval", ACM TOMACS 29 (2019), algorithm 5.

use super::philox::{Key, PURPOSE_RESAMPLE, block};
use crate::host::{Host, Stop};
use crate::npy::{Dtype, Header, NpyFault};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use forge_event::Digest;
use forge_projections::family::{Blobs, Fault, SpecFault};

/// Most values of a column: a sample takes some ten nanoseconds for each. Units: values.
pub const VALUES_MAX: u64 = 1 << 22;
/// Values read at once.
const PIECE_VALUES: u64 = 1 << 16;

/// The header of a column, or the fault of it.
fn check_header(header: &Header) -> Result<u64, (&'static str, String, &'static str)> {
    if header.dtype != Dtype::F64 {
        let fault = NpyFault::Dtype(header.dtype.descr().into());
        return Err((fault.code(), "a column's entries are <f8".into(), "write an array of float64"));
    }
    match header.shape[..] {
        [0] => Err(("empty-column", "the column has no values".into(), "upload one with values")),
        [count] if count > VALUES_MAX => {
            let detail = format!("the column has {count} values; at most {VALUES_MAX} are resampled");
            Err(("out-of-range", detail, "take fewer values"))
        }
        [count] => Ok(count),
        _ => {
            let detail = format!("the column has {} axes; it must have one", header.shape.len());
            Err(("npy-shape", detail, "write one column, as in numpy.save(file, a[:, 0])"))
        }
    }
}

/// Values of a column, as the hub sees it.
///
/// # Errors
/// A blob that is not there or no column.
pub fn values_in(blobs: &dyn Blobs, column: &Digest) -> Result<u64, Fault> {
    let header = Header::of_blob(blobs, column)?;
    check_header(&header).map_err(|(code, detail, _)| Fault::new(code, detail))
}

/// Looks at a whole column, before the job is taken.
///
/// # Errors
/// The first fault, at `pointer`.
pub fn check_column(blobs: &dyn Blobs, column: &Digest, pointer: &str) -> Result<(), SpecFault> {
    let fault =
        |code, detail, fix: &str| SpecFault { pointer: pointer.into(), code, detail, fix: Some(String::from(fix)) };
    let header = Header::of_blob(blobs, column).map_err(|f| f.at(pointer))?;
    let count = check_header(&header).map_err(|(code, detail, fix)| fault(code, detail, fix))?;
    let mut piece = alloc::vec![0; 8 * PIECE_VALUES.min(count) as usize];
    for first in (0..count).step_by(PIECE_VALUES as usize) {
        let piece = &mut piece[..8 * PIECE_VALUES.min(count - first) as usize];
        blobs
            .read(column, header.data_start + 8 * first, piece)
            .map_err(|f| fault(f.code, f.detail, "upload the file again, whole"))?;
        if let Some(i) = doubles(piece).position(f64::is_nan) {
            let detail = format!("value {} of the column, counted from 0, is not a number", first + i as u64);
            return Err(fault("nan-in-column", detail, "leave out what is missing"));
        }
    }
    Ok(())
}

/// A whole column, as a shard sees it.
///
/// # Errors
/// What the host says, or [`Stop::Failed`] for what is no column.
pub fn read(host: &mut dyn Host, column: &Digest) -> Result<Vec<f64>, Stop> {
    let header = Header::of_host(host, column)?;
    let count = check_header(&header).map_err(|(code, detail, _)| Stop::failed(code, detail))?;
    let mut values = Vec::with_capacity(count as usize);
    let mut piece = alloc::vec![0; 8 * PIECE_VALUES.min(count) as usize];
    for first in (0..count).step_by(PIECE_VALUES as usize) {
        let piece = &mut piece[..8 * PIECE_VALUES.min(count - first) as usize];
        host.read(column, header.data_start + 8 * first, piece)?;
        values.extend(doubles(piece));
    }
    Ok(values)
}

fn doubles(bytes: &[u8]) -> impl Iterator<Item = f64> {
    bytes.chunks_exact(8).map(|b| f64::from_le_bytes(b.try_into().expect("a chunk of eight bytes")))
}

/// Words of a sample, in order.
struct Words<'a> {
    key: &'a Key,
    sample: u64,
    number: u64,
    words: [u64; 4],
    at: usize,
}

impl<'a> Words<'a> {
    fn new(key: &'a Key, sample: u64) -> Self {
        Words { key, sample, number: 0, words: [0; 4], at: 4 }
    }

    #[inline]
    fn next(&mut self) -> u64 {
        if self.at == 4 {
            self.number += 1;
            self.words = block(self.key, [self.number, self.sample, 0, PURPOSE_RESAMPLE]);
            self.at = 0;
        }
        self.at += 1;
        self.words[self.at - 1]
    }

    /// An integer below `bound`, which is not 0, each as likely as any other.
    #[inline]
    fn below(&mut self, bound: u64) -> u64 {
        loop {
            let product = u128::from(self.next()) * u128::from(bound);
            let low = product as u64;
            // The remainder is a division, and rarely asked for.
            if low >= bound || low >= bound.wrapping_neg() % bound {
                return (product >> 64) as u64;
            }
        }
    }
}

/// The model with its column.
#[derive(Debug)]
pub struct Resample {
    key: Key,
    column: Vec<f64>,
    median: bool,
    drawn: Vec<f64>,
}

impl Resample {
    /// `column` is not empty.
    pub fn new(seed: u64, stream: u64, column: Vec<f64>, median: bool) -> Resample {
        assert!(!column.is_empty(), "a column that was read has a value");
        Resample { key: Key::new(seed, stream), drawn: Vec::with_capacity(column.len()), column, median }
    }

    /// The values of the samples `first`, `first + 1`, ….
    pub fn evaluate(&mut self, first: u64, values: &mut [f64]) {
        let count = self.column.len() as u64;
        for (i, value) in values.iter_mut().enumerate() {
            let mut words = Words::new(&self.key, first.wrapping_add(i as u64));
            let drawn = (0..count).map(|_| self.column[words.below(count) as usize]);
            *value = if self.median {
                self.drawn.clear();
                self.drawn.extend(drawn);
                median(&mut self.drawn)
            } else {
                drawn.fold(0.0, |sum, value| sum + value) / count as f64
            };
        }
    }
}

/// The middle of at least one value; their order changes.
fn median(values: &mut [f64]) -> f64 {
    let middle = values.len() / 2;
    let even = values.len().is_multiple_of(2);
    let (below, upper, _) = values.select_nth_unstable_by(middle, f64::total_cmp);
    let upper = *upper;
    match below.iter().copied().max_by(f64::total_cmp).filter(|_| even) {
        Some(lower) => (lower + upper) / 2.0,
        None => upper,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_the_middle_of_what_is_sorted() {
        assert_eq!(median(&mut [3.0]), 3.0);
        assert_eq!(median(&mut [3.0, 1.0]), 2.0);
        assert_eq!(median(&mut [9.0, 1.0, 4.0]), 4.0);
        assert_eq!(median(&mut [9.0, 1.0, 4.0, 2.0]), 3.0);
        assert_eq!(median(&mut [-0.0, 0.0, -0.0]).to_bits(), (-0.0f64).to_bits());
        assert_eq!(median(&mut [1.0, f64::INFINITY, f64::NEG_INFINITY]), 1.0);
    }

    #[test]
    fn indices_are_below_their_bound_and_reach_every_value() {
        let key = Key::new(1, 2);
        for bound in [1, 2, 3, 7, 1000, (1 << 63) + 1] {
            let mut words = Words::new(&key, 5);
            let mut seen = [false; 7];
            for _ in 0..200 {
                let index = words.below(bound);
                assert!(index < bound);
                if let Some(seen) = seen.get_mut(index as usize) {
                    *seen = true;
                }
            }
            assert!(bound > 7 || seen[..bound as usize].iter().all(|seen| *seen));
        }
        // Nearly half of all words are rejected for a bound just above a half of all: their number shows it.
        let mut words = Words::new(&key, 5);
        (0..200).for_each(|_| assert!(words.below((1 << 63) + 1) <= 1 << 63));
        assert!(words.number > 75, "{}", words.number);
    }
}
