//! `ffmpeg`: transcoding, cut into cells of pictures whose time stamps and, without loss, pixels are those of a single pass.
//!
//! Stages: probe (decode the source once) → parts (cells of pictures, audio tracks) → mux → check. The hub runs no codec;
//! agents drive the `ffmpeg` of their machine.

pub mod boxes;
pub mod codec;
mod cut;
pub mod film;
pub mod movie;
pub mod pack;
mod plan;
mod sides;
pub mod spec;
pub mod texts;
mod verify;
pub mod wire;
pub mod work;

use crate::faults::Faults;
use crate::gathered::Gathered;
use crate::json;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use forge_event::{Digest, ShardIndex};
use forge_projections::family::{
    self, Blobs, CheckedSpec, Family, Fault, Metadata, MidState, Past, Plan, PlanHints, SpecFault,
};
use serde_json::Value;
use spec::Spec;
use work::{Body, Stage, Texts};

/// Codes that speak of the input or of the spec, not of the agent that says them: why, and what to do.
const FINAL: [(&str, &str); 24] = [
    (
        "audio-unreadable",
        "an audio track cannot be decoded whole; look at it with ffmpeg, or leave it out with codec drop",
    ),
    (
        "cells-differ",
        "the encoder begins cells with different stream headers; set `cell_frames` so high that there is one cell, or use another codec",
    ),
    (
        "cues-overlap",
        "cues of a subtitle track overlap, which mp4 and mov cannot hold; use mkv, or set `subtitle` to drop",
    ),
    (
        "encode-failed",
        "the encoder or a filter does not take these pictures with these options; compare sides, pixel format and options in `video` with what the codec allows",
    ),
    (
        "format-not-taken",
        "the input is of a container that is not read here; convert it to mp4, mov, mkv, ts, avi, flv, ogg, nut, mxf or ivf",
    ),
    ("input-damaged", "pictures of the input cannot be decoded; upload an undamaged copy"),
    ("input-is-a-playlist", "the input names other files, which are not read; upload the film itself"),
    (
        "input-not-taken",
        "the input has streams, formats or times beyond what is handled; remux it with ffmpeg, with fewer streams",
    ),
    ("input-too-large", "the input passes 64 GiB; cut it into several files"),
    ("input-truncated", "the input ends before its last picture; upload it whole"),
    ("input-unreadable", "ffmpeg cannot read the input; look at it with ffprobe, and upload a film"),
    ("negative-pts", "something of the input is shown before time 0; shift its times with ffmpeg -output_ts_offset"),
    ("no-frames", "no picture of the input can be shown; upload a film"),
    ("no-samples", "an audio track is empty; leave it out with codec drop"),
    ("no-video", "no stream of the input is a video; upload a film"),
    (
        "output-differs",
        "the output does not decode to what went into it, so the encoder is not true to this input and these options; use another codec or pixel format",
    ),
    ("output-too-large", "the output passes 2 GiB; ask for smaller pictures or less quality, or cut the input"),
    ("part-unreadable", "parts of the output do not fit together; use another codec or container"),
    ("pictures-differ", "the input decodes differently from run to run; repair it with ffmpeg, and upload it anew"),
    ("resolution-changes", "pictures of different sizes are in one stream; cut the input where they change"),
    ("subtitle-unreadable", "a subtitle track cannot be read; set `subtitle` to drop, or repair the track"),
    ("time-out-of-range", "a time of the input is out of the range that is handled; rewrite its times with ffmpeg"),
    (
        "times-not-ascending",
        "two pictures of the input have the same time, or one runs backwards; rewrite its times with ffmpeg",
    ),
    ("too-many-frames", "the input has more pictures than are taken; cut it into several files"),
];

/// The family.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ffmpeg;

impl Family for Ffmpeg {
    fn kind(&self) -> &'static str {
        "ffmpeg"
    }

    fn version(&self) -> u16 {
        1
    }

    fn check_spec(&self, spec: &Value, shard_cells: Option<u64>) -> Result<CheckedSpec, Vec<SpecFault>> {
        let mut faults = Faults::default();
        let read = Spec::read(spec, &mut faults);
        faults.check_shard_cells(shard_cells);
        if let Some(read) = &read {
            sides::check_spec(&read.video, &mut faults);
        }
        let read = faults.unless_any(read)?;
        Ok(CheckedSpec { spec: read.canonical(), inputs: Vec::from([read.input]) })
    }

    fn check_inputs(&self, spec: &[u8], blobs: &dyn Blobs) -> Result<(), Vec<SpecFault>> {
        verify::check_input(&Spec::reread(spec).input, blobs)
    }

    fn plan(&self, past: &Past<'_>, hints: PlanHints, blobs: &dyn Blobs) -> Result<Plan, Fault> {
        plan::plan(past, hints, blobs)
    }

    fn shard_cost_ns(&self, _spec: &[u8], plan: &Plan) -> u64 {
        match Stage::of(&plan.body) {
            Stage::Parts { cells, group, .. } => plan::parts_cost_ns(&cells, group),
            _ => 5_000_000_000,
        }
    }

    fn metadata(&self, spec: &[u8], plans: &[&[u8]]) -> Metadata {
        let spec = Spec::reread(spec);
        let mut known =
            json::object([("codec", spec.video.codec.word().into()), ("container", spec.container.word().into())]);
        for Body { stage, texts } in plans.iter().map(|plan| Body::of(plan)) {
            let Stage::Parts { cells, group, class, seen, .. } = stage else { continue };
            if let Texts::Tracks(tracks) = texts {
                let codecs: Vec<String> = tracks.into_iter().map(|text| text.codec).collect();
                known.extend(json::object([("subtitle_streams", codecs.into())]));
            }
            known.extend(json::object([
                ("frames", cells.iter().map(|frames| u64::from(*frames)).sum::<u64>().into()),
                ("fps", seen.fps(cells.iter().map(|frames| u64::from(*frames)).sum()).into()),
                ("seconds", seen.seconds().into()),
                ("picture", Value::from(alloc::vec![seen.width, seen.height])),
                ("pix_fmt", seen.pix_fmt.into()),
                ("audio_streams", seen.sounds.into()),
                ("cells", cells.len().into()),
                ("shard_cells", group.into()),
                ("agent_class", class.into()),
            ]));
        }
        known
    }

    fn payload(&self, spec: &[u8], plan: &[u8], shard: ShardIndex) -> Vec<u8> {
        plan::work(&Spec::reread(spec), Body::of(plan), shard).encode()
    }

    fn is_final(&self, code: &str) -> bool {
        FINAL.iter().any(|(known, _)| *known == code)
    }

    fn advice(&self, code: &str) -> &'static str {
        FINAL.iter().find(|(known, _)| *known == code).map_or(family::ADVICE, |(_, advice)| advice)
    }

    fn stage_count(&self, _spec: &[u8], _first: &[u8]) -> u32 {
        4
    }

    fn software(&self) -> &'static [&'static str] {
        &["ffmpeg"]
    }

    fn shard_blobs(&self, spec: &[u8], plan: &[u8], shard: ShardIndex) -> Vec<Digest> {
        plan::shard_blobs(&Spec::reread(spec), &Body::of(plan), shard)
    }

    fn check_result(&self, spec: &[u8], plan: &[u8], shard: ShardIndex, result: &[u8]) -> u32 {
        verify::check_result(&Spec::reread(spec), &Body::of(plan), shard, result)
    }

    fn result_blobs(&self, spec: &[u8], plan: &[u8], result: &[u8]) -> Vec<Digest> {
        verify::result_blobs(&Spec::reread(spec), &Stage::of(plan), result)
    }

    fn check_blobs(
        &self,
        spec: &[u8],
        plan: &[u8],
        shard: ShardIndex,
        result: &[u8],
        blobs: &dyn Blobs,
    ) -> Result<u32, Fault> {
        verify::check_blobs(&Spec::reread(spec), &Body::of(plan), shard, result, blobs)
    }

    fn reduce(&self, past: &Past<'_>, blobs: &dyn Blobs) -> Result<Vec<u8>, Fault> {
        plan::document(past, blobs)
    }

    fn mid_bytes_max(&self, _spec: &[u8], plan: &Plan) -> u64 {
        // A result is two or three digests and lengths; the probe's and the check's have up to 64 tracks of text.
        4096 + 256 * plan.shard_count
    }

    fn mid_state(&self, _spec: &[u8], _plan: &[u8]) -> Box<dyn MidState> {
        Box::new(Gathered::default())
    }

    fn thaw(&self, _spec: &[u8], _plan: &[u8], bytes: &[u8]) -> Option<Box<dyn MidState>> {
        Some(Box::new(Gathered::default().decode(bytes)?))
    }
}
