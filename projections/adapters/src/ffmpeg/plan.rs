//! From one stage to the next, and to the document.

use super::codec::{AudioCodec, Container, copy_fits};
use super::cut;
use super::film::{FILM_BYTES_MAX, Film};
use super::pack::{self, PackHead};
use super::spec::Spec;
use super::wire;
use super::work::{Blob, Expected, FORMAT, Heard, Packed, Probed, Seen, Stage, Task, Track, Work};
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
    let (stage, shard_count, last) = match past.stages {
        [] => (Stage::Probe, 1, false),
        [probe] => {
            let (stage, count) = plan_parts(&spec, probe, hints, blobs)?;
            (stage, count, false)
        }
        [_, parts] => (plan_mux(parts, blobs)?, 1, false),
        [_, _, mux, ..] => (plan_check(&spec, mux, blobs)?, 1, true),
    };
    let body = stage.encode();
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

fn plan_parts(spec: &Spec, probe: &DoneStage<'_>, hints: PlanHints, blobs: &dyn Blobs) -> Result<(Stage, u64), Fault> {
    let probed: Probed = results(&Gathered::of(probe), 0, 1).remove(0);
    let film = film(&probed.film, blobs)?;
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
    let shards = tracks.len() as u64 + (cells.len() as u64).div_ceil(u64::from(group));
    let seen = Seen::of(&film);
    Ok((Stage::Parts { film: probed.film, class: film.agent_class, tracks, cells, group, seen }, shards))
}

fn plan_mux(parts: &DoneStage<'_>, blobs: &dyn Blobs) -> Result<Stage, Fault> {
    let Stage::Parts { film, class, tracks, .. } = Stage::of(parts.plan) else {
        panic!("the second stage makes parts")
    };
    let gathered = Gathered::of(parts);
    let sounds: Vec<Heard> = results(&gathered, 0, tracks.len());
    let packed: Vec<Packed> = results(&gathered, tracks.len(), gathered.len());
    let mut first: Option<PackHead> = None;
    for packed in &packed {
        let (head, _): (PackHead, u64) = part_head(&packed.pack, blobs)?;
        let of = |head: &PackHead| (head.entry.clone(), head.width, head.height);
        if first.as_ref().is_some_and(|first| of(first) != of(&head)) {
            return Err(Fault::new("cells-differ", "encoders of different cells do not agree on the stream's header"));
        }
        first.get_or_insert(head);
    }
    Ok(Stage::Mux { film, class, packs: packed.iter().map(|p| p.pack).collect(), sounds })
}

fn plan_check(spec: &Spec, mux: &DoneStage<'_>, blobs: &dyn Blobs) -> Result<Stage, Fault> {
    let Stage::Mux { film: named, packs, sounds, .. } = Stage::of(mux.plan) else { panic!("the third stage muxes") };
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
    Ok(Stage::Check { output, expected })
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
pub fn work(spec: &Spec, stage: Stage, shard: ShardIndex) -> Work {
    let (input, container) = (spec.input, spec.container);
    let (class, task) = match stage {
        Stage::Probe => (String::new(), Task::Probe { input, bound: spec.is_bound() }),
        Stage::Parts { film, class, tracks, cells, group, .. } => {
            let task = match tracks.get(shard as usize) {
                Some(track) => Task::Audio { input, track: *track, container },
                None => {
                    let (from, to) = range(shard, tracks.len(), cells.len(), group);
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
            (class, Task::Mux { film, packs, sounds, container })
        }
        Stage::Check { output, expected } => (String::new(), Task::Check { output, expected }),
    };
    Work { format: FORMAT, class, task }
}

/// The cells of a shard: first, and the one behind the last.
pub fn range(shard: ShardIndex, tracks: usize, cells: usize, group: u32) -> (usize, usize) {
    let from = (shard as usize - tracks) * group as usize;
    assert!(from < cells, "a shard of the plan");
    (from, cells.min(from + group as usize))
}

/// Blobs that a shard's payload names.
pub fn shard_blobs(spec: &Spec, stage: Stage, shard: ShardIndex) -> Vec<Digest> {
    let mut blobs = match stage {
        Stage::Probe => Vec::from([spec.input]),
        Stage::Parts { tracks, .. } if (shard as usize) < tracks.len() => Vec::from([spec.input]),
        Stage::Parts { film, .. } => Vec::from([spec.input, film.digest]),
        Stage::Mux { film, packs, sounds, .. } => {
            let parts = packs.iter().chain(sounds.iter().map(|s| &s.part)).map(|b| b.digest);
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
    let [_, _, mux, check] = past.stages else { panic!("a job has four stages") };
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
    if spec.lossless() {
        out.push_str(",\"agent_class\":null}");
    } else {
        json::write(&mut out, format_args!(",\"agent_class\":\"{}\"}}", film.agent_class));
    }
    Ok(out.into_bytes())
}
