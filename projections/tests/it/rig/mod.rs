//! A hub without a network: a leader that decides, a follower that folds, and the log between them.

#![allow(dead_code)]

pub mod fake;

use fake::FAMILIES;
use forge_event::archive::{Header, Trailer, encode_header, encode_trailer};
use forge_event::*;
use forge_projections::decide::POLICY;
use forge_projections::export::{Exported, Exporter};
use forge_projections::family::{DoneStage, Family, MidState, NoBlobs, Past, PlanHints};
use forge_projections::{Meta, Observer, Rejection, World};

/// When the rig's log begins.
pub const START: Timestamp = Timestamp(1_000_000);

pub struct Hub {
    /// Decides.
    pub leader: World,
    /// Folds what the leader recorded.
    pub follower: World,
    pub now: Timestamp,
    pub frames: Vec<u8>,
    /// What an export says of the last turn.
    pub exported: Vec<Exported>,
    pub key: KeyId,
    pub turns: u64,
    /// Whether every turn is folded by the follower and compared.
    pub checks: bool,
}

/// Watches the follower: the ledger sums to zero after every event.
struct Watch(Exporter);

impl Observer for Watch {
    fn turn(&mut self, turn: &Turn) {
        self.0.turn(turn);
    }

    fn event(&mut self, index: EventIndex, by: Option<&By>, event: &Event, meta: &Meta, world: &World) {
        assert_eq!(world.accounting.sum(), 0, "the books balance behind {} at {index}", event.name());
        assert_eq!(meta.entries.iter().map(|e| e.amount).sum::<i128>(), 0);
        if event.nature() == Nature::Decision && event.name() != "state.rooted" {
            let cause = meta.cause.unwrap_or_else(|| panic!("{} at {index} has a cause", event.name()));
            assert!(cause < index, "the cause {cause} of {} at {index} is earlier", event.name());
        }
        self.0.event(index, by, event, meta, world);
    }

    fn closed(&mut self, head: &Head) {
        self.0.closed(head);
    }
}

impl Hub {
    /// After genesis: node n1 leads, kind `fake` costs 1 credit a result.
    pub fn new() -> Hub {
        let mut hub = Hub {
            leader: World::default(),
            follower: World::default(),
            now: START,
            frames: Vec::new(),
            exported: Vec::new(),
            key: KeyId(5),
            turns: 0,
            checks: true,
        };
        let node = |number: u8| NodeAdmitted {
            node: NodeId(u64::from(number)),
            invite: None,
            addresses: Addresses::default(),
            public_key: [number; 32],
            tip: Digest([number; 32]),
            voter: true,
        };
        let share = |num| Rate { num, den: 100 };
        let policy = PolicyChanged {
            version: 1,
            prices: vec![("fake".into(), Rate { num: 1_000_000, den: 1 })],
            payout: share(80),
            fee: share(15),
            verification: share(5),
        };
        let genesis: Vec<Fact> = vec![
            node(1).into(),
            LeaderStarted { node: NodeId(1), term: 1, wall: START, extend_ms: 0 }.into(),
            policy.into(),
            ProjectCreated { name: "default".into(), quota: None, weight: 1 }.into(),
            KeyCreated {
                label: "admin".into(),
                scopes: Scope::ALL.into(),
                project: Some(ProjectId(4)),
                expires_at: None,
                digest: Digest::default(),
            }
            .into(),
        ];
        hub.turn(genesis).expect("genesis is admitted");
        hub
    }

    pub fn by(&self) -> Option<By> {
        Some(By { key: Some(self.key), ..By::default() })
    }

    /// A fact that comes through the API.
    pub fn asked(&self, event: impl Into<Event>) -> Fact {
        Fact { by: self.by(), event: event.into() }
    }

    /// One turn of these facts, decided, sealed, folded by the follower. Gives the first fact's position.
    ///
    /// # Errors
    /// The first rejection; the turn is then not sealed and nothing has changed.
    pub fn turn(&mut self, facts: Vec<Fact>) -> Result<EventIndex, Rejection> {
        let before = self.checks.then(|| self.leader.clone());
        let (expected, at, salt) = (self.leader.head, self.now, Digest::of(&self.turns.to_le_bytes()).0);
        self.leader.open(at, salt);
        for fact in &facts {
            if let Err(rejection) = self.leader.admit(fact, at, &FAMILIES) {
                self.leader = before.unwrap_or_default();
                return Err(rejection);
            }
            self.leader.apply(fact.by.as_ref(), &fact.event, &FAMILIES);
        }
        let decisions = self.leader.decide(&FAMILIES);
        if facts.is_empty() && decisions.is_empty() {
            self.exported.clear();
            return Ok(EventIndex(0));
        }
        let turn = Turn { expected, at, salt, policy: POLICY, facts, decisions };
        let frame = codec::encode_turn(&turn);
        assert!(frame.len() <= limits::TURN_BYTES_MAX, "a turn fits its limit");
        self.leader.close(&frame);
        self.frames.extend_from_slice(&frame);
        self.turns += 1;
        if self.checks {
            self.follow(&turn, &frame);
        }
        Ok(turn.first())
    }

    fn follow(&mut self, turn: &Turn, frame: &[u8]) {
        let (read, length) = codec::decode_turn(frame).expect("what was encoded reads back");
        assert!(read == *turn && length == frame.len());
        let mut watch = Watch(Exporter::new(EventIndex(1), EventIndex(u64::MAX)));
        self.follower.fold(turn, frame, &FAMILIES, &mut watch);
        assert_eq!(self.follower.head, self.leader.head);
        assert_eq!(self.follower.roots(), self.leader.roots(), "leader and follower agree");
        self.exported = watch.0.take();
    }

    /// A turn of those facts that are admitted; results are numbered on.
    pub fn willing_turn(&mut self, facts: Vec<Fact>) {
        let mut trial = self.leader.clone();
        trial.open(self.now, [0; 32]);
        let mut taken = Vec::new();
        for mut fact in facts {
            if let Event::ResultReceived(e) = &mut fact.event {
                e.position = trial.agents.agents.get(&e.agent).map_or(0, |a| a.position) + 1;
            }
            if trial.admit(&fact, self.now, &FAMILIES).is_ok() {
                trial.apply(fact.by.as_ref(), &fact.event, &FAMILIES);
                taken.push(fact);
            }
        }
        self.turn(taken).expect("each was admitted just now");
    }

    /// Lets time pass as a sequencer does: a turn whenever the state says that something is due.
    pub fn pass(&mut self, ms: u64, mut see: impl FnMut(&mut Hub)) {
        let until = self.now.after(DurationMs(ms));
        let mut idle = 0;
        while let Some(due) = self.leader.next_decision_time().filter(|due| *due <= until) {
            let before = self.leader.head.events;
            self.now = due.max(self.now);
            self.turn(Vec::new()).expect("time is no fact");
            see(self);
            idle = if self.leader.head.events == before { idle + 1 } else { 0 };
            assert!(idle < 1000, "an idle hub does not spin");
            let next = self.leader.next_decision_time();
            assert!(
                idle == 0 || next.is_none_or(|next| next > self.now),
                "after a turn without decisions the next one lies ahead"
            );
        }
        self.now = until;
    }

    /// The whole log as an archive.
    pub fn archive(&self) -> Vec<u8> {
        let header = Header { magic: *b"FORGELOG", cluster: self.leader.genesis, before: Head::default() };
        let head = self.leader.head;
        let trailer = Trailer { turns: head.turns, events: head.events, head };
        [encode_header(&header), self.frames.clone(), encode_trailer(&trailer)].concat()
    }

    // What follows are the usual facts, one turn each.

    pub fn project(&mut self, weight: u16, quota: Option<Credits>) -> ProjectId {
        let fact = self.asked(ProjectCreated { name: "p".into(), quota, weight });
        ProjectId::born_at(self.turn(vec![fact]).expect("admitted"))
    }

    pub fn issue(&mut self, project: ProjectId, credits: u128) {
        let fact = self.asked(CreditsIssued { project, amount: Credits(credits), reference: "test".into() });
        self.turn(vec![fact]).expect("admitted");
    }

    pub fn provider(&mut self) -> ProviderId {
        let fact = self.asked(ProviderCreated { name: "v".into() });
        ProviderId::born_at(self.turn(vec![fact]).expect("admitted"))
    }

    pub fn agent(&mut self, provider: ProviderId) -> AgentId {
        let token_digest = Digest::of(&self.turns.to_le_bytes());
        let expires_at = self.now.after(DurationMs(60_000));
        let fact = self.asked(EnrolmentCreated { provider, anchor: false, expires_at, token_digest });
        let enrolment = self.turn(vec![fact]).expect("admitted");
        let public_key = Digest::of(&self.turns.to_le_bytes()).0;
        let fact = AgentEnrolled { provider, anchor: false, public_key, enrolment };
        AgentId::born_at(self.turn(vec![fact.into()]).expect("admitted"))
    }

    /// A project with credits, and an agent that has not joined.
    pub fn staffed() -> (Hub, ProjectId, AgentId) {
        let mut hub = Hub::new();
        let project = hub.project(1, None);
        hub.issue(project, 50_000_000);
        let provider = hub.provider();
        let agent = hub.agent(provider);
        (hub, project, agent)
    }

    pub fn capabilities() -> Capabilities {
        Capabilities { cpu_class: "avx2".into(), mem_bytes: 8 << 30, region: "eu".into(), ..Capabilities::default() }
    }

    pub fn joined(&self, agent: AgentId, node: NodeId, slots: u32, capabilities: Capabilities) -> Fact {
        let epoch = self.leader.agents.agents.get(&agent).map_or(0, |a| a.epoch) + 1;
        AgentJoined { agent, node, epoch, slots, capabilities }.into()
    }

    pub fn epoch(&self, agent: AgentId) -> Epoch {
        self.leader.agents.agents.get(&agent).map_or(0, |a| a.epoch)
    }

    pub fn submission(project: ProjectId, shards: u64) -> JobSubmitted {
        JobSubmitted {
            project,
            kind: "fake".into(),
            family_version: 1,
            name: None,
            labels: Vec::new(),
            spec: format!("{{\"shards\":{shards}}}").into_bytes(),
            shard_cells: None,
            requirements: Requirements::default(),
            limits: Limits::default(),
            priority: 5,
            allow_wait: false,
            verify: None,
            inputs: Vec::new(),
        }
    }

    /// The start of the effect the job needs now, and what comes out of it.
    pub fn effect(&self, job: JobId) -> Option<(EffectStarted, Event)> {
        let (effect, try_number) = self.leader.effect_due(job)?;
        let started = EffectStarted { effect, try_number, node: NodeId(1) };
        Some((started, self.outcome(effect, try_number)))
    }

    /// What a started effect comes back with.
    pub fn outcome(&self, effect: EffectId, try_number: u8) -> Event {
        let job = self.leader.jobs.jobs.get(&effect.job()).expect("an effect's job exists");
        match effect {
            EffectId::Plan { job: id, stage } => {
                let mids: Vec<_> = (0..stage).map(|done| self.mid(id, done)).collect();
                let done: Vec<_> = job
                    .stages
                    .iter()
                    .zip(&mids)
                    .map(|(s, mid)| DoneStage { plan: &s.plan_body, shard_count: s.shards.count(), mid: mid.as_ref() })
                    .collect();
                let past = Past { spec: &job.submitted.spec, stages: &done };
                let plan =
                    FAMILIES.plan(&past, PlanHints::default(), &NoBlobs).expect("this family plans without blobs");
                let first = job.shard_count as u32;
                let shards = Run { first, last: first + (plan.shard_count - 1) as u32 };
                StagePlanned { job: id, stage, try_number, shards, segments: 1, last: plan.last, plan_body: plan.body }
                    .into()
            }
            EffectId::Reduce { job: id, version } => {
                let last = job.stages.len() as u16 - 1;
                let document = self.mid(id, last).finish().expect("a document");
                let (digest, bytes) = (Digest::of(&document), document.len() as u64);
                JobReduced {
                    job: id,
                    version,
                    try_number,
                    digest,
                    bytes,
                    document: Some(document),
                    outputs: Vec::new(),
                }
                .into()
            }
        }
    }

    fn mid(&self, job: JobId, stage: u16) -> Box<dyn MidState> {
        let mid = self.leader.aggregator.vmem.get(job, stage).expect("an open job has a mid-state for each stage");
        mid.to_live(|bytes| FAMILIES.thaw(&[], &[], bytes)).expect("it thaws")
    }

    /// Runs the effect that is due, in two turns.
    pub fn run_effect(&mut self, job: JobId) -> Result<(), Rejection> {
        let Some((started, outcome)) = self.effect(job) else { return Ok(()) };
        self.turn(vec![started.into()])?;
        self.turn(vec![outcome.into()]).map(|_| ())
    }

    /// A delivery of equal results.
    pub fn received(&self, agent: AgentId, job: JobId, attempt: AttemptNumber, shards: Runs, bytes: Vec<u8>) -> Fact {
        let position = self.leader.agents.agents.get(&agent).map_or(0, |a| a.position) + 1;
        self.received_at(position, agent, job, attempt, shards, bytes)
    }

    pub fn received_at(
        &self,
        position: u64,
        agent: AgentId,
        job: JobId,
        attempt: AttemptNumber,
        shards: Runs,
        bytes: Vec<u8>,
    ) -> Fact {
        let bits = self.check(job, shards.0[0].first, &bytes);
        let run = ResultRun {
            count: shards.count() as u32,
            digest: Digest::of(&bytes),
            root: None,
            bytes: bytes.len() as u64,
            inline: Some(bytes),
        };
        let checks = Checks { version: 1, bits };
        ResultReceived { job, agent, epoch: self.epoch(agent), attempt, shards, position, results: vec![run], checks }
            .into()
    }

    /// The checks of a result of what an attempt at a shard is given now.
    fn check(&self, id: JobId, shard: ShardIndex, bytes: &[u8]) -> u32 {
        let job = self.leader.jobs.jobs.get(&id);
        let stage = job.and_then(|job| job.stage_of(shard));
        let spec = job.map_or(&[][..], |job| &job.submitted.spec);
        let rest = self.leader.rest_of(id, shard, &FAMILIES);
        let plan = rest.or(stage.map(|stage| stage.plan_body.to_vec())).unwrap_or_default();
        FAMILIES.check_result(spec, &plan, 0, bytes)
    }

    /// What a running attempt has done so far, as its agent would say it.
    pub fn checkpoint(&self, agent: AgentId, lease: LeaseId, cells: u64, inline: Vec<u8>) -> Fact {
        let LeaseId { job, shard, attempt } = lease;
        let checks = self.leader.check_checkpoint(lease, cells, &inline, &FAMILIES).unwrap_or_default();
        let (digest, epoch, signature) = (Digest::of(&inline), self.epoch(agent), [[0; 32]; 2]);
        CheckpointReceived { job, agent, epoch, attempt, shard, cells, digest, inline, checks, signature }.into()
    }

    /// A seal up to a position that is not sealed yet.
    pub fn sealed(&self, agent: AgentId, upto: u64) -> Fact {
        let head = self.leader.aggregator.pending.get(agent, upto).map_or([0; 32], |p| p.chain);
        ResultsSealed { agent, upto, head, signature: [[0; 32]; 2] }.into()
    }

    /// Live leases of an agent.
    pub fn leases(&self, agent: AgentId) -> Vec<LeaseId> {
        let mut leases: Vec<LeaseId> =
            self.leader.scheduler.leases.of(agent).iter().flat_map(|grant| grant.leases()).collect();
        leases.sort_unstable();
        leases
    }
}
