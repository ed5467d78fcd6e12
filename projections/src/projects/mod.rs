//! Projects, their keys, blobs and what they asked before; providers and enrolments.

mod blobs;
mod quota;

pub use blobs::{BLOB_BYTES_MAX, BLOB_COUNT_MAX, Blob, Blobs};

use crate::aggregator::VMEM_BYTES_MAX;
use crate::cow::{CowMap, digest_of};
use alloc::string::String;
use alloc::vec::Vec;
use forge_event::merkle::Node as TreeNode;
use forge_event::*;
use serde::{Deserialize, Serialize};

/// How long an Idempotency-Key is remembered, of log time.
pub const IDEMPOTENCY_MS: DurationMs = DurationMs(24 * 3600 * 1000);
/// Uploads of blobs at once, on each node, of a project without a limit of its own.
pub const UPLOADS_MAX: u32 = 64;
/// Remembered Idempotency-Keys of one project.
pub const IDEMPOTENCY_COUNT_MAX: u64 = 1_000_000;

#[derive(Clone, Serialize, Deserialize, Debug)]
pub struct Project {
    pub name: String,
    pub quota: Quota,
    /// The event that set it.
    pub quota_set: EventIndex,
    /// Share of the network against other projects' weights.
    pub weight: u16,
    /// Last number of its own event sequence.
    pub seq: u64,
    /// Its previous leaf in the audit tree.
    pub last_leaf: TreeNode,
    /// In escrow now. Units: micro-credits.
    pub escrow: u128,
    pub remembered_count: u64,
    /// Of its recorded blobs. Units: bytes.
    pub blob_bytes: u64,
    pub blob_count: u64,
    /// Charged to its VMem: the bounds of the mid-states of its open jobs. Units: bytes.
    pub vmem_bytes: u64,
    /// Shards of its open jobs that were given to agents and are not done.
    pub begun_count: u64,
}

impl Project {
    pub fn new(name: String, weight: u16, quota: Quota, born: EventIndex) -> Project {
        Project {
            name,
            quota,
            quota_set: born,
            weight,
            seq: 0,
            last_leaf: [0; 32],
            escrow: 0,
            remembered_count: 0,
            blob_bytes: 0,
            blob_count: 0,
            vmem_bytes: 0,
            begun_count: 0,
        }
    }

    pub fn blob_bytes_max(&self) -> u64 {
        self.quota.blob_bytes.unwrap_or(BLOB_BYTES_MAX)
    }

    pub fn blob_count_max(&self) -> u64 {
        self.quota.blob_count.unwrap_or(BLOB_COUNT_MAX)
    }

    pub fn vmem_bytes_max(&self) -> u64 {
        self.quota.vmem_bytes.unwrap_or(VMEM_BYTES_MAX)
    }

    pub fn uploads_max(&self) -> u32 {
        self.quota.uploads.unwrap_or(UPLOADS_MAX)
    }

    /// How many more shards may be given out; the most there is without a limit.
    pub fn shards_left(&self) -> u64 {
        self.quota.shards.map_or(u64::MAX, |most| most.saturating_sub(self.begun_count))
    }
}

#[derive(Clone, Serialize, Deserialize, Debug)]
pub struct Key {
    pub label: String,
    pub scopes: Vec<Scope>,
    /// `None`: a cluster key, bound to no project.
    pub project: Option<ProjectId>,
    pub expires_at: Option<Timestamp>,
    pub digest: Digest,
    pub revoked: Option<EventIndex>,
}

impl Key {
    pub fn is_live(&self, at: Timestamp) -> bool {
        self.revoked.is_none() && self.expires_at.is_none_or(|end| at < end)
    }

    pub fn has(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope)
    }
}

#[derive(Clone, Serialize, Deserialize, Debug)]
pub struct Provider {
    pub name: String,
}

/// A one-time token for an agent.
#[derive(Clone, Serialize, Deserialize, Debug)]
pub struct Enrolment {
    pub provider: ProviderId,
    pub anchor: bool,
    pub expires_at: Timestamp,
    pub token_digest: Digest,
    pub spent: Option<AgentId>,
}

/// A request that was committed under an Idempotency-Key.
#[derive(Clone, Copy, Serialize, Deserialize, Debug)]
pub struct Remembered {
    pub request: Option<Digest>,
    /// The event it became.
    pub index: EventIndex,
    pub expires_at: Timestamp,
}

#[derive(Clone, Serialize, Deserialize, Debug, Default)]
pub struct Projects {
    pub projects: CowMap<ProjectId, Project>,
    pub keys: CowMap<KeyId, Key>,
    pub providers: CowMap<ProviderId, Provider>,
    /// By the position of `enrolment.created`.
    pub enrolments: CowMap<EventIndex, Enrolment>,
    pub enrolment_tokens: CowMap<Digest, EventIndex>,
    /// By project (`p0`: cluster keys) and key digest.
    pub remembered: CowMap<(ProjectId, Digest), Remembered>,
    pub(crate) remembered_until: CowMap<(Timestamp, ProjectId, Digest), ()>,
    pub blobs: Blobs,
}

impl Projects {
    /// The project whose memory a request under `key` uses.
    pub fn memory_of(&self, key: Option<KeyId>) -> ProjectId {
        key.and_then(|k| self.keys.get(&k)).and_then(|k| k.project).unwrap_or_default()
    }

    /// What was committed under this Idempotency-Key, unless it expired.
    pub fn recall(&self, project: ProjectId, idempotency: Digest, at: Timestamp) -> Option<&Remembered> {
        self.remembered.get(&(project, idempotency)).filter(|r| at < r.expires_at)
    }

    pub(crate) fn remember(&mut self, project: ProjectId, idempotency: Digest, what: Remembered, at: Timestamp) {
        // Two old ones leave for each new one, so that the memory shrinks without ever costing a sweep.
        for _ in 0..2 {
            match self.remembered_until.first() {
                Some(((until, ..), ())) if *until <= at => {
                    if let Some(((_, project, key), ())) = self.remembered_until.pop_first() {
                        self.forget(project, key);
                    }
                }
                _ => break,
            }
        }
        if let Some(old) = self.remembered.remove(&(project, idempotency)) {
            self.remembered_until.remove(&(old.expires_at, project, idempotency));
            self.count_remembered(project, -1);
        }
        self.remembered.insert((project, idempotency), what);
        self.remembered_until.insert((what.expires_at, project, idempotency), ());
        self.count_remembered(project, 1);
    }

    fn forget(&mut self, project: ProjectId, idempotency: Digest) {
        if self.remembered.remove(&(project, idempotency)).is_some() {
            self.count_remembered(project, -1);
        }
    }

    fn count_remembered(&mut self, project: ProjectId, change: i64) {
        if let Some(project) = self.projects.get_mut(&project) {
            project.remembered_count = project.remembered_count.saturating_add_signed(change);
        }
    }

    pub(crate) fn root(&mut self) -> Digest {
        digest_of(&[
            self.projects.root(),
            self.keys.root(),
            self.providers.root(),
            self.enrolments.root(),
            self.enrolment_tokens.root(),
            self.remembered.root(),
            self.remembered_until.root(),
            self.blobs.root(),
        ])
    }
}
