//! Project and key.

use crate::text;
use forge_event::*;
use forge_projections::World;
use forge_projections::accounting::Account;
use forge_projections::aggregator::VMEM_BYTES_MAX;
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

impl VMem {
    /// Of a project with nothing in it.
    pub fn empty() -> VMem {
        VMem { budget_bytes: VMEM_BYTES_MAX, ..VMem::default() }
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
            quota: project.quota.map(|q| q.to_string()),
            weight: project.weight,
            available: text::micro(world.accounting.balance(Account::ProjectAvailable(id))),
            escrow: text::credits(project.escrow),
            vmem: VMem { used_bytes, charged_bytes: project.vmem_bytes, ..VMem::empty() },
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
