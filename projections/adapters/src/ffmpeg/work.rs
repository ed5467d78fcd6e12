//! The stages of a job: what their plans say, what agents are given, what they answer.

use super::codec::{Audio, Container, Video};
use super::film::{Film, Sound};
use super::texts::{Cued, Text, Told};
use super::wire;
use alloc::string::String;
use alloc::vec::Vec;
use forge_event::Digest;
use serde::{Deserialize, Serialize};

/// Version of payloads, plans and results together.
pub const FORMAT: u8 = 1;
/// Version of plans that say something of subtitles.
pub const FORMAT_TEXTS: u8 = 2;

/// A blob and its length.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Blob {
    pub digest: Digest,
    pub bytes: u64,
}

/// An audio track to encode.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Track {
    /// Among all streams of the source.
    pub stream: u32,
    pub audio: Audio,
    /// It travels as mov, not as mp4.
    pub quicktime: bool,
}

/// An encoded audio track.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Heard {
    pub part: Blob,
    /// Per channel, as decoded.
    pub samples: u64,
    /// MD5 of the decoded samples as `pcm_s32le`, if the codec keeps every sample.
    pub md5: Option<[u8; 16]>,
}

/// What the finished output must be, exactly.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Expected {
    pub frames: u32,
    /// Ticks of a second in the output.
    pub timescale: u32,
    /// BLAKE3 of all time stamps in those ticks, u64 little-endian.
    pub pts: Digest,
    /// BLAKE3 of the MD5s of all pictures, if the codec keeps every pixel.
    pub pixels: Option<Digest>,
    /// Of each track: samples (`None`: not compared), and MD5 as in [`Heard`].
    pub audio: Vec<(Option<u64>, Option<[u8; 16]>)>,
}

/// The same, of a job that copies subtitles.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ExpectedTexts {
    pub rest: Expected,
    pub texts: Vec<Cued>,
}

const SOUNDS_SEEN_MAX: usize = 32;
const CODEC_SEEN_MAX: usize = 32;

/// What the probe saw of the source, in short: for people.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Seen {
    pub width: u32,
    pub height: u32,
    pub pix_fmt: String,
    /// Seconds of a tick: numerator, denominator.
    pub time_base: (u32, u32),
    /// Units: ticks.
    pub duration: u64,
    /// Codecs of the first [`SOUNDS_SEEN_MAX`] audio tracks; words of an agent, cut to [`CODEC_SEEN_MAX`] characters.
    pub sounds: Vec<String>,
}

impl Seen {
    pub fn of(film: &Film) -> Seen {
        let named = |sound: &Sound| sound.codec.chars().take(CODEC_SEEN_MAX).collect();
        Seen {
            width: film.width,
            height: film.height,
            pix_fmt: film.pix_fmt.clone(),
            time_base: film.time_base,
            duration: film.duration(),
            sounds: film.sounds.iter().take(SOUNDS_SEEN_MAX).map(named).collect(),
        }
    }

    pub fn seconds(&self) -> f64 {
        self.duration as f64 * f64::from(self.time_base.0) / f64::from(self.time_base.1)
    }

    /// Pictures a second, on average.
    pub fn fps(&self, frames: u64) -> f64 {
        frames as f64 / self.seconds()
    }
}

/// What a stage's plan says, subtitles apart.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum Stage {
    /// One shard: looks at the whole source.
    Probe,
    /// A shard for each audio track, one for each subtitle track that is copied, then one for each `group` of cells.
    Parts { film: Blob, class: String, tracks: Vec<Track>, cells: Vec<u32>, group: u32, seen: Seen },
    /// One shard: puts the parts together.
    Mux { film: Blob, class: String, packs: Vec<Blob>, sounds: Vec<Heard> },
    /// One shard: decodes the output.
    Check { output: Blob, expected: Expected },
}

/// What subtitles add to a stage's plan.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum Texts {
    /// Nothing: they are dropped, or this is the probe.
    None,
    /// Of the parts: tracks to make, in the source's order.
    Tracks(Vec<Text>),
    /// Of the mux: what became of each.
    Parts(Vec<Told>),
    /// Of the check: each track of the output.
    Expected(Vec<Cued>),
}

impl Texts {
    pub fn tracks(&self) -> &[Text] {
        if let Texts::Tracks(tracks) = self { tracks } else { &[] }
    }

    pub fn parts(&self) -> &[Told] {
        if let Texts::Parts(parts) = self { parts } else { &[] }
    }

    /// The parts that have a place in the output.
    pub fn present(&self) -> impl Iterator<Item = &Told> {
        self.parts().iter().filter(|told| told.cues > 0)
    }
}

/// A stage's plan.
///
/// Encoded as a version and the stage; what subtitles add stands behind it, where there is something, so that plans of jobs
/// that drop them are what they were before subtitles could be copied.
#[derive(Clone, PartialEq, Debug)]
pub struct Body {
    pub stage: Stage,
    pub texts: Texts,
}

impl Body {
    pub fn encode(&self) -> Vec<u8> {
        match &self.texts {
            Texts::None => wire::encode(&(FORMAT, &self.stage)),
            texts => wire::encode(&(FORMAT_TEXTS, &self.stage, texts)),
        }
    }

    /// # Panics
    /// If `body` is not a plan of this version.
    pub fn of(body: &[u8]) -> Body {
        let read = match body.first() {
            Some(&FORMAT) => wire::decode::<(u8, Stage)>(body).map(|(_, stage)| Body { stage, texts: Texts::None }),
            Some(&FORMAT_TEXTS) => {
                wire::decode::<(u8, Stage, Texts)>(body).map(|(_, stage, texts)| Body { stage, texts })
            }
            _ => None,
        };
        read.expect("the body of a plan of this version")
    }
}

impl Stage {
    /// The body of a plan to which subtitles add nothing.
    pub fn encode(self) -> Vec<u8> {
        Body { stage: self, texts: Texts::None }.encode()
    }

    /// # Panics
    /// As [`Body::of`].
    pub fn of(body: &[u8]) -> Stage {
        Body::of(body).stage
    }
}

/// A shard, self-contained.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum Task {
    /// Answered by [`Probed`]. `bound`: the film names the agent's class.
    Probe { input: Digest, bound: bool },
    /// Answered by [`Packed`]: the cells that begin with picture `first`.
    Cells { input: Digest, film: Blob, video: Video, container: Container, first: u32, cells: Vec<u32> },
    /// Answered by [`Heard`].
    Audio { input: Digest, track: Track, container: Container },
    /// Answered by [`Blob`]: the output.
    Mux { film: Blob, packs: Vec<Blob>, sounds: Vec<Blob>, container: Container },
    /// Answered by [`Expected`], which the output was found to be.
    Check { output: Blob, expected: Expected },
    /// `Probe` of a job that copies subtitles, answered by [`ProbedTexts`].
    ProbeTexts { input: Digest, bound: bool },
    /// Answered by [`Told`]; `track` is among the source's subtitle tracks.
    Text { input: Digest, track: u32, text: Text, container: Container },
    /// `Mux` with subtitles.
    MuxTexts { film: Blob, packs: Vec<Blob>, sounds: Vec<Blob>, texts: Vec<Blob>, container: Container },
    /// `Check` with subtitles, answered by [`ExpectedTexts`].
    CheckTexts { output: Blob, expected: ExpectedTexts },
}

/// A payload.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Work {
    pub format: u8,
    /// The class of agents that must do it; empty: any.
    pub class: String,
    pub task: Task,
}

impl Work {
    pub fn encode(&self) -> Vec<u8> {
        wire::encode(self)
    }

    /// Reads a payload; `None` if it is not one of this version.
    pub fn decode(bytes: &[u8]) -> Option<Work> {
        wire::decode(bytes).filter(|work: &Work| work.format == FORMAT)
    }
}

/// Result of the probe.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Probed {
    pub film: Blob,
    pub frames: u32,
}

/// Result of the probe of a job that copies subtitles.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ProbedTexts {
    pub probed: Probed,
    /// All subtitle tracks of the source.
    pub texts: Vec<Text>,
}

/// Result of a shard of cells.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Packed {
    pub pack: Blob,
    pub frames: u32,
}
