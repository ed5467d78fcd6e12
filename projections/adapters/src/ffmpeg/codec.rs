//! The codecs, options and filters that a job may name, and what they are in ffmpeg's own words.
//!
//! Nothing that a client writes reaches a command line but numbers and words of the lists here.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// Where streams go.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Container {
    Mp4,
    Mov,
    Mkv,
}

impl Container {
    /// In the order of the enum.
    pub const WORDS: [&'static str; 3] = ["mp4", "mov", "mkv"];

    pub fn word(self) -> &'static str {
        Container::WORDS[self as usize]
    }
}

/// A video encoder.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum VideoCodec {
    X264,
    X265,
    SvtAv1,
    Vp9,
    Ffv1,
}

const PIXELS_8: [&str; 3] = ["yuv420p", "yuv422p", "yuv444p"];
const PIXELS: [&str; 8] =
    ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv422p10le", "yuv444p10le", "gray", "gray10le"];
const PRESETS: [&str; 9] =
    ["ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow"];
const SPEEDS: [&str; 14] = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13"];

impl VideoCodec {
    pub const ALL: [VideoCodec; 5] =
        [VideoCodec::X264, VideoCodec::X265, VideoCodec::SvtAv1, VideoCodec::Vp9, VideoCodec::Ffv1];
    /// In the order of [`VideoCodec::ALL`].
    pub const WORDS: [&'static str; 5] = ["libx264", "libx265", "libsvtav1", "libvpx-vp9", "ffv1"];

    pub fn word(self) -> &'static str {
        VideoCodec::WORDS[self as usize]
    }

    /// Whether a container takes it.
    pub fn fits(self, container: Container) -> bool {
        match container {
            Container::Mp4 => self != VideoCodec::Ffv1,
            Container::Mov => !matches!(self, VideoCodec::SvtAv1 | VideoCodec::Vp9),
            Container::Mkv => true,
        }
    }

    /// Largest `crf`; 0 if it has none.
    pub fn crf_max(self) -> u64 {
        match self {
            VideoCodec::X264 | VideoCodec::X265 => 51,
            VideoCodec::SvtAv1 | VideoCodec::Vp9 => 63,
            VideoCodec::Ffv1 => 0,
        }
    }

    /// Whether it has a constant quantiser, up to [`VideoCodec::crf_max`].
    pub fn has_qp(self) -> bool {
        matches!(self, VideoCodec::X264 | VideoCodec::X265 | VideoCodec::SvtAv1)
    }

    /// Whether it can keep every pixel.
    pub fn has_lossless(self) -> bool {
        self != VideoCodec::SvtAv1
    }

    /// Words of `preset`, slowest and fastest at the ends.
    pub fn presets(self) -> &'static [&'static str] {
        match self {
            VideoCodec::X264 | VideoCodec::X265 => &PRESETS,
            VideoCodec::SvtAv1 => &SPEEDS,
            VideoCodec::Vp9 => &SPEEDS[..9],
            VideoCodec::Ffv1 => &[],
        }
    }

    /// What it uses unless told otherwise: quality and preset.
    pub fn defaults(self) -> (Quality, Option<&'static str>) {
        match self {
            VideoCodec::X264 => (Quality::Crf(23), Some("medium")),
            VideoCodec::X265 => (Quality::Crf(28), Some("medium")),
            VideoCodec::SvtAv1 => (Quality::Crf(35), Some("10")),
            VideoCodec::Vp9 => (Quality::Crf(32), Some("2")),
            VideoCodec::Ffv1 => (Quality::Lossless, None),
        }
    }

    /// Pixel formats it encodes.
    pub fn pixel_formats(self) -> &'static [&'static str] {
        match self {
            VideoCodec::X264 | VideoCodec::Ffv1 => &PIXELS,
            VideoCodec::X265 => &PIXELS[..6],
            VideoCodec::SvtAv1 => &["yuv420p", "yuv420p10le"],
            VideoCodec::Vp9 => &PIXELS_8,
        }
    }

    /// Estimated encoding time of a pixel at the default preset. Units: nanoseconds, for estimates only.
    pub fn pixel_cost_ns(self) -> u64 {
        match self {
            VideoCodec::X264 | VideoCodec::SvtAv1 => 60,
            VideoCodec::X265 => 300,
            VideoCodec::Vp9 => 200,
            VideoCodec::Ffv1 => 15,
        }
    }
}

/// How much may be lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Quality {
    Crf(u8),
    Qp(u8),
    Lossless,
}

/// A change of each frame by itself.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub enum Filter {
    /// Width, height.
    Scale(u32, u32),
    /// Width, height, left, top.
    Crop(u32, u32, u32, u32),
    /// Place in [`FORMATS`].
    Format(u8),
    /// Brightness, contrast, saturation, gamma.
    Eq(f64, f64, f64, f64),
}

/// Pixel formats of the filter `format`.
pub const FORMATS: [&str; 8] = PIXELS;
/// Filters, in the order of the enum.
pub const FILTERS: [&str; 4] = ["scale", "crop", "format", "eq"];

impl Filter {
    /// In ffmpeg's words.
    pub fn text(&self) -> String {
        match *self {
            Filter::Scale(w, h) => format!("scale={w}:{h}"),
            Filter::Crop(w, h, x, y) => format!("crop={w}:{h}:{x}:{y}:exact=1"),
            Filter::Format(place) => format!("format={}", FORMATS[usize::from(place)]),
            Filter::Eq(b, c, s, g) => format!("eq=brightness={b}:contrast={c}:saturation={s}:gamma={g}"),
        }
    }
}

/// The video stream of the output.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Video {
    pub codec: VideoCodec,
    pub quality: Quality,
    /// Place in [`VideoCodec::presets`].
    pub preset: Option<u8>,
    /// Place in [`VideoCodec::pixel_formats`].
    pub pix_fmt: Option<u8>,
    pub filters: Vec<Filter>,
}

impl Video {
    pub fn lossless(&self) -> bool {
        self.quality == Quality::Lossless
    }

    /// Whether its bytes depend on the encoder's build and the CPU: all but FFV1 of untouched pixels.
    pub fn is_bound(&self) -> bool {
        let touched = self.filters.iter().any(|f| !matches!(f, Filter::Crop(..)));
        self.codec != VideoCodec::Ffv1 || self.pix_fmt.is_some() || touched
    }

    /// The filters in ffmpeg's words, each followed by a comma.
    pub fn filter_chain(&self) -> String {
        let mut chain: String = self.filters.iter().map(|f| f.text() + ",").collect();
        if let Some(place) = self.pix_fmt {
            chain += &format!("format={},", self.codec.pixel_formats()[usize::from(place)]);
        }
        chain
    }

    /// The encoder and its options: one thread, a closed group of pictures from the first frame on, no banner in the stream.
    pub fn encoder(&self) -> Vec<String> {
        let mut args: Vec<String> =
            ["-c:v", self.codec.word(), "-threads:v", "1", "-flags:v", "+bitexact"].map(String::from).into();
        let mut add = |name: &str, value: &str| args.extend([name.to_string(), value.to_string()]);
        let preset = self.preset.map_or("", |place| self.codec.presets()[usize::from(place)]);
        match self.codec {
            VideoCodec::X264 | VideoCodec::X265 | VideoCodec::SvtAv1 => add("-preset", preset),
            VideoCodec::Vp9 => add("-cpu-used", preset),
            VideoCodec::Ffv1 => {}
        }
        let mut x265 = String::from("open-gop=0:info=0:pools=none:frame-threads=1:log-level=error");
        match (self.quality, self.codec) {
            (_, VideoCodec::Ffv1) => ["-level", "3", "-g", "1", "-slices", "4", "-slicecrc", "1"]
                .chunks(2)
                .for_each(|pair| add(pair[0], pair[1])),
            (Quality::Lossless, VideoCodec::X265) => x265 += ":lossless=1",
            (Quality::Lossless, VideoCodec::Vp9) => add("-lossless", "1"),
            (Quality::Lossless, _) => add("-qp", "0"),
            (Quality::Crf(crf), _) => add("-crf", &crf.to_string()),
            (Quality::Qp(qp), _) => add("-qp", &qp.to_string()),
        }
        match self.codec {
            VideoCodec::X264 => {
                add("-x264-params", "open-gop=0:sliced-threads=0");
                // Message units: the encoder's banner.
                add("-bsf:v", "filter_units=remove_types=6");
            }
            VideoCodec::X265 => {
                add("-x265-params", &x265);
                add("-tag:v", "hvc1");
            }
            VideoCodec::SvtAv1 => add("-svtav1-params", "lp=1"),
            VideoCodec::Vp9 => ["-b:v", "0", "-row-mt", "0"].chunks(2).for_each(|pair| add(pair[0], pair[1])),
            VideoCodec::Ffv1 => {}
        }
        args
    }
}

/// What becomes of an audio track.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum AudioCodec {
    Aac,
    Opus,
    Flac,
    PcmS16,
    PcmS24,
    Copy,
    Drop,
}

impl AudioCodec {
    pub const ALL: [AudioCodec; 7] = [
        AudioCodec::Aac,
        AudioCodec::Opus,
        AudioCodec::Flac,
        AudioCodec::PcmS16,
        AudioCodec::PcmS24,
        AudioCodec::Copy,
        AudioCodec::Drop,
    ];
    /// In the order of [`AudioCodec::ALL`].
    pub const WORDS: [&'static str; 7] = ["aac", "libopus", "flac", "pcm_s16le", "pcm_s24le", "copy", "drop"];

    pub fn word(self) -> &'static str {
        AudioCodec::WORDS[self as usize]
    }

    /// Whether a container takes it. What is copied is only known once the input was probed: [`copy_fits`].
    pub fn fits(self, container: Container) -> bool {
        match container {
            Container::Mov => !matches!(self, AudioCodec::Flac | AudioCodec::Opus),
            Container::Mp4 => !matches!(self, AudioCodec::PcmS16 | AudioCodec::PcmS24),
            Container::Mkv => true,
        }
    }

    /// Every sample of the source is kept; `copy` keeps its bytes.
    pub fn lossless(self) -> bool {
        !matches!(self, AudioCodec::Aac | AudioCodec::Opus)
    }

    /// The bit rate it uses unless told otherwise, if it has one. Units: bits per second.
    pub fn bitrate(self) -> Option<u32> {
        match self {
            AudioCodec::Aac => Some(128_000),
            AudioCodec::Opus => Some(96_000),
            _ => None,
        }
    }
}

/// Codecs of the source that `copy` puts into a container.
pub fn copy_fits(codec: &str, container: Container) -> bool {
    let mp4 = ["aac", "mp3", "ac3", "eac3", "alac", "opus", "flac"].contains(&codec);
    let mov =
        ["aac", "mp3", "ac3", "eac3", "alac", "pcm_s16le", "pcm_s24le", "pcm_s16be", "pcm_s24be"].contains(&codec);
    match container {
        Container::Mp4 => mp4,
        Container::Mov => mov,
        // The parts travel as mp4 or mov before they become mkv.
        Container::Mkv => mp4 || mov,
    }
}

/// An audio track of the output.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Audio {
    /// Among the source's audio tracks, from 0.
    pub track: u8,
    pub codec: AudioCodec,
    /// Units: bits per second; only where [`AudioCodec::bitrate`] says some.
    pub bitrate: Option<u32>,
}

impl Audio {
    /// The encoder and its options.
    pub fn encoder(&self) -> Vec<String> {
        let mut args: Vec<String> = ["-c:a", self.codec.word()].map(String::from).into();
        if self.codec != AudioCodec::Copy {
            args.extend(["-threads:a", "1", "-flags:a", "+bitexact"].map(String::from));
        }
        if let Some(bitrate) = self.bitrate {
            args.extend(["-b:a".to_string(), bitrate.to_string()]);
        }
        args
    }
}
