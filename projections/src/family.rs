//! What the projections need of a workload family. The families themselves live in `adapters/`.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Debug;
use forge_event::{Digest, ShardIndex};

/// A fault in a spec, addressed to whoever wrote it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SpecFault {
    /// JSON pointer into the request body, e.g. `/spec/params/volatility`.
    pub pointer: String,
    /// Kebab-case: `unknown-field`, `missing-field`, `out-of-range`, `unknown-model`, `unknown-kind`, `too-large-inline`, …
    pub code: &'static str,
    /// What is wrong, with the limit.
    pub detail: String,
    /// What to do, e.g. "did you mean `samples`?".
    pub fix: Option<String>,
}

/// A spec that its family can run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CheckedSpec {
    /// Canonical JSON: fields in the family's order, defaults filled in, no white space.
    pub spec: Vec<u8>,
    /// Blobs it names, ascending.
    pub inputs: Vec<Digest>,
}

/// What a planner may look at besides the spec. Only the grouping of cells into shards may depend on it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PlanHints {
    /// Cells a shard, if the client chose it.
    pub shard_cells: Option<u64>,
    /// Slots of the agents that could run the job.
    pub slots: u32,
}

/// A stage cut into shards.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    /// At least 1, at most 2³².
    pub shard_count: u64,
    /// Independently verifiable segments of a shard's result.
    pub segments: u16,
    /// The family's own bytes; enough, with the spec, to say what each shard is.
    pub body: Vec<u8>,
}

/// A workload family: planner, checks and reducer. Pure; never runs the workload.
pub trait Family: Sync + Send + Debug {
    /// The word in `kind`.
    fn kind(&self) -> &'static str;

    /// Recorded with each job; a change of plan, checks or result is a new version.
    fn version(&self) -> u16;

    /// Reads a spec as a client sent it (JSON, defaults may be missing).
    ///
    /// # Errors
    /// Every fault found, at least one.
    fn check_spec(&self, spec: &serde_json::Value, shard_cells: Option<u64>) -> Result<CheckedSpec, Vec<SpecFault>>;

    /// Cuts the work into shards. `spec` is a [`CheckedSpec::spec`] of this version.
    fn plan(&self, spec: &[u8], hints: PlanHints) -> Plan;

    /// About how long a shard of this plan takes on one core. For estimates only, never for decisions. Units: nanoseconds.
    fn shard_cost_ns(&self, _spec: &[u8], _plan: &Plan) -> u64 {
        1_000_000
    }

    /// What an agent is given for a shard: self-contained bytes for the executor of this kind and version.
    fn payload(&self, spec: &[u8], plan: &[u8], shard: ShardIndex) -> Vec<u8>;

    /// The free checks of one result: a bit for each failed one, 0 = all passed. Never panics on arbitrary bytes.
    fn check_result(&self, spec: &[u8], plan: &[u8], shard: ShardIndex, result: &[u8]) -> u32;

    /// The numeric state before the first result.
    fn mid_state(&self, spec: &[u8], plan: &[u8]) -> Box<dyn MidState>;

    /// Reads back what [`MidState::encode`] wrote; `None` if it did not.
    fn thaw(&self, spec: &[u8], plan: &[u8], bytes: &[u8]) -> Option<Box<dyn MidState>>;
}

/// A job's numeric state between results: integers, or fixed-order + − × ÷ √ only.
///
/// Invariant: after the same set of results in any order, [`MidState::encode`] gives the same bytes.
pub trait MidState: Sync + Send + Debug {
    /// Takes in the result of a shard whose checks all passed.
    ///
    /// # Panics
    /// If the result would not pass the checks.
    fn fold(&mut self, shard: ShardIndex, result: &[u8]);

    /// Takes in `count` further shards whose results equal `result`; must equal as many calls of [`MidState::fold`].
    fn fold_many(&mut self, shards: &mut dyn Iterator<Item = ShardIndex>, result: &[u8]) {
        for shard in shards {
            self.fold(shard, result);
        }
    }

    /// Canonical bytes.
    fn encode(&self) -> Vec<u8>;

    /// Memory it takes. Units: bytes, roughly.
    fn bytes(&self) -> usize;

    /// The canonical result document, once all shards are in. May take long: runs as an effect.
    fn finish(&self) -> Vec<u8>;

    fn clone_box(&self) -> Box<dyn MidState>;
}

/// The families this hub knows.
pub trait Families: Sync + Send {
    /// The family of this kind in its newest version.
    fn newest(&self, kind: &str) -> Option<&dyn Family>;

    /// The family of this kind in the version a job was submitted under.
    fn family(&self, kind: &str, version: u16) -> Option<&dyn Family>;

    /// Every kind, for "did you mean" and documentation.
    fn kinds(&self) -> Vec<&'static str>;
}
