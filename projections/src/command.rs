//! Wishes: what the doors, the sessions and the effects send to the leader's sequencer.

use crate::rejection::Rejection;
use alloc::vec::Vec;
use forge_event::*;
use serde::{Deserialize, Serialize};

/// One result as its session's node saw it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Delivery {
    pub lease: LeaseId,
    pub digest: Digest,
    /// `None` where the stage has one segment.
    pub root: Option<Digest>,
    pub bytes: u64,
    /// The bytes, if they travel in the log.
    pub inline: Option<Vec<u8>>,
    pub checks: Checks,
}

/// A wish; may be refused. Serialised between nodes only, never stored.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Command {
    /// A fact that needs nothing from the leader but admission.
    Fact(Fact),
    /// An agent spends an enrolment token: becomes `agent.enrolled`.
    Enrol { token: Digest, public_key: [u8; 32] },
    /// A node spends an invite: becomes `node.admitted` with the next node number.
    AdmitNode { token: Digest, addresses: Addresses, public_key: [u8; 32], tip: Digest },
    /// An agent's session came up on a node: becomes `agent.joined` with the next epoch.
    Join { agent: AgentId, node: NodeId, slots: u32, capabilities: Capabilities },
    /// Results of one session; the leader orders, numbers and groups them when it seals the turn.
    Deliver { agent: AgentId, epoch: Epoch, deliveries: Vec<Delivery> },
}

/// What became of a result, as its agent is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Fate {
    Accepted,
    Refused(RefusalCode),
    /// Accepted at first, then voided because no seal covered it in time.
    Voided,
}

/// A delivery that is in the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Recorded {
    pub lease: LeaseId,
    /// In the agent's chain, from 1.
    pub position: u64,
    pub fate: Fate,
}

/// The answer to a command whose turn is committed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Committed {
    /// The fact's position; for a delivery, the last of its facts.
    pub index: EventIndex,
    /// Log time of its turn.
    pub at: Timestamp,
    /// The request had been committed before, under the same Idempotency-Key.
    pub replayed: bool,
    /// For [`Command::Deliver`]: one for each delivery, in their order.
    pub recorded: Vec<Recorded>,
}

/// Why a command gave no answer from a committed turn.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum CommandError {
    /// Refused; nothing was applied.
    Rejected(Rejection),
    /// No leader is known, or it is just changing; nothing was applied.
    NoLeader,
    /// A queue is full; nothing was applied.
    Overloaded,
    /// The node takes no commands: it drains, or its disk is nearly full; nothing was applied.
    Refusing(Refusing),
    /// It may or may not be applied; ask again with the same Idempotency-Key.
    Unknown,
    /// A bug of ours, caught; nothing was applied.
    Internal,
}

/// Why a node takes no commands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Refusing {
    Draining,
    StorageDegraded,
}

impl From<Rejection> for CommandError {
    fn from(rejection: Rejection) -> Self {
        CommandError::Rejected(rejection)
    }
}
