//! Agents, their sessions, and how fast they are.

mod fold;
mod pace;

pub use pace::{Pace, PaceOf, Paces};

use crate::cow::{CowMap, digest_of};
use alloc::sync::Arc;
use forge_event::*;
use serde::{Deserialize, Serialize};

/// How long a lost agent may take to resume its leases, of log time.
pub const GRACE: DurationMs = DurationMs(10_000);
/// How long an accepted result may wait for its seal, of log time.
pub const SEAL_WAIT: DurationMs = DurationMs(10_000);
/// Results of one agent that may wait for a seal.
pub const UNSEALED_COUNT_MAX: u64 = 4096;
/// Leases one agent may hold at once.
pub const WINDOW_MAX: u32 = 128;

/// A live session.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Session {
    /// The node that holds it; only that node dispatches.
    pub node: NodeId,
    pub slots: u32,
    pub draining: bool,
    pub joined: EventIndex,
}

/// The end of the last session, while its grace runs.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Lost {
    pub index: EventIndex,
    /// End of the grace, less the extensions before it.
    pub(crate) grace_base: Timestamp,
}

/// An enrolled agent.
#[derive(Clone, Serialize, Deserialize, Debug)]
pub struct Agent {
    pub provider: ProviderId,
    pub anchor: bool,
    pub public_key: [u8; 32],
    /// Of the last session; 0 before the first.
    pub epoch: Epoch,
    pub session: Option<Session>,
    pub lost: Option<Lost>,
    pub capabilities: Arc<Capabilities>,
    /// Its capability class in the scheduler.
    pub(crate) class: u32,
    /// Where it stands among the agents with room; `None` without room.
    pub(crate) ready: Option<crate::scheduler::Rank>,
    /// Units: microseconds; measured by the session's node.
    pub latency_us: u32,
    pub load_permille: u16,
    pub speed: u32,
    /// Moving share of attempts that ended well. Units: permille.
    pub reliability_permille: u16,
    /// Live leases it holds.
    pub leases: u32,
    /// Leases it may hold: several a slot, so that latency never starves it.
    pub window: u32,
    /// Moving mean of assignment to acceptance. Units: 1/16 ms.
    pub(crate) residence_16ms: u32,
    /// The event that last made room here.
    pub(crate) room: EventIndex,
    /// Position of the last result in its chain.
    pub position: u64,
    /// The chain's end at `position`.
    pub chain: [u8; 32],
    /// Position of the last sealed result.
    pub sealed: u64,
    /// Deadline of its oldest unsealed result, less the extensions before it.
    pub(crate) unsealed_base: Option<Timestamp>,
    pub accepted_count: u64,
    pub failed_count: u64,
}

/// An agent as the API names its state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AgentState {
    Ready,
    Busy,
    Draining,
    Offline,
}

impl Agent {
    pub fn state(&self) -> AgentState {
        match &self.session {
            None => AgentState::Offline,
            Some(s) if s.draining => AgentState::Draining,
            Some(_) if self.leases > 0 => AgentState::Busy,
            Some(_) => AgentState::Ready,
        }
    }

    /// Its capability class in the scheduler.
    pub fn class(&self) -> u32 {
        self.class
    }

    /// Results that wait for a seal.
    pub fn unsealed_count(&self) -> u64 {
        self.position - self.sealed
    }

    /// Further leases it may be given now.
    pub fn room(&self) -> u32 {
        match &self.session {
            Some(s) if !s.draining => self.window.saturating_sub(self.leases),
            _ => 0,
        }
    }
}

#[derive(Clone, Serialize, Deserialize, Debug, Default)]
pub struct Agents {
    pub agents: CowMap<AgentId, Arc<Agent>>,
    /// By public key.
    pub by_key: CowMap<[u8; 32], AgentId>,
    /// Live sessions by node.
    pub sessions: CowMap<(NodeId, AgentId), ()>,
    /// Timing profiles, by family and class.
    pub paces: Paces,
}

impl Agents {
    pub(crate) fn root(&mut self) -> Digest {
        digest_of(&[self.agents.root(), self.by_key.root(), self.sessions.root(), self.paces.root()])
    }
}
