//! The parts: cells of pictures, and audio tracks.

use super::listing;
use super::tool::{self, Complaint, GUARDS, INPUT, QUIET, Scratch, words};
use forge_adapters::ffmpeg::boxes::Track as Boxes;
use forge_adapters::ffmpeg::codec::{AudioCodec, Container, Video, VideoCodec};
use forge_adapters::ffmpeg::film::{FILM_BYTES_MAX, Film};
use forge_adapters::ffmpeg::pack::{Cell, FORMAT, PackHead, Sample, SoundHead, front};
use forge_adapters::ffmpeg::wire;
use forge_adapters::ffmpeg::work::{Blob, Heard, Packed, Track};
use forge_adapters::host::{Host, Stop, whole};
use forge_event::Digest;

/// A multiple of every usual sample rate, so that no time is rounded on the way. Units: ticks of a second.
const FLICKS: &str = "705600000";
/// How far before a key picture a stream without an index is entered. Units: microseconds.
const LEAD_US: i64 = 500_000;

/// A shard of cells.
pub struct Cells {
    pub input: Digest,
    pub film: Blob,
    pub video: Video,
    pub container: Container,
    pub first: u32,
    pub cells: Vec<u32>,
}

/// Encodes a shard's cells.
///
/// # Errors
/// [`Stop`]: also if the pictures decoded here are not those of the probe.
pub fn run_cells(work: &Cells, host: &mut dyn Host) -> Result<Vec<u8>, Stop> {
    let film = Film::decode(&whole(host, &work.film.digest, FILM_BYTES_MAX)?).ok_or(Stop::BadPayload)?;
    let frames: u64 = work.cells.iter().map(|c| u64::from(*c)).sum();
    if work.cells.is_empty() || work.cells.contains(&0) || u64::from(work.first) + frames > u64::from(film.frames()) {
        return Err(Stop::BadPayload);
    }
    let scratch = Scratch::new()?;
    scratch.fetch(&work.input, host)?;
    let start_us = start_us(&scratch, host)?;
    let pts = film.pts();
    let mut head = PackHead { format: FORMAT, entry: Vec::new(), width: 0, height: 0, cells: Vec::new() };
    let mut media = Vec::new();
    let mut first = work.first as usize;
    for (done, frames) in (0..).zip(&work.cells) {
        let bench = Bench { work, film: &film, pts: &pts, first, count: *frames as usize, start_us, done };
        let encoded = bench.encode(&scratch, host)?;
        if done == 0 {
            (head.entry, head.width, head.height) = (encoded.entry, encoded.width, encoded.height);
        } else if head.entry != encoded.entry {
            return Err(Stop::failed("cells-differ", "the encoder gives another stream header in another cell"));
        }
        head.cells.push(encoded.cell);
        media.extend_from_slice(&encoded.media);
        first += *frames as usize;
        host.progress(done + 1)?;
    }
    let mut pack = front(&head);
    pack.append(&mut media);
    let bytes = pack.len() as u64;
    let pack = Blob { digest: host.put(&pack)?, bytes };
    Ok(wire::encode(&Packed { pack, frames: frames as u32 }))
}

/// Where the file starts, as this machine's ffmpeg counts. Units: microseconds.
fn start_us(scratch: &Scratch, host: &mut dyn Host) -> Result<i64, Stop> {
    let mut args = words(["-v", "error"].into_iter().chain(GUARDS[..4].iter().copied()));
    args.extend(words(["-show_entries", "format=start_time", "-of", "csv=p=0", &format!("file:{INPUT}")]));
    tool::run("ffprobe", &args, scratch, 0, host)?.map_err(|c| c.stop("input-unreadable"))?;
    let text = scratch.text("stdout")?;
    // "36001.400000", or "N/A".
    let digits = text.trim().replace('.', "");
    Ok(digits.parse().unwrap_or(0))
}

/// An encoded cell, taken out of the encoder's file.
struct Encoded {
    cell: Cell,
    entry: Vec<u8>,
    width: u32,
    height: u32,
    media: Vec<u8>,
}

/// One cell at work.
struct Bench<'a> {
    work: &'a Cells,
    film: &'a Film,
    pts: &'a [u64],
    first: usize,
    count: usize,
    start_us: i64,
    /// Cells done before.
    done: u64,
}

impl Bench<'_> {
    /// Enters the source near the cell; if the pictures are not exactly the film's, from its beginning.
    ///
    /// Seeking only saves time: whatever a demuxer makes of it, the pictures are compared with the probe's.
    fn encode(&self, scratch: &Scratch, host: &mut dyn Host) -> Result<Encoded, Stop> {
        let mut complaint = None;
        for seek in [self.seek(), None] {
            match self.attempt(seek, scratch, host)? {
                Err(said) => complaint = Some(said),
                Ok(()) if self.are_the_films(scratch)? => return self.take(scratch),
                Ok(()) => complaint = None,
            }
            if seek.is_none() {
                break;
            }
        }
        Err(match complaint {
            Some(said) => said.stop("encode-failed"),
            None => {
                let detail = format!("pictures {} and on decode differently than for the probe", self.first);
                Stop::failed("pictures-differ", detail)
            }
        })
    }

    /// Where to enter the source, from its start on; `None`: at the start. Units: microseconds.
    fn seek(&self) -> Option<i64> {
        let (num, den) = self.film.time_base;
        let us = |ticks: u128| (ticks * u128::from(num) * 1_000_000 / u128::from(den)) as i64;
        let has_index = !self.film.demuxer.starts_with("mpeg");
        let at = if has_index {
            // Half way from the picture before: no rounding makes it miss.
            us(u128::from(*self.pts.get(self.first.checked_sub(1)?)?) + u128::from(self.pts[self.first])) / 2
        } else {
            let key = self.film.keys.iter().rfind(|k| **k as usize <= self.first)?;
            us(u128::from(self.pts[*key as usize])) - LEAD_US
        };
        Some(at - self.start_us).filter(|at| *at > 0)
    }

    fn attempt(
        &self,
        seek: Option<i64>,
        scratch: &Scratch,
        host: &mut dyn Host,
    ) -> Result<Result<(), Complaint>, Stop> {
        let Film { stream, time_base: (num, den), pix_fmt, .. } = self.film;
        let video = &self.work.video;
        let mut args = words(QUIET.into_iter().chain(GUARDS));
        args.extend(words(["-copyts", "-noaccurate_seek"]));
        if let Some(us) = seek {
            args.extend(words(["-ss", &format!("{}.{:06}", us / 1_000_000, us % 1_000_000)]));
        }
        args.extend(words(["-i", &format!("file:{INPUT}"), "-filter_complex_threads", "1", "-filter_complex"]));
        let from = self.pts[self.first];
        let (pixels, chain) = (video.lossless(), video.filter_chain());
        let fan = if pixels { ",split=2[coded][pixels]" } else { "[coded]" };
        // The format pins the pictures that are compared; `scale` without a size turns formats into the encoder's.
        args.push(format!(
            "[0:{stream}]trim=start_pts={from},format={pix_fmt},split=2[shown][raw];\
             [raw]{chain}scale,setpts=PTS-STARTPTS{fan}"
        ));
        let (base, count) = (format!("{num}:{den}"), self.count.to_string());
        let mut output = |name: &str, how: &[String], to: [&str; 3]| {
            args.extend(words([
                "-map",
                name,
                "-fps_mode",
                "passthrough",
                "-enc_time_base",
                &base,
                "-frames:v",
                &count,
            ]));
            args.extend_from_slice(how);
            args.extend(words(to));
        };
        let mut encoder = video.encoder();
        encoder.extend(words([
            "-fflags",
            "+bitexact",
            "-map_metadata",
            "-1",
            "-video_track_timescale",
            &den.to_string(),
        ]));
        let quicktime = self.work.container == Container::Mov || video.codec == VideoCodec::Ffv1;
        output("[coded]", &encoder, ["-f", if quicktime { "mov" } else { "mp4" }, "coded"]);
        output("[shown]", &[], ["-f", "framemd5", "shown"]);
        if pixels {
            output("[pixels]", &[], ["-f", "framemd5", "pixels"]);
        }
        tool::run("ffmpeg", &args, scratch, self.done, host)
    }

    fn are_the_films(&self, scratch: &Scratch) -> Result<bool, Stop> {
        let Some(shown) = listing::read(&scratch.text("shown")?) else { return Ok(false) };
        let pixels = &self.film.pixels[self.first..][..self.count];
        let pts = &self.pts[self.first..][..self.count];
        let equal =
            |(line, (pts, md5)): (&listing::Line, (&u64, &[u8; 16]))| line.pts == *pts as i64 && line.md5 == *md5;
        let scale = shown.time_base == self.film.time_base;
        Ok(scale && shown.lines.len() == self.count && shown.lines.iter().zip(pts.iter().zip(pixels)).all(equal))
    }

    fn take(&self, scratch: &Scratch) -> Result<Encoded, Stop> {
        let broken = |what: &str| Stop::failed("encode-failed", format!("the encoder's file {what}"));
        let file = scratch.read("coded")?;
        let track = Boxes::read(&file).ok_or_else(|| broken("does not read"))?;
        let times = track.times();
        let mut order: Vec<usize> = (0..times.len()).collect();
        order.sort_by_key(|at| times[*at]);
        let num = u64::from(self.film.time_base.0);
        let pts = &self.pts[self.first..][..self.count];
        let gap = |at: usize| (times[order[at]] - times[order[0]]) as u64;
        if times.len() != self.count || (0..self.count).any(|at| gap(at) != (pts[at] - pts[0]) * num) {
            return Err(broken("has other pictures than went in"));
        }
        let mut samples: Vec<Sample> = (0..self.count as u32)
            .map(|at| Sample { bytes: track.sizes.get(at.into()), rank: 0, sync: track.is_sync(at) })
            .collect();
        (0..).zip(&order).for_each(|(rank, at)| samples[*at].rank = rank);
        let pixels = if self.work.video.lossless() {
            let pixels = listing::read(&scratch.text("pixels")?).ok_or_else(|| broken("has no list of pictures"))?;
            pixels.lines.iter().map(|l| l.md5).collect()
        } else {
            Vec::new()
        };
        let cell = Cell { samples, pixels };
        if !cell.stands_for(self.count as u32, self.work.video.lossless()) {
            return Err(broken("does not begin with a picture that stands for itself"));
        }
        let media = media(&file, &track);
        Ok(Encoded { cell, entry: track.entry, width: track.width, height: track.height, media })
    }
}

fn media(file: &[u8], track: &Boxes) -> Vec<u8> {
    track.runs.iter().flat_map(|(at, bytes)| &file[*at as usize..][..*bytes as usize]).copied().collect()
}

/// Encodes or copies an audio track.
///
/// # Errors
/// [`Stop`]: `audio-unreadable`, `no-samples`, …
pub fn run_audio(input: &Digest, track: &Track, host: &mut dyn Host) -> Result<Vec<u8>, Stop> {
    let scratch = Scratch::new()?;
    scratch.fetch(input, host)?;
    let copied = track.audio.codec == AudioCodec::Copy;
    let (stream, form) = (format!("0:{}", track.stream), if track.quicktime { "mov" } else { "mp4" });
    let mut args = words(QUIET.into_iter().chain(["-xerror"]).chain(GUARDS));
    args.extend(words(["-copyts", "-i", &format!("file:{INPUT}"), "-map", &stream]));
    if !copied {
        // From time 0 on; encoded as if it began there, so that an encoder's priming is cut away by the edit list.
        args.extend(words(["-af", "atrim=start=0,asetpts=PTS-STARTPTS"]));
    }
    args.extend(track.audio.encoder());
    args.extend(words([
        "-fflags",
        "+bitexact",
        "-map_metadata",
        "-1",
        "-strict",
        "-2",
        "-movie_timescale",
        FLICKS,
        "-f",
        form,
        "coded",
    ]));
    if !copied {
        args.extend(words(["-map", &stream, "-af", "atrim=start=0", "-c:a", "pcm_s16le", "-f", "framecrc", "heard"]));
    }
    tool::run("ffmpeg", &args, &scratch, 0, host)?.map_err(|c| c.stop("audio-unreadable"))?;
    let file = scratch.read("coded")?;
    let boxes = Boxes::read(&file).filter(|b| b.sizes.count() > 0);
    let boxes =
        boxes.ok_or_else(|| Stop::failed("no-samples", format!("audio track {} is empty", track.audio.track)))?;
    let (samples, md5) = decoded("coded", "0:a:0", "again", &scratch, host)?;
    if samples == 0 {
        return Err(Stop::failed("no-samples", format!("audio track {} is empty", track.audio.track)));
    }
    let scaled = |ticks: u64, from: u32| rescaled(ticks, (1, from), boxes.timescale);
    let (waits, plays): (Vec<_>, Vec<_>) = boxes.edits.iter().partition(|edit| edit.1 < 0);
    let media_ticks: u64 = boxes.durations.iter().map(|(n, d)| u64::from(*n) * u64::from(*d)).sum();
    let (heard, skip) = match plays.as_slice() {
        [] => (media_ticks, 0),
        [(duration, time)] => (scaled(*duration, boxes.movie_scale), *time as u64),
        _ => return Err(Stop::failed("audio-unreadable", "the track is cut into pieces by an edit list")),
    };
    let start = if copied {
        scaled(waits.iter().map(|(duration, _)| duration).sum(), boxes.movie_scale)
    } else {
        let listing = listing::read(&scratch.text("heard")?).unwrap_or_default();
        let first = listing.lines.first().and_then(|l| u64::try_from(l.pts).ok());
        rescaled(
            first.ok_or_else(|| Stop::failed("no-samples", "nothing is heard"))?,
            listing.time_base,
            boxes.timescale,
        )
    };
    let head = SoundHead {
        format: FORMAT,
        entry: boxes.entry.clone(),
        timescale: boxes.timescale,
        start,
        skip,
        heard,
        durations: boxes.durations.clone(),
        sizes: boxes.sizes.clone(),
    };
    if !head.is_whole() {
        return Err(Stop::failed("audio-unreadable", "its times are beyond what is handled"));
    }
    let mut part = front(&head);
    part.append(&mut media(&file, &boxes));
    let bytes = part.len() as u64;
    let part = Blob { digest: host.put(&part)?, bytes };
    let md5 = (track.audio.codec.lossless() && !copied).then_some(md5);
    Ok(wire::encode(&Heard { part, samples, md5 }))
}

/// To the nearest tick.
fn rescaled(ticks: u64, (num, den): (u32, u32), timescale: u32) -> u64 {
    let den = u128::from(den.max(1));
    ((u128::from(ticks) * u128::from(num) * u128::from(timescale) + den / 2) / den) as u64
}

/// Decodes an audio stream of a file in the scratch folder: samples per channel, and their MD5 as `pcm_s32le`.
///
/// # Errors
/// `audio-unreadable`.
pub fn decoded(
    file: &str,
    stream: &str,
    to: &str,
    scratch: &Scratch,
    host: &mut dyn Host,
) -> Result<(u64, [u8; 16]), Stop> {
    let (list, sum) = (format!("{to}.crc"), format!("{to}.md5"));
    let mut args = words(QUIET.into_iter().chain(GUARDS));
    args.extend(words(["-i", &format!("file:{file}")]));
    for (form, name) in [("framecrc", &list), ("md5", &sum)] {
        args.extend(words(["-map", stream, "-c:a", "pcm_s32le", "-f", form, name]));
    }
    tool::run("ffmpeg", &args, scratch, 0, host)?.map_err(|c| c.stop("audio-unreadable"))?;
    let samples = listing::read(&scratch.text(&list)?).unwrap_or_default().lines.iter().map(|l| l.duration).sum();
    let text = scratch.text(&sum)?;
    let md5 = text.trim().strip_prefix("MD5=").and_then(forge_event::digest::unhex);
    Ok((samples, md5.ok_or_else(|| Stop::failed("audio-unreadable", "no sum of its samples"))?))
}
