//! openraft's types as this crate uses them. They do not leave it.

use crate::runtime::ForgeRuntime;
use bytes::Bytes;
use forge_event::Head;
use openraft::OptionalSend;
use openraft::impls::{BasicNode, BoxedErrorSource, InlineBatch, leader_id_std};
use openraft::raft::responder::Responder;
use openraft::vote::RaftLeaderId;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The type parameters of Raft here: plain terms, `u64` node ids, a turn's frame as payload.
#[derive(Debug, Clone, Copy, Default, Eq, PartialEq, Ord, PartialOrd)]
pub struct Types;

impl openraft::RaftTypeConfig for Types {
    type D = Payload;
    type R = Answer;
    type NodeId = u64;
    type Node = BasicNode;
    type Term = u64;
    type LeaderId = leader_id_std::LeaderId<u64, u64>;
    type Vote = openraft::impls::Vote<Self::LeaderId>;
    type Payload = openraft::EntryPayload<Payload, u64, BasicNode>;
    type Entry = openraft::Entry<<Self::LeaderId as RaftLeaderId>::Committed, Self::Payload>;
    type AsyncRuntime = ForgeRuntime;
    type Responder<T>
        = Reply<T>
    where
        T: OptionalSend + 'static;
    type Batch<T>
        = InlineBatch<T>
    where
        T: OptionalSend + 'static;
    type ErrorSource = BoxedErrorSource;
}

pub type Entry = openraft::alias::EntryOf<Types>;
pub type LogId = openraft::alias::LogIdOf<Types>;
pub type Vote = openraft::alias::VoteOf<Types>;
pub type Membership = openraft::Membership<u64, BasicNode>;
pub type StoredMembership = openraft::alias::StoredMembershipOf<Types>;
pub type SnapshotMeta = openraft::alias::SnapshotMetaOf<Types>;

/// A turn's frame.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payload(pub Bytes);

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "turn of {} bytes", self.0.len())
    }
}

impl fmt::Display for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// What applying an entry gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// The turn was folded; the head after it.
    Accepted(Head),
    /// The turn did not follow the head, which is this.
    Ignored(Head),
    /// Not a turn.
    Nothing,
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Takes the result of a write; dropped without one when the write's fate is not known.
pub struct Reply<T>(Box<dyn FnOnce(T) + Send>);

impl<T> Reply<T> {
    pub fn new(reply: impl FnOnce(T) + Send + 'static) -> Self {
        Reply(Box::new(reply))
    }
}

impl<T: OptionalSend + 'static> Responder<Types, T> for Reply<T> {
    fn on_complete(self, result: T) {
        (self.0)(result);
    }
}

/// A log id from its parts.
pub fn log_id(term: u64, index: u64) -> LogId {
    LogId::new(term.into(), index)
}

/// The term of a log id.
pub fn term_of(id: &LogId) -> u64 {
    id.committed_leader_id().term
}
