//! Subtitles of text: tracks as the source has them, as parts, and as the output must have them.
//!
//! All times are milliseconds from time 0, the same one that pictures and sound count from.

use super::codec::Container;
use super::pack::SECONDS_MAX;
use super::work::Blob;
use alloc::string::String;
use alloc::vec::Vec;
use forge_event::Digest;
use serde::{Deserialize, Serialize};

/// Most subtitle tracks of a source.
pub const TEXTS_MAX: usize = 64;
/// Most cues of a track.
pub const CUES_MAX: usize = 1 << 20;
/// Ticks of a second of a text track.
pub const TIMESCALE: u32 = 1000;
/// A sample of 3GPP timed text that shows nothing; one stands in every gap between two cues, and one behind the last.
pub const EMPTY: [u8; 2] = [0, 0];
/// Version of [`TextHead`]'s encoding.
pub const FORMAT: u8 = 1;
const CODEC_BYTES_MAX: usize = 32;

/// A subtitle track of the source, of text or not.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Text {
    /// Among all streams.
    pub stream: u32,
    /// ffmpeg's name of its codec.
    pub codec: String,
    /// Its samples are 3GPP timed text, which mp4 and mov take as they are.
    pub tx3g: bool,
    /// ISO 639-2, or `und`.
    pub language: [u8; 3],
    /// Players are to show it unless told otherwise.
    pub shown: bool,
}

impl Text {
    /// Whether an agent may have said it.
    pub fn is_plain(&self) -> bool {
        let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        let codec = (1..=CODEC_BYTES_MAX).contains(&self.codec.len()) && self.codec.bytes().all(word);
        codec && self.language.iter().all(u8::is_ascii_lowercase)
    }

    /// ffmpeg's name of its codec in the output; `None` if the container takes no such track.
    pub fn becomes(&self, container: Container) -> Option<&'static str> {
        match (self.codec.as_str(), container) {
            ("subrip" | "ass" | "ssa" | "mov_text" | "webvtt", Container::Mp4 | Container::Mov) => Some("mov_text"),
            ("subrip" | "mov_text", Container::Mkv) => Some("subrip"),
            ("ass" | "ssa", Container::Mkv) => Some("ass"),
            ("webvtt", Container::Mkv) => Some("webvtt"),
            _ => None,
        }
    }

    /// The encoder in ffmpeg's words.
    pub fn encoder(&self, container: Container) -> &'static str {
        match (self.codec.as_str(), container) {
            ("mov_text", Container::Mkv) => "subrip",
            (_, Container::Mkv) => "copy",
            ("mov_text", _) if self.tx3g => "copy",
            _ => "mov_text",
        }
    }
}

/// A text that is shown for a while.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Cue {
    pub start: u64,
    pub end: u64,
    pub bytes: u32,
    /// Of its packet in the output.
    pub md5: [u8; 16],
}

/// The head of a blob that is a text track.
///
/// For mp4 and mov the media are samples: each cue's, behind [`EMPTY`] where nothing is shown before it, and [`EMPTY`] at the
/// end. For mkv they are a Matroska file of one track. Without cues there are none.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TextHead {
    pub format: u8,
    pub language: [u8; 3],
    pub shown: bool,
    /// The sample entry of an ISO file, whole; empty for mkv.
    pub entry: Vec<u8>,
    pub cues: Vec<Cue>,
}

impl TextHead {
    /// Whether it is this track, made for this container.
    pub fn stands_for(&self, text: &Text, container: Container) -> bool {
        let latest = SECONDS_MAX * u64::from(TIMESCALE);
        let ends = || core::iter::once(0).chain(self.cues.iter().map(|c| c.end));
        let good = |(cue, before): (&Cue, u64)| match container {
            Container::Mkv => cue.start <= cue.end && cue.end <= latest,
            // Samples follow each other: cues that overlap have no place.
            _ => before <= cue.start && cue.start < cue.end && cue.end <= latest && cue.bytes as usize > EMPTY.len(),
        };
        self.format == FORMAT
            && (self.language, self.shown) == (text.language, text.shown)
            && self.entry.is_empty() == (container == Container::Mkv)
            && self.cues.len() <= CUES_MAX
            && self.cues.iter().zip(ends()).all(good)
    }

    /// Each cue, and how long nothing is shown before it.
    pub fn gaps(&self) -> impl Iterator<Item = (u64, &Cue)> {
        let ends = core::iter::once(0).chain(self.cues.iter().map(|c| c.end));
        self.cues.iter().zip(ends).map(|(cue, before)| (cue.start.saturating_sub(before), cue))
    }

    /// Bytes of all samples, for mp4 and mov.
    pub fn media_bytes(&self) -> u64 {
        let empties = self.gaps().filter(|(gap, _)| *gap > 0).count() + usize::from(!self.cues.is_empty());
        self.cues.iter().map(|cue| u64::from(cue.bytes)).sum::<u64>() + (empties * EMPTY.len()) as u64
    }
}

/// Result of a text track's shard.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Told {
    pub part: Blob,
    /// A track with none has no place in the output.
    pub cues: u32,
}

/// What a text track of the finished output must be, exactly.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Cued {
    pub cues: u32,
    /// BLAKE3 of start, end (u64 little-endian) and MD5 of each cue.
    pub digest: Digest,
}

impl Cued {
    pub fn of(cues: &[Cue]) -> Cued {
        let mut all = Vec::with_capacity(cues.len() * 32);
        for cue in cues {
            all.extend_from_slice(&cue.start.to_le_bytes());
            all.extend_from_slice(&cue.end.to_le_bytes());
            all.extend_from_slice(&cue.md5);
        }
        Cued { cues: cues.len() as u32, digest: Digest::of(&all) }
    }
}
