//! Jobs, their stages and the effects that work for them.

mod fold;

use crate::cow::{CowMap, digest_of};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use forge_event::*;
use serde::{Deserialize, Serialize};

/// What a job is doing, as the API names it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, Debug)]
pub enum JobState {
    Planning,
    Queued,
    Running,
    Reducing,
    Succeeded,
    Failed,
    Cancelled,
}

impl JobState {
    pub fn name(self) -> &'static str {
        match self {
            JobState::Planning => "planning",
            JobState::Queued => "queued",
            JobState::Running => "running",
            JobState::Reducing => "reducing",
            JobState::Succeeded => "succeeded",
            JobState::Failed => "failed",
            JobState::Cancelled => "cancelled",
        }
    }

    pub fn is_final(self) -> bool {
        matches!(self, JobState::Succeeded | JobState::Failed | JobState::Cancelled)
    }
}

/// A planned stage.
#[derive(Clone, Serialize, Deserialize, Debug)]
pub struct Stage {
    pub shards: Run,
    pub segments: u16,
    pub plan_body: Arc<[u8]>,
    pub planned: EventIndex,
    /// No stage follows.
    pub last: bool,
    /// Bound of its mid-state, charged to the project's VMem. Units: bytes.
    pub mid_bytes: u64,
    /// What the family's cost model says of one shard. Units: nanoseconds.
    pub shard_cost_ns: u64,
}

impl Stage {
    /// The number of a shard within the stage, from 0.
    pub fn local(&self, shard: ShardIndex) -> ShardIndex {
        shard - self.shards.first
    }
}

/// The job's hold.
#[derive(Clone, Copy, Serialize, Deserialize, Debug)]
pub struct Hold {
    /// The `credit.held`.
    pub transfer: TransferId,
    pub amount: Credits,
    /// The `job.admitted`.
    pub admitted: EventIndex,
    /// Version of the prices it was admitted under.
    pub prices: u32,
    pub rate: Rate,
}

/// An effect that was started and has no outcome yet.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Running {
    pub effect: EffectId,
    pub try_number: u8,
    pub node: NodeId,
    pub started: EventIndex,
}

/// The final result.
#[derive(Clone, Serialize, Deserialize, Debug)]
pub struct JobResult {
    pub version: u32,
    pub digest: Digest,
    pub bytes: u64,
    pub document: Option<Arc<[u8]>>,
    /// The `job.reduced`.
    pub reduced: EventIndex,
}

/// Why a job failed, or that it was cancelled.
#[derive(Clone, Serialize, Deserialize, Debug)]
pub struct Failure {
    /// Kebab-case; the effects' own codes, or one of those below.
    pub code: String,
    pub detail: String,
}

impl Failure {
    pub const DEADLINE: &str = "deadline-exceeded";
    pub const ATTEMPTS: &str = "attempts-exhausted";
    pub const EXCEPTIONS: &str = "too-many-exceptions";
    pub const QUOTA: &str = "quota-exceeded";
    pub const NO_PRICE: &str = "no-price";
    pub const CRASHED: &str = "effect-crashed";
    pub const MID_BUDGET: &str = "mid-state-budget-exceeded";
}

#[derive(Clone, Serialize, Deserialize, Debug)]
pub struct Job {
    pub submitted: Arc<JobSubmitted>,
    pub by: By,
    pub created_at: Timestamp,
    pub updated: EventIndex,
    pub updated_at: Timestamp,
    pub state: JobState,
    pub stages: Vec<Stage>,
    pub running: Option<Running>,
    pub hold: Option<Hold>,
    /// Shards planned so far, all stages.
    pub shard_count: u64,
    /// Given to agents and not done; nothing of a job that is over.
    pub begun_count: u64,
    /// Results accepted and not voided since.
    pub accepted_count: u64,
    /// Results folded into the mid-state.
    pub closed_count: u64,
    pub in_flight_count: u64,
    pub failed_attempt_count: u64,
    /// Moving mean of assignment to acceptance. Units: 1/16 ms.
    pub(crate) residence_16ms: u64,
    pub error: Option<Failure>,
    pub result: Option<JobResult>,
    /// Running digest over accepted and voided results.
    pub evidence: Digest,
    /// The event that ended it.
    pub ended: Option<EventIndex>,
    /// Paid to providers so far, and charged. Units: micro-credits.
    pub charged: u128,
}

impl Job {
    pub fn project(&self) -> ProjectId {
        self.submitted.project
    }

    /// Every shard planned so far is closed.
    pub fn is_complete(&self) -> bool {
        self.hold.is_some() && self.closed_count == self.shard_count
    }

    /// The stage that a shard belongs to.
    pub fn stage_of(&self, shard: ShardIndex) -> Option<&Stage> {
        let at = self.stages.partition_point(|s| s.shards.last < shard);
        self.stages.get(at)
    }

    /// Whether a further stage follows the ones planned.
    pub fn goes_on(&self) -> bool {
        self.stages.last().is_none_or(|stage| !stage.last)
    }
}

#[derive(Clone, Serialize, Deserialize, Debug, Default)]
pub struct Jobs {
    pub jobs: CowMap<JobId, Job>,
    /// By project, for lists.
    pub by_project: CowMap<(ProjectId, JobId), ()>,
    /// Jobs for which the hub has something to do outside the fold: plan, reduce.
    pub effects_due: CowMap<JobId, ()>,
    /// Planned jobs that are not admitted: they wait for credits, by project.
    pub waiting_for_credits: CowMap<(ProjectId, JobId), ()>,
    /// Projects that can pay their first waiting job now.
    pub(crate) payable: CowMap<ProjectId, ()>,
    /// Ends of jobs with a deadline.
    pub(crate) deadlines: CowMap<(Timestamp, JobId), ()>,
}

impl Jobs {
    pub(crate) fn root(&mut self) -> Digest {
        digest_of(&[
            self.jobs.root(),
            self.by_project.root(),
            self.effects_due.root(),
            self.waiting_for_credits.root(),
            self.payable.root(),
            self.deadlines.root(),
        ])
    }
}
