//! `climate_pca`: principal components (EOFs) of fields over space, from the samples of one member or of an ensemble.

pub mod certificate;
pub mod document;
pub mod eigen;
pub mod field;
pub mod gram;
pub mod inputs;
pub mod kernel;
pub mod mean;
pub mod netcdf;
pub mod plan;
pub mod project;
pub mod source;
pub mod spec;
pub mod stage;
pub mod table;
pub mod verify;

use crate::faults::Faults;
use crate::gathered::Gathered;
use crate::json;
use alloc::boxed::Box;
use alloc::format;
use alloc::vec::Vec;
use forge_event::limits::INLINE_BYTES_MAX;
use forge_event::{Digest, ShardIndex};
use forge_projections::family::{
    self, Blobs, CheckedSpec, Family, Fault, Metadata, MidState, Past, Plan, PlanHints, SpecFault,
};
use inputs::Inputs;
use serde_json::Value;
use spec::{Latitude, Layout, Spec};
use stage::{ANSWER_BYTES_MAX, Answer, Body, Payload};

/// Numbers are looked at before a job is taken if the members have no more than this; else its first stage does.
/// Units: bytes.
pub const SCAN_BYTES_MAX: u64 = 256 << 20;

/// The family.
#[derive(Clone, Copy, Debug, Default)]
pub struct ClimatePca;

impl Family for ClimatePca {
    fn kind(&self) -> &'static str {
        "climate_pca"
    }

    fn version(&self) -> u16 {
        1
    }

    fn check_spec(&self, spec: &Value, shard_cells: Option<u64>) -> Result<CheckedSpec, Vec<SpecFault>> {
        let mut faults = Faults::default();
        let read = Spec::read(spec, &mut faults);
        faults.check_shard_cells(shard_cells);
        if let Some(read) = &read
            && document::bytes_max(read) > INLINE_BYTES_MAX as u64
        {
            let detail = format!("the result document could pass {INLINE_BYTES_MAX} bytes");
            faults.add("/spec/modes", "too-large-inline", detail, "ask for fewer modes, or for no reconstruction");
        }
        let read = faults.unless_any(read)?;
        Ok(CheckedSpec { spec: read.canonical(), inputs: read.inputs() })
    }

    fn check_inputs(&self, spec: &[u8], blobs: &dyn Blobs) -> Result<(), Vec<SpecFault>> {
        let spec = Spec::reread(spec);
        let table = Inputs::read(&spec, blobs)?.table;
        let bytes = |member: &table::Member| table.points() * member.number.bytes() * member.samples;
        if table.members.iter().map(bytes).fold(0, u64::saturating_add) > SCAN_BYTES_MAX {
            return Ok(());
        }
        plan::check_contents(&spec, &table, blobs)
    }

    fn plan(&self, past: &Past<'_>, hints: PlanHints, blobs: &dyn Blobs) -> Result<Plan, Fault> {
        plan::plan(past, hints, blobs)
    }

    fn shard_cost_ns(&self, _spec: &[u8], plan: &Plan) -> u64 {
        plan::shard_cost_ns(&Body::decode(&plan.body))
    }

    fn metadata(&self, spec: &[u8], plans: &[&[u8]]) -> Metadata {
        let spec = Spec::reread(spec);
        let mut known = json::object([("members", spec.members.len().into()), ("modes", spec.modes.into())]);
        // Where the latitudes of the grid are to be found.
        let grid = match (spec.weights.latitude(), &spec.layout) {
            (Some(Latitude::Blob(blob)), _) => json::object([("latitudes", format!("{blob}").into())]),
            (_, Layout::Netcdf3 { var }) => json::object([
                ("latitudes_in", format!("{}", spec.members[0]).into()),
                ("variable", var.as_str().into()),
            ]),
            (_, Layout::Npy) => Metadata::new(),
        };
        known.extend(grid);
        if let Some(Body { table, stage, .. }) = plans.last().map(|plan| Body::decode(plan)) {
            known.extend(json::object([("samples", table.samples().into()), ("points", table.points().into())]));
            known.insert("stage".into(), stage.name().into());
            known.extend(stage.route().map(|route| ("route".into(), route.into())));
        }
        known
    }

    fn is_final(&self, code: &str) -> bool {
        code == kernel::NOT_CONVERGED
    }

    fn advice(&self, code: &str) -> &'static str {
        match code {
            kernel::NOT_CONVERGED => {
                "the eigenvectors cannot be told apart to the precision that is asked for; ask for fewer `modes`, or \
                 look for values of very different size in the members"
            }
            _ => family::ADVICE,
        }
    }

    fn stage_count(&self, spec: &[u8], _first: &[u8]) -> u32 {
        if Spec::reread(spec).projects() { 4 } else { 3 }
    }

    fn payload(&self, _spec: &[u8], plan: &[u8], shard: ShardIndex) -> Vec<u8> {
        Payload { body: Body::decode(plan), shard }.encode()
    }

    fn shard_blobs(&self, _spec: &[u8], plan: &[u8], shard: ShardIndex) -> Vec<Digest> {
        Body::decode(plan).blobs(shard)
    }

    fn check_result(&self, _spec: &[u8], plan: &[u8], shard: ShardIndex, result: &[u8]) -> u32 {
        verify::check_result(&Body::decode(plan), shard, result)
    }

    fn result_blobs(&self, _spec: &[u8], _plan: &[u8], result: &[u8]) -> Vec<Digest> {
        Answer::decode(result).map(|answer| answer.blob).into_iter().collect()
    }

    fn check_blobs(
        &self,
        _spec: &[u8],
        plan: &[u8],
        shard: ShardIndex,
        result: &[u8],
        blobs: &dyn Blobs,
    ) -> Result<u32, Fault> {
        verify::check_blobs(&Body::decode(plan), shard, result, blobs)
    }

    fn reduce(&self, past: &Past<'_>, blobs: &dyn Blobs) -> Result<Vec<u8>, Fault> {
        Ok(document::document(past, blobs)?.into_bytes())
    }

    fn mid_bytes_max(&self, _spec: &[u8], plan: &Plan) -> u64 {
        const PART_OVERHEAD_BYTES: u64 = 48;
        256 + plan.shard_count * (ANSWER_BYTES_MAX + PART_OVERHEAD_BYTES)
    }

    fn mid_state(&self, _spec: &[u8], _plan: &[u8]) -> Box<dyn MidState> {
        Box::new(Gathered::default())
    }

    fn thaw(&self, _spec: &[u8], _plan: &[u8], bytes: &[u8]) -> Option<Box<dyn MidState>> {
        Some(Box::new(Gathered::default().decode(bytes)?))
    }
}
