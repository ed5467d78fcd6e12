//! `cat_model`: losses of an exposure to tropical cyclones and their perturbed likes, and what follows for a year.
//!
//! Cell of the first stage: a member of a track. Cell of the second: a simulated year.

mod curves;
pub mod damage;
mod document;
pub mod elt;
mod exact;
pub mod exposure;
pub mod geo;
mod hurdat2;
mod ibtracs;
pub mod kernel;
pub mod perturb;
mod plan;
pub mod resample;
pub mod spec;
mod text;
mod time;
mod track_csv;
pub mod tracks;
pub mod verify;
pub mod wind;
pub mod work;
mod years;

use crate::faults::Faults;
use crate::gathered::{ENTRY_BYTES, Gathered};
use crate::json;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::ops::Range;
use forge_event::{Digest, ShardIndex};
use forge_projections::family::{
    Blobs, CheckedSpec, Family, Fault, Metadata, MidState, Past, Plan, PlanHints, SpecFault,
};
use serde_json::Value;
use spec::Spec;
use work::{PART_BYTES_MAX, Part, Stage};

/// The family.
#[derive(Clone, Copy, Debug, Default)]
pub struct CatModel;

impl Family for CatModel {
    fn kind(&self) -> &'static str {
        "cat_model"
    }

    fn version(&self) -> u16 {
        1
    }

    fn check_spec(&self, spec: &Value, shard_cells: Option<u64>) -> Result<CheckedSpec, Vec<SpecFault>> {
        let mut faults = Faults::default();
        let read = Spec::read(spec, &mut faults);
        faults.check_shard_cells(shard_cells);
        let read = faults.unless_any(read)?;
        let mut inputs = alloc::vec![read.tracks, read.exposure];
        inputs.sort();
        inputs.dedup();
        Ok(CheckedSpec { spec: read.canonical(), inputs })
    }

    fn check_inputs(&self, spec: &[u8], blobs: &dyn Blobs) -> Result<(), Vec<SpecFault>> {
        plan::read(&Spec::reread(spec), blobs).map(drop)
    }

    fn plan(&self, past: &Past<'_>, hints: PlanHints, blobs: &dyn Blobs) -> Result<Plan, Fault> {
        let spec = Spec::reread(past.spec);
        match (past.stages, spec.years_simulated) {
            ([], _) => plan::events(&spec, hints, blobs),
            ([events], Some(years)) => plan::years(&spec, years, events, hints, blobs),
            _ => Err(Fault::new("no-stage", "nothing follows the last stage")),
        }
    }

    fn shard_cost_ns(&self, _spec: &[u8], plan: &Plan) -> u64 {
        plan::stage(&plan.body).shard_ns()
    }

    fn metadata(&self, spec: &[u8], plans: &[&[u8]]) -> Metadata {
        let spec = Spec::reread(spec);
        let mut known =
            json::object([("wind", spec.wind.name().into()), ("cells_a_track", spec.cells_a_track().into())]);
        for stage in plans.iter().map(|plan| plan::stage(plan)) {
            known.extend(match stage {
                Stage::Events(stage) => json::object([
                    ("tracks", stage.grid.tracks.into()),
                    ("points", stage.point_count.into()),
                    ("total_value", stage.total_value.into()),
                    ("cells", stage.cut.cells.into()),
                    ("shard_cells", stage.cut.cells_a_shard.into()),
                ]),
                Stage::Years(stage) => json::object([
                    ("events", stage.event_count.into()),
                    ("years_simulated", stage.cut.cells.into()),
                    ("shard_years", stage.cut.cells_a_shard.into()),
                ]),
                Stage::Part { .. } => panic!("a job's stages are whole"),
            });
        }
        known
    }

    fn stage_count(&self, spec: &[u8], _first: &[u8]) -> u32 {
        if Spec::reread(spec).years_simulated.is_some() { 2 } else { 1 }
    }

    fn payload(&self, spec: &[u8], plan: &[u8], shard: ShardIndex) -> Vec<u8> {
        work::encode(&plan::stage(plan).work(&Spec::reread(spec), shard))
    }

    fn cells(&self, _spec: &[u8], plan: &[u8], shard: ShardIndex) -> Option<u64> {
        plan::stage(plan).range(shard).map(|(_, count)| count)
    }

    fn part(&self, _spec: &[u8], plan: &[u8], shard: ShardIndex, cells: Range<u64>) -> Vec<u8> {
        work::encode(&plan::stage(plan).part(shard, cells))
    }

    fn shard_blobs(&self, _spec: &[u8], plan: &[u8], _shard: ShardIndex) -> Vec<Digest> {
        plan::stage(plan).blobs()
    }

    fn check_result(&self, _spec: &[u8], plan: &[u8], shard: ShardIndex, result: &[u8]) -> u32 {
        verify::check(plan, shard, result)
    }

    fn result_blobs(&self, _spec: &[u8], _plan: &[u8], result: &[u8]) -> Vec<Digest> {
        work::decode::<Part>(result).map(|part| part.blob).into_iter().collect()
    }

    fn check_blobs(
        &self,
        spec: &[u8],
        plan: &[u8],
        shard: ShardIndex,
        result: &[u8],
        blobs: &dyn Blobs,
    ) -> Result<u32, Fault> {
        verify::check_blob(&Spec::reread(spec), plan, shard, result, blobs)
    }

    fn reduce(&self, past: &Past<'_>, blobs: &dyn Blobs) -> Result<Vec<u8>, Fault> {
        let (events, years) = match past.stages {
            [events] => (events, None),
            [events, years] => (events, Some(years)),
            _ => return Err(Fault::new("no-document", "a job has one stage or two")),
        };
        match plan::stage(events.plan) {
            Stage::Events(stage) => document::document(&Spec::reread(past.spec), &stage, events, years, blobs),
            _ => Err(Fault::new("no-document", "the first stage is the event loss table")),
        }
    }

    fn mid_bytes_max(&self, _spec: &[u8], plan: &Plan) -> u64 {
        // A shard may come in two parts; one cut off more often is rare, and takes as much again each time.
        64 + plan.shard_count * 2 * (ENTRY_BYTES as u64 + PART_BYTES_MAX)
    }

    fn mid_state(&self, _spec: &[u8], _plan: &[u8]) -> Box<dyn MidState> {
        Box::new(Gathered::in_parts())
    }

    fn thaw(&self, _spec: &[u8], _plan: &[u8], bytes: &[u8]) -> Option<Box<dyn MidState>> {
        Some(Box::new(Gathered::in_parts().decode(bytes)?))
    }
}
