//! The agent's side of a session, without sockets and clocks.
//!
//! It outlives connections: what is held and what was not acknowledged is presented again in the
//! next session, and an attempt that is held is never computed twice.

use crate::Now;
use crate::limits::{PRESENTED_MAX, SEAL_IDLE_MS, SEAL_RESULTS, SEAL_WAIT_MS};
use crate::message::{Fate, Hello, Presented, Welcome};
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use forge_event::*;

/// How an attempt ended here.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    Result { digest: Digest, bytes: Vec<u8> },
    Failed { code: String, detail: String },
}

impl Outcome {
    /// A result with its digest.
    pub fn of(bytes: Vec<u8>) -> Outcome {
        Outcome::Result { digest: Digest::of(&bytes), bytes }
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Held {
    Running,
    Finished(Outcome),
}

/// What to do about an assignment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Start {
    /// Compute it.
    Run,
    /// It is being computed already: say `Have`, and answer when it is finished.
    Have,
    /// It is finished already: answer at once.
    Answer,
}

/// What to send on an attempt's stream.
pub type Answer<'a> = &'a Outcome;

/// A seal to sign and send.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SealDue {
    pub upto: u64,
    pub head: [u8; 32],
}

/// The hub's account of the agent's results differs from the agent's own. It must not sign any further.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ChainFault {
    /// At the same position the chains differ, or the hub is behind.
    Differs { own_position: u64, hub_position: u64 },
    /// A position was given to two results, or again.
    PositionTaken { lease: LeaseId, position: u64 },
    /// The hub says it recorded a result that was never delivered.
    NeverDelivered { lease: LeaseId },
}

impl fmt::Display for ChainFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ChainFault::Differs { own_position, hub_position } => write!(
                f,
                "the hub's chain of results (position {hub_position}) does not continue this agent's (position {own_position})"
            ),
            ChainFault::PositionTaken { lease, position } => {
                write!(f, "the hub gave position {position} to {lease}, but it belongs to another result")
            }
            ChainFault::NeverDelivered { lease } => {
                write!(f, "the hub acknowledged {lease}, which was never delivered")
            }
        }
    }
}

impl core::error::Error for ChainFault {}

/// One agent's leases, results and chain.
///
/// Invariant: a result stays here until the hub said what became of it; `position` and `chain`
/// cover acknowledged results only, in the log's order.
#[derive(Clone, Debug)]
pub struct AgentSession {
    agent: AgentId,
    position: u64,
    chain: [u8; 32],
    /// Acknowledged ahead of their turn: by position.
    ahead: BTreeMap<u64, (LeaseId, Digest)>,
    held: BTreeMap<LeaseId, Held>,
    /// False until the first session of this process: results from before are known to the hub alone.
    remembers: bool,
    up: bool,
    seal_sent: u64,
    last_seal: Option<Now>,
    unsealed_since: Option<Now>,
}

impl AgentSession {
    /// An agent that just started; `position` and `chain` are what it remembers of its chain (zeros if nothing).
    pub fn new(agent: AgentId, position: u64, chain: [u8; 32]) -> Self {
        AgentSession {
            agent,
            position,
            chain,
            ahead: BTreeMap::new(),
            held: BTreeMap::new(),
            remembers: false,
            up: false,
            seal_sent: position,
            last_seal: None,
            unsealed_since: None,
        }
    }

    pub fn agent(&self) -> AgentId {
        self.agent
    }

    /// The chain's end over acknowledged results, and its position.
    pub fn chain(&self) -> (u64, [u8; 32]) {
        (self.position, self.chain)
    }

    /// Attempts without an acknowledged end.
    pub fn held_count(&self) -> usize {
        self.held.len()
    }

    /// Nothing is held, and everything acknowledged was sealed.
    pub fn is_idle(&self) -> bool {
        self.held.is_empty() && self.ahead.is_empty() && self.position == self.seal_sent
    }

    /// First message of a session: presents everything held.
    pub fn hello(&self, slots: u32, capabilities: Capabilities) -> Hello {
        let mut hello = Hello {
            protocol: crate::PROTOCOL_VERSION,
            agent: self.agent,
            slots,
            capabilities,
            position: self.position,
            chain: self.chain,
            held: Vec::new(),
            unacknowledged: Vec::new(),
        };
        // A hub never leases more than `PRESENTED_MAX`; a hub that did gets the rest by refusal.
        for (lease, held) in self.held.iter().take(PRESENTED_MAX) {
            match held {
                Held::Finished(Outcome::Result { digest, .. }) => hello.unacknowledged.push((*lease, *digest)),
                Held::Running | Held::Finished(Outcome::Failed { .. }) => hello.held.push(*lease),
            }
        }
        hello
    }

    /// The session is up. Gives the attempts to stop.
    ///
    /// # Errors
    /// [`ChainFault`]: close the connection and do not go on.
    pub fn handle_welcome(&mut self, welcome: &Welcome, now: Now) -> Result<Vec<LeaseId>, ChainFault> {
        let mut live = Vec::new();
        for (lease, fate) in &welcome.fates {
            match fate {
                Presented::Live => live.push(*lease),
                Presented::Recorded { position, .. } => self.record(*lease, *position)?,
                Presented::Gone(_) => {}
            }
        }
        live.sort_unstable();
        let mut stopped = Vec::new();
        self.held.retain(|lease, _| {
            let keep = live.binary_search(lease).is_ok();
            if !keep {
                stopped.push(*lease);
            }
            keep
        });
        self.advance(now);
        if (self.position, self.chain) != (welcome.position, welcome.chain) {
            // A restarted agent knows its results only up to what it saved: the hub's account is all there is.
            if self.remembers || welcome.position <= self.position {
                return Err(ChainFault::Differs { own_position: self.position, hub_position: welcome.position });
            }
            (self.position, self.chain) = (welcome.position, welcome.chain);
        }
        self.ahead.clear();
        self.remembers = true;
        self.up = true;
        self.seal_sent = welcome.sealed.min(self.position);
        self.unsealed_since = (self.seal_sent < self.position).then_some(now);
        Ok(stopped)
    }

    /// The connection is gone. Everything stays held.
    pub fn handle_disconnected(&mut self) {
        self.up = false;
    }

    /// A stream brought an assignment.
    pub fn handle_assign(&mut self, lease: LeaseId) -> Start {
        match self.held.get(&lease) {
            Some(Held::Running) => Start::Have,
            Some(Held::Finished(_)) => Start::Answer,
            None => {
                self.held.insert(lease, Held::Running);
                Start::Run
            }
        }
    }

    /// An attempt ended here. `false`: it was cancelled meanwhile, forget it.
    pub fn handle_finished(&mut self, lease: LeaseId, outcome: Outcome) -> bool {
        match self.held.get_mut(&lease) {
            Some(held @ Held::Running) => {
                *held = Held::Finished(outcome);
                true
            }
            Some(Held::Finished(_)) | None => false,
        }
    }

    /// What to answer on the attempt's stream; `None` while it runs or if it is not held.
    pub fn answer(&self, lease: LeaseId) -> Option<Answer<'_>> {
        match self.held.get(&lease) {
            Some(Held::Finished(outcome)) => Some(outcome),
            Some(Held::Running) | None => None,
        }
    }

    /// The attempt is held (as opposed to cancelled or acknowledged).
    pub fn holds(&self, lease: LeaseId) -> bool {
        self.held.contains_key(&lease)
    }

    /// A result is in the log.
    ///
    /// # Errors
    /// [`ChainFault`]: close the connection and do not go on.
    pub fn handle_ack(&mut self, lease: LeaseId, position: u64, fate: Fate, now: Now) -> Result<(), ChainFault> {
        // A refused or voided result has its place in the chain like any other.
        let (Fate::Accepted | Fate::Refused(_) | Fate::Voided) = fate;
        self.record(lease, position)?;
        self.advance(now);
        Ok(())
    }

    /// A failure is in the log.
    pub fn handle_failure_recorded(&mut self, lease: LeaseId) {
        self.held.remove(&lease);
    }

    /// The attempt is over. `true` if it was held: stop it.
    pub fn handle_cancel(&mut self, lease: LeaseId) -> bool {
        self.held.remove(&lease).is_some()
    }

    /// When [`AgentSession::poll_seal`] has something to say, if nothing else happens.
    pub fn seal_time(&self) -> Option<Now> {
        let pending = self.position - self.seal_sent;
        if !self.up || pending == 0 {
            return None;
        }
        if pending >= SEAL_RESULTS {
            return Some(Now(0));
        }
        if self.held.is_empty() {
            return Some(self.last_seal.map_or(Now(0), |at| at.plus(SEAL_IDLE_MS)));
        }
        self.unsealed_since.map(|since| since.plus(SEAL_WAIT_MS))
    }

    /// The seal to sign and send now.
    pub fn poll_seal(&mut self, now: Now) -> Option<SealDue> {
        self.seal_time().filter(|due| *due <= now)?;
        self.seal_sent = self.position;
        self.last_seal = Some(now);
        self.unsealed_since = None;
        Some(SealDue { upto: self.position, head: self.chain })
    }

    fn record(&mut self, lease: LeaseId, position: u64) -> Result<(), ChainFault> {
        let digest = match self.held.get(&lease) {
            Some(Held::Finished(Outcome::Result { digest, .. })) => *digest,
            _ => return Err(ChainFault::NeverDelivered { lease }),
        };
        if position <= self.position || self.ahead.insert(position, (lease, digest)).is_some() {
            return Err(ChainFault::PositionTaken { lease, position });
        }
        self.held.remove(&lease);
        Ok(())
    }

    /// Extends the chain over what follows without gap.
    fn advance(&mut self, now: Now) {
        while let Some(entry) = self.ahead.first_entry() {
            if *entry.key() != self.position + 1 {
                break;
            }
            let (lease, digest) = entry.remove();
            self.chain = seal::extend(&self.chain, lease, &digest, &seal::single_root(&digest));
            self.position += 1;
            self.unsealed_since.get_or_insert(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Gone;
    use alloc::vec;

    fn lease(shard: ShardIndex) -> LeaseId {
        LeaseId { job: JobId(9), shard, attempt: 1 }
    }

    fn welcome(position: u64, chain: [u8; 32], fates: Vec<(LeaseId, Presented)>) -> Welcome {
        Welcome { epoch: 1, position, chain, sealed: position, fates, hubs: vec![] }
    }

    fn up() -> AgentSession {
        let mut agent = AgentSession::new(AgentId(3), 0, seal::START);
        agent.handle_welcome(&welcome(0, seal::START, vec![]), Now(0)).expect("a new agent");
        agent
    }

    fn deliver(agent: &mut AgentSession, shard: ShardIndex) {
        assert_eq!(agent.handle_assign(lease(shard)), Start::Run);
        assert!(agent.handle_finished(lease(shard), Outcome::of(vec![shard as u8])));
    }

    fn chain_over(shards: &[ShardIndex]) -> [u8; 32] {
        shards.iter().fold(seal::START, |h, s| {
            let digest = Digest::of(&[*s as u8]);
            seal::extend(&h, lease(*s), &digest, &seal::single_root(&digest))
        })
    }

    #[test]
    fn a_resumed_lease_is_not_computed_again() {
        let mut agent = up();
        assert_eq!(agent.handle_assign(lease(1)), Start::Run);
        deliver(&mut agent, 2);
        agent.handle_disconnected();
        let hello = agent.hello(1, Capabilities::default());
        assert_eq!((hello.held, hello.unacknowledged.len()), (vec![lease(1)], 1));
        let live = vec![(lease(1), Presented::Live), (lease(2), Presented::Live)];
        assert_eq!(agent.handle_welcome(&welcome(0, seal::START, live), Now(5)), Ok(vec![]));
        assert_eq!(agent.handle_assign(lease(1)), Start::Have);
        assert_eq!(agent.handle_assign(lease(2)), Start::Answer);
    }

    #[test]
    fn the_chain_follows_positions_whatever_the_order_of_acknowledgements() {
        let mut agent = up();
        (1..=3).for_each(|s| deliver(&mut agent, s));
        agent.handle_ack(lease(3), 2, Fate::Accepted, Now(1)).expect("ack");
        assert_eq!(agent.chain(), (0, seal::START));
        agent.handle_ack(lease(1), 1, Fate::Accepted, Now(1)).expect("ack");
        assert_eq!(agent.chain(), (2, chain_over(&[1, 3])));
        agent.handle_ack(lease(2), 3, Fate::Refused(RefusalCode::NoLease), Now(1)).expect("ack");
        assert_eq!(agent.chain(), (3, chain_over(&[1, 3, 2])));
    }

    #[test]
    fn an_acknowledgement_lost_with_its_connection_is_made_up_by_the_welcome() {
        let mut agent = up();
        (1..=3).for_each(|s| deliver(&mut agent, s));
        agent.handle_ack(lease(2), 2, Fate::Accepted, Now(1)).expect("ack");
        agent.handle_disconnected();
        let recorded = Presented::Recorded { position: 1, fate: Fate::Accepted };
        let fates = vec![(lease(1), recorded), (lease(3), Presented::Gone(Gone::Ended))];
        let stopped = agent.handle_welcome(&welcome(2, chain_over(&[1, 2]), fates), Now(9));
        assert_eq!(stopped, Ok(vec![lease(3)]));
        assert_eq!(agent.chain(), (2, chain_over(&[1, 2])));
        assert_eq!(agent.held_count(), 0);
    }

    #[test]
    fn a_hub_that_forgot_results_is_a_fault() {
        let mut agent = up();
        deliver(&mut agent, 1);
        agent.handle_ack(lease(1), 1, Fate::Accepted, Now(1)).expect("ack");
        agent.handle_disconnected();
        let answer = agent.handle_welcome(&welcome(0, seal::START, vec![]), Now(2));
        assert_eq!(answer, Err(ChainFault::Differs { own_position: 1, hub_position: 0 }));
        assert_eq!(agent.poll_seal(Now(1000)), None);
    }

    #[test]
    fn a_restarted_agent_takes_the_chain_from_the_hub_and_seals_it() {
        let mut agent = AgentSession::new(AgentId(3), 1, chain_over(&[1]));
        let mut answer = welcome(2, chain_over(&[1, 2]), vec![]);
        answer.sealed = 1;
        agent.handle_welcome(&answer, Now(0)).expect("the hub is ahead");
        assert_eq!(agent.poll_seal(Now(0)), Some(SealDue { upto: 2, head: chain_over(&[1, 2]) }));
    }

    #[test]
    fn a_position_is_given_once() {
        let mut agent = up();
        (1..=2).for_each(|s| deliver(&mut agent, s));
        agent.handle_ack(lease(1), 1, Fate::Accepted, Now(1)).expect("ack");
        let again = agent.handle_ack(lease(2), 1, Fate::Accepted, Now(1));
        assert_eq!(again, Err(ChainFault::PositionTaken { lease: lease(2), position: 1 }));
        let never = agent.handle_ack(lease(7), 2, Fate::Accepted, Now(1));
        assert_eq!(never, Err(ChainFault::NeverDelivered { lease: lease(7) }));
    }

    #[test]
    fn seals_come_at_256_results_or_when_idle_or_after_a_quarter_second() {
        let mut agent = up();
        agent.handle_assign(lease(0));
        for shard in 1..=255 {
            deliver(&mut agent, shard);
            agent.handle_ack(lease(shard), u64::from(shard), Fate::Accepted, Now(10)).expect("ack");
        }
        assert_eq!(agent.seal_time(), Some(Now(260)), "one lease is still live");
        assert_eq!(agent.poll_seal(Now(259)), None);
        deliver(&mut agent, 256);
        agent.handle_ack(lease(256), 256, Fate::Accepted, Now(11)).expect("ack");
        assert_eq!(agent.poll_seal(Now(11)).map(|s| s.upto), Some(256));
        agent.handle_finished(lease(0), Outcome::of(vec![]));
        agent.handle_ack(lease(0), 257, Fate::Accepted, Now(12)).expect("ack");
        assert_eq!(agent.seal_time(), Some(Now(31)), "not twice within 20 ms");
        assert_eq!(agent.poll_seal(Now(31)).map(|s| s.upto), Some(257));
        assert!(agent.is_idle());
    }

    #[test]
    fn a_cancelled_attempt_leaves_no_result() {
        let mut agent = up();
        agent.handle_assign(lease(1));
        assert!(agent.handle_cancel(lease(1)));
        assert!(!agent.handle_finished(lease(1), Outcome::of(vec![])));
        assert_eq!(agent.answer(lease(1)), None);
    }

    #[test]
    fn a_failure_is_answered_until_it_is_recorded() {
        let mut agent = up();
        agent.handle_assign(lease(1));
        agent.handle_finished(lease(1), Outcome::Failed { code: "bad-payload".into(), detail: "".into() });
        agent.handle_disconnected();
        assert_eq!(agent.hello(1, Capabilities::default()).held, [lease(1)]);
        agent.handle_welcome(&welcome(0, seal::START, vec![(lease(1), Presented::Live)]), Now(1)).expect("welcome");
        assert_eq!(agent.handle_assign(lease(1)), Start::Answer);
        agent.handle_failure_recorded(lease(1));
        assert!(agent.is_idle());
    }
}
