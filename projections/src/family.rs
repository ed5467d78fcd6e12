//! What the projections need of a workload family. The families themselves live in `adapters/`.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Debug;
use core::ops::Range;
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
    /// Nothing is planned after this stage: when it is done, the job is reduced.
    pub last: bool,
}

/// A family's own words on a job: names and JSON values.
pub type Metadata = serde_json::Map<String, serde_json::Value>;

/// Why a plan, a check or a reduction has no outcome. It becomes the job's `error`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    /// Kebab-case: the family's own, or `blob-missing`, `blob-unreadable`.
    pub code: &'static str,
    /// What happened, for people.
    pub detail: String,
}

impl Fault {
    pub fn new(code: &'static str, detail: impl Into<String>) -> Fault {
        Fault { code, detail: detail.into() }
    }
}

/// The blobs that a job may read, and where its large outputs go. Content-addressed; reading is by range.
pub trait Blobs {
    /// Length of a blob. Units: bytes.
    ///
    /// # Errors
    /// `blob-missing` if there is none of this digest.
    fn bytes(&self, digest: &Digest) -> Result<u64, Fault>;

    /// Fills `buffer` from byte `first` on.
    ///
    /// # Errors
    /// `blob-missing`, or `blob-unreadable` if it ends before the buffer does.
    fn read(&self, digest: &Digest, first: u64, buffer: &mut [u8]) -> Result<(), Fault>;

    /// Keeps the concatenation of `parts`; gives its digest and length in bytes. Keeping the same bytes again is free.
    ///
    /// # Errors
    /// The first one of `parts`, or `blob-unwritable`.
    fn put(&self, parts: &mut dyn Iterator<Item = Result<Vec<u8>, Fault>>) -> Result<(Digest, u64), Fault>;

    /// A whole blob of at most `bytes_max`.
    ///
    /// # Errors
    /// As [`Blobs::read`]; `blob-too-large` past the limit.
    fn whole(&self, digest: &Digest, bytes_max: u64) -> Result<Vec<u8>, Fault> {
        let bytes = self.bytes(digest)?;
        if bytes > bytes_max {
            let detail = alloc::format!("{digest} has {bytes} bytes; at most {bytes_max} are read here");
            return Err(Fault::new("blob-too-large", detail));
        }
        let mut buffer = alloc::vec![0; bytes as usize];
        self.read(digest, 0, &mut buffer)?;
        Ok(buffer)
    }
}

/// Has nothing and keeps nothing: for families and stages that need no blobs.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoBlobs;

impl Blobs for NoBlobs {
    fn bytes(&self, digest: &Digest) -> Result<u64, Fault> {
        Err(Fault::new("blob-missing", alloc::format!("there is no blob {digest} here")))
    }

    fn read(&self, digest: &Digest, _: u64, _: &mut [u8]) -> Result<(), Fault> {
        self.bytes(digest).map(drop)
    }

    fn put(&self, _: &mut dyn Iterator<Item = Result<Vec<u8>, Fault>>) -> Result<(Digest, u64), Fault> {
        Err(Fault::new("blob-unwritable", "no blob is kept here"))
    }
}

/// A job as its family plans and reduces it: its spec, and every stage planned so far, all of them done.
#[derive(Clone, Copy, Debug)]
pub struct Past<'a> {
    /// A [`CheckedSpec::spec`] of this version.
    pub spec: &'a [u8],
    pub stages: &'a [DoneStage<'a>],
}

impl<'a> Past<'a> {
    /// A job of which nothing is planned yet.
    pub fn new(spec: &'a [u8]) -> Past<'a> {
        Past { spec, stages: &[] }
    }
}

/// A stage all of whose results are folded.
#[derive(Clone, Copy, Debug)]
pub struct DoneStage<'a> {
    /// [`Plan::body`].
    pub plan: &'a [u8],
    pub shard_count: u64,
    pub mid: &'a dyn MidState,
}

/// [`Family::advice`] of a family that knows no better.
pub const ADVICE: &str = "every agent would find the same: look at the input and at the spec";

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

    /// Looks into the blobs that a spec names, before anything is held for the job; `spec` is a [`CheckedSpec::spec`].
    ///
    /// # Errors
    /// Every fault found, at least one, addressed to the field that names the blob.
    fn check_inputs(&self, _spec: &[u8], _blobs: &dyn Blobs) -> Result<(), Vec<SpecFault>> {
        Ok(())
    }

    /// Cuts the next stage into shards: the first one if `past` has none, else the one that follows from those done.
    ///
    /// # Errors
    /// [`Fault`]: the job fails with it.
    fn plan(&self, past: &Past<'_>, hints: PlanHints, blobs: &dyn Blobs) -> Result<Plan, Fault>;

    /// About how long a shard of this plan takes on one core: its work units. Kept with the stage, so it is the same on every
    /// machine and never panics; timing profiles and estimates read it, decisions do not. Units: nanoseconds.
    fn shard_cost_ns(&self, _spec: &[u8], _plan: &Plan) -> u64 {
        1_000_000
    }

    /// What the family knows of a job for people to see: a JSON object, from its spec and the plans of its stages so far,
    /// as each replica has them. Never a decision's reason.
    fn metadata(&self, _spec: &[u8], _plans: &[&[u8]]) -> Metadata {
        Metadata::new()
    }

    /// What an agent is given for a shard: self-contained bytes for the executor of this kind and version.
    /// Here and below `shard` counts from 0 within its stage.
    fn payload(&self, spec: &[u8], plan: &[u8], shard: ShardIndex) -> Vec<u8>;

    /// Cells of a shard, if an attempt may be taken up behind any of them: the results of its parts, folded from the first
    /// to the last, then stand for that of the whole, to the bits of the document. `None`: it runs whole or not at all.
    fn cells(&self, _spec: &[u8], _plan: &[u8], _shard: ShardIndex) -> Option<u64> {
        None
    }

    /// A plan whose shard 0 is these cells of a shard, counted from its first. Asked only within [`Family::cells`].
    fn part(&self, _spec: &[u8], plan: &[u8], _shard: ShardIndex, _cells: Range<u64>) -> Vec<u8> {
        plan.to_vec()
    }

    /// Whether a shard that failed with this code fails everywhere: a fault of the input, not of the agent.
    /// The second attempt that says so ends the job.
    fn is_final(&self, _code: &str) -> bool {
        false
    }

    /// Why a shard ends with a code that is final wherever it runs, and what to do about it: a clause for people, which
    /// ends a job's `error.detail`. What is decided with it stands in the log, so another text there is another policy.
    fn advice(&self, _code: &str) -> &'static str {
        ADVICE
    }

    /// How many stages a job has, as far as its spec and the plan of its first stage tell. For showing progress: planning
    /// follows [`Plan::last`].
    fn stage_count(&self, _spec: &[u8], _first: &[u8]) -> u32 {
        1
    }

    /// Software that an agent must have for jobs of this family, ascending.
    fn software(&self) -> &'static [&'static str] {
        &[]
    }

    /// Blobs that the payload names: the only ones its agent may read.
    fn shard_blobs(&self, _spec: &[u8], _plan: &[u8], _shard: ShardIndex) -> Vec<Digest> {
        Vec::new()
    }

    /// The free checks of one result: a bit for each failed one, 0 = all passed. Never panics on arbitrary bytes.
    fn check_result(&self, spec: &[u8], plan: &[u8], shard: ShardIndex, result: &[u8]) -> u32;

    /// Blobs that a result names, which its agent kept before it answered. Asked only of results whose
    /// [`Family::check_result`] is 0.
    fn result_blobs(&self, _spec: &[u8], _plan: &[u8], _result: &[u8]) -> Vec<Digest> {
        Vec::new()
    }

    /// The checks that read blobs, of a result whose [`Family::check_result`] is 0 and which names some:
    /// further bits, deterministic, linear in the bytes read.
    ///
    /// # Errors
    /// [`Fault`] if a blob cannot be read here; that says nothing about the result.
    fn check_blobs(
        &self,
        _spec: &[u8],
        _plan: &[u8],
        _shard: ShardIndex,
        _result: &[u8],
        _blobs: &dyn Blobs,
    ) -> Result<u32, Fault> {
        Ok(0)
    }

    /// The canonical result document, once every stage is done. May take long and keep blobs: runs as an effect.
    ///
    /// # Errors
    /// [`Fault`]: the job fails with it.
    fn reduce(&self, past: &Past<'_>, _blobs: &dyn Blobs) -> Result<Vec<u8>, Fault> {
        let document = past.stages.last().and_then(|stage| stage.mid.finish());
        document.ok_or_else(|| Fault::new("no-document", "the mid-state alone does not give a document"))
    }

    /// Bound of the stage's mid-state, charged to the project's budget while the job is open. Units: bytes.
    fn mid_bytes_max(&self, _spec: &[u8], _plan: &Plan) -> u64 {
        64 * 1024
    }

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

    /// The canonical result document, if it follows from this state alone. May take long: runs as an effect.
    fn finish(&self) -> Option<Vec<u8>> {
        None
    }

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
