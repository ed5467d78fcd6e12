//! Parts of the output: encoded pictures of a shard's cells, or an audio track, as blobs.
//!
//! A blob is a u32 (little-endian) length, that many bytes of head, then the media, sample after sample in decoding order.
//! Time stamps of pictures are not in it: a sample says the rank of its picture in its cell, and the film knows the time.

use super::wire;
use alloc::vec::Vec;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Version of the encoding.
pub const FORMAT: u8 = 1;
/// Longest head. Units: bytes.
pub const HEAD_BYTES_MAX: u32 = 64 << 20;
/// Longest time that is counted. Units: seconds, about three years.
pub const SECONDS_MAX: u64 = 100_000_000;
/// Bytes before the head.
pub const PREFIX: usize = 4;

/// An encoded picture.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Sample {
    pub bytes: u32,
    /// Its place among the pictures of its cell as they are shown, from 0.
    pub rank: u32,
    /// Decoding can start here.
    pub sync: bool,
}

/// An encoded cell.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Cell {
    /// In decoding order.
    pub samples: Vec<Sample>,
    /// MD5 of each picture as it went into the encoder, in the order shown; empty unless the codec keeps every pixel.
    pub pixels: Vec<[u8; 16]>,
}

impl Cell {
    /// Whether it may stand for `frames` pictures.
    pub fn stands_for(&self, frames: u32, lossless: bool) -> bool {
        let mut seen = alloc::vec![false; frames as usize];
        let ranks = self
            .samples
            .iter()
            .all(|s| seen.get_mut(s.rank as usize).is_some_and(|seen| !core::mem::replace(seen, true)));
        let sizes = self.samples.iter().all(|s| s.bytes > 0);
        let first = self.samples.first().is_some_and(|s| s.sync && s.rank == 0);
        let pixels = self.pixels.len() == if lossless { frames as usize } else { 0 };
        self.samples.len() == frames as usize && ranks && sizes && first && pixels
    }
}

/// The head of a blob of cells.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PackHead {
    pub format: u8,
    /// The sample entry of an ISO file, whole.
    pub entry: Vec<u8>,
    /// As shown. Units: 1/65536 pixel.
    pub width: u32,
    pub height: u32,
    pub cells: Vec<Cell>,
}

impl PackHead {
    /// Bytes of all samples.
    pub fn media_bytes(&self) -> u64 {
        self.cells.iter().flat_map(|c| &c.samples).map(|s| u64::from(s.bytes)).sum()
    }
}

/// Sizes of audio samples.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Sizes {
    Equal { bytes: u32, count: u32 },
    Each(Vec<u32>),
}

impl Sizes {
    pub fn count(&self) -> u64 {
        match self {
            Sizes::Equal { count, .. } => u64::from(*count),
            Sizes::Each(sizes) => sizes.len() as u64,
        }
    }

    pub fn get(&self, at: u64) -> u32 {
        match self {
            Sizes::Equal { bytes, .. } => *bytes,
            Sizes::Each(sizes) => sizes[at as usize],
        }
    }

    pub fn sum(&self) -> u64 {
        match self {
            Sizes::Equal { bytes, count } => u64::from(*bytes) * u64::from(*count),
            Sizes::Each(sizes) => sizes.iter().map(|s| u64::from(*s)).sum(),
        }
    }
}

/// The head of a blob that is an audio track.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SoundHead {
    pub format: u8,
    /// The sample entry of an ISO file, whole.
    pub entry: Vec<u8>,
    /// Ticks of a second, in which all times here are.
    pub timescale: u32,
    /// When the first sample is heard.
    pub start: u64,
    /// What is decoded before the first sample that is heard.
    pub skip: u64,
    /// From the first to the last sample that is heard.
    pub heard: u64,
    /// Runs: samples, duration of each.
    pub durations: Vec<(u32, u32)>,
    pub sizes: Sizes,
}

impl SoundHead {
    /// Whether it is a track at all.
    pub fn is_whole(&self) -> bool {
        let samples: u64 = self.durations.iter().map(|d| u64::from(d.0)).sum();
        let sizes = match &self.sizes {
            Sizes::Equal { bytes, .. } => *bytes > 0,
            Sizes::Each(sizes) => sizes.iter().all(|s| *s > 0),
        };
        let longest = u64::from(self.timescale) * SECONDS_MAX;
        let run = |(count, each): &(u32, u32)| u64::from(*count) * u64::from(*each);
        let media = self.durations.iter().map(run).try_fold(0u64, u64::checked_add).unwrap_or(u64::MAX);
        let times = [self.start, self.skip, self.heard, media].iter().all(|t| *t <= longest);
        let scale = (1..=i32::MAX as u32).contains(&self.timescale);
        self.format == FORMAT && samples == self.sizes.count() && samples > 0 && sizes && times && scale
    }
}

/// The bytes before the media.
pub fn front<T: Serialize>(head: &T) -> Vec<u8> {
    let head = wire::encode(head);
    let mut front = (head.len() as u32).to_le_bytes().to_vec();
    front.extend_from_slice(&head);
    front
}

/// Fills a buffer from a place of a blob on.
pub type Read<'a, E> = &'a mut dyn FnMut(u64, &mut [u8]) -> Result<(), E>;

/// Reads the head of a blob of `bytes`; gives it with the place of the first media byte, or `None` if it is not one.
///
/// # Errors
/// What `read` says.
pub fn head<T: Serialize + DeserializeOwned, E>(bytes: u64, read: Read<'_, E>) -> Result<Option<(T, u64)>, E> {
    if bytes < PREFIX as u64 {
        return Ok(None);
    }
    let mut prefix = [0; PREFIX];
    read(0, &mut prefix)?;
    let length = u32::from_le_bytes(prefix);
    let media = PREFIX as u64 + u64::from(length);
    if length > HEAD_BYTES_MAX || media > bytes {
        return Ok(None);
    }
    let mut head = alloc::vec![0; length as usize];
    read(PREFIX as u64, &mut head)?;
    Ok(wire::decode(&head).map(|head| (head, media)))
}
