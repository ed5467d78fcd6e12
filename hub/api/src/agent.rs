//! Agent, provider, enrolment.

use crate::text;
use forge_event::*;
use forge_projections::World;
use forge_projections::accounting::Account;
use forge_projections::agents::{Agent as Known, AgentState, Pace, PaceOf};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How fast a class of agents does a family's work, as the log showed it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct LearntRate {
    #[schema(example = "monte_carlo")]
    pub kind: String,
    /// Of the family.
    pub version: u16,
    /// CPU class.
    #[schema(example = "avx2")]
    pub class: String,
    /// Of one slot, waiting and transport included; a unit is a nanosecond of the family's cost model.
    #[schema(example = 930000000)]
    pub units_per_second: u64,
    /// Assignments it was learnt from.
    pub grants: u64,
    /// The last `result.accepted` among them.
    pub updated_index: u64,
}

impl LearntRate {
    pub fn of(of: &PaceOf, pace: &Pace) -> LearntRate {
        LearntRate {
            kind: of.kind.clone(),
            version: of.family_version,
            class: of.cpu_class.clone(),
            units_per_second: pace.units_per_second(),
            grants: pace.grants,
            updated_index: pace.updated.0,
        }
    }
}

/// An agent.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Agent {
    #[schema(example = "a37")]
    pub id: String,
    pub provider: String,
    pub anchor: bool,
    /// ready, busy, draining or offline; more may come.
    pub state: String,
    /// trusted, probation, sandboxed or removed; more may come.
    pub standing: String,
    /// CPU class.
    pub class: String,
    pub gpu: Option<String>,
    pub mem_bytes: u64,
    pub region: String,
    pub software: Vec<String>,
    /// The node that holds its session.
    pub node: Option<String>,
    pub epoch: u64,
    pub slots: u32,
    pub leases: u32,
    /// Leases it may hold at once.
    pub window: u32,
    pub rtt_ms: f64,
    pub load_permille: u16,
    pub reliability_permille: u16,
    pub accepted: u64,
    pub failed: u64,
    /// Results in its chain, and how many of them it has sealed.
    pub position: u64,
    pub sealed: u64,
    /// Timing profiles of its class, one a family.
    pub rates: Vec<LearntRate>,
}

impl Agent {
    pub fn of(id: AgentId, agent: &Known, world: &World) -> Agent {
        let capabilities = &agent.capabilities;
        Agent {
            id: id.to_string(),
            provider: agent.provider.to_string(),
            anchor: agent.anchor,
            state: state_name(agent.state()).into(),
            standing: "trusted".into(),
            class: capabilities.cpu_class.clone(),
            gpu: capabilities.gpu.clone(),
            mem_bytes: capabilities.mem_bytes,
            region: capabilities.region.clone(),
            software: capabilities.software.clone(),
            node: agent.session.map(|s| s.node.to_string()),
            epoch: agent.epoch,
            slots: agent.session.map_or(0, |s| s.slots),
            leases: agent.leases,
            window: agent.window,
            rtt_ms: f64::from(agent.latency_us) / 1000.0,
            load_permille: agent.load_permille,
            reliability_permille: agent.reliability_permille,
            accepted: agent.accepted_count,
            failed: agent.failed_count,
            position: agent.position,
            sealed: agent.sealed,
            rates: world.paces_of(&capabilities.cpu_class).map(|(of, pace)| LearntRate::of(of, pace)).collect(),
        }
    }
}

/// As the API names it.
pub fn state_name(state: AgentState) -> &'static str {
    match state {
        AgentState::Ready => "ready",
        AgentState::Busy => "busy",
        AgentState::Draining => "draining",
        AgentState::Offline => "offline",
    }
}

/// Whoever is paid for what agents compute.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Provider {
    #[schema(example = "v12")]
    pub id: String,
    pub name: String,
    pub earned: String,
    pub pending: String,
    pub paid: String,
    pub clawed_back: String,
}

impl Provider {
    pub fn of(id: ProviderId, name: &str, world: &World) -> Provider {
        let earnings = world.accounting.earnings.get(&id).copied().unwrap_or_default();
        Provider {
            id: id.to_string(),
            name: name.into(),
            earned: text::credits(earnings.earned),
            pending: text::micro(world.accounting.balance(Account::ProviderHeld(id))),
            paid: text::credits(earnings.paid),
            clawed_back: text::credits(earnings.clawed_back),
        }
    }
}

/// A one-time token for an agent.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Enrolment {
    /// Position of its birth event.
    pub id: String,
    /// Shown once; a replayed creation answers without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    pub provider: String,
    pub anchor: bool,
    pub expires_at: String,
}

/// A one-time token for a node.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct NodeInvite {
    /// Shown once; a replayed creation answers without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    pub expires_at: String,
}
