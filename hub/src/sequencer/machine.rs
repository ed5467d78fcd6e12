//! Admit, rehearse, seal: the sequencer without I/O.
//!
//! Facts are admitted against `head` and folded into it at once; sealing derives the decisions on
//! `head` too, so that a turn was rehearsed whole before it is appended. A panic in a rehearsal
//! costs the turn's requests, not the node.

use super::gather;
use forge_event::limits::TURN_FACT_BYTES_MAX;
use forge_event::*;
use forge_projections::aggregator::Outcome;
use forge_projections::decide::POLICY;

use forge_projections::{
    Command, CommandError, Committed, Delivery, Families, Fate, Growth, Recorded, Rejection, World,
};
use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A turn of this size is sealed although others are in flight: with its headers it fits a page of 64 KiB.
const SEAL_BYTES: usize = 60 * 1024;
/// Turns in flight at once.
const IN_FLIGHT_MAX: usize = 4;
/// What a delivery takes of a turn besides its bytes, with its verdict and its pay.
const DELIVERY_BYTES: usize = 96;
/// How long `decide` is left alone after it had nothing to say. Units: ms.
const QUIET_MS: DurationMs = DurationMs(5);

/// The answer to a request.
pub type Answer = Result<Committed, CommandError>;

/// A turn ready to be appended.
#[derive(Debug)]
pub struct Sealed {
    pub frame: Vec<u8>,
    pub events: u64,
    /// The head behind it.
    pub head: Head,
    /// What its rehearsal added to the audit tree.
    pub growth: Growth,
}

/// A request whose fact stands in a turn.
#[derive(Debug)]
struct Waiter<T> {
    token: T,
    committed: Committed,
}

/// A request whose results wait for the seal.
#[derive(Debug)]
struct Delivering<T> {
    token: T,
    agent: AgentId,
    epoch: Epoch,
    deliveries: Vec<Delivery>,
}

/// Results of one agent that stand in the open turn's facts, and who asks what became of them.
#[derive(Debug)]
struct Delivered<T> {
    agent: AgentId,
    /// Position before the first.
    position: u64,
    /// As numbered: ascending.
    fresh: Vec<(LeaseId, Digest)>,
    requests: Vec<(T, Vec<(LeaseId, Digest)>)>,
}

#[derive(Debug)]
struct OpenTurn<T> {
    expected: Head,
    at: Timestamp,
    salt: [u8; 32],
    facts: Vec<Fact>,
    bytes: usize,
    waiters: Vec<Waiter<T>>,
    delivering: Vec<Delivering<T>>,
    delivered: Vec<Delivered<T>>,
}

/// The leader's sequencer. `T` stands for whoever waits for an answer.
#[derive(Debug)]
pub struct Machine<T> {
    head: World,
    open: Option<OpenTurn<T>>,
    /// Waiters of appended turns, oldest first.
    in_flight: VecDeque<Vec<Waiter<T>>>,
    /// Answers that are ready.
    answers: Vec<(T, Answer)>,
    /// Before this `decide` has nothing to say again.
    quiet_until: Timestamp,
    /// A rehearsal panicked or an append was not committed: `head` is no longer to be trusted.
    broken: bool,
}

impl<T> Machine<T> {
    /// Starts on a copy of the committed world, with everything before this term applied.
    pub fn new(committed: World) -> Self {
        Machine {
            head: committed,
            open: None,
            in_flight: VecDeque::new(),
            answers: Vec::new(),
            quiet_until: Timestamp(0),
            broken: false,
        }
    }

    /// The speculative world.
    pub fn head(&self) -> &World {
        &self.head
    }

    pub fn is_broken(&self) -> bool {
        self.broken
    }

    /// Turns appended and not answered.
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Answers that became ready.
    pub fn take_answers(&mut self) -> Vec<(T, Answer)> {
        std::mem::take(&mut self.answers)
    }

    /// Whether the open turn has room for another command.
    pub fn has_room(&self) -> bool {
        !self.broken && self.open.as_ref().is_none_or(|o| o.bytes < TURN_FACT_BYTES_MAX / 2)
    }

    /// When to call [`Machine::seal`] although no command came.
    pub fn wake_at(&self) -> Option<Timestamp> {
        if self.broken || self.open.is_some() || !self.in_flight.is_empty() {
            return None;
        }
        self.head.next_decision_time().map(|at| at.max(self.quiet_until))
    }

    /// Takes a command: answers it at once if it is refused, else once its turn is committed.
    pub fn submit(
        &mut self,
        command: Command,
        token: T,
        now: Timestamp,
        salt: impl FnOnce() -> [u8; 32],
        families: &dyn Families,
    ) {
        if self.broken {
            return self.answers.push((token, Err(CommandError::NoLeader)));
        }
        self.open(now, salt);
        if let Command::Deliver { agent, epoch, deliveries } = command {
            return self.submit_deliveries(Delivering { token, agent, epoch, deliveries });
        }
        let at = self.at();
        let fact = match resolve(&self.head, command, at) {
            Ok(fact) => fact,
            Err(rejection) => return self.answers.push((token, Err(rejection.into()))),
        };
        if let Some(committed) = self.replay(&fact, at) {
            return match committed {
                Ok(committed) => self.answer_after_commit(Waiter { token, committed }),
                Err(rejection) => self.answers.push((token, Err(rejection.into()))),
            };
        }
        match self.take_fact(fact, at, families) {
            Ok(index) => {
                let committed = Committed { index, at, replayed: false, recorded: Vec::new() };
                self.turn().waiters.push(Waiter { token, committed });
            }
            Err(error) => self.answers.push((token, Err(error))),
        }
    }

    fn turn(&mut self) -> &mut OpenTurn<T> {
        self.open.as_mut().expect("a turn is open while a command is taken")
    }

    fn at(&self) -> Timestamp {
        self.open.as_ref().map_or(self.head.at, |o| o.at)
    }

    fn open(&mut self, now: Timestamp, salt: impl FnOnce() -> [u8; 32]) {
        if self.open.is_some() {
            return;
        }
        let (expected, at, salt) = (self.head.head, now.max(self.head.at), salt());
        self.head.open(at, salt);
        self.open = Some(OpenTurn {
            expected,
            at,
            salt,
            facts: Vec::new(),
            bytes: 0,
            waiters: Vec::new(),
            delivering: Vec::new(),
            delivered: Vec::new(),
        });
    }

    /// Admits a fact and folds it into `head`; gives its position.
    fn take_fact(&mut self, fact: Fact, at: Timestamp, families: &dyn Families) -> Result<EventIndex, CommandError> {
        let head = &mut self.head;
        let rehearsed = catch_unwind(AssertUnwindSafe(|| {
            head.admit(&fact, at, families)?;
            head.apply(fact.by.as_ref(), &fact.event, families);
            Ok::<(), Rejection>(())
        }));
        match rehearsed {
            Ok(Ok(())) => {
                let bytes = codec::encoded_len(&fact.by) + self.head.applied_len();
                let turn = self.turn();
                turn.bytes += bytes;
                turn.facts.push(fact);
                Ok(EventIndex(turn.expected.events + turn.facts.len() as u64))
            }
            Ok(Err(rejection)) => Err(rejection.into()),
            Err(_) => {
                self.broken = true;
                Err(CommandError::Internal)
            }
        }
    }

    /// What this request got when it was committed before.
    fn replay(&self, fact: &Fact, at: Timestamp) -> Option<Result<Committed, Rejection>> {
        let by = fact.by?;
        let project = self.head.projects.memory_of(by.key);
        let first = self.head.projects.recall(project, by.idempotency?, at)?;
        let same = first.request == by.request;
        Some(if same {
            Ok(Committed { index: first.index, at, replayed: true, recorded: Vec::new() })
        } else {
            Err(Rejection::IdempotencyKeyReuse { first: first.index })
        })
    }

    /// Answers with what `head` says, which holds once everything up to `head` is committed.
    fn answer_after_commit(&mut self, waiter: Waiter<T>) {
        match (&mut self.open, self.in_flight.back_mut()) {
            (Some(open), _) if !open.facts.is_empty() || !open.delivering.is_empty() => open.waiters.push(waiter),
            (_, Some(last)) => last.push(waiter),
            _ => self.answers.push((waiter.token, Ok(waiter.committed))),
        }
    }

    fn submit_deliveries(&mut self, delivering: Delivering<T>) {
        let agent = delivering.agent;
        let rejection = match self.head.agents.agents.get(&agent) {
            None => Some(Rejection::AgentUnknown),
            Some(a) if a.session.is_none() || a.epoch != delivering.epoch => {
                Some(Rejection::StaleEpoch { agent, current: a.epoch })
            }
            Some(_) => None,
        };
        match rejection {
            Some(rejection) => self.answers.push((delivering.token, Err(rejection.into()))),
            None => {
                let bytes: usize =
                    delivering.deliveries.iter().map(|d| d.inline.as_ref().map_or(0, Vec::len) + DELIVERY_BYTES).sum();
                let turn = self.turn();
                turn.bytes += bytes;
                turn.delivering.push(delivering);
            }
        }
    }

    /// Seals the open turn if it is time to; `None` if it is not, or there is nothing to write.
    pub fn seal(&mut self, now: Timestamp, salt: impl FnOnce() -> [u8; 32], families: &dyn Families) -> Option<Sealed> {
        if self.broken || self.in_flight.len() >= IN_FLIGHT_MAX {
            return None;
        }
        if self.open.is_none() {
            self.wake_at().filter(|at| *at <= now)?;
            self.open(now, salt);
        }
        let bytes = self.turn().bytes;
        if !self.in_flight.is_empty() && bytes < SEAL_BYTES {
            return None;
        }
        self.take_deliveries(families);
        let decisions = self.rehearse(families)?;
        let open = self.open.take()?;
        if open.facts.is_empty() && decisions.is_empty() {
            self.quiet_until = now.after(QUIET_MS);
            // Only answers to what was recorded before can wait here; they hold once nothing is in flight.
            let mut waiters = open.waiters;
            for one in open.delivered {
                waiters.extend(self.recorded(one, EventIndex(open.expected.events), open.at));
            }
            match self.in_flight.back_mut() {
                Some(last) => last.append(&mut waiters),
                None => self.answers.extend(waiters.into_iter().map(|w| (w.token, Ok(w.committed)))),
            }
            return None;
        }
        let OpenTurn { expected, at, salt, facts, mut waiters, delivered, .. } = open;
        let index = EventIndex(expected.events + facts.len() as u64);
        for one in delivered {
            waiters.extend(self.recorded(one, index, at));
        }
        let turn = Turn { expected, at, salt, policy: POLICY, facts, decisions };
        let frame = self.head.frame_of(&turn);
        let growth = self.head.growth();
        self.head.close(&frame);
        self.in_flight.push_back(waiters);
        Some(Sealed { frame, events: turn.len(), head: self.head.head, growth })
    }

    /// Decides on `head`. A panic gives up the turn.
    fn rehearse(&mut self, families: &dyn Families) -> Option<Vec<Event>> {
        let head = &mut self.head;
        let decided = catch_unwind(AssertUnwindSafe(|| head.decide(families)));
        if decided.is_err() {
            self.broken = true;
        }
        decided.ok()
    }

    /// Orders the open turn's deliveries, agent by agent, and takes them as facts.
    fn take_deliveries(&mut self, families: &dyn Families) {
        let at = self.at();
        let mut by_agent: BTreeMap<(AgentId, Epoch), Vec<Delivering<T>>> = BTreeMap::new();
        for one in std::mem::take(&mut self.turn().delivering) {
            by_agent.entry((one.agent, one.epoch)).or_default().push(one);
        }
        for ((agent, epoch), requests) in by_agent {
            let position = self.head.agents.agents.get(&agent).map_or(0, |a| a.position);
            let mut fresh: Vec<Delivery> = Vec::new();
            let mut asked = Vec::with_capacity(requests.len());
            for request in requests {
                asked.push((request.token, request.deliveries.iter().map(|d| (d.lease, d.digest)).collect()));
                let new = request.deliveries.into_iter().filter(|d| !self.is_recorded(agent, d.lease, &d.digest));
                fresh.extend(new);
            }
            fresh.sort_by_key(|d| ((d.lease.job, d.lease.attempt, d.lease.shard), d.digest));
            fresh.dedup_by_key(|d| (d.lease, d.digest));
            let facts = gather::facts(agent, epoch, position, &fresh);
            let refused = facts.into_iter().find_map(|fact| self.take_fact(fact.into(), at, families).err());
            match refused {
                Some(error) => self.answers.extend(asked.into_iter().map(|(token, _)| (token, Err(error.clone())))),
                None => {
                    let fresh = fresh.iter().map(|d| (d.lease, d.digest)).collect();
                    self.turn().delivered.push(Delivered { agent, position, fresh, requests: asked });
                }
            }
        }
    }

    /// Whether this very result is in the log already. A live lease's cannot be.
    fn is_recorded(&self, agent: AgentId, lease: LeaseId, digest: &Digest) -> bool {
        let held = self.head.scheduler.leases.holds(agent, lease);
        !held && self.position_of(agent, lease, digest).is_some()
    }

    fn position_of(&self, agent: AgentId, lease: LeaseId, digest: &Digest) -> Option<u64> {
        self.head
            .unsealed_of(agent)
            .find(|(_, p)| p.lease == lease && p.digest == *digest)
            .map(|(position, _)| position)
    }

    /// What became of the deliveries of a turn, once it is decided.
    fn recorded(&self, delivered: Delivered<T>, index: EventIndex, at: Timestamp) -> Vec<Waiter<T>> {
        let Delivered { agent, position, fresh, requests } = delivered;
        let key = |(lease, digest): &(LeaseId, Digest)| ((lease.job, lease.attempt, lease.shard), *digest);
        let recorded = |(lease, digest): (LeaseId, Digest)| {
            let numbered = fresh.binary_search_by_key(&key(&(lease, digest)), key).ok();
            let position = match numbered {
                Some(n) => position + 1 + n as u64,
                None => self.position_of(agent, lease, &digest)?,
            };
            let fate = match self.head.aggregator.pending.get(agent, position)?.outcome {
                Outcome::Refused(code) => Fate::Refused(code),
                Outcome::Voided => Fate::Voided,
                Outcome::Accepted | Outcome::Undecided => Fate::Accepted,
            };
            Some(Recorded { lease, position, fate })
        };
        let waiters = requests.into_iter().map(|(token, asked)| {
            let recorded = asked.into_iter().filter_map(recorded).collect();
            Waiter { token, committed: Committed { index, at, replayed: false, recorded } }
        });
        waiters.collect()
    }

    /// The oldest turn in flight is committed.
    pub fn committed(&mut self) {
        let waiters = self.in_flight.pop_front().expect("an append was made for each outcome");
        self.answers.extend(waiters.into_iter().map(|w| (w.token, Ok(w.committed))));
    }

    /// The oldest turn in flight was not committed, or nobody knows: `head` is no longer to be trusted.
    pub fn not_committed(&mut self, error: CommandError) {
        self.broken = true;
        let waiters = self.in_flight.pop_front().expect("an append was made for each outcome");
        self.answers.extend(waiters.into_iter().map(|w| (w.token, Err(error.clone()))));
    }

    /// Gives up what was never appended. Call when broken and nothing is in flight any more, then start anew.
    pub fn abandon(&mut self, error: CommandError) {
        let Some(open) = self.open.take() else { return };
        let tokens = open.waiters.into_iter().map(|w| w.token);
        let tokens = tokens.chain(open.delivering.into_iter().map(|d| d.token));
        let delivered = open.delivered.into_iter().flat_map(|d| d.requests).map(|(token, _)| token);
        self.answers.extend(tokens.chain(delivered).map(|token| (token, Err(error.clone()))));
    }
}

/// The fact a command asks for.
fn resolve(head: &World, command: Command, at: Timestamp) -> Result<Fact, Rejection> {
    match command {
        Command::Fact(fact) => Ok(fact),
        Command::Enrol { token, public_key } => {
            let index = head.projects.enrolment_tokens.get(&token).ok_or(Rejection::TokenUnknown)?;
            let enrolment = head.projects.enrolments.get(index).ok_or(Rejection::TokenUnknown)?;
            let (provider, anchor) = (enrolment.provider, enrolment.anchor);
            Ok(AgentEnrolled { provider, anchor, public_key, enrolment: *index }.into())
        }
        Command::AdmitNode { token, addresses, public_key, tip } => {
            let invite =
                head.cluster.invites.get(&token).filter(|i| at < i.expires_at).ok_or(Rejection::TokenUnknown)?;
            let node = head.cluster.next_node();
            let invite = Some(invite.index);
            Ok(NodeAdmitted { node, invite, addresses, public_key, tip, voter: true }.into())
        }
        Command::Join { agent, node, slots, capabilities } => {
            let epoch = head.agents.agents.get(&agent).ok_or(Rejection::AgentUnknown)?.epoch + 1;
            Ok(AgentJoined { agent, node, epoch, slots, capabilities }.into())
        }
        Command::Deliver { agent, .. } => {
            Err(Rejection::Internal { detail: format!("deliveries of {agent} are gathered, not resolved") })
        }
    }
}
