//! What a probe saw of the source: the list of shown pictures, which everything after it is held to.

use super::wire;
use alloc::string::String;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// Version of the encoding.
pub const FORMAT: u8 = 1;
/// Most pictures of a source: 19 hours at 60 a second.
pub const FRAMES_MAX: usize = 1 << 22;
/// Longest encoding of a film. Units: bytes.
pub const FILM_BYTES_MAX: u64 = 32 * FRAMES_MAX as u64;

/// An audio track of the source.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Sound {
    /// Among all streams.
    pub stream: u32,
    /// ffmpeg's name of its codec.
    pub codec: String,
}

/// The source, as decoded from its beginning to its end.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Film {
    pub format: u8,
    /// Class of the agent that must make all of a job whose bytes depend on it; else empty.
    pub agent_class: String,
    /// ffmpeg's name of the container.
    pub demuxer: String,
    /// The video stream, among all streams.
    pub stream: u32,
    /// Seconds of a tick: numerator, denominator.
    pub time_base: (u32, u32),
    pub width: u32,
    pub height: u32,
    /// ffmpeg's name of the pixels' format.
    pub pix_fmt: String,
    /// Of the first picture shown. Units: ticks, here and below.
    pub first_pts: u64,
    /// From each picture to the next, at least 1.
    pub gaps: Vec<u64>,
    /// How long the last one is shown.
    pub last_duration: u64,
    /// MD5 of each picture's pixels as decoded, before any filter.
    pub pixels: Vec<[u8; 16]>,
    /// Pictures that stand for themselves, ascending.
    pub keys: Vec<u32>,
    pub sounds: Vec<Sound>,
}

impl Film {
    pub fn encode(&self) -> Vec<u8> {
        wire::encode(self)
    }

    /// Reads back a film, refusing one that could not be.
    pub fn decode(bytes: &[u8]) -> Option<Film> {
        let film: Film = wire::decode(bytes)?;
        let count = film.pixels.len();
        let (num, den) = film.time_base;
        let scale = (1..=1_000_000).contains(&num) && (1..=i32::MAX as u32).contains(&den);
        let ends = film.gaps.iter().try_fold(film.first_pts, |pts, gap| pts.checked_add(*gap))?;
        let ends = ends.checked_add(film.last_duration)?.checked_mul(u64::from(num))?;
        let times = film.gaps.iter().all(|g| *g >= 1)
            && film.last_duration >= 1
            && ends <= u64::from(den) * super::pack::SECONDS_MAX;
        let counts = (1..=FRAMES_MAX).contains(&count) && film.gaps.len() + 1 == count;
        let keys = film.keys.is_sorted_by(|a, b| a < b) && film.keys.iter().all(|k| (*k as usize) < count);
        let texts = film.agent_class.len() <= 200 && film.demuxer.len() <= 200 && film.sounds.len() <= 256;
        let word = |text: &str| text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()) && text.len() <= 32;
        let texts = texts && word(&film.pix_fmt) && !film.pix_fmt.is_empty();
        let good = film.format == FORMAT && scale && times && counts && keys && texts;
        good.then_some(film)
    }

    /// Pictures shown.
    pub fn frames(&self) -> u32 {
        self.pixels.len() as u32
    }

    /// Time stamps of all pictures, ascending. Units: ticks.
    pub fn pts(&self) -> Vec<u64> {
        let mut pts = Vec::with_capacity(self.pixels.len());
        pts.push(self.first_pts);
        let mut at = self.first_pts;
        for gap in &self.gaps {
            at += gap;
            pts.push(at);
        }
        pts
    }

    /// From the first picture's start to the last one's end. Units: ticks.
    pub fn duration(&self) -> u64 {
        self.gaps.iter().sum::<u64>() + self.last_duration
    }
}
