//! The log as its users see it.

use crate::role::{Role, Status};
use bytes::Bytes;
use forge_event::{Digest, EventIndex, Head, NodeId, Term, Turn};
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::sync::{oneshot, watch};

/// What became of an append: three outcomes, never a guess.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Appended {
    /// On a majority's disks and folded here.
    Committed { head: Head, raft_index: u64 },
    /// Not in the log, and never will be.
    Refused(Refusal),
    /// It may be in the log, now or later. Only committed state can tell.
    Unknown,
}

/// Why a turn is not in the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// This node does not lead in that term.
    NotLeader { leader: Option<NodeId> },
    /// This node leads but cannot take a turn now (no quorum heard yet, or leadership is being handed over): retry here.
    RetryHere,
    /// It reached the log, and every replica ignored it: its `expected` was not the head.
    Ignored { head: Head },
    /// Too many appends wait already.
    Busy,
    /// No disk space to spare.
    StorageDegraded,
    /// Longer than `TURN_BYTES_MAX` with its frame.
    TooLong,
    /// The log was shut down before the turn was queued.
    Stopped,
}

/// The answer to an append that was queued when this was made. Resolves to [`Appended::Unknown`] if the log goes away.
#[derive(Debug)]
pub struct Ticket(TicketState);

#[derive(Debug)]
enum TicketState {
    Known(Appended),
    Waiting(oneshot::Receiver<Appended>),
}

impl Ticket {
    /// An answer that is known already.
    pub fn known(outcome: Appended) -> Ticket {
        Ticket(TicketState::Known(outcome))
    }

    /// An answer to come.
    pub fn waiting(receiver: oneshot::Receiver<Appended>) -> Ticket {
        Ticket(TicketState::Waiting(receiver))
    }
}

impl Future for Ticket {
    type Output = Appended;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Appended> {
        Poll::Ready(match &mut self.0 {
            TicketState::Known(outcome) => *outcome,
            TicketState::Waiting(receiver) => ready!(Pin::new(receiver).poll(context)).unwrap_or(Appended::Unknown),
        })
    }
}

/// A linearizable read is not possible now.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NotReady {
    #[error("no leader is known; retry")]
    NoLeader,
    #[error("the read barrier did not pass within its deadline; retry")]
    Deadline,
    #[error("the log of this node has stopped")]
    Stopped,
}

/// A change of members did not happen, or is not known to have happened.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum MembershipError {
    #[error("this node does not lead; the leader is {leader:?}")]
    NotLeader { leader: Option<NodeId> },
    #[error("another change of members is under way; retry when it is done")]
    Busy,
    #[error("{node} is not a member that can take part in this change")]
    UnknownNode { node: NodeId },
    #[error("the cluster is formed already")]
    Formed,
    #[error("the change did not finish within its deadline; read the status")]
    Deadline,
    #[error("the log of this node has stopped")]
    Stopped,
    #[error("the change of members was refused: {why}")]
    Refused { why: String },
}

/// A snapshot was not taken.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SnapshotError {
    #[error("the snapshot did not finish within its deadline")]
    Deadline,
    #[error("the log of this node has stopped")]
    Stopped,
}

/// Entries were not purged.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PurgeRefused {
    #[error("entries up to {asked} are not all archived; {archived} is the last that is")]
    NotArchived { asked: u64, archived: u64 },
    #[error("entries up to {asked} are too close behind the snapshot; {allowed} is the last that may go")]
    TooClose { asked: u64, allowed: u64 },
    #[error("the log of this node has stopped")]
    Stopped,
}

/// History cannot be read.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ReadError {
    #[error("this node does not hold event {from} yet: it pulls older segments from its peers")]
    Incomplete { from: EventIndex },
    #[error("event {asked} is behind the end of the log, {last}")]
    BeyondEnd { asked: EventIndex, last: EventIndex },
    #[error("{what} does not verify")]
    Corrupt { what: String },
    #[error("cannot read {what}")]
    Io { what: String, source: Arc<io::Error> },
}

/// A turn read from the archive or the tail.
#[derive(Clone, Debug)]
pub struct ReadTurn {
    pub turn: Turn,
    pub frame: Bytes,
    /// The head after it.
    pub head: Head,
}

/// A segment on this node's disk: fsynced, read back and verified.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SealedSegment {
    pub first: EventIndex,
    pub last: EventIndex,
    /// BLAKE3 of the file.
    pub digest: Digest,
    pub bytes: u64,
    /// The head after its last turn.
    pub head: Head,
    /// The Raft entry of its last turn.
    pub raft_index: u64,
}

/// Why the log of this node stopped for good: the process exits with code 74.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the log failed and must not go on: {what}")]
pub struct Fault {
    pub what: String,
}

/// A replicated log of turns.
///
/// Object safe. Every future may be dropped; dropping a [`Ticket`] does not withdraw its turn.
pub trait Log: Send + Sync + 'static {
    /// Queues a turn's frame as leader of `term`; queued in call order before this returns.
    fn append(&self, term: Term, frame: Vec<u8>) -> Ticket;

    /// This node's role, as it changes.
    fn role(&self) -> watch::Receiver<Role>;

    /// The last applied Raft index, as it grows; 0 before the first.
    fn applied(&self) -> watch::Receiver<u64>;

    /// Resolves to true when `applied ≥ index`, to false if the log stops before.
    fn wait_applied(&self, index: u64) -> BoxFuture<'static, bool> {
        let mut applied = self.applied();
        Box::pin(async move { applied.wait_for(|at| *at >= index).await.is_ok() })
    }

    /// Resolves when this node's state holds everything that was committed when it was called, on any node.
    fn read_barrier(&self, deadline: Duration) -> BoxFuture<'static, Result<(), NotReady>>;

    /// Forms a cluster of this node alone; once in a cluster's life.
    fn bootstrap(&self, address: String) -> BoxFuture<'static, Result<(), MembershipError>>;

    /// Adds a learner, or gives a member another address; idempotent.
    fn add_learner(&self, node: NodeId, address: String) -> BoxFuture<'static, Result<(), MembershipError>>;

    /// Makes a learner a voter; idempotent. For a voter it ends a change that an earlier leader began and did not end.
    fn promote(&self, node: NodeId) -> BoxFuture<'static, Result<(), MembershipError>>;

    /// Removes a member of either kind; idempotent.
    fn remove(&self, node: NodeId) -> BoxFuture<'static, Result<(), MembershipError>>;

    /// Asks `node` to take over; read [`Log::role`] for what became of it.
    fn transfer(&self, node: NodeId) -> BoxFuture<'static, Result<(), MembershipError>>;

    fn status(&self) -> Status;

    /// Takes a snapshot now; gives its Raft index.
    fn snapshot(&self) -> BoxFuture<'static, Result<u64, SnapshotError>>;

    /// Drops entries up to `upto`, `archived` being the last event that a majority of voters archived.
    fn purge_upto(&self, upto: u64, archived: EventIndex) -> BoxFuture<'static, Result<(), PurgeRefused>>;

    /// The highest `upto` that [`Log::purge_upto`] would take.
    fn purgeable(&self, archived: EventIndex) -> Option<u64>;

    /// The segments on this node's disk that end behind `after`, ascending.
    fn segments(&self, after: EventIndex) -> Vec<SealedSegment>;

    /// How many segments this node holds, as it grows.
    fn segment_count(&self) -> watch::Receiver<u64>;

    /// True while segments before an installed snapshot are missing here.
    fn incomplete(&self) -> watch::Receiver<bool>;

    /// True while disk space is short.
    fn storage_degraded(&self) -> watch::Receiver<bool>;

    /// Turns from the one that holds event `from` to the head at the call: archive and tail as one.
    fn read(&self, from: EventIndex) -> BoxStream<'static, Result<ReadTurn, ReadError>>;

    /// The bytes of an archive file of the turns that hold events `from..=to`; equal on every node.
    fn export(&self, from: EventIndex, to: EventIndex) -> BoxStream<'static, Result<Bytes, ReadError>>;

    /// Resolves if the log fails for good.
    fn fatal(&self) -> BoxFuture<'static, Fault>;

    /// Stops; queued appends resolve to [`Appended::Unknown`].
    fn shutdown(&self) -> BoxFuture<'static, ()>;
}
