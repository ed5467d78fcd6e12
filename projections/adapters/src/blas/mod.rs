//! `blas`: products of matrices and Cholesky factors, every entry bit for bit the same on every machine and for every
//! tiling.
//!
//! An entry of a product is `acc = +0`, `acc = RN(acc + RN(a_ik·b_kj))` for `k` ascending, then
//! `RN(RN(alpha·acc) + RN(beta·c))`, all in the job's dtype. A cell is an entry, a shard a tile.

mod again;
pub mod assemble;
pub mod cholesky;
mod draws;
mod factor;
pub mod grid;
pub mod kernel;
pub mod real;
pub mod shape;
pub mod spec;
mod trials;
pub mod verify;
pub mod view;
pub mod work;

use crate::faults::Faults;
use crate::gathered::Gathered;
use crate::json;
use crate::npy::Dtype;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use cholesky::Level;
use forge_event::{Digest, ShardIndex};
use forge_projections::family::{
    self, Blobs, CheckedSpec, Family, Fault, Metadata, MidState, Past, Plan, PlanHints, SpecFault,
};
use grid::Grid;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use shape::Operands;
use spec::{Op, Spec};
use work::{Part, Work};

/// The family.
#[derive(Clone, Copy, Debug, Default)]
pub struct Blas;

/// The body of a plan.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
enum Stage {
    Product(Grid),
    Factor(Level),
}

impl Stage {
    fn next(spec: &Spec, past: &Past<'_>, slots: u32, blobs: &dyn Blobs) -> Result<Stage, Fault> {
        let mut faults = Faults::default();
        let Some(operands) = Operands::read(spec, blobs, &mut faults) else {
            let first = faults.into_vec().into_iter().next().expect("operands that do not fit have a fault");
            return Err(Fault::new(first.code, format!("{}: {}", first.pointer, first.detail)));
        };
        match spec.op {
            Op::Cholesky => Ok(Stage::Factor(Level::next(spec, operands, past.stages)?)),
            _ => Ok(Stage::Product(Grid::new(spec, operands, slots)?)),
        }
    }

    fn decode(plan: &[u8]) -> Stage {
        postcard::from_bytes(plan).expect("the body of a plan of this version")
    }

    fn tile_count(&self) -> u64 {
        match self {
            Stage::Product(grid) => grid.tile_count(),
            Stage::Factor(level) => level.tile_count(),
        }
    }

    fn work(&self, shard: ShardIndex) -> Work {
        match self {
            Stage::Product(grid) => Work::Product(grid.work(shard.into())),
            Stage::Factor(level) => Work::Factor(level.work(shard.into())),
        }
    }
}

impl Work {
    fn blobs(&self) -> Vec<Digest> {
        let mut blobs: Vec<Digest> = match self {
            Work::Product(work) => {
                [Some(&work.a), Some(&work.b), work.c.as_ref()].into_iter().flatten().map(|view| view.blob).collect()
            }
            Work::Factor(work) => {
                let tiles = work.left.iter().chain(&work.above).chain(&work.diagonal);
                tiles.chain([&work.a.blob]).copied().collect()
            }
        };
        blobs.sort_unstable();
        blobs.dedup();
        blobs
    }
}

impl Family for Blas {
    fn kind(&self) -> &'static str {
        "blas"
    }

    fn version(&self) -> u16 {
        1
    }

    fn check_spec(&self, spec: &Value, shard_cells: Option<u64>) -> Result<CheckedSpec, Vec<SpecFault>> {
        let mut faults = Faults::default();
        let read = Spec::read(spec, &mut faults);
        if shard_cells.is_some() {
            let detail = "a matrix job is cut into tiles, so `shard_cells` does not apply";
            faults.add(
                "/shard_cells",
                "not-applicable",
                detail,
                "leave it out; `tile` in the spec gives rows and columns",
            );
        }
        let read = faults.unless_any(read)?;
        Ok(CheckedSpec { spec: read.canonical(), inputs: read.inputs() })
    }

    fn check_inputs(&self, spec: &[u8], blobs: &dyn Blobs) -> Result<(), Vec<SpecFault>> {
        let spec = Spec::reread(spec);
        let mut faults = Faults::default();
        if let Some(operands) = Operands::read(&spec, blobs, &mut faults) {
            let first = match spec.op {
                Op::Cholesky => Level::next(&spec, operands, &[]).map(drop),
                _ => Grid::new(&spec, operands, 1).map(drop),
            };
            if let Err(fault) = first {
                let pointer = if spec.tile.is_some() { "/spec/tile" } else { "/spec/A" };
                faults.add(pointer, fault.code, fault.detail, "leave `tile` out to let the planner choose");
            }
        }
        faults.unless_any(Some(()))
    }

    fn plan(&self, past: &Past<'_>, hints: PlanHints, blobs: &dyn Blobs) -> Result<Plan, Fault> {
        let stage = Stage::next(&Spec::reread(past.spec), past, hints.slots, blobs)?;
        let last = match &stage {
            Stage::Product(_) => true,
            Stage::Factor(level) => level.is_last(),
        };
        let body = postcard::to_allocvec(&stage).expect("a plan has no value that postcard cannot write");
        Ok(Plan { shard_count: stage.tile_count(), segments: 1, body, last })
    }

    fn shard_cost_ns(&self, _spec: &[u8], plan: &Plan) -> u64 {
        match Stage::decode(&plan.body) {
            Stage::Product(grid) => grid.tile_cost_ns(),
            Stage::Factor(level) => level.tile_cost_ns(),
        }
    }

    fn metadata(&self, spec: &[u8], plans: &[&[u8]]) -> Metadata {
        let spec = Spec::reread(spec);
        let mut known = json::object([("op", spec.op.word().into()), ("dtype", spec::dtype_word(spec.dtype).into())]);
        let (shape, inner, tile) = match plans.last().map(|plan| Stage::decode(plan)) {
            None => return known,
            Some(Stage::Product(grid)) => {
                (spec.op.shape(grid.products, grid.rows, grid.cols), grid.inner, grid.tile_shape())
            }
            Some(Stage::Factor(level)) => (spec.op.shape(1, level.order, level.order), level.order, level.tile_shape()),
        };
        known.extend(json::object([("shape", shape.into()), ("inner", inner.into()), ("tile", tile.to_vec().into())]));
        known
    }

    fn is_final(&self, code: &str) -> bool {
        code == "not-positive-definite"
    }

    fn advice(&self, code: &str) -> &'static str {
        match code {
            "not-positive-definite" => {
                "the matrix has no Cholesky factor; see that A is the symmetric positive definite matrix you mean, \
                 or add a small multiple of the identity to it"
            }
            _ => family::ADVICE,
        }
    }

    fn stage_count(&self, _spec: &[u8], first: &[u8]) -> u32 {
        match Stage::decode(first) {
            Stage::Product(_) => 1,
            Stage::Factor(level) => level.stage_count(),
        }
    }

    fn payload(&self, _spec: &[u8], plan: &[u8], shard: ShardIndex) -> Vec<u8> {
        Stage::decode(plan).work(shard).encode()
    }

    fn shard_blobs(&self, _spec: &[u8], plan: &[u8], shard: ShardIndex) -> Vec<Digest> {
        Stage::decode(plan).work(shard).blobs()
    }

    fn check_result(&self, _spec: &[u8], plan: &[u8], shard: ShardIndex, result: &[u8]) -> u32 {
        let admitted = Part::decode(result).is_some_and(|part| match Stage::decode(plan) {
            Stage::Product(grid) => grid.admits(shard.into(), &part),
            Stage::Factor(level) => level.admits(shard.into(), &part),
        });
        if admitted { 0 } else { verify::CHECK_FORM }
    }

    fn result_blobs(&self, _spec: &[u8], _plan: &[u8], result: &[u8]) -> Vec<Digest> {
        Part::decode(result).map(|part| part.blob).into_iter().collect()
    }

    fn check_blobs(
        &self,
        _spec: &[u8],
        plan: &[u8],
        shard: ShardIndex,
        result: &[u8],
        blobs: &dyn Blobs,
    ) -> Result<u32, Fault> {
        let Some(part) = Part::decode(result) else { return Ok(verify::CHECK_FORM) };
        match Stage::decode(plan).work(shard) {
            Work::Product(work) => match work.dtype {
                Dtype::F32 => verify::product::<f32>(&work, &part, blobs),
                Dtype::F64 => verify::product::<f64>(&work, &part, blobs),
            },
            Work::Factor(work) => match work.dtype {
                Dtype::F32 => factor::check::<f32>(&work, &part, blobs),
                Dtype::F64 => factor::check::<f64>(&work, &part, blobs),
            },
        }
    }

    fn reduce(&self, past: &Past<'_>, blobs: &dyn Blobs) -> Result<Vec<u8>, Fault> {
        let spec = Spec::reread(past.spec);
        let last = past.stages.last().expect("a job that is reduced has a stage");
        let (shape, (digest, bytes)) = match Stage::decode(last.plan) {
            Stage::Product(grid) => {
                let part = |result: &[u8]| Part::decode(result).expect("what was folded passed its checks");
                let parts: Vec<Part> = Gathered::of(last).parts().map(part).collect();
                let shape = spec.op.shape(grid.products, grid.rows, grid.cols);
                let kept = assemble::product(&grid, &parts, &shape, blobs)?;
                (shape, kept)
            }
            Stage::Factor(level) => {
                let shape = spec.op.shape(1, level.order, level.order);
                (shape, cholesky::assemble(&level, past.stages, blobs)?)
            }
        };
        let (op, dtype) = (spec.op.word(), spec::dtype_word(spec.dtype));
        let mut out = String::new();
        json::write(&mut out, format_args!("{{\"kind\":\"blas\",\"format\":1,\"op\":\"{op}\",\"dtype\":\"{dtype}\""));
        out.push_str(",\"shape\":");
        json::list(&mut out, &shape, |out, axis| json::write(out, format_args!("{axis}")));
        json::write(&mut out, format_args!(",\"C\":{{\"digest\":\"{digest}\",\"bytes\":{bytes}}}}}"));
        Ok(out.into_bytes())
    }

    fn mid_bytes_max(&self, _spec: &[u8], plan: &Plan) -> u64 {
        256 + plan.shard_count * (work::PART_BYTES_MAX + 48)
    }

    fn mid_state(&self, _spec: &[u8], _plan: &[u8]) -> Box<dyn MidState> {
        Box::new(Gathered::default())
    }

    fn thaw(&self, _spec: &[u8], _plan: &[u8], bytes: &[u8]) -> Option<Box<dyn MidState>> {
        Some(Box::new(Gathered::default().decode(bytes)?))
    }
}
