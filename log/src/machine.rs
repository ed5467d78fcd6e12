//! What the log folds into.

use bytes::Bytes;
use forge_event::codec::Places;
use forge_event::{Head, Term, Turn};
use std::sync::Arc;

/// A turn that the log accepted.
#[derive(Clone, Debug)]
pub struct CommittedTurn {
    pub turn: Turn,
    /// Its bytes as they were appended.
    pub frame: Bytes,
    /// Where its events stand in the frame.
    pub places: Places,
    /// The head after it.
    pub head: Head,
    /// Its entry in the Raft log.
    pub raft_index: u64,
    pub term: Term,
}

/// The state that accepted turns are folded into; the hub's world.
///
/// Invariant: total. A panic in it halts the node: an accepted turn is never skipped.
pub trait Machine: Send + Sync + 'static {
    /// The head after the last folded turn.
    fn head(&self) -> Head;

    /// Folds accepted turns, in order, in slices of a few milliseconds.
    ///
    /// Compare-and-append is already decided: each turn's `expected` is the head before it.
    fn fold(&self, turns: &[Arc<CommittedTurn>]);

    /// A cheap immutable view; the closure serialises it, on another thread in production.
    fn freeze(&self) -> Box<dyn FnOnce() -> Vec<u8> + Send>;

    /// Becomes what [`Machine::freeze`] gave; before the first fold, or when a snapshot replaces the state.
    ///
    /// # Errors
    /// Why the bytes are no state of this program; the node halts.
    fn restore(&self, bytes: &[u8]) -> Result<(), String>;
}
