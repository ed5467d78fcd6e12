//! Both machines against each other over a virtual link that breaks, with a leader that forgets to answer.

use forge_event::*;
use forge_protocol::*;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

const AGENT: AgentId = AgentId(37);
const SHARDS: u32 = 2_000;
const WINDOW: usize = 24;

/// A small generator; the test must not depend on anything but its seed.
struct Rng(u64);

impl Rng {
    fn next(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }
}

/// What the log would hold.
#[derive(Default)]
struct Leader {
    index: u64,
    epoch: u64,
    next_shard: u32,
    live: BTreeMap<LeaseId, ()>,
    position: u64,
    chain: [u8; 32],
    sealed: u64,
    heads: BTreeMap<u64, [u8; 32]>,
    recorded: BTreeMap<LeaseId, (u64, Digest)>,
    seals: u64,
}

impl Leader {
    fn assign(&mut self) -> Vec<LeaseId> {
        let mut given = Vec::new();
        while self.live.len() < WINDOW && self.next_shard < SHARDS {
            let lease = LeaseId { job: JobId(5), shard: self.next_shard, attempt: 1 };
            self.next_shard += 1;
            self.live.insert(lease, ());
            given.push(lease);
        }
        self.index += 1;
        given
    }

    fn deliver(&mut self, epoch: u64, batch: &[Delivery]) -> Verdict {
        if epoch != self.epoch {
            return Verdict::Stale;
        }
        let recorded = batch.iter().map(|d| {
            let (position, _) = *self.recorded.entry(d.lease).or_insert_with(|| {
                assert!(self.live.remove(&d.lease).is_some(), "{} was delivered without a lease", d.lease);
                self.position += 1;
                self.chain = seal::extend(&self.chain, d.lease, &d.digest, &seal::single_root(&d.digest));
                self.heads.insert(self.position, self.chain);
                (self.position, d.digest)
            });
            Recorded { lease: d.lease, position, fate: Fate::Accepted }
        });
        Verdict::Recorded(recorded.collect())
    }

    fn judge(&mut self, epoch: u64, submission: &Submission) -> Verdict {
        self.index += 1;
        match submission {
            Submission::Deliver(batch) => self.deliver(epoch, batch),
            Submission::Seal(seal) if seal.upto <= self.sealed => Verdict::Committed,
            Submission::Seal(seal) => {
                assert_eq!(self.heads.get(&seal.upto), Some(&seal.head), "the agent's chain is the log's");
                self.sealed = seal.upto;
                self.seals += 1;
                Verdict::Committed
            }
            Submission::ReportFailed { .. } | Submission::Draining | Submission::Lost(_) => Verdict::Committed,
        }
    }

    fn join(&mut self, hello: &Hello) -> Welcome {
        self.epoch += 1;
        self.index += 1;
        let presented = hello.held.iter().chain(hello.unacknowledged.iter().map(|(l, _)| l));
        let fates = presented.map(|lease| {
            let fate = match self.recorded.get(lease) {
                Some((position, _)) => Presented::Recorded { position: *position, fate: Fate::Accepted },
                None if self.live.contains_key(lease) => Presented::Live,
                None => Presented::Gone(Gone::Ended),
            };
            (*lease, fate)
        });
        Welcome {
            epoch: self.epoch,
            position: self.position,
            chain: self.chain,
            sealed: self.sealed,
            fates: fates.collect(),
            hubs: vec![],
        }
    }
}

struct Rig {
    rng: Rng,
    now: Now,
    leader: Leader,
    agent: AgentSession,
    hub: Option<HubSession>,
    running: Vec<LeaseId>,
    /// Streams that the agent accepted.
    streams: BTreeSet<LeaseId>,
    to_agent: VecDeque<(LeaseId, HubToAgent)>,
    to_hub: VecDeque<(LeaseId, AgentToHub)>,
    waiting: Vec<(SubmissionId, Submission)>,
    computed: BTreeMap<LeaseId, u32>,
}

impl Rig {
    fn new(seed: u64) -> Rig {
        Rig {
            rng: Rng(seed),
            now: Now(1),
            leader: Leader::default(),
            agent: AgentSession::new(AGENT, 0, seal::START),
            hub: None,
            running: vec![],
            streams: BTreeSet::new(),
            to_agent: VecDeque::new(),
            to_hub: VecDeque::new(),
            waiting: vec![],
            computed: BTreeMap::new(),
        }
    }

    fn connect(&mut self) {
        let welcome = self.leader.join(&self.agent.hello(1, Capabilities::default()));
        let stopped = self.agent.handle_welcome(&welcome, self.now).expect("the chains agree");
        self.running.retain(|l| !stopped.contains(l));
        let mut hub = HubSession::new();
        hub.handle_live(EventIndex(self.leader.index), self.leader.live.keys().copied());
        self.hub = Some(hub);
    }

    fn disconnect(&mut self) {
        self.hub = None;
        self.agent.handle_disconnected();
        self.streams.clear();
        (self.to_agent, self.to_hub) = Default::default();
        // Some of what was on its way to the leader still gets there.
        for (_, submission) in std::mem::take(&mut self.waiting) {
            if self.rng.next(2) == 0 {
                self.leader.judge(self.leader.epoch, &submission);
            }
        }
    }

    fn answer(&mut self, lease: LeaseId) {
        if let Some(Outcome::Result { digest, bytes }) = self.agent.answer(lease) {
            self.to_hub.push_back((lease, AgentToHub::Result { digest: *digest, bytes: bytes.clone() }));
        }
    }

    fn step_agent(&mut self) {
        if let Some((lease, message)) = self.to_agent.pop_front() {
            match message {
                HubToAgent::Assign(_) => {
                    assert!(self.streams.insert(lease), "one stream an attempt");
                    match self.agent.handle_assign(lease) {
                        Start::Run => {
                            *self.computed.entry(lease).or_default() += 1;
                            self.running.push(lease);
                        }
                        Start::Have => self.to_hub.push_back((lease, AgentToHub::Have)),
                        Start::Answer => self.answer(lease),
                    }
                }
                HubToAgent::Ack { position, fate } => {
                    self.agent.handle_ack(lease, position, fate, self.now).expect("positions fit");
                }
                other => panic!("{other:?} was not expected here"),
            }
        }
        if !self.running.is_empty() && self.rng.next(2) == 0 {
            let lease = self.running.swap_remove(self.rng.next(self.running.len() as u64) as usize);
            let outcome = Outcome::of(lease.shard.to_le_bytes().to_vec());
            if self.agent.handle_finished(lease, outcome) && self.streams.contains(&lease) {
                self.answer(lease);
            }
        }
        if let Some(due) = self.agent.poll_seal(self.now) {
            let hub = self.hub.as_mut().expect("seals are due only in a session");
            hub.handle_seal(Seal { upto: due.upto, head: due.head, signature: [[0; 32]; 2] });
        }
    }

    fn step_hub(&mut self) {
        let Some(hub) = self.hub.as_mut() else { return };
        if let Some((lease, AgentToHub::Result { digest, bytes })) = self.to_hub.pop_front() {
            assert!(hub.handle_result(Delivery { lease, digest, bytes, checks: Checks::default() }));
        }
        if self.rng.next(4) == 0 {
            for lease in self.leader.assign() {
                hub.handle_assigned(EventIndex(self.leader.index), lease);
            }
        }
        if self.rng.next(16) == 0 {
            hub.handle_live(EventIndex(self.leader.index), self.leader.live.keys().copied());
        }
        if let Some(submission) = hub.poll_submission(self.now) {
            self.waiting.push(submission);
        }
        if !self.waiting.is_empty() && self.rng.next(2) == 0 {
            let (id, submission) = self.waiting.swap_remove(self.rng.next(self.waiting.len() as u64) as usize);
            // Lost before it, lost behind it, or answered.
            let verdict = match self.rng.next(8) {
                0 => Verdict::Again,
                1 => {
                    self.leader.judge(self.leader.epoch, &submission);
                    Verdict::Again
                }
                _ => self.leader.judge(self.leader.epoch, &submission),
            };
            hub.handle_verdict(id, verdict, self.now);
        }
        while let Some(action) = hub.poll_action() {
            match action {
                Action::Open(lease) => {
                    let (kind, deadline) = (String::from("null"), Timestamp(0));
                    let assign = Assign { lease, kind, family_version: 1, deadline, payload: vec![], blobs: None };
                    self.to_agent.push_back((lease, HubToAgent::Assign(assign)));
                }
                Action::Ack { lease, position, fate } => {
                    self.to_agent.push_back((lease, HubToAgent::Ack { position, fate }));
                }
                other => panic!("{other:?} was not expected here"),
            }
        }
    }

    fn is_done(&self) -> bool {
        self.leader.recorded.len() == SHARDS as usize
            && self.agent.is_idle()
            && self.leader.sealed == self.leader.position
    }

    fn run(mut self) {
        let mut disconnects = 0;
        for _ in 0..2_000_000 {
            self.now = self.now.plus(self.rng.next(2));
            if self.hub.is_none() {
                self.connect();
            } else if self.rng.next(800) == 0 {
                self.disconnect();
                disconnects += 1;
            }
            self.step_agent();
            self.step_hub();
            if self.is_done() {
                assert!(disconnects > 3, "the link broke too rarely to show anything");
                assert!(self.computed.values().all(|n| *n == 1), "nothing is computed twice");
                assert_eq!(self.computed.len(), SHARDS as usize);
                assert!(self.leader.seals > 5);
                assert_eq!(self.agent.chain(), (self.leader.position, self.leader.chain));
                return;
            }
        }
        panic!("the shards never all arrived: {} of {SHARDS}", self.leader.recorded.len());
    }
}

#[test]
fn every_shard_is_computed_once_and_sealed_through_broken_links_and_lost_answers() {
    for seed in 1..=20 {
        Rig::new(seed).run();
    }
}
