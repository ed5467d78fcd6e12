//! What a node is in its cluster, and what it knows of the others.

use forge_event::{NodeId, Term};
use tokio::time::Instant;

/// A node's part in the present term.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Role {
    pub term: Term,
    /// The leader as far as this node knows.
    pub leader: Option<NodeId>,
    pub state: RoleState,
}

/// Leader, follower, learner or candidate.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RoleState {
    /// This node leads. The sequencer may rebuild its head once applied ≥ `last_index_at_election`.
    Leader {
        last_index_at_election: u64,
        since: Instant,
    },
    Follower,
    Learner,
    Candidate,
    /// Shut down, or halted by a fault.
    Stopped,
}

impl Role {
    /// The last Raft index at election if this node leads.
    pub fn leads(&self) -> Option<u64> {
        match self.state {
            RoleState::Leader { last_index_at_election, .. } => Some(last_index_at_election),
            _ => None,
        }
    }

    /// For how long this node leads, if it does. Units: milliseconds.
    pub fn leads_ms(&self) -> Option<u64> {
        match self.state {
            RoleState::Leader { since, .. } => Some(u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)),
            _ => None,
        }
    }
}

/// One node's view of the cluster; positions are Raft indices, `None` before the first entry.
#[derive(Clone, Debug)]
pub struct Status {
    pub node: NodeId,
    pub role: Role,
    pub last_log: Option<u64>,
    pub committed: Option<u64>,
    pub applied: Option<u64>,
    pub snapshot: Option<u64>,
    pub purged: Option<u64>,
    /// Every member, this node too, ascending.
    pub members: Vec<PeerStatus>,
    /// A change of voters is under way (joint consensus).
    pub changing: bool,
    /// A snapshot was installed and older segments have not been pulled yet: the node counts for no archive quorum.
    pub incomplete: bool,
    /// Free space is below the reserve: appends are refused or delayed.
    pub storage_degraded: bool,
}

/// A member as this node sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PeerStatus {
    pub node: NodeId,
    pub address: String,
    pub voter: bool,
    /// The last entry known to be on its disk; known to the leader only.
    pub matched: Option<u64>,
    /// How many entries it is behind the leader's last; known to the leader only.
    pub lag: Option<u64>,
    /// Milliseconds since its last answer to a heartbeat of this leader; known to the leader only.
    pub heard_ms: Option<u64>,
}

impl PeerStatus {
    /// For how long a leader of this role has not heard it: from the beginning, if it never answered. `None` where this node
    /// does not lead. Units: milliseconds.
    pub fn silent_ms(&self, role: &Role) -> Option<u64> {
        role.leads_ms().map(|leads_ms| self.heard_ms.unwrap_or(leads_ms))
    }
}
