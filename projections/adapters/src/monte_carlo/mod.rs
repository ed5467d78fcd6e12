//! `monte_carlo`: means, spreads, histograms and quantiles over samples that are pure functions of their index.

pub mod as241;
pub mod bigint;
pub mod bootstrap;
pub mod document;
pub mod draws;
pub mod exact;
pub mod expr;
pub mod formula;
pub mod gather;
pub mod heston;
pub mod hist;
pub mod kernel;
mod mid;
pub mod model;
mod order;
mod params;
pub mod paths;
pub mod philox;
pub mod plan;
pub mod portfolio;
pub mod sketch;
pub mod spec;
pub mod tail;
pub mod tally;
pub mod verify;
pub mod work;

use crate::faults::Faults;
use crate::json;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::ops::Range;
use forge_event::{Digest, ShardIndex};
use forge_projections::family::{
    Blobs, CheckedSpec, Family, Fault, Metadata, MidState, Past, Plan, PlanHints, SpecFault,
};
use plan::Grouping;
use serde_json::Value;
use spec::Spec;

/// The family.
#[derive(Clone, Copy, Debug, Default)]
pub struct MonteCarlo;

fn grouping(plan: &[u8]) -> Grouping {
    Grouping::decode(plan).expect("the body of a plan of this version")
}

impl Family for MonteCarlo {
    fn kind(&self) -> &'static str {
        "monte_carlo"
    }

    fn version(&self) -> u16 {
        1
    }

    fn check_spec(&self, spec: &Value, shard_cells: Option<u64>) -> Result<CheckedSpec, Vec<SpecFault>> {
        let mut faults = Faults::default();
        let read = Spec::read(spec, &mut faults);
        faults.check_shard_cells(shard_cells);
        if let Some(read) = read.as_ref().filter(|_| faults.is_empty()) {
            plan::check_sizes(read, shard_cells, &mut faults);
        }
        let read = faults.unless_any(read)?;
        let inputs = read.model.column().copied().into_iter().collect();
        Ok(CheckedSpec { spec: read.canonical(), inputs })
    }

    fn check_inputs(&self, spec: &[u8], blobs: &dyn Blobs) -> Result<(), Vec<SpecFault>> {
        match Spec::reread(spec).model.column() {
            Some(column) => {
                bootstrap::check_column(blobs, column, "/spec/params/column").map_err(|fault| alloc::vec![fault])
            }
            None => Ok(()),
        }
    }

    fn plan(&self, past: &Past<'_>, hints: PlanHints, blobs: &dyn Blobs) -> Result<Plan, Fault> {
        let spec = Spec::reread(past.spec);
        let values = match spec.model.column() {
            Some(column) => bootstrap::values_in(blobs, column)?,
            None => 0,
        };
        Ok(plan::plan(&spec, values, hints))
    }

    fn shard_cost_ns(&self, spec: &[u8], plan: &Plan) -> u64 {
        let spec = Spec::reread(spec);
        let Grouping { cells, values, .. } = grouping(&plan.body);
        plan::cell_cost_ns(&spec.model, spec.antithetic, values).saturating_mul(cells)
    }

    fn metadata(&self, spec: &[u8], plans: &[&[u8]]) -> Metadata {
        let spec = Spec::reread(spec);
        let mut known = json::object([
            ("model", params::name(&spec.model).into()),
            ("samples", spec.samples.into()),
            ("antithetic", spec.antithetic.into()),
        ]);
        if let Some(Grouping { cells, values, .. }) = plans.first().map(|plan| grouping(plan)) {
            known.insert("shard_cells".into(), cells.into());
            known.extend((values > 0).then(|| ("column_values".into(), values.into())));
        }
        known
    }

    fn payload(&self, spec: &[u8], plan: &[u8], shard: ShardIndex) -> Vec<u8> {
        plan::work(&Spec::reread(spec), grouping(plan), shard).encode()
    }

    fn cells(&self, spec: &[u8], plan: &[u8], shard: ShardIndex) -> Option<u64> {
        let spec = Spec::reread(spec);
        grouping(plan).range(spec.samples, shard).map(|(_, count)| count)
    }

    fn part(&self, spec: &[u8], plan: &[u8], shard: ShardIndex, cells: Range<u64>) -> Vec<u8> {
        let whole = grouping(plan);
        let (first, _) = whole.range(Spec::reread(spec).samples, shard).expect("a shard of the plan");
        Grouping { part: Some((first + cells.start, cells.end - cells.start)), ..whole }.encode()
    }

    fn shard_blobs(&self, spec: &[u8], _plan: &[u8], _shard: ShardIndex) -> Vec<Digest> {
        Spec::reread(spec).model.column().copied().into_iter().collect()
    }

    fn check_result(&self, spec: &[u8], plan: &[u8], shard: ShardIndex, result: &[u8]) -> u32 {
        verify::check(&Spec::reread(spec), grouping(plan), shard, result)
    }

    fn mid_bytes_max(&self, spec: &[u8], _plan: &Plan) -> u64 {
        mid::bytes_max(&Spec::reread(spec))
    }

    fn mid_state(&self, spec: &[u8], _plan: &[u8]) -> Box<dyn MidState> {
        Box::new(mid::Mid::new(Spec::reread(spec)))
    }

    fn thaw(&self, spec: &[u8], _plan: &[u8], bytes: &[u8]) -> Option<Box<dyn MidState>> {
        Some(Box::new(mid::Mid::decode(Spec::reread(spec), bytes)?))
    }
}
