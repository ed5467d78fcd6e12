//! What must hold, one property a file. A failure names its file.

mod acknowledged_not_lost;
mod archive_covers_purge;
mod chain_intact;
mod credits_paid_once;
mod every_job_ends;
mod idempotent_submissions;
pub mod law_of_the_turn;
mod leases_exclusive_and_fenced;
mod ledger_zero;
mod no_resumed_lease_recomputed;
mod nodes_stay_up;
mod one_final_result;
mod replicas_agree;
mod result_matches_oracle;
mod votes_are_kept;

use forge_event::{Digest, EventIndex, Head, LeaseId};
use forge_log::CommittedTurn;
use forge_projections::World;

/// Something that happened.
#[derive(Debug)]
pub enum Seen<'a> {
    /// A node folds a turn onto `before`; `known` is the head that others have after that many turns.
    Folded { node: u64, before: Head, turn: &'a CommittedTurn, known: Option<Head> },
    /// The first node folded a turn: `world` is the state after it, `law` whether it derives again.
    Committed { turn: &'a CommittedTurn, world: &'a World, law: &'a Result<(), String> },
    /// A node's state roots after `turns` turns, and those of the reference there.
    Roots { node: u64, turns: u64, own: &'a [Digest], reference: &'a [Digest] },
    /// A node took a snapshot's state; `known` is the head that others have after as many turns.
    Restored { node: u64, head: Head, known: Option<Head>, from_peer: bool, entry: u64 },
    /// A client was told that its request is event `index`.
    Acknowledged { idempotency: Digest, index: EventIndex },
    /// A client read event `index`'s job after it was told of it.
    ReadBack { node: u64, index: EventIndex, found: bool },
    /// An agent found that the hub's account of its results is not its own.
    ChainFault { agent: u64, detail: String },
    /// An agent's process began to compute a lease.
    Computed { agent: u64, life: u64, lease: LeaseId },
    /// How far a node purged its Raft log, how far its own segments reach, and how far a majority's do: the entries of the
    /// last turns, as a snapshot that was installed may end with entries that hold none.
    Purged { node: u64, purged: u64, own: u64, majority: u64 },
    /// A node told another that it votes, or asks for votes, in a term.
    Promised { node: u64, term: u64 },
    /// A node came up again and knows this term.
    Recovered { node: u64, term: u64 },
    /// A node stopped though nothing was done to it, or does not start.
    Halted { node: u64, why: String },
    /// The faults are over and something still does not come to its end.
    Stuck { what: String },
    /// A node's last state.
    Last { node: u64, head: Head, expected: Head, own: &'a [Digest], reference: &'a [Digest] },
    /// A node's history, read from its first event on, does not lead to its head.
    HistoryBroken { node: u64, why: String },
    /// The run is over.
    End { world: &'a World },
}

/// A property.
pub trait Invariant: Send {
    /// As failures name it: the name of its file.
    fn name(&self) -> &'static str;

    /// Takes note of what happened.
    ///
    /// # Errors
    /// What does not hold.
    fn see(&mut self, seen: &Seen<'_>) -> Result<(), String>;
}

/// All of them, fresh.
pub fn all() -> Vec<Box<dyn Invariant>> {
    vec![
        Box::new(chain_intact::ChainIntact),
        Box::new(acknowledged_not_lost::AcknowledgedNotLost::default()),
        Box::new(replicas_agree::ReplicasAgree),
        Box::new(law_of_the_turn::LawOfTheTurn),
        Box::new(leases_exclusive_and_fenced::LeasesExclusiveAndFenced::default()),
        Box::new(ledger_zero::LedgerZero),
        Box::new(credits_paid_once::CreditsPaidOnce::default()),
        Box::new(one_final_result::OneFinalResult::default()),
        Box::new(result_matches_oracle::ResultMatchesOracle::default()),
        Box::new(idempotent_submissions::IdempotentSubmissions::default()),
        Box::new(no_resumed_lease_recomputed::NoResumedLeaseRecomputed::default()),
        Box::new(archive_covers_purge::ArchiveCoversPurge::default()),
        Box::new(votes_are_kept::VotesAreKept::default()),
        Box::new(nodes_stay_up::NodesStayUp),
        Box::new(every_job_ends::EveryJobEnds),
    ]
}

/// `Ok` if it holds.
fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise()) }
}
