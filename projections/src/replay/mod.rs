//! Replay: everything an archive says, checked again by the code that said it first.
//!
//! Law of the turn: each fact is admitted again, the decisions are derived again and compared byte
//! for byte with the recorded ones. Works offline, on bytes alone.

mod report;
mod verifier;

pub use report::{Fault, FaultCode, Report};
pub use verifier::Verifier;

use forge_event::EventIndex;

/// What is done with each turn. Frames, chain and trailer are checked in any mode.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Mode {
    /// Admits every fact and derives every decision again.
    #[default]
    Full,
    /// Folds what is recorded. For logs that were verified before: a hostile one may panic.
    Fold,
}

/// How to replay.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    pub mode: Mode,
    /// Stop behind the turn that holds this event; the trailer is then not reached.
    pub until: Option<EventIndex>,
    /// Run the families' checks on every inline result again, and finish each mid-state again.
    pub recheck: bool,
}

/// Checks an Ed25519 signature: public key, message, signature. The shell gives it; this crate has no curve.
pub type SealCheck<'a> = &'a dyn Fn(&[u8; 32], &[u8], &[u8; 64]) -> bool;

/// How far a replay got.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Progress {
    pub events: u64,
    pub turns: u64,
    /// Units: bytes of the file.
    pub offset: usize,
}
