//! The hub's side of one agent's session, without sockets, clocks and log.
//!
//! Level-triggered: [`HubSession::handle_live`] takes the committed set of live leases and opens or
//! cancels what differs; single events are only a faster way to the same end.

use crate::Now;
use crate::close::CloseCode;
use crate::limits::*;
use crate::message::{CancelReason, Fate, Seal};
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;
use forge_event::*;

/// A result with its edge checks done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Delivery {
    pub lease: LeaseId,
    pub digest: Digest,
    pub bytes: Vec<u8>,
    pub checks: Checks,
}

/// A delivery that is in the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Recorded {
    pub lease: LeaseId,
    pub position: u64,
    pub fate: Fate,
}

/// Names a submission towards its verdict.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct SubmissionId(pub u64);

/// Something for the leader.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Submission {
    Deliver(Vec<Delivery>),
    ReportFailed {
        lease: LeaseId,
        code: String,
    },
    /// Its signature is verified.
    Seal(Seal),
    Draining,
    Lost(LostReason),
}

/// What the leader said to a submission.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// To [`Submission::Deliver`]: one for each delivery, in their order.
    Recorded(Vec<Recorded>),
    Committed,
    /// Not applied, or nobody knows: it is submitted again, to whoever leads then.
    Again,
    /// The session is not the agent's current one.
    Stale,
    /// The agent is not enrolled any longer.
    AgentUnknown,
    /// It does not fit the state and never will.
    Refused,
}

/// What the driver has to do with streams and the connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// Open a stream and send the assignment.
    Open(LeaseId),
    /// Send `Cancel` and drop the stream.
    Cancel { lease: LeaseId, reason: CancelReason },
    /// Send `Ack` and end the stream.
    Ack { lease: LeaseId, position: u64, fate: Fate },
    /// Send `FailureRecorded` and end the stream.
    FailureRecorded { lease: LeaseId },
    /// Send it on the control stream.
    SealRejected { position: u64 },
    /// The session is over; nothing follows.
    Close(CloseCode),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// A stream is open or about to be.
    Open,
    /// A result or failure is here and not decided.
    Answered,
}

/// One agent's session on the node that holds it.
///
/// Invariant: a lease has at most one stream; a result that was read is acknowledged, or its
/// session closed, never cancelled.
#[derive(Clone, Debug)]
pub struct HubSession {
    /// Everything up to here is in what [`HubSession::handle_live`] was given last.
    as_of: EventIndex,
    attempts: BTreeMap<LeaseId, Phase>,
    actions: VecDeque<Action>,
    deliveries: VecDeque<Delivery>,
    /// Bytes of results read and not decided.
    held_bytes: usize,
    others: VecDeque<Submission>,
    seal: Option<Seal>,
    leaving: bool,
    in_flight: BTreeMap<SubmissionId, Submission>,
    batches_in_flight: usize,
    seal_in_flight: bool,
    next: u64,
    retry_at: Now,
    retry_ms: u64,
    closed: bool,
}

impl HubSession {
    /// A session that knows of no lease yet; [`HubSession::handle_live`] comes next.
    #[allow(clippy::new_without_default, reason = "a session is never a default of anything")]
    pub fn new() -> Self {
        HubSession {
            as_of: EventIndex(0),
            attempts: BTreeMap::new(),
            actions: VecDeque::new(),
            deliveries: VecDeque::new(),
            held_bytes: 0,
            others: VecDeque::new(),
            seal: None,
            leaving: false,
            in_flight: BTreeMap::new(),
            batches_in_flight: 0,
            seal_in_flight: false,
            next: 0,
            retry_at: Now(0),
            retry_ms: RETRY_MS_MIN,
            closed: false,
        }
    }

    /// The agent's live leases in the state after event `as_of`: opens and cancels what differs.
    pub fn handle_live(&mut self, as_of: EventIndex, live: impl IntoIterator<Item = LeaseId>) {
        if as_of < self.as_of {
            return;
        }
        self.as_of = as_of;
        let live: BTreeSet<LeaseId> = live.into_iter().collect();
        let gone =
            |(lease, phase): (&LeaseId, &Phase)| (*phase == Phase::Open && !live.contains(lease)).then_some(*lease);
        let gone: Vec<LeaseId> = self.attempts.iter().filter_map(gone).collect();
        for lease in gone {
            self.cancel(lease, CancelReason::Ended);
        }
        for lease in live {
            self.open(lease);
        }
    }

    /// `shard.assigned` at `index` gave the agent a lease.
    pub fn handle_assigned(&mut self, index: EventIndex, lease: LeaseId) {
        if index > self.as_of {
            self.open(lease);
        }
    }

    /// `lease.expired` or `lease.revoked` at `index` took it.
    pub fn handle_ended(&mut self, index: EventIndex, lease: LeaseId, reason: CancelReason) {
        if index > self.as_of {
            self.cancel(lease, reason);
        }
    }

    /// A stream brought a result. `false`: the attempt is not live here, drop the stream.
    pub fn handle_result(&mut self, delivery: Delivery) -> bool {
        match self.attempts.get_mut(&delivery.lease) {
            Some(phase @ Phase::Open) => {
                *phase = Phase::Answered;
                self.held_bytes += delivery.bytes.len();
                self.deliveries.push_back(delivery);
                true
            }
            Some(Phase::Answered) | None => false,
        }
    }

    /// A stream brought a failure, or broke without an answer. `false`: the attempt is not live here.
    pub fn handle_failed(&mut self, lease: LeaseId, code: String) -> bool {
        match self.attempts.get_mut(&lease) {
            Some(phase @ Phase::Open) => {
                *phase = Phase::Answered;
                self.others.push_back(Submission::ReportFailed { lease, code });
                true
            }
            Some(Phase::Answered) | None => false,
        }
    }

    /// The agent sealed; the signature is verified. A later seal replaces one that still waits.
    pub fn handle_seal(&mut self, seal: Seal) {
        if self.seal.as_ref().is_none_or(|waiting| waiting.upto < seal.upto) {
            self.seal = Some(seal);
        }
    }

    /// The agent asked for no more work.
    pub fn handle_draining(&mut self) {
        self.others.push_back(Submission::Draining);
    }

    /// The agent leaves once what is under way is decided.
    pub fn handle_leaving(&mut self) {
        self.leaving = true;
    }

    /// The connection is gone. What was read and not submitted is dropped: the agent presents it again.
    pub fn handle_disconnected(&mut self, reason: LostReason) {
        self.attempts.clear();
        self.actions.clear();
        self.deliveries.clear();
        self.others.clear();
        self.seal = None;
        self.leaving = false;
        self.closed = false;
        self.retry_at = Now(0);
        self.others.push_back(Submission::Lost(reason));
    }

    /// False while so many undecided bytes are here that no more streams should be read.
    pub fn has_room(&self) -> bool {
        self.held_bytes < HELD_BYTES_MAX
    }

    /// The attempt's stream is wanted (as opposed to cancelled or decided).
    pub fn holds(&self, lease: LeaseId) -> bool {
        self.attempts.contains_key(&lease)
    }

    /// Attempts with a stream.
    pub fn attempt_count(&self) -> usize {
        self.attempts.len()
    }

    /// Nothing waits for the leader.
    pub fn is_settled(&self) -> bool {
        self.in_flight.is_empty() && self.deliveries.is_empty() && self.others.is_empty() && self.seal.is_none()
    }

    /// What to do next with streams and the connection.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When [`HubSession::poll_submission`] is worth another call, if nothing else happens.
    pub fn retry_time(&self) -> Option<Now> {
        let waits = !self.deliveries.is_empty() || !self.others.is_empty() || self.seal.is_some();
        (waits && !self.closed && self.retry_at > Now(0)).then_some(self.retry_at)
    }

    /// Whether nothing is live, waits or is under way.
    pub fn is_idle(&self) -> bool {
        self.attempts.is_empty() && self.actions.is_empty() && self.is_settled() && self.others.is_empty()
    }

    /// Gives back the memory of busier times. For an idle session.
    pub fn rest(&mut self) {
        // An emptied tree keeps a node.
        (self.attempts, self.in_flight) = (BTreeMap::new(), BTreeMap::new());
        self.actions = VecDeque::new();
        self.deliveries = VecDeque::new();
        self.others = VecDeque::new();
    }

    /// What to send to the leader next.
    pub fn poll_submission(&mut self, now: Now) -> Option<(SubmissionId, Submission)> {
        if self.closed || now < self.retry_at {
            return None;
        }
        // Waited for once: what still has to wait then waits for a verdict.
        self.retry_at = Now(0);
        let submission = self.next_submission()?;
        match &submission {
            Submission::Deliver(_) => self.batches_in_flight += 1,
            Submission::Seal(_) => self.seal_in_flight = true,
            _ => {}
        }
        let id = SubmissionId(self.next);
        self.next += 1;
        self.in_flight.insert(id, submission.clone());
        Some((id, submission))
    }

    fn next_submission(&mut self) -> Option<Submission> {
        if !self.seal_in_flight
            && let Some(seal) = self.seal.take()
        {
            return Some(Submission::Seal(seal));
        }
        if let Some(other) = self.others.pop_front() {
            return Some(other);
        }
        if !self.deliveries.is_empty() && self.batches_in_flight < BATCHES_IN_FLIGHT_MAX {
            return Some(Submission::Deliver(self.next_batch()));
        }
        if self.leaving && self.is_settled() {
            self.leaving = false;
            return Some(Submission::Lost(LostReason::Left));
        }
        None
    }

    fn next_batch(&mut self) -> Vec<Delivery> {
        let mut batch = Vec::with_capacity(self.deliveries.len().min(BATCH_DELIVERIES_MAX));
        let mut bytes = 0;
        while let Some(next) = self.deliveries.front() {
            bytes += next.bytes.len();
            if batch.len() == BATCH_DELIVERIES_MAX || (!batch.is_empty() && bytes > BATCH_BYTES_MAX) {
                break;
            }
            batch.extend(self.deliveries.pop_front());
        }
        batch
    }

    /// The leader spoke, or could not be heard.
    ///
    /// # Panics
    /// If no such submission is in flight, or the verdict is not of its kind.
    pub fn handle_verdict(&mut self, id: SubmissionId, verdict: Verdict, now: Now) {
        let submission = self.in_flight.remove(&id).expect("a verdict answers a submission in flight, once");
        match &submission {
            Submission::Deliver(_) => self.batches_in_flight -= 1,
            Submission::Seal(_) => self.seal_in_flight = false,
            _ => {}
        }
        if !matches!(verdict, Verdict::Again) {
            (self.retry_at, self.retry_ms) = (Now(0), RETRY_MS_MIN);
        }
        match verdict {
            Verdict::Again => self.submit_again(submission, now),
            Verdict::Stale if matches!(submission, Submission::Lost(_)) => self.close(CloseCode::Done),
            Verdict::Stale => self.close(CloseCode::Rejoin),
            Verdict::AgentUnknown => self.close(CloseCode::Unknown),
            Verdict::Recorded(recorded) => {
                let Submission::Deliver(batch) = submission else { panic!("only deliveries are recorded") };
                self.acknowledge(&batch, &recorded);
            }
            Verdict::Committed => match submission {
                Submission::ReportFailed { lease, .. } => self.failure_over(lease),
                Submission::Lost(_) => self.close(CloseCode::Done),
                Submission::Seal(_) | Submission::Draining => {}
                Submission::Deliver(_) => panic!("deliveries are recorded, not only committed"),
            },
            Verdict::Refused => match submission {
                // The lease ended meanwhile: the agent may forget the attempt either way.
                Submission::ReportFailed { lease, .. } => self.failure_over(lease),
                Submission::Seal(seal) => self.actions.push_back(Action::SealRejected { position: seal.upto }),
                Submission::Draining => {}
                Submission::Lost(_) => self.close(CloseCode::Done),
                Submission::Deliver(_) => self.close(CloseCode::Protocol),
            },
        }
    }

    fn acknowledge(&mut self, batch: &[Delivery], recorded: &[Recorded]) {
        assert_eq!(batch.len(), recorded.len(), "every delivery of a committed batch is recorded");
        for (delivery, recorded) in batch.iter().zip(recorded) {
            assert_eq!(delivery.lease, recorded.lease, "deliveries are recorded in their order");
            self.held_bytes = self.held_bytes.saturating_sub(delivery.bytes.len());
            if self.attempts.remove(&recorded.lease).is_some() {
                let Recorded { lease, position, fate } = *recorded;
                self.actions.push_back(Action::Ack { lease, position, fate });
            }
        }
    }

    fn failure_over(&mut self, lease: LeaseId) {
        if self.attempts.remove(&lease).is_some() {
            self.actions.push_back(Action::FailureRecorded { lease });
        }
    }

    fn submit_again(&mut self, submission: Submission, now: Now) {
        self.retry_at = now.plus(self.retry_ms).max(Now(1));
        self.retry_ms = (self.retry_ms * 2).min(RETRY_MS_MAX);
        match submission {
            Submission::Deliver(batch) => {
                for delivery in batch.into_iter().rev().filter(|d| self.attempts.contains_key(&d.lease)) {
                    self.deliveries.push_front(delivery);
                }
            }
            Submission::Seal(seal) => self.handle_seal(seal),
            other => self.others.push_front(other),
        }
    }

    fn open(&mut self, lease: LeaseId) {
        if !self.closed && !self.attempts.contains_key(&lease) {
            self.attempts.insert(lease, Phase::Open);
            self.actions.push_back(Action::Open(lease));
        }
    }

    fn cancel(&mut self, lease: LeaseId, reason: CancelReason) {
        if self.attempts.get(&lease) == Some(&Phase::Open) {
            self.attempts.remove(&lease);
            self.actions.push_back(Action::Cancel { lease, reason });
        }
    }

    fn close(&mut self, code: CloseCode) {
        if !self.closed {
            self.closed = true;
            self.actions.push_back(Action::Close(code));
        }
    }
}

#[cfg(test)]
mod tests;
