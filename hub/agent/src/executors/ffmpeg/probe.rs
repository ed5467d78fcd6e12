//! The probe: decodes the source once, and lists what is shown.

use super::listing::{self, Listing};
use super::tool::{self, GUARDS, INPUT, QUIET, Scratch, words};
use forge_adapters::ffmpeg::film::{FORMAT, FRAMES_MAX, Film, Sound};
use forge_adapters::ffmpeg::texts::{TEXTS_MAX, Text};
use forge_adapters::ffmpeg::wire;
use forge_adapters::ffmpeg::work::{Blob, Probed, ProbedTexts};
use forge_adapters::host::{Host, Stop};
use forge_event::Digest;
use serde::Deserialize;
use std::collections::BTreeMap;

/// What `ffprobe` says about a file.
#[derive(Deserialize)]
struct Said {
    #[serde(default)]
    streams: Vec<SaidStream>,
    format: SaidFormat,
}

#[derive(Deserialize)]
struct SaidFormat {
    format_name: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct SaidStream {
    index: u32,
    codec_type: String,
    codec_name: String,
    time_base: String,
    width: u32,
    height: u32,
    pix_fmt: String,
    codec_tag_string: String,
    disposition: BTreeMap<String, u8>,
    tags: BTreeMap<String, String>,
}

impl SaidStream {
    fn text(&self) -> Text {
        let word = |name: &str| name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        let known = (1..=32).contains(&self.codec_name.len()) && word(&self.codec_name);
        let language = self.tags.get("language").and_then(|l| <[u8; 3]>::try_from(l.as_bytes()).ok());
        Text {
            stream: self.index,
            codec: if known { self.codec_name.clone() } else { "unknown".into() },
            tx3g: self.codec_tag_string == "tx3g",
            language: language.filter(|l| l.iter().all(u8::is_ascii_lowercase)).unwrap_or(*b"und"),
            shown: self.disposition.get("default") == Some(&1),
        }
    }
}

/// Looks at the whole source; gives the film, and the source's subtitle tracks.
///
/// # Errors
/// [`Stop`]: what is wrong with the input.
pub fn run(input: &Digest, class: &str, host: &mut dyn Host) -> Result<(Probed, Vec<Text>), Stop> {
    let scratch = Scratch::new()?;
    scratch.fetch(input, host)?;
    let said = look(&scratch, host)?;
    let attached = |s: &SaidStream| s.disposition.get("attached_pic") == Some(&1);
    let is_video = |s: &&SaidStream| s.codec_type == "video" && !attached(s) && s.width > 0 && s.height > 0;
    let Some(video) = said.streams.iter().find(is_video) else {
        return Err(Stop::failed("no-video", "no stream of the input is a video"));
    };
    let scale = video.time_base.split_once('/').and_then(|(n, d)| Some((n.parse().ok()?, d.parse().ok()?)));
    let Some(time_base) = scale else {
        return Err(Stop::failed("input-unreadable", format!("a time base of {}", video.time_base)));
    };
    let packets = packets(video.index, &scratch, host)?;
    let shown = shown(video.index, time_base, &scratch, host)?;
    let is_sound = |s: &&SaidStream| s.codec_type == "audio";
    let sounds = said.streams.iter().filter(is_sound).map(|s| Sound { stream: s.index, codec: s.codec_name.clone() });
    let mut film = Film {
        format: FORMAT,
        agent_class: class.into(),
        demuxer: said.format.format_name.clone(),
        stream: video.index,
        time_base,
        width: video.width,
        height: video.height,
        pix_fmt: video.pix_fmt.clone(),
        first_pts: 0,
        gaps: Vec::new(),
        last_duration: 1,
        pixels: shown.lines.iter().map(|l| l.md5).collect(),
        keys: Vec::new(),
        sounds: sounds.collect(),
    };
    fill_times(&mut film, &shown, &packets)?;
    let bytes = film.encode();
    if Film::decode(&bytes).as_ref() != Some(&film) {
        return Err(Stop::failed(
            "input-not-taken",
            "its times, its formats or its streams are beyond what is handled",
        ));
    }
    let blob = Blob { digest: host.put(&bytes)?, bytes: bytes.len() as u64 };
    let texts = said.streams.iter().filter(|s| s.codec_type == "subtitle").map(SaidStream::text).collect();
    Ok((Probed { film: blob, frames: film.frames() }, texts))
}

/// The answer for a job that copies subtitles.
///
/// # Errors
/// `input-not-taken`.
pub fn with_texts(probed: Probed, texts: Vec<Text>) -> Result<Vec<u8>, Stop> {
    if texts.len() > TEXTS_MAX {
        let detail =
            format!("{} subtitle tracks; at most {TEXTS_MAX} are copied: set `subtitle` to \"drop\"", texts.len());
        return Err(Stop::failed("input-not-taken", detail));
    }
    Ok(wire::encode(&ProbedTexts { probed, texts }))
}

fn look(scratch: &Scratch, host: &mut dyn Host) -> Result<Said, Stop> {
    let mut args = words(["-v", "error"].into_iter().chain(GUARDS[..4].iter().copied()));
    let entries = "format=format_name:stream=index,codec_type,codec_name,codec_tag_string,time_base,width,height,\
        pix_fmt:stream_disposition=attached_pic,default:stream_tags=language";
    args.extend(words(["-show_entries", entries, "-of", "json", &format!("file:{INPUT}")]));
    if let Err(complaint) = tool::run("ffprobe", &args, scratch, 0, host)? {
        let said = &complaint.0;
        let code = match () {
            () if ["[hls", "[concat", "[dash", "[sdp", "[image"].iter().any(|d| said.contains(d)) => {
                "input-is-a-playlist"
            }
            () if said.contains("not on whitelist") => "format-not-taken",
            () => "input-unreadable",
        };
        return Err(complaint.stop(code));
    }
    let text = scratch.text("stdout")?;
    serde_json::from_str(&text).map_err(|e| Stop::failed("input-unreadable", format!("ffprobe's answer: {e}")))
}

/// Packets of the video stream with a time: whether they stand for themselves, and how long they are shown.
fn packets(stream: u32, scratch: &Scratch, host: &mut dyn Host) -> Result<BTreeMap<i64, (bool, u64)>, Stop> {
    let mut args = words(["-v", "error"].into_iter().chain(GUARDS[..4].iter().copied()));
    let chosen = stream.to_string();
    args.extend(words(["-select_streams", &chosen, "-show_entries", "packet=pts,duration,flags", "-of", "csv=p=0"]));
    args.push(format!("file:{INPUT}"));
    tool::run("ffprobe", &args, scratch, 0, host)?.map_err(|c| c.stop("input-unreadable"))?;
    let mut packets = BTreeMap::new();
    for line in scratch.text("stdout")?.lines() {
        let mut fields = line.split(',');
        let (pts, duration, flags) = (fields.next(), fields.next(), fields.next());
        if let Some(pts) = pts.and_then(|p| p.parse().ok()) {
            let duration = duration.and_then(|d| d.parse().ok()).unwrap_or(0);
            packets.insert(pts, (flags.is_some_and(|f| f.starts_with('K')), duration));
        }
    }
    Ok(packets)
}

/// Every picture shown, decoded.
fn shown(stream: u32, (num, den): (u32, u32), scratch: &Scratch, host: &mut dyn Host) -> Result<Listing, Stop> {
    // A source that cannot be decoded without a fault has no single pass to be equal to.
    let mut args = words(QUIET.into_iter().chain(["-xerror"]).chain(GUARDS));
    args.extend(words(["-copyts", "-i", &format!("file:{INPUT}"), "-map", &format!("0:{stream}")]));
    // Without it pictures of another size would be scaled to that of the first.
    args.extend(words(["-autoscale", "0"]));
    args.extend(words([
        "-fps_mode",
        "passthrough",
        "-enc_time_base",
        &format!("{num}:{den}"),
        "-f",
        "framemd5",
        "shown",
    ]));
    let damaged = |said: &str| {
        let cut =
            ["partial file", "ended prematurely", "corrupt input packet", "Truncat"].iter().any(|t| said.contains(t));
        if cut { "input-truncated" } else { "input-damaged" }
    };
    if let Err(complaint) = tool::run("ffmpeg", &args, scratch, 0, host)? {
        let nothing = complaint.0.contains("Cannot determine format of input stream");
        let code = if nothing { "no-frames" } else { damaged(&complaint.0) };
        return Err(complaint.stop(code));
    }
    let said = tool::tail(&scratch.path("log")).unwrap_or_default();
    if damaged(&said) == "input-truncated" {
        return Err(Stop::failed("input-truncated", said));
    }
    let shown = listing::read(&scratch.text("shown")?);
    let shown = shown.ok_or_else(|| Stop::failed("input-unreadable", "the list of its pictures does not read"))?;
    if shown.lines.is_empty() {
        return Err(Stop::failed("no-frames", "not one picture of the input can be shown"));
    }
    if shown.lines.len() > FRAMES_MAX {
        return Err(Stop::failed("too-many-frames", format!("at most {FRAMES_MAX} pictures are taken")));
    }
    if shown.time_base != (num, den) {
        return Err(Stop::failed("input-unreadable", "its time base changes"));
    }
    if shown.lines.iter().any(|l| l.bytes != shown.lines[0].bytes) {
        return Err(Stop::failed("resolution-changes", "pictures of different sizes are in one stream"));
    }
    Ok(shown)
}

fn fill_times(film: &mut Film, shown: &Listing, packets: &BTreeMap<i64, (bool, u64)>) -> Result<(), Stop> {
    let first = shown.lines[0].pts;
    film.first_pts = u64::try_from(first)
        .map_err(|_| Stop::failed("negative-pts", format!("the first picture is shown at {first}, before time 0")))?;
    for pair in shown.lines.windows(2) {
        let gap = u64::try_from(pair[1].pts - pair[0].pts).ok().filter(|gap| *gap > 0).ok_or_else(|| {
            let detail = format!("a picture at {} is followed by one at {}", pair[0].pts, pair[1].pts);
            Stop::failed("times-not-ascending", detail)
        })?;
        film.gaps.push(gap);
    }
    let last = shown.lines[shown.lines.len() - 1];
    let told = packets.get(&last.pts).map(|p| p.1).filter(|d| *d > 0);
    film.last_duration = told.or(film.gaps.last().copied()).unwrap_or(last.duration).max(1);
    let is_key = |line: &listing::Line| packets.get(&line.pts).is_some_and(|p| p.0);
    film.keys = (0..).zip(&shown.lines).filter(|(_, line)| is_key(line)).map(|(at, _)| at).collect();
    Ok(())
}
