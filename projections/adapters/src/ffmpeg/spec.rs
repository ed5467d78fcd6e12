//! The spec of a transcoding job: reading it with every fault, and writing it canonically.

use super::codec::{Audio, AudioCodec, Container, FILTERS, FORMATS, Filter, Quality, Video, VideoCodec};
use crate::faults::{Faults, Fields, one_of};
use crate::json;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use forge_event::Digest;
use serde_json::Value;

/// Largest width or height of a picture. Units: pixels.
pub const SIDE_MAX: u64 = 16_384;
/// Most frames of a cell.
pub const CELL_FRAMES_MAX: u64 = 100_000;
/// Most audio tracks of an output.
pub const TRACKS_MAX: usize = 32;
/// Most filters of a chain.
const FILTERS_MAX: usize = 16;

/// A spec without faults.
#[derive(Clone, PartialEq, Debug)]
pub struct Spec {
    pub input: Digest,
    pub video: Video,
    /// Frames of a cell; `None`: two seconds or the source's longest group of pictures, whichever is more.
    pub cell_frames: Option<u32>,
    pub audio: Vec<Audio>,
    pub container: Container,
    /// Subtitles of text reach the output.
    pub copies_texts: bool,
}

impl Spec {
    /// Reads a spec as a client sent it.
    pub fn read(value: &Value, faults: &mut Faults) -> Option<Spec> {
        let map = faults.object("/spec", value)?;
        let known = ["input", "video", "audio", "container", "subtitle"];
        let mut fields = Fields::new("/spec", map, &known, faults);
        let input = fields.blob("input");
        let video = read_video(&mut fields);
        let audio = read_audio(&mut fields);
        let container = fields.word("container", &Container::WORDS);
        let copies_texts = read_subtitle(&mut fields);
        let container = [Container::Mp4, Container::Mov, Container::Mkv][container?];
        let ((video, cell_frames), audio) = (video?, audio?);
        check_container(&video, &audio, container, faults);
        Some(Spec { input: input?, video, cell_frames, audio, container, copies_texts: copies_texts? })
    }

    /// Reads back what [`Spec::canonical`] wrote.
    ///
    /// # Panics
    /// If it did not.
    pub fn reread(spec: &[u8]) -> Spec {
        let value = serde_json::from_slice(spec).expect("a checked spec is JSON");
        Spec::read(&value, &mut Faults::default()).expect("a checked spec has no fault")
    }

    /// The tracks that reach the output.
    pub fn tracks(&self) -> impl Iterator<Item = Audio> {
        self.audio.iter().copied().filter(|a| a.codec != AudioCodec::Drop)
    }

    /// Nothing of the source is lost but by the filters.
    pub fn lossless(&self) -> bool {
        self.video.lossless() && self.tracks().all(|a| a.codec.lossless())
    }

    /// Whether the output's bytes depend on the build of ffmpeg and the CPU, so that agents of one class must make it.
    pub fn is_bound(&self) -> bool {
        self.video.is_bound() || !self.lossless() || self.container == Container::Mkv || self.copies_texts
    }

    /// Canonical JSON: the contract's order, defaults filled in.
    pub fn canonical(&self) -> Vec<u8> {
        let Video { codec, quality, preset, pix_fmt, filters } = &self.video;
        let mut out = format!(r#"{{"input":"{}","video":{{"codec":"{}","args":{{"#, self.input, codec.word());
        match quality {
            Quality::Crf(crf) => json::write(&mut out, format_args!("\"crf\":{crf}")),
            Quality::Qp(qp) => json::write(&mut out, format_args!("\"qp\":{qp}")),
            Quality::Lossless => out.push_str("\"lossless\":true"),
        }
        if let Some(place) = preset {
            let word = codec.presets()[usize::from(*place)];
            json::write(&mut out, format_args!(",\"preset\":\"{word}\""));
        }
        if let Some(place) = pix_fmt {
            let word = codec.pixel_formats()[usize::from(*place)];
            json::write(&mut out, format_args!(",\"pix_fmt\":\"{word}\""));
        }
        out.push_str("},\"filters\":");
        json::list(&mut out, filters, write_filter);
        match self.cell_frames {
            Some(frames) => json::write(&mut out, format_args!(",\"cell_frames\":{frames}}},\"audio\":")),
            None => out.push_str(",\"cell_frames\":null},\"audio\":"),
        }
        json::list(&mut out, &self.audio, |out, audio| {
            let Audio { track, codec, bitrate } = audio;
            json::write(out, format_args!("{{\"track\":{track},\"codec\":\"{}\"", codec.word()));
            if let Some(bitrate) = bitrate {
                json::write(out, format_args!(",\"bitrate\":{bitrate}"));
            }
            out.push('}');
        });
        let (container, subtitle) = (self.container.word(), SUBTITLE[usize::from(self.copies_texts)]);
        json::write(&mut out, format_args!(",\"container\":\"{container}\",\"subtitle\":\"{subtitle}\"}}"));
        out.into_bytes()
    }
}

fn write_filter(out: &mut String, filter: Filter) {
    match filter {
        Filter::Scale(w, h) => json::write(out, format_args!("{{\"scale\":[{w},{h}]}}")),
        Filter::Crop(w, h, x, y) => json::write(out, format_args!("{{\"crop\":[{w},{h},{x},{y}]}}")),
        Filter::Format(place) => json::write(out, format_args!("{{\"format\":\"{}\"}}", FORMATS[usize::from(place)])),
        Filter::Eq(b, c, s, g) => {
            out.push_str("{\"eq\":{");
            for (i, (name, value)) in EQ.iter().zip([b, c, s, g]).enumerate() {
                json::write(out, format_args!("{}\"{}\":", if i > 0 { "," } else { "" }, name.0));
                json::float(out, value);
            }
            out.push_str("}}");
        }
    }
}

const SUBTITLE: [&str; 2] = ["drop", "copy"];

fn read_subtitle(fields: &mut Fields<'_, '_>) -> Option<bool> {
    match fields.optional("subtitle") {
        None => Some(false),
        Some(_) => fields.word("subtitle", &SUBTITLE).map(|place| place == 1),
    }
}

fn check_container(video: &Video, audio: &[Audio], container: Container, faults: &mut Faults) {
    let word = container.word();
    if !video.codec.fits(container) {
        let detail = format!("`{word}` does not take `{}`", video.codec.word());
        let fits = ["mp4", "mov", "mkv"].into_iter().zip([Container::Mp4, Container::Mov, Container::Mkv]);
        let others: Vec<&str> = fits.filter(|(_, c)| video.codec.fits(*c)).map(|(w, _)| w).collect();
        let fix = format!("set `container` to {}", others.join(" or "));
        faults.add("/spec/video/codec", "container-refuses-codec", detail, &fix);
    }
    for (i, audio) in audio.iter().enumerate().filter(|(_, a)| !a.codec.fits(container)) {
        let detail = format!("`{word}` does not take `{}`", audio.codec.word());
        let fix =
            if container == Container::Mp4 { "use flac, aac or libopus" } else { "use pcm_s16le, pcm_s24le or aac" };
        faults.add(format!("/spec/audio/{i}/codec"), "container-refuses-codec", detail, fix);
    }
}

fn read_video(fields: &mut Fields<'_, '_>) -> Option<(Video, Option<u32>)> {
    let value = fields.required("video", "{\"codec\":\"libx264\"}")?;
    let pointer = fields.at("video");
    let map = fields.faults().object(&pointer, value)?;
    let known = ["codec", "args", "filters", "cell_frames"];
    let mut fields = Fields::new(&pointer, map, &known, fields.faults());
    let codec = fields.word("codec", &VideoCodec::WORDS).map(|place| VideoCodec::ALL[place]);
    let cell_frames = match fields.optional("cell_frames") {
        None => Some(None),
        Some(_) => fields.integer("cell_frames", None, 1, CELL_FRAMES_MAX).map(|f| Some(f as u32)),
    };
    let filters = read_filters(&mut fields);
    let (quality, preset, pix_fmt) = read_args(&mut fields, codec?)?;
    Some((Video { codec: codec?, quality, preset, pix_fmt, filters: filters? }, cell_frames?))
}

type Args = (Quality, Option<u8>, Option<u8>);

fn read_args(fields: &mut Fields<'_, '_>, codec: VideoCodec) -> Option<Args> {
    let (quality, preset) = codec.defaults();
    let place_of = |word: &str| codec.presets().iter().position(|p| *p == word).map(|p| p as u8);
    let default_preset = preset.and_then(place_of);
    let Some(value) = fields.optional("args") else { return Some((quality, default_preset, None)) };
    let pointer = fields.at("args");
    let map = fields.faults().object(&pointer, value)?;
    let mut known = Vec::from(["pix_fmt"]);
    let words = [("crf", codec.crf_max() > 0), ("qp", codec.has_qp()), ("lossless", codec.has_lossless())];
    known.extend(words.iter().filter(|(_, has)| *has).map(|(word, _)| *word));
    if !codec.presets().is_empty() {
        known.push("preset");
    }
    let mut fields = Fields::new(&pointer, map, &known, fields.faults());
    let preset = match known.contains(&"preset").then(|| fields.optional("preset")).flatten() {
        None => Some(default_preset),
        Some(Value::Number(n)) => {
            let place = one_of(fields.faults(), &format!("{pointer}/preset"), &format!("{n}"), codec.presets());
            place.map(|place| Some(place as u8))
        }
        Some(_) => fields.word("preset", codec.presets()).map(|place| Some(place as u8)),
    };
    let pix_fmt = match fields.optional("pix_fmt") {
        None => Some(None),
        Some(_) => fields.word("pix_fmt", codec.pixel_formats()).map(|place| Some(place as u8)),
    };
    let (quality, pix_fmt) = (read_quality(&mut fields, codec, &known)?, pix_fmt?);
    let deep = pix_fmt.is_some_and(|place| codec.pixel_formats()[usize::from(place)].contains("10le"));
    if codec == VideoCodec::X264 && quality == Quality::Lossless && deep {
        let pointer = fields.at("pix_fmt");
        let detail = "`libx264` keeps every pixel at 8 bits only";
        fields.faults().add(pointer, "conflicting", detail, "use ffv1 or libx265, or another pix_fmt");
        return None;
    }
    Some((quality, preset?, pix_fmt))
}

fn read_quality(fields: &mut Fields<'_, '_>, codec: VideoCodec, known: &[&str]) -> Option<Quality> {
    let mut asked: Vec<(&str, Quality)> = Vec::new();
    if known.contains(&"crf") && fields.optional("crf").is_some() {
        asked.push(("crf", Quality::Crf(fields.integer("crf", None, 0, codec.crf_max())? as u8)));
    }
    if known.contains(&"qp") && fields.optional("qp").is_some() {
        asked.push(("qp", Quality::Qp(fields.integer("qp", None, 0, codec.crf_max())? as u8)));
    }
    if known.contains(&"lossless") && fields.flag("lossless", codec == VideoCodec::Ffv1)? {
        asked.push(("lossless", Quality::Lossless));
    } else if codec == VideoCodec::Ffv1 {
        let pointer = fields.at("lossless");
        fields.faults().add(pointer, "out-of-range", "`ffv1` always keeps every pixel", "leave it out");
        return None;
    }
    if asked.len() > 1 {
        let pointer = fields.at(asked[1].0);
        let detail = format!("`{}` and `{}` exclude each other", asked[0].0, asked[1].0);
        fields.faults().add(pointer, "conflicting", detail, "leave one out");
        return None;
    }
    let quality = asked.first().map_or(codec.defaults().0, |(_, quality)| *quality);
    // x264 without loss is its quantiser 0, at 8 bits; one thing has one name.
    Some(if codec == VideoCodec::X264 && quality == Quality::Qp(0) { Quality::Lossless } else { quality })
}

fn array<'a>(fields: &mut Fields<'a, '_>, name: &str, most: usize) -> Option<&'a [Value]> {
    let pointer = fields.at(name);
    match fields.optional(name) {
        None => Some(&[]),
        Some(Value::Array(items)) if items.len() <= most => Some(items),
        Some(Value::Array(items)) => {
            let detail = format!("at most {most} are taken here, there are {}", items.len());
            fields.faults().add(pointer, "out-of-range", detail, "leave some out");
            None
        }
        Some(other) => {
            fields.faults().wrong_type(&pointer, "an array", other);
            None
        }
    }
}

/// Name, default, least, greatest.
const EQ: [(&str, f64, f64, f64); 4] = [
    ("brightness", 0.0, -1.0, 1.0),
    ("contrast", 1.0, -10.0, 10.0),
    ("saturation", 1.0, 0.0, 3.0),
    ("gamma", 1.0, 0.1, 10.0),
];

fn read_filters(fields: &mut Fields<'_, '_>) -> Option<Vec<Filter>> {
    let pointer = fields.at("filters");
    let items = array(fields, "filters", FILTERS_MAX)?;
    let read = items.iter().enumerate().map(|(i, item)| read_filter(&format!("{pointer}/{i}"), item, fields.faults()));
    let read: Vec<Option<Filter>> = read.collect();
    read.into_iter().collect()
}

fn read_filter(pointer: &str, value: &Value, faults: &mut Faults) -> Option<Filter> {
    let map = faults.object(pointer, value)?;
    let mut fields = Fields::new(pointer, map, &FILTERS, faults);
    let (Some((name, value)), 1) = (map.iter().next(), map.len()) else {
        let detail = "a filter is an object of one field, its name";
        fields.faults().add(pointer, "wrong-type", detail, "write {\"scale\":[640,360]}");
        return None;
    };
    let place = FILTERS.iter().position(|f| f == name)?;
    let pointer = format!("{pointer}/{name}");
    match place {
        0 => {
            let side = numbers::<2>(&pointer, value, 1, fields.faults())?;
            Some(Filter::Scale(side[0], side[1]))
        }
        1 => {
            let window = numbers::<4>(&pointer, value, 0, fields.faults())?;
            if window[0] == 0 || window[1] == 0 {
                fields.faults().add(
                    pointer,
                    "out-of-range",
                    "a window has at least one pixel",
                    "width, height, left, top",
                );
                return None;
            }
            Some(Filter::Crop(window[0], window[1], window[2], window[3]))
        }
        2 => fields.word(name, &FORMATS).map(|place| Filter::Format(place as u8)),
        _ => read_eq(&pointer, value, fields.faults()),
    }
}

fn read_eq(pointer: &str, value: &Value, faults: &mut Faults) -> Option<Filter> {
    let map = faults.object(pointer, value)?;
    let known = EQ.map(|(name, ..)| name);
    Fields::new(pointer, map, &known, faults);
    let mut numbers = [0.0; 4];
    for ((name, default, least, most), number) in EQ.into_iter().zip(&mut numbers) {
        *number = match map.get(name) {
            None => default,
            Some(value) => match value.as_f64().filter(|n| (least..=most).contains(n)) {
                Some(number) => number,
                None => {
                    let detail = format!("`{name}` must be a number from {least} to {most}");
                    faults.add(
                        format!("{pointer}/{name}"),
                        "out-of-range",
                        detail,
                        &format!("its default is {default}"),
                    );
                    return None;
                }
            },
        };
    }
    let [brightness, contrast, saturation, gamma] = numbers;
    Some(Filter::Eq(brightness, contrast, saturation, gamma))
}

fn numbers<const N: usize>(pointer: &str, value: &Value, least: u64, faults: &mut Faults) -> Option<[u32; N]> {
    let items = value.as_array().filter(|items| items.len() == N);
    let read = |item: &Value| item.as_u64().filter(|n| (least..=SIDE_MAX).contains(n)).map(|n| n as u32);
    let numbers: Option<Vec<u32>> = items.and_then(|items| items.iter().map(read).collect());
    if numbers.is_none() {
        let detail = format!("expected {N} integers from {least} to {SIDE_MAX}");
        faults.add(pointer, "out-of-range", detail, if N == 2 { "width, height" } else { "width, height, left, top" });
    }
    numbers?.try_into().ok()
}

fn read_audio(fields: &mut Fields<'_, '_>) -> Option<Vec<Audio>> {
    let pointer = fields.at("audio");
    let items = array(fields, "audio", TRACKS_MAX)?;
    let mut tracks: Vec<Audio> = Vec::new();
    let mut whole = true;
    for (i, item) in items.iter().enumerate() {
        let pointer = format!("{pointer}/{i}");
        match read_track(&pointer, item, fields.faults()) {
            Some(audio) if tracks.iter().any(|t| t.track == audio.track) => {
                let detail = format!("track {} stands twice", audio.track);
                fields.faults().add(format!("{pointer}/track"), "duplicate", detail, "leave one out");
                whole = false;
            }
            Some(audio) => tracks.push(audio),
            None => whole = false,
        }
    }
    whole.then_some(tracks)
}

fn read_track(pointer: &str, value: &Value, faults: &mut Faults) -> Option<Audio> {
    let map = faults.object(pointer, value)?;
    let mut fields = Fields::new(pointer, map, &["track", "codec", "bitrate"], faults);
    let track = fields.integer("track", None, 0, 255);
    let codec = fields.word("codec", &AudioCodec::WORDS).map(|place| AudioCodec::ALL[place])?;
    let bitrate = match (fields.optional("bitrate"), codec.bitrate()) {
        (None, default) => Some(default),
        (Some(_), Some(_)) => fields.integer("bitrate", None, 6_000, 510_000).map(|b| Some(b as u32)),
        (Some(_), None) => {
            let (pointer, detail) = (fields.at("bitrate"), format!("`{}` has no bit rate", codec.word()));
            fields.faults().add(pointer, "not-applicable", detail, "leave it out");
            None
        }
    };
    Some(Audio { track: track? as u8, codec, bitrate: bitrate? })
}
