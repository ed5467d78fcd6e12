//! Project and key.

use crate::requests::QuotaRequest;
use crate::text;
use forge_event::*;
use forge_projections::World;
use forge_projections::accounting::Account;
use forge_projections::projects::{Key as KnownKey, Project as Known};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The numeric mid-states of a project's open jobs, which every replica and every snapshot holds.
#[derive(Clone, PartialEq, Default, Debug, Serialize, Deserialize, ToSchema)]
pub struct VMem {
    /// As the node that answers keeps them.
    pub used_bytes: u64,
    /// What the families said that they can grow to. Jobs that would pass the budget fail with
    /// `mid-state-budget-exceeded`, or wait if `allow_wait` says so.
    pub charged_bytes: u64,
    pub budget_bytes: u64,
}

/// What a project may use at most. Null in `credits` and `shards` is no limit.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Limits {
    /// In escrow at once.
    pub credits: Option<String>,
    /// Given to agents and not done, at once.
    pub shards: Option<u64>,
    pub blob_bytes: u64,
    pub blob_count: u64,
    /// Mid-states of open jobs.
    pub vmem_bytes: u64,
    /// Uploads of blobs at once, on each node.
    pub uploads: u32,
}

/// What a project uses now, as the log knows it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Used {
    pub credits: String,
    pub shards: u64,
    pub blob_bytes: u64,
    pub blob_count: u64,
    pub vmem_bytes: u64,
}

/// A project's quota, the limits that follow from it, and what is used of them.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Quota {
    #[schema(example = "p7")]
    pub project: String,
    /// As it was set: what a PUT takes.
    pub quota: QuotaRequest,
    /// In force: what was set, or else the hub's own.
    pub limits: Limits,
    pub used: Used,
}

impl Quota {
    pub fn of(id: ProjectId, project: &Known) -> Quota {
        let set = &project.quota;
        let credits = set.credits.map(|credits| credits.to_string());
        Quota {
            project: id.to_string(),
            quota: own_limits(set),
            limits: Limits {
                credits,
                shards: set.shards,
                blob_bytes: project.blob_bytes_max(),
                blob_count: project.blob_count_max(),
                vmem_bytes: project.vmem_bytes_max(),
                uploads: project.uploads_max(),
            },
            used: Used {
                credits: text::credits(project.escrow),
                shards: project.begun_count,
                blob_bytes: project.blob_bytes,
                blob_count: project.blob_count,
                vmem_bytes: project.vmem_bytes,
            },
        }
    }

    /// Strong validator of the limits, `set` by this event; what is used does not change it.
    pub fn etag(id: ProjectId, set: EventIndex) -> String {
        format!("\"{id}@{set}\"")
    }
}

/// As they were set.
fn own_limits(set: &forge_event::Quota) -> QuotaRequest {
    QuotaRequest {
        credits: set.credits.map(|credits| credits.to_string()),
        shards: set.shards,
        blob_bytes: set.blob_bytes,
        blob_count: set.blob_count,
        vmem_bytes: set.vmem_bytes,
        uploads: set.uploads,
    }
}

/// A project, the unit of isolation.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Project {
    #[schema(example = "p7")]
    pub id: String,
    pub name: String,
    /// Most that may be in escrow at once.
    pub quota: Option<String>,
    /// Every limit that was set for it, that of credits included; null is the hub's own, or none.
    pub own_limits: QuotaRequest,
    pub weight: u16,
    pub available: String,
    pub escrow: String,
    pub vmem: VMem,
}

impl Project {
    /// `used_bytes` is measured: [`World::vmem_used`].
    pub fn of(id: ProjectId, project: &Known, world: &World, used_bytes: u64) -> Project {
        Project {
            id: id.to_string(),
            name: project.name.clone(),
            quota: project.quota.credits.map(|q| q.to_string()),
            own_limits: own_limits(&project.quota),
            weight: project.weight,
            available: text::micro(world.accounting.balance(Account::ProjectAvailable(id))),
            escrow: text::credits(project.escrow),
            vmem: VMem { used_bytes, charged_bytes: project.vmem_bytes, budget_bytes: project.vmem_bytes_max() },
        }
    }
}

/// An API key, without its secret.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Key {
    #[schema(example = "k12")]
    pub id: String,
    pub label: String,
    pub scopes: Vec<String>,
    /// Null: a cluster key.
    pub project: Option<String>,
    pub expires_at: Option<String>,
    /// live, revoked or expired.
    pub state: String,
}

impl Key {
    pub fn of(id: KeyId, key: &KnownKey, at: Timestamp) -> Key {
        let state = match () {
            () if key.revoked.is_some() => "revoked",
            () if !key.is_live(at) => "expired",
            () => "live",
        };
        Key {
            id: id.to_string(),
            label: key.label.clone(),
            scopes: key.scopes.iter().map(|s| s.name().into()).collect(),
            project: key.project.map(|p| p.to_string()),
            expires_at: key.expires_at.map(|t| t.to_string()),
            state: state.into(),
        }
    }
}

/// The answer to `POST /v1/keys`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct NewKey {
    #[schema(example = "k12")]
    pub id: String,
    /// Shown once; a replayed creation answers without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    pub label: String,
    pub scopes: Vec<String>,
    pub project: Option<String>,
    pub expires_at: Option<String>,
}
