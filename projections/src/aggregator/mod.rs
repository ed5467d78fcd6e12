//! The pending window of accepted results, and VMem: the numeric mid-states they are folded into.

mod fold;
mod mid;
mod vmem;
mod window;

pub use mid::Mid;
pub use vmem::{VMEM_BYTES_MAX, VMem, VMemUse};
pub use window::{Window, Windows};

use crate::cow::digest_of;
use alloc::sync::Arc;
use forge_event::*;
use serde::{Deserialize, Serialize};

/// What became of a delivery.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub enum Outcome {
    /// `decide` has not spoken yet; only inside a turn.
    Undecided,
    Accepted,
    Refused(RefusalCode),
    Voided,
}

/// A result between its delivery and its seal.
#[derive(Clone, Serialize, Deserialize, Debug)]
pub struct Pending {
    pub lease: LeaseId,
    pub digest: Digest,
    pub root: Option<Digest>,
    pub bytes: u64,
    pub inline: Option<Arc<[u8]>>,
    pub checks: Checks,
    /// The `result.received`.
    pub received: EventIndex,
    pub received_at: Timestamp,
    /// End of its wait for a seal, less the extensions before it.
    pub(crate) wait_base: Timestamp,
    /// The agent's chain after it.
    pub chain: [u8; 32],
    pub outcome: Outcome,
    /// The accrual that pays it.
    pub accrual: Option<TransferId>,
}

#[derive(Clone, Serialize, Deserialize, Debug, Default)]
pub struct Aggregator {
    /// Everything received and not yet sealed.
    pub pending: Windows,
    /// Mid-states of the stages of open jobs.
    pub vmem: VMem,
}

impl Aggregator {
    pub(crate) fn root(&mut self) -> Digest {
        digest_of(&[self.pending.root(), self.vmem.root()])
    }
}
