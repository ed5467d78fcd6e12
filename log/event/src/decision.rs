//! Decisions: what policy derives from the state. Anyone with the log derives them again.

use crate::digest::Digest;
use crate::id::*;
use crate::runs::Runs;
use crate::time::Timestamp;
use crate::unit::{Credits, Rate};
use alloc::string::String;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// The job may run; its hold is the `credit.held` just before.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct JobAdmitted {
    pub job: JobId,
    pub max_cost: Credits,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct JobSucceeded {
    pub job: JobId,
    pub version: u32,
    pub digest: Digest,
    pub bytes: u64,
    /// Shards whose class is `structural`; under policy 1, all.
    pub structural: u64,
    /// Running digest over the job's accepted and voided results.
    pub evidence: Digest,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct JobFailed {
    pub job: JobId,
    pub code: String,
    pub detail: String,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct JobCancelled {
    pub job: JobId,
    pub reason: Option<String>,
}

/// What an attempt is for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, Debug)]
pub enum Role {
    Work,
    Backup,
    Copy,
    Audit,
    Anchor,
}

impl Role {
    pub fn name(self) -> &'static str {
        match self {
            Role::Work => "work",
            Role::Backup => "backup",
            Role::Copy => "copy",
            Role::Audit => "audit",
            Role::Anchor => "anchor",
        }
    }
}

/// Opens one lease a shard: `(job, shard, attempt)`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct ShardAssigned {
    pub job: JobId,
    pub agent: AgentId,
    pub epoch: Epoch,
    pub shards: Runs,
    pub attempt: AttemptNumber,
    pub role: Role,
    pub deadline: Timestamp,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub enum RequeueReason {
    Expired,
    Revoked,
    Failed,
    Refused,
    Voided,
}

impl RequeueReason {
    pub fn name(self) -> &'static str {
        match self {
            RequeueReason::Expired => "expired",
            RequeueReason::Revoked => "revoked",
            RequeueReason::Failed => "failed",
            RequeueReason::Refused => "refused",
            RequeueReason::Voided => "voided",
        }
    }

    /// Whether what the attempt had done so far counts: it was cut off, not wrong.
    pub fn leaves_checkpoints(self) -> bool {
        matches!(self, RequeueReason::Expired | RequeueReason::Revoked)
    }
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct ShardRequeued {
    pub job: JobId,
    pub shards: Runs,
    pub reason: RequeueReason,
    /// The last one.
    pub attempt: AttemptNumber,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct LeaseExpired {
    pub job: JobId,
    pub agent: AgentId,
    pub shards: Runs,
    pub attempt: AttemptNumber,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub enum RevokeReason {
    Lost,
    Raced,
    Cancelled,
    Removed,
    Convicted,
    Drained,
}

impl RevokeReason {
    pub fn name(self) -> &'static str {
        match self {
            RevokeReason::Lost => "lost",
            RevokeReason::Raced => "raced",
            RevokeReason::Cancelled => "cancelled",
            RevokeReason::Removed => "removed",
            RevokeReason::Convicted => "convicted",
            RevokeReason::Drained => "drained",
        }
    }
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct LeaseRevoked {
    pub job: JobId,
    pub agent: AgentId,
    pub shards: Runs,
    pub attempt: AttemptNumber,
    pub reason: RevokeReason,
}

/// On what ground a result counts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, Debug)]
pub enum Class {
    Audited,
    Credible,
    Structural,
    Recomputed,
}

impl Class {
    pub fn name(self) -> &'static str {
        match self {
            Class::Audited => "audited",
            Class::Credible => "credible",
            Class::Structural => "structural",
            Class::Recomputed => "recomputed",
        }
    }
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct ResultAccepted {
    pub job: JobId,
    pub agent: AgentId,
    pub attempt: AttemptNumber,
    pub shards: Runs,
    pub class: Class,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub enum RefusalCode {
    BadResult,
    NoLease,
    StaleEpoch,
    Duplicate,
    Closed,
}

impl RefusalCode {
    pub fn name(self) -> &'static str {
        match self {
            RefusalCode::BadResult => "bad_result",
            RefusalCode::NoLease => "no_lease",
            RefusalCode::StaleEpoch => "stale_epoch",
            RefusalCode::Duplicate => "duplicate",
            RefusalCode::Closed => "closed",
        }
    }
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct ResultRefused {
    pub job: JobId,
    pub agent: AgentId,
    pub attempt: AttemptNumber,
    pub shards: Runs,
    pub code: RefusalCode,
}

/// `project:p:available` → `job:j:escrow`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct CreditHeld {
    pub job: JobId,
    pub amount: Credits,
}

/// What an accrual pays for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, Debug)]
pub enum Purpose {
    Result,
    Audit,
    Raced,
    Rerun,
}

impl Purpose {
    pub fn name(self) -> &'static str {
        match self {
            Purpose::Result => "result",
            Purpose::Audit => "audit",
            Purpose::Raced => "raced",
            Purpose::Rerun => "rerun",
        }
    }
}

/// Results of one agent and attempt that an accrual pays or a void takes back.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct PaidResults {
    pub agent: AgentId,
    pub attempt: AttemptNumber,
    pub shards: Runs,
}

/// Pending pay, one a (turn, job, provider, rate, purpose); amounts and entries are the fold's work.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct CreditAccrued {
    pub job: JobId,
    pub provider: ProviderId,
    pub purpose: Purpose,
    pub results: Vec<PaidResults>,
    pub count: u64,
    pub rate: Rate,
    /// Version of the `policy.changed` it is priced by.
    pub prices: u32,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct CreditVoided {
    pub job: JobId,
    pub of: TransferId,
    pub results: Vec<PaidResults>,
    pub reason: VoidReason,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub enum VoidReason {
    /// No seal covered the result in time.
    Unsealed,
}

impl VoidReason {
    pub fn name(self) -> &'static str {
        match self {
            VoidReason::Unsealed => "unsealed",
        }
    }
}

/// What is left in `job:j:escrow` → `project:p:available`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct CreditReleased {
    pub job: JobId,
    pub of: TransferId,
    pub amount: Credits,
}

/// A part of the state that has a root of its own.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, Debug)]
pub enum Part {
    Cluster,
    Projects,
    Agents,
    Jobs,
    Scheduler,
    Aggregator,
    Accounting,
}

impl Part {
    pub const ALL: [Part; 7] =
        [Part::Cluster, Part::Projects, Part::Agents, Part::Jobs, Part::Scheduler, Part::Aggregator, Part::Accounting];

    pub fn name(self) -> &'static str {
        match self {
            Part::Cluster => "cluster",
            Part::Projects => "projects",
            Part::Agents => "agents",
            Part::Jobs => "jobs",
            Part::Scheduler => "scheduler",
            Part::Aggregator => "aggregator",
            Part::Accounting => "accounting",
        }
    }
}

/// The state after this turn's facts, part by part. Replicas that differ halt.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct StateRooted {
    pub upto: EventIndex,
    /// In the order of [`Part::ALL`].
    pub roots: Vec<Digest>,
}

/// The next attempt at a shard begins behind what a checkpoint of the last one holds, which is folded for good.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct ShardResumed {
    pub job: JobId,
    pub shard: ShardIndex,
    /// Whose checkpoint, of which attempt.
    pub agent: AgentId,
    pub attempt: AttemptNumber,
    /// Cells of the shard, from its first on, that do not run again.
    pub from: u64,
}
