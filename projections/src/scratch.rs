//! What the facts of a turn leave for the decisions of the same turn.

use crate::jobs::Failure;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;
use core::ops::Range;
use forge_event::*;

/// Shards whose lease ended without a result, until they are requeued.
#[derive(Clone, Debug)]
pub(crate) struct Limbo {
    pub job: JobId,
    pub agent: AgentId,
    pub attempt: AttemptNumber,
    pub shards: Runs,
    pub reason: RequeueReason,
    /// What the agent said.
    pub code: Option<String>,
    /// The event that ended the lease.
    pub ended: EventIndex,
}

/// A job that has to fail.
#[derive(Clone, Debug)]
pub(crate) struct Doom {
    pub job: JobId,
    /// The event that showed it.
    pub cause: EventIndex,
    pub failure: Failure,
}

/// Accepted results that no accrual pays yet.
#[derive(Clone, Debug)]
pub(crate) struct Unpaid {
    pub accepted: EventIndex,
    pub job: JobId,
    pub agent: AgentId,
    pub attempt: AttemptNumber,
    pub shards: Runs,
}

/// Voided results whose pay was not taken back yet.
#[derive(Clone, Debug)]
pub(crate) struct Unvoided {
    pub cause: EventIndex,
    pub agent: AgentId,
    pub lease: LeaseId,
}

/// The running turn. Invariant: a function of the state at its start and the events since.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scratch {
    pub salt: [u8; 32],
    /// Position of the last event.
    pub index: EventIndex,
    pub undecided: VecDeque<(AgentId, u64)>,
    /// This and the next two are taken from the front, mostly.
    pub limbo: VecDeque<Limbo>,
    pub planned: Vec<JobId>,
    pub cancels: Vec<(JobId, EventIndex)>,
    /// Reasons given with them.
    pub reasons: BTreeMap<EventIndex, String>,
    /// By facts of this turn.
    pub doomed: Vec<Doom>,
    /// The last job whose shards were requeued, and what had ended their leases.
    pub requeued: Option<(JobId, EventIndex)>,
    pub reduced: Vec<JobId>,
    pub unpaid: VecDeque<Unpaid>,
    pub unvoided: VecDeque<Unvoided>,
    /// Work may be left for the next turn: a budget ran out, or nobody looked.
    pub leftover: bool,
    /// The leaves that were hashed in this turn.
    pub leaves: Vec<merkle::Node>,
    /// Those of the whole turn, if it was folded before.
    pub leaves_known: Vec<merkle::Node>,
    /// Of each event so far: room for a digest, then its canonical bytes. Empty between turns.
    bytes: Vec<u8>,
    /// Where each event's bytes begin and end.
    written: Vec<Range<usize>>,
}

const DIGEST_BYTES: usize = 32;

impl Scratch {
    /// Of a state that was read: whether its decider left work over is not in it.
    pub fn unknown() -> Self {
        Scratch { leftover: true, ..Scratch::default() }
    }

    pub fn open(&mut self, salt: [u8; 32], index: EventIndex) {
        self.salt = salt;
        self.index = index;
        self.undecided.clear();
        self.limbo.clear();
        self.planned.clear();
        self.cancels.clear();
        self.reasons.clear();
        self.doomed.clear();
        self.requeued = None;
        self.reduced.clear();
        self.unpaid.clear();
        self.unvoided.clear();
        self.leftover = false;
        self.close();
    }

    /// Takes in the event that is folded next.
    pub fn write(&mut self, event: &Event) {
        self.take(|bytes| codec::append(event, bytes));
    }

    /// The same, when its canonical bytes were read.
    pub fn copy(&mut self, event: &[u8]) {
        self.take(|bytes| bytes.extend_from_slice(event));
    }

    fn take(&mut self, put: impl FnOnce(&mut Vec<u8>)) {
        self.bytes.extend_from_slice(&[0; DIGEST_BYTES]);
        let start = self.bytes.len();
        put(&mut self.bytes);
        self.written.push(start..self.bytes.len());
    }

    /// The canonical bytes of the event that is being folded.
    pub fn event(&self) -> &[u8] {
        self.written.last().map_or(&[], |place| &self.bytes[place.clone()])
    }

    /// The canonical bytes of each event so far.
    pub fn events(&self) -> impl Iterator<Item = &[u8]> {
        self.written.iter().map(|place| &self.bytes[place.clone()])
    }

    /// Forgets what was written: the turn is over.
    pub fn close(&mut self) {
        self.leaves.clear();
        self.leaves_known.clear();
        self.bytes.clear();
        self.written.clear();
    }

    /// BLAKE3(before ‖ that event's bytes).
    pub fn digest_after(&mut self, before: &Digest) -> Digest {
        let place = self.written.last().expect("an event is written before it is folded");
        let room = place.start - DIGEST_BYTES;
        self.bytes[room..place.start].copy_from_slice(&before.0);
        Digest::of(&self.bytes[room..place.end])
    }

    /// # Panics
    /// If a decision that belongs to this turn was not taken in it: a bug of the policy.
    pub fn assert_settled(&self) {
        assert!(self.undecided.is_empty(), "every delivery is accepted or refused in the turn that brought it");
        assert!(self.limbo.is_empty(), "every shard that lost its lease is requeued in the same turn");
        assert!(self.unpaid.is_empty(), "every accepted result is paid in the same turn");
        assert!(self.unvoided.is_empty(), "every voided result loses its pay in the same turn");
    }
}
