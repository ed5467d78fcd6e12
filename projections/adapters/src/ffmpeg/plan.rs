//! From one stage to the next, and to the document.

use super::codec::{AudioCodec, Container, copy_fits};
use super::cut;
use super::film::{FILM_BYTES_MAX, Film};
use super::pack::{self, PackHead};
use super::sides::{self, Source};
use super::spec::Spec;
use super::texts::{Cued, Text, TextHead, Told};
use super::work::{Blob, Body, Expected, ExpectedTexts, FORMAT, Heard, Packed, Seen, Stage, Task, Texts, Track, Work};
use super::{verify, wire};
use crate::gathered::Gathered;
use crate::json;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use forge_event::limits::INLINE_BYTES_MAX;
use forge_event::{Digest, ShardIndex};
use forge_projections::family::{Blobs, DoneStage, Fault, Past, Plan, PlanHints};

/// Estimated time of a picture whose size nobody knows here. Units: nanoseconds.
const FRAME_COST_NS: u64 = 20_000_000;

/// Estimated time of a shard of cells. Units: nanoseconds.
pub fn parts_cost_ns(cells: &[u32], group: u32) -> u64 {
    cells.iter().take(group as usize).map(|frames| u64::from(*frames) * FRAME_COST_NS).sum()
}

/// The next stage.
pub fn plan(past: &Past<'_>, hints: PlanHints, blobs: &dyn Blobs) -> Result<Plan, Fault> {
    let spec = Spec::reread(past.spec);
    let (body, shard_count, last) = match past.stages {
        [] => (Body { stage: Stage::Probe, texts: Texts::None }, 1, false),
        [probe] => {
            let (body, count) = plan_parts(&spec, probe, hints, blobs)?;
            (body, count, false)
        }
        [_, parts] => (plan_mux(parts, blobs)?, 1, false),
        [_, _, mux, ..] => (plan_check(&spec, mux, blobs)?, 1, true),
    };
    let body = body.encode();
    if body.len() > INLINE_BYTES_MAX {
        return Err(Fault::new("too-many-cells", "the list of the parts is too long: set `cell_frames` higher"));
    }
    Ok(Plan { shard_count, segments: 1, body, last })
}

/// The film that a stage names.
///
/// # Errors
/// Those of [`Blobs`]; `film-unreadable`.
pub fn film(blob: &Blob, blobs: &dyn Blobs) -> Result<Film, Fault> {
    let bytes = blobs.whole(&blob.digest, FILM_BYTES_MAX)?;
    Film::decode(&bytes).ok_or_else(|| Fault::new("film-unreadable", format!("{} is no film", blob.digest)))
}

/// Results of a stage, shard 0 first.
fn results<T: serde::Serialize + serde::de::DeserializeOwned>(gathered: &Gathered, from: usize, to: usize) -> Vec<T> {
    let parts = gathered.parts().skip(from).take(to - from);
    parts.map(|part| wire::decode(part).expect("a folded result passed its checks")).collect()
}

/// Tracks of text to make; a track that the container does not take is a fault.
fn plan_texts(spec: &Spec, texts: Vec<Text>) -> Result<Texts, Fault> {
    if !spec.copies_texts {
        return Ok(Texts::None);
    }
    if let Some((track, text)) = (0..).zip(&texts).find(|(_, text)| text.becomes(spec.container).is_none()) {
        let (container, codec): (_, &str) = (spec.container.word(), &text.codec);
        let detail = format!(
            "`{container}` does not take `{codec}`, which subtitle track {track} is: only text is copied; \
             set `subtitle` to \"drop\", or leave this track out of the input"
        );
        return Err(Fault::new("container-refuses-codec", detail));
    }
    Ok(Texts::Tracks(texts))
}

fn plan_parts(spec: &Spec, probe: &DoneStage<'_>, hints: PlanHints, blobs: &dyn Blobs) -> Result<(Body, u64), Fault> {
    let gathered = Gathered::of(probe);
    let result = gathered.parts().next().expect("the probe has one shard");
    let (probed, texts) = verify::probed(spec, result).expect("a folded result passed its checks");
    let texts = plan_texts(spec, texts)?;
    let film = film(&probed.film, blobs)?;
    let source = Source { width: film.width, height: film.height, pix_fmt: &film.pix_fmt };
    sides::check_source(&spec.video, source)?;
    let mut tracks = Vec::new();
    for audio in spec.tracks() {
        let Some(sound) = film.sounds.get(usize::from(audio.track)) else {
            let detail = format!("there is no audio track {}: the input has {}", audio.track, film.sounds.len());
            return Err(Fault::new("no-such-track", detail));
        };
        if audio.codec == AudioCodec::Copy && !copy_fits(&sound.codec, spec.container) {
            let detail =
                format!("`{}` does not take `{}`, which track {} is", spec.container.word(), sound.codec, audio.track);
            return Err(Fault::new("container-refuses-codec", detail));
        }
        let pcm = matches!(audio.codec, AudioCodec::PcmS16 | AudioCodec::PcmS24);
        let pcm = pcm || audio.codec == AudioCodec::Copy && sound.codec.starts_with("pcm_");
        let quicktime = spec.container == Container::Mov || pcm;
        tracks.push(Track { stream: sound.stream, audio, quicktime });
    }
    let cells = cut::cells(&film, spec.cell_frames);
    if cells.len() > cut::CELLS_MAX {
        let detail = format!("{} cells; at most {}: set `cell_frames` higher", cells.len(), cut::CELLS_MAX);
        return Err(Fault::new("too-many-cells", detail));
    }
    let frame_cost = u64::from(film.width) * u64::from(film.height) * spec.video.codec.pixel_cost_ns();
    let group = cut::group(&cells, frame_cost, hints.shard_cells, hints.slots);
    let shards = (tracks.len() + texts.tracks().len()) as u64 + (cells.len() as u64).div_ceil(u64::from(group));
    let seen = Seen::of(&film);
    let stage = Stage::Parts { film: probed.film, class: film.agent_class, tracks, cells, group, seen };
    Ok((Body { stage, texts }, shards))
}

fn plan_mux(parts: &DoneStage<'_>, blobs: &dyn Blobs) -> Result<Body, Fault> {
    let Body { stage: Stage::Parts { film, class, tracks, .. }, texts } = Body::of(parts.plan) else {
        panic!("the second stage makes parts")
    };
    let gathered = Gathered::of(parts);
    let front = tracks.len() + texts.tracks().len();
    let sounds: Vec<Heard> = results(&gathered, 0, tracks.len());
    let texts = match texts {
        Texts::Tracks(_) => Texts::Parts(results(&gathered, tracks.len(), front)),
        _ => Texts::None,
    };
    let packed: Vec<Packed> = results(&gathered, front, gathered.len());
    let mut first: Option<PackHead> = None;
    for packed in &packed {
        let (head, _): (PackHead, u64) = part_head(&packed.pack, blobs)?;
        let of = |head: &PackHead| (head.entry.clone(), head.width, head.height);
        if first.as_ref().is_some_and(|first| of(first) != of(&head)) {
            return Err(Fault::new("cells-differ", "encoders of different cells do not agree on the stream's header"));
        }
        first.get_or_insert(head);
    }
    Ok(Body { stage: Stage::Mux { film, class, packs: packed.iter().map(|p| p.pack).collect(), sounds }, texts })
}

fn plan_check(spec: &Spec, mux: &DoneStage<'_>, blobs: &dyn Blobs) -> Result<Body, Fault> {
    let Body { stage: Stage::Mux { film: named, packs, sounds, .. }, texts } = Body::of(mux.plan) else {
        panic!("the third stage muxes")
    };
    let film = film(&named, blobs)?;
    let output: Blob = results(&Gathered::of(mux), 0, 1).remove(0);
    let (num, den) = (u64::from(film.time_base.0), u64::from(film.time_base.1));
    let mkv = spec.container == Container::Mkv;
    let timescale = if mkv { 1000 } else { film.time_base.1 };
    let scaled = |ticks: &u64| if mkv { (ticks * num * 1000 + den / 2) / den } else { ticks * num };
    let pts: Vec<u8> = film.pts().iter().map(scaled).flat_map(u64::to_le_bytes).collect();
    let pixels = if spec.video.lossless() { Some(pixels(&packs, blobs)?) } else { None };
    // Matroska keeps no edit list, so what an encoder primes its decoder with may be heard there.
    let compared = |(heard, audio): (&Heard, super::codec::Audio)| {
        ((!mkv || audio.codec.lossless() && heard.md5.is_some()).then_some(heard.samples), heard.md5)
    };
    let audio = sounds.iter().zip(spec.tracks()).map(compared).collect();
    let expected = Expected { frames: film.frames(), timescale, pts: Digest::of(&pts), pixels, audio };
    let cued = |told: &Told| {
        let (head, _): (TextHead, u64) = part_head(&told.part, blobs)?;
        Ok(Cued::of(&head.cues))
    };
    let texts = match &texts {
        Texts::Parts(_) => Texts::Expected(texts.present().map(cued).collect::<Result<_, Fault>>()?),
        _ => Texts::None,
    };
    Ok(Body { stage: Stage::Check { output, expected }, texts })
}

fn pixels(packs: &[Blob], blobs: &dyn Blobs) -> Result<Digest, Fault> {
    let mut all = Vec::new();
    for pack in packs {
        let (head, _): (PackHead, u64) = part_head(pack, blobs)?;
        all.extend(head.cells.iter().flat_map(|c| c.pixels.iter().flatten()));
    }
    Ok(Digest::of(&all))
}

/// The head of a part that passed its checks.
///
/// # Errors
/// Those of [`Blobs`]; `part-unreadable`.
pub fn part_head<T: serde::Serialize + serde::de::DeserializeOwned>(
    part: &Blob,
    blobs: &dyn Blobs,
) -> Result<(T, u64), Fault> {
    let read = pack::head(part.bytes, &mut |first, buffer| blobs.read(&part.digest, first, buffer))?;
    read.ok_or_else(|| Fault::new("part-unreadable", format!("{} is no part of an output", part.digest)))
}

/// The payload of a shard.
pub fn work(spec: &Spec, Body { stage, texts }: Body, shard: ShardIndex) -> Work {
    let (input, container) = (spec.input, spec.container);
    let (class, task) = match stage {
        Stage::Probe if spec.copies_texts => (String::new(), Task::ProbeTexts { input, bound: spec.is_bound() }),
        Stage::Probe => (String::new(), Task::Probe { input, bound: spec.is_bound() }),
        Stage::Parts { film, class, tracks, cells, group, .. } => {
            let task = match part_of(shard, tracks.len(), texts.tracks().len()) {
                Part::Sound(track) => Task::Audio { input, track: tracks[track], container },
                Part::Text(track) => {
                    Task::Text { input, track: track as u32, text: texts.tracks()[track].clone(), container }
                }
                Part::Cells(place) => {
                    let (from, to) = range(place, cells.len(), group);
                    let first = cells[..from].iter().sum();
                    Task::Cells {
                        input,
                        film,
                        video: spec.video.clone(),
                        container,
                        first,
                        cells: cells[from..to].to_vec(),
                    }
                }
            };
            (class, task)
        }
        Stage::Mux { film, class, packs, sounds } => {
            let sounds = sounds.iter().map(|s| s.part).collect();
            // Only a container that ffmpeg writes depends on its build.
            let class = if container == Container::Mkv { class } else { String::new() };
            let task = match &texts {
                Texts::Parts(_) => {
                    let texts = texts.present().map(|told| told.part).collect();
                    Task::MuxTexts { film, packs, sounds, texts, container }
                }
                _ => Task::Mux { film, packs, sounds, container },
            };
            (class, task)
        }
        Stage::Check { output, expected } => match texts {
            Texts::Expected(texts) => {
                (String::new(), Task::CheckTexts { output, expected: ExpectedTexts { rest: expected, texts } })
            }
            _ => (String::new(), Task::Check { output, expected }),
        },
    };
    Work { format: FORMAT, class, task }
}

/// What a shard of the parts makes: the place of a track, or of a group of cells, among its like.
pub enum Part {
    Sound(usize),
    Text(usize),
    Cells(usize),
}

/// The part that a shard makes.
pub fn part_of(shard: ShardIndex, sounds: usize, texts: usize) -> Part {
    match shard as usize {
        shard if shard < sounds => Part::Sound(shard),
        shard if shard < sounds + texts => Part::Text(shard - sounds),
        shard => Part::Cells(shard - sounds - texts),
    }
}

/// The cells of a group: first, and the one behind the last.
pub fn range(place: usize, cells: usize, group: u32) -> (usize, usize) {
    let from = place * group as usize;
    assert!(from < cells, "a shard of the plan");
    (from, cells.min(from + group as usize))
}

/// Blobs that a shard's payload names.
pub fn shard_blobs(spec: &Spec, Body { stage, texts }: &Body, shard: ShardIndex) -> Vec<Digest> {
    let mut blobs = match stage {
        Stage::Probe => Vec::from([spec.input]),
        Stage::Parts { film, tracks, .. } => match part_of(shard, tracks.len(), texts.tracks().len()) {
            Part::Sound(_) | Part::Text(_) => Vec::from([spec.input]),
            Part::Cells(_) => Vec::from([spec.input, film.digest]),
        },
        Stage::Mux { film, packs, sounds, .. } => {
            let sounds = sounds.iter().map(|s| &s.part);
            let parts = packs.iter().chain(sounds).chain(texts.present().map(|t| &t.part)).map(|b| b.digest);
            parts.chain([film.digest]).collect()
        }
        Stage::Check { output, .. } => Vec::from([output.digest]),
    };
    blobs.sort_unstable();
    blobs.dedup();
    blobs
}

/// The result document.
pub fn document(past: &Past<'_>, blobs: &dyn Blobs) -> Result<Vec<u8>, Fault> {
    let spec = Spec::reread(past.spec);
    let [_, parts, mux, check] = past.stages else { panic!("a job has four stages") };
    let Stage::Mux { film: named, sounds, .. } = Stage::of(mux.plan) else { panic!("the third stage muxes") };
    let Stage::Check { output, .. } = Stage::of(check.plan) else { panic!("the fourth stage checks") };
    let film = film(&named, blobs)?;
    let mut out = String::from(r#"{"kind":"ffmpeg","format":1,"output":"#);
    json::write(&mut out, format_args!(r#"{{"digest":"{}","bytes":{}}}"#, output.digest, output.bytes));
    let (num, den) = film.time_base;
    let last = film.first_pts + film.gaps.iter().sum::<u64>();
    json::write(&mut out, format_args!(r#","container":"{}","frames":{}"#, spec.container.word(), film.frames()));
    json::write(
        &mut out,
        format_args!(r#","time_base":[{num},{den}],"first_pts":{},"last_pts":{last}"#, film.first_pts),
    );
    out.push_str(",\"audio\":");
    let tracks: Vec<_> = spec.tracks().zip(&sounds).collect();
    json::list(&mut out, &tracks, |out, (audio, heard)| {
        let (track, codec, samples) = (audio.track, audio.codec.word(), heard.samples);
        json::write(out, format_args!(r#"{{"track":{track},"codec":"{codec}","samples":{samples}}}"#));
    });
    if spec.copies_texts {
        let (tracks, told) = (Body::of(parts.plan).texts, Body::of(mux.plan).texts);
        out.push_str(",\"subtitles\":");
        let texts: Vec<_> = (0..).zip(tracks.tracks()).zip(told.parts()).collect();
        json::list(&mut out, &texts, |out, ((track, text), told): ((u32, &Text), &Told)| {
            let codec = text.becomes(spec.container).expect("the plan refused what the container does not take");
            let cues = told.cues;
            json::write(out, format_args!(r#"{{"track":{track},"codec":"{codec}","cues":{cues}}}"#));
        });
    }
    if spec.lossless() {
        out.push_str(",\"agent_class\":null}");
    } else {
        json::write(&mut out, format_args!(",\"agent_class\":\"{}\"}}", film.agent_class));
    }
    Ok(out.into_bytes())
}
