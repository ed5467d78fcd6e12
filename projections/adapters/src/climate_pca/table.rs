//! Where each number of each member lies. Agents read values by this table and never a file's header.

use super::source::Source;
use alloc::vec;
use alloc::vec::Vec;
use core::ops::Range;
use forge_event::Digest;
use forge_projections::family::Fault;
use serde::{Deserialize, Serialize};

/// How a number is stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Number {
    F32,
    F64,
    BigI8,
    BigI16,
    BigI32,
    BigF32,
    BigF64,
}

impl Number {
    /// Units: bytes.
    pub fn bytes(self) -> u64 {
        match self {
            Number::BigI8 => 1,
            Number::BigI16 => 2,
            Number::F32 | Number::BigI32 | Number::BigF32 => 4,
            Number::F64 | Number::BigF64 => 8,
        }
    }

    /// Decodes a run of numbers; each is exact as a double.
    fn decode(self, bytes: &[u8], out: &mut [f64]) {
        fn each<const N: usize>(bytes: &[u8], out: &mut [f64], number: fn([u8; N]) -> f64) {
            for (value, bytes) in out.iter_mut().zip(bytes.chunks_exact(N)) {
                *value = number(bytes.try_into().expect("chunks of N bytes"));
            }
        }
        match self {
            Number::F32 => each(bytes, out, |b| f64::from(f32::from_le_bytes(b))),
            Number::F64 => each(bytes, out, f64::from_le_bytes),
            Number::BigI8 => each(bytes, out, |b| f64::from(i8::from_be_bytes(b))),
            Number::BigI16 => each(bytes, out, |b| f64::from(i16::from_be_bytes(b))),
            Number::BigI32 => each(bytes, out, |b| f64::from(i32::from_be_bytes(b))),
            Number::BigF32 => each(bytes, out, |b| f64::from(f32::from_be_bytes(b))),
            Number::BigF64 => each(bytes, out, f64::from_be_bytes),
        }
    }
}

/// The numbers of one member.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Member {
    pub blob: Digest,
    pub samples: u64,
    /// Where the first sample begins. Units: bytes.
    pub first: u64,
    /// From a sample to the next. Units: bytes.
    pub stride: u64,
    pub number: Number,
    /// `scale_factor` and `add_offset`: value = RN(RN(stored · scale) + offset).
    pub packing: Option<(f64, f64)>,
    /// Stored numbers that mark what is missing, besides NaN.
    pub missing: Vec<f64>,
    /// False if only NaN may do so: then those numbers are no data either, and read as infinite.
    pub masks: bool,
}

impl Member {
    /// Values of `points` in one sample; NaN where one is missing. `bytes` is room that calls may share.
    ///
    /// # Errors
    /// As [`Source::read`].
    pub fn read<S: Source>(
        &self,
        source: &mut S,
        sample: u64,
        points: Range<u64>,
        bytes: &mut Vec<u8>,
        out: &mut [f64],
    ) -> Result<(), S::Error> {
        let first = self.first + sample * self.stride + points.start * self.number.bytes();
        bytes.resize(((points.end - points.start) * self.number.bytes()) as usize, 0);
        source.read(&self.blob, first, bytes)?;
        self.number.decode(bytes, out);
        let marked = if self.masks { f64::NAN } else { f64::INFINITY };
        // These leave every number as it is, even −0.
        let (scale, offset) = self.packing.unwrap_or((1.0, -0.0));
        for stored in out.iter_mut() {
            let missing = self.missing.contains(stored);
            *stored = if missing { marked } else { *stored * scale + offset };
        }
        Ok(())
    }
}

/// All members, and the shape they share.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Table {
    pub members: Vec<Member>,
    /// Lengths of the axes of one sample, the last one running fastest.
    pub space: Vec<u64>,
    /// Each member has its own mean.
    pub center_member: bool,
}

impl Table {
    /// Samples of all members.
    pub fn samples(&self) -> u64 {
        self.members.iter().map(|m| m.samples).sum()
    }

    /// Points of a sample, masked ones included.
    pub fn points(&self) -> u64 {
        self.space.iter().product()
    }

    /// Means a point has.
    pub fn groups(&self) -> usize {
        if self.center_member { self.members.len() } else { 1 }
    }

    /// Member, and sample within it, of a sample counted through all members.
    ///
    /// # Panics
    /// If there are not that many.
    pub fn locate(&self, sample: u64) -> (usize, u64) {
        let mut left = sample;
        for (i, member) in self.members.iter().enumerate() {
            if left < member.samples {
                return (i, left);
            }
            left -= member.samples;
        }
        panic!("sample {sample} is past the last one");
    }

    /// Blobs of the members that these samples lie in, ascending.
    pub fn blobs(&self, samples: &[Range<u64>]) -> Vec<Digest> {
        let mut blobs = Vec::new();
        let mut first = 0;
        for member in &self.members {
            let end = first + member.samples;
            if samples.iter().any(|range| range.start < end && first < range.end) {
                blobs.push(member.blob);
            }
            first = end;
        }
        blobs.sort_unstable();
        blobs.dedup();
        blobs
    }

    /// Values of `points` in one sample, NaN where one is missing.
    ///
    /// # Errors
    /// As [`Source::read`].
    pub fn row<S: Source>(&self, source: &mut S, sample: u64, points: Range<u64>) -> Result<Vec<f64>, S::Error> {
        let (member, local) = self.locate(sample);
        let mut out = vec![0.0; (points.end - points.start) as usize];
        self.members[member].read(source, local, points, &mut Vec::new(), &mut out)?;
        Ok(out)
    }
}

/// What is wrong with the numbers themselves.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum Wrong {
    /// Infinite.
    Infinite,
    /// Beyond [`VALUE_MAX`].
    TooLarge,
    /// Missing here and not in the first sample of all, or the other way round.
    MaskDiffers,
}

/// Largest magnitude: squares of sums of squares of these still are finite.
pub const VALUE_MAX: f64 = 1e60;

/// The first number that is wrong, by sample and then by point.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Bad {
    /// Counted through all members.
    pub sample: u64,
    pub point: u64,
    pub wrong: Wrong,
}

impl Wrong {
    /// What is wrong with `value`, where `masked` says whether the first sample misses it.
    pub fn of(value: f64, masked: bool) -> Option<Wrong> {
        if value.is_nan() != masked {
            Some(Wrong::MaskDiffers)
        } else if value.is_infinite() {
            Some(Wrong::Infinite)
        } else if value.abs() > VALUE_MAX {
            Some(Wrong::TooLarge)
        } else {
            None
        }
    }
}

impl Bad {
    /// Code and sentence, with the place in the member's own terms.
    pub fn fault(&self, table: &Table) -> Fault {
        let (member, sample) = table.locate(self.sample);
        let place = alloc::format!("member {member}, sample {sample}, point {}", self.point);
        match self.wrong {
            Wrong::Infinite => {
                let detail =
                    alloc::format!("{place} is infinite, or a fill value that mask \"nan\" would take for data");
                Fault::new("infinite-value", detail)
            }
            Wrong::TooLarge => {
                let detail = alloc::format!("{place} is beyond {VALUE_MAX:e} in size: is it a fill value?");
                Fault::new("value-too-large", detail)
            }
            Wrong::MaskDiffers => {
                let detail =
                    alloc::format!("{place} is missing in some samples only; a point is missing in all or none");
                Fault::new("mask-differs", detail)
            }
        }
    }
}
