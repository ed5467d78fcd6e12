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
    Blobs, CheckedSpec, Family, Fault, Metadata, MidState, Past, Plan, PlanHints, SpecFault,
};
use serde_json::Value;
use spec::Spec;
use work::{Body, Stage, Texts};

/// Codes that speak of the input or of the spec, not of the agent that says them.
const FINAL: [&str; 24] = [
    "audio-unreadable",
    "cells-differ",
    "cues-overlap",
    "encode-failed",
    "format-not-taken",
    "input-damaged",
    "input-is-a-playlist",
    "input-not-taken",
    "input-too-large",
    "input-truncated",
    "input-unreadable",
    "negative-pts",
    "no-frames",
    "no-samples",
    "no-video",
    "output-differs",
    "output-too-large",
    "part-unreadable",
    "pictures-differ",
    "resolution-changes",
    "subtitle-unreadable",
    "time-out-of-range",
    "times-not-ascending",
    "too-many-frames",
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
        FINAL.contains(&code)
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
