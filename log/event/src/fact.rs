//! Facts: what is admitted from the world. Their causes and rules: `README.md`, *Events*.

use crate::digest::Digest;
use crate::id::*;
use crate::runs::Runs;
use crate::time::Timestamp;
use crate::unit::{Credits, Rate};
use alloc::string::String;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// Where a node listens: `HOST:PORT` each.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug, Default)]
pub struct Addresses {
    pub rest: String,
    pub agents: String,
    pub peers: String,
}

/// A node leads from here on.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct LeaderStarted {
    pub node: NodeId,
    pub term: Term,
    pub wall: Timestamp,
    /// Added to every live deadline: the gap plus one grace period; 0 if there was no gap.
    pub extend_ms: u64,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct NodeInvited {
    pub token_digest: Digest,
    pub expires_at: Timestamp,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct NodeAdmitted {
    pub node: NodeId,
    pub invite: Option<EventIndex>,
    pub addresses: Addresses,
    /// Ed25519; pins every link of the node.
    pub public_key: [u8; 32],
    /// End of the node's secret chain: BLAKE3 of its next preimage.
    pub tip: Digest,
    pub voter: bool,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct NodeMoved {
    pub node: NodeId,
    pub addresses: Addresses,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct NodeRemoved {
    pub node: NodeId,
}

/// The leader no longer hears a node: the grace of all sessions there starts.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct NodeLost {
    pub node: NodeId,
    pub term: Term,
}

/// A node holds a segment, fsynced, read back and verified.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct SegmentArchived {
    pub node: NodeId,
    pub first: EventIndex,
    pub last: EventIndex,
    /// BLAKE3 of the segment file.
    pub digest: Digest,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct ProjectCreated {
    pub name: String,
    /// Most that may be in escrow at once.
    pub quota: Option<Credits>,
    /// Share of the network against other projects' weights, 1 to 1000.
    pub weight: u16,
}

/// What a project may use at most; what is absent is the hub's own limit, or none.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug, Default)]
pub struct Quota {
    /// In escrow at once.
    pub credits: Option<Credits>,
    /// Shards given to agents and not done, at once.
    pub shards: Option<u64>,
    /// Kept in blobs. Units: bytes.
    pub blob_bytes: Option<u64>,
    pub blob_count: Option<u64>,
    /// Mid-states of open jobs. Units: bytes.
    pub vmem_bytes: Option<u64>,
    /// Uploads of blobs at once, on each node.
    pub uploads: Option<u32>,
}

/// Takes the place of the project's quota.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct QuotaChanged {
    pub project: ProjectId,
    pub quota: Quota,
    /// The event that set the quota which the caller saw, if the caller minds another change in between.
    pub replaces: Option<EventIndex>,
}

/// What a key may do.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, Debug)]
pub enum Scope {
    JobsRead,
    JobsWrite,
    Blobs,
    LedgerRead,
    AuditRead,
    AgentsAdmin,
    ClusterAdmin,
}

impl Scope {
    pub const ALL: [Scope; 7] = [
        Scope::JobsRead,
        Scope::JobsWrite,
        Scope::Blobs,
        Scope::LedgerRead,
        Scope::AuditRead,
        Scope::AgentsAdmin,
        Scope::ClusterAdmin,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Scope::JobsRead => "jobs:read",
            Scope::JobsWrite => "jobs:write",
            Scope::Blobs => "blobs",
            Scope::LedgerRead => "ledger:read",
            Scope::AuditRead => "audit:read",
            Scope::AgentsAdmin => "agents:admin",
            Scope::ClusterAdmin => "cluster:admin",
        }
    }

    pub fn named(name: &str) -> Option<Scope> {
        Scope::ALL.into_iter().find(|s| s.name() == name)
    }
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct KeyCreated {
    pub label: String,
    /// Ascending, without repeats.
    pub scopes: Vec<Scope>,
    /// `None`: a cluster key.
    pub project: Option<ProjectId>,
    pub expires_at: Option<Timestamp>,
    /// BLAKE3 derive-key digest of the 32 secret bytes.
    pub digest: Digest,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct KeyRevoked {
    pub key: KeyId,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct ProviderCreated {
    pub name: String,
}

/// Prices and shares from here on; running jobs keep the ones they were admitted under.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct PolicyChanged {
    /// Of prices and rules, from 1 without gap; not the decision code's.
    pub version: u32,
    /// By kind, ascending. Units: micro-credits a result.
    pub prices: Vec<(String, Rate)>,
    /// Shares of a charge; their sum is at most 1, the remainder of flooring goes to `hub:rounding`.
    pub payout: Rate,
    pub fee: Rate,
    pub verification: Rate,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct EnrolmentCreated {
    pub provider: ProviderId,
    pub anchor: bool,
    pub expires_at: Timestamp,
    pub token_digest: Digest,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct AgentEnrolled {
    pub provider: ProviderId,
    pub anchor: bool,
    pub public_key: [u8; 32],
    /// The `enrolment.created` it spends.
    pub enrolment: EventIndex,
}

/// What an agent says it can do.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, Debug, Default)]
pub struct Capabilities {
    /// `sse2`, `avx2`, `avx512`, `neon`.
    pub cpu_class: String,
    pub gpu: Option<String>,
    pub mem_bytes: u64,
    pub region: String,
    /// Ascending, without repeats, e.g. `ffmpeg-5.1`.
    pub software: Vec<String>,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct AgentJoined {
    pub agent: AgentId,
    /// The node that holds the session.
    pub node: NodeId,
    pub epoch: Epoch,
    pub slots: u32,
    pub capabilities: Capabilities,
}

/// The agent asked for no more work.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct AgentDraining {
    pub agent: AgentId,
    pub epoch: Epoch,
}

/// Why a session ended.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub enum LostReason {
    /// Its connection closed or timed out.
    Disconnected,
    /// The agent left of its own will, with nothing left to deliver.
    Left,
    /// It broke the agent protocol.
    Protocol,
}

impl LostReason {
    pub fn name(self) -> &'static str {
        match self {
            LostReason::Disconnected => "disconnected",
            LostReason::Left => "left",
            LostReason::Protocol => "protocol",
        }
    }
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct AgentLost {
    pub agent: AgentId,
    pub epoch: Epoch,
    pub reason: LostReason,
}

/// One agent's figures, quantised by the node that measured them.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Observation {
    pub agent: AgentId,
    pub latency_us: u32,
    pub load_permille: u16,
    /// Work units a millisecond, as the agent measured itself.
    pub speed: u32,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct AgentsObserved {
    pub node: NodeId,
    pub agents: Vec<Observation>,
}

/// What a job needs of an agent.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, Debug, Default)]
pub struct Requirements {
    pub cpu_class: Option<String>,
    pub gpu: Option<String>,
    pub mem_bytes_min: u64,
    /// Any of them; empty: anywhere. Ascending, without repeats.
    pub regions: Vec<String>,
    /// All of them. Ascending, without repeats.
    pub software: Vec<String>,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug, Default)]
pub struct Limits {
    pub max_credits: Option<Credits>,
    /// From submission; the job fails when it passes. Units: milliseconds.
    pub deadline_ms: Option<u64>,
    pub max_attempts: Option<u16>,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub enum Assurance {
    Standard,
    High,
    Critical,
}

impl Assurance {
    pub fn name(self) -> &'static str {
        match self {
            Assurance::Standard => "standard",
            Assurance::High => "high",
            Assurance::Critical => "critical",
        }
    }
}

/// How a job wants its results verified, recorded as asked.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub enum Verify {
    None,
    Care { assurance: Assurance },
    Redundant { percent: u8 },
    Quorum { copies: u8, agree: u8 },
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct JobSubmitted {
    pub project: ProjectId,
    pub kind: String,
    /// The family's version whose planner, checks and reducer this job uses.
    pub family_version: u16,
    pub name: Option<String>,
    /// Ascending by key, without repeats.
    pub labels: Vec<(String, String)>,
    /// Canonical JSON of the kind's spec, defaults filled in.
    pub spec: Vec<u8>,
    pub shard_cells: Option<u64>,
    pub requirements: Requirements,
    pub limits: Limits,
    pub priority: u8,
    pub allow_wait: bool,
    pub verify: Option<Verify>,
    /// Blobs that `spec` names.
    pub inputs: Vec<Digest>,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct JobCancelRequested {
    pub job: JobId,
    pub reason: Option<String>,
}

/// A stage was cut into shards.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct StagePlanned {
    pub job: JobId,
    pub stage: u16,
    /// The start it is the outcome of.
    pub try_number: u8,
    /// `first..=last`, follows the previous stage without gap.
    pub shards: crate::runs::Run,
    /// Independently verifiable segments of a shard's result.
    pub segments: u16,
    /// No stage follows: when this one is done, the job is reduced.
    pub last: bool,
    /// The family's own plan bytes; `plan` in the export is their digest.
    pub plan_body: Vec<u8>,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct EffectStarted {
    pub effect: EffectId,
    /// 1 or 2.
    pub try_number: u8,
    pub node: NodeId,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct EffectFailed {
    pub effect: EffectId,
    pub try_number: u8,
    /// Kebab-case, from the family or the hub.
    pub code: String,
    pub detail: String,
}

/// Which edge checks ran and which failed.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug, Default)]
pub struct Checks {
    pub version: u16,
    /// A bit for each failed check; 0 = all passed.
    pub bits: u32,
}

/// Consecutive results (in run order) that are equal to the byte.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct ResultRun {
    pub count: u32,
    pub digest: Digest,
    /// Root over segment digests; `None` where a stage has one segment (then BLAKE3(0x00 ‖ digest)).
    pub root: Option<Digest>,
    /// The bytes, if they travel in the log.
    pub inline: Option<Vec<u8>>,
    /// Length of the bytes.
    pub bytes: u64,
}

/// Deliveries of one agent, of one job and attempt, with one outcome of the edge checks.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct ResultReceived {
    pub job: JobId,
    pub agent: AgentId,
    pub epoch: Epoch,
    pub attempt: AttemptNumber,
    pub shards: Runs,
    /// Of the first shard in the agent's chain, from 1; the others follow.
    pub position: u64,
    /// Counts sum to the number of shards.
    pub results: Vec<ResultRun>,
    pub checks: Checks,
}

/// An agent signed its chain up to a position.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct ResultsSealed {
    pub agent: AgentId,
    pub upto: u64,
    #[serde(deserialize_with = "crate::digest::raw")]
    pub head: [u8; 32],
    /// Ed25519 over [`crate::seal::message`]: 64 bytes, as two halves.
    #[serde(deserialize_with = "crate::digest::raw_halves")]
    pub signature: [[u8; 32]; 2],
}

/// The agent could not do its shards.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct ShardReportedFailed {
    pub job: JobId,
    pub agent: AgentId,
    pub epoch: Epoch,
    pub attempt: AttemptNumber,
    pub shards: Runs,
    pub code: String,
}

/// The canonical result document exists.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct JobReduced {
    pub job: JobId,
    pub version: u32,
    /// The start it is the outcome of.
    pub try_number: u8,
    pub digest: Digest,
    pub bytes: u64,
    /// The document, if it travels in the log.
    pub document: Option<Vec<u8>>,
    /// Blobs that it names: the project's own from here on. Ascending, without repeats.
    pub outputs: Vec<Digest>,
}

/// Credits come into being: `equity:issued` → `project:p:available`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct CreditsIssued {
    pub project: ProjectId,
    pub amount: Credits,
    pub reference: String,
}

/// A majority of nodes keeps a blob for a project.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct BlobRecorded {
    pub project: ProjectId,
    pub digest: Digest,
    pub bytes: u64,
    /// The job between whose shards it goes; it is forgotten when that ends. `None`: the project's own.
    pub job: Option<JobId>,
}

/// What a running attempt has done so far, as a result of its first cells.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct CheckpointReceived {
    pub job: JobId,
    pub agent: AgentId,
    pub epoch: Epoch,
    pub attempt: AttemptNumber,
    pub shard: ShardIndex,
    /// Done since the attempt began.
    pub cells: u64,
    pub digest: Digest,
    pub inline: Vec<u8>,
    pub checks: Checks,
    /// Ed25519 over [`crate::seal::checkpoint_message`]: 64 bytes, as two halves.
    #[serde(deserialize_with = "crate::digest::raw_halves")]
    pub signature: [[u8; 32]; 2],
}
