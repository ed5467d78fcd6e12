//! The scale model: one job of very many shards on the projections alone, no log and no network.

use crate::clock::{self, Skew};
use crate::dice::Dice;
use crate::setup::{PROJECT, by};
use forge_adapters::Registry;
use forge_event::*;
use forge_hub::genesis::{self, Genesis};
use forge_projections::World;
use forge_projections::decide::POLICY;
use forge_projections::family::{Families, NoBlobs, Past, PlanHints};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Instant;

/// Shards of the job.
pub const SHARDS: u64 = 100_000_000;
/// Shards that finish.
pub const FINISHED: u64 = 1_000_000;
/// Agents that work on it; each holds a full window.
const AGENTS: u64 = 512;
/// Results in one turn.
const BATCH: u64 = 2_048;

/// A hub's two worlds, fed turn by turn.
struct House {
    head: World,
    committed: World,
    live: Vec<(AgentId, LeaseId)>,
}

impl House {
    fn new() -> House {
        let mut house = House { head: World::default(), committed: World::default(), live: Vec::new() };
        let founding = Genesis {
            addresses: Addresses::default(),
            public_key: [1; 32],
            tip: Digest::default(),
            admin_key: Digest::of(b"admin"),
        };
        let clock = clock::skewed(tokio::time::Instant::now(), Skew::default(), Dice::of(1, "scale"));
        let (frame, _) = genesis::turn(&founding, &clock, &Registry).expect("the genesis turn is admitted");
        let (turn, _) = codec::decode_turn(&frame).expect("it was encoded just now");
        house.head.fold(&turn, &frame, &Registry, &mut ());
        house
    }

    /// One turn of these facts; gives the position of its first event.
    fn turn(&mut self, facts: Vec<Fact>) -> EventIndex {
        let world = &mut self.head;
        let (expected, at, salt) = (world.head, world.at.after(DurationMs(1)), [9; 32]);
        world.open(at, salt);
        for fact in &facts {
            world.admit(fact, at, &Registry).unwrap_or_else(|why| panic!("{} is refused: {why}", fact.event.name()));
            world.apply(fact.by.as_ref(), &fact.event, &Registry);
        }
        let decisions = world.decide(&Registry);
        let turn = Turn { expected, at, salt, policy: POLICY, facts, decisions };
        let frame = codec::encode_turn(&turn);
        world.close(&frame);
        for event in &turn.decisions {
            if let Event::ShardAssigned(e) = event {
                let lease = |shard| (e.agent, LeaseId { job: e.job, shard, attempt: e.attempt });
                self.live.extend(e.shards.iter().map(lease));
            }
        }
        // The other world folds what was committed, as a node does.
        self.committed = self.head.clone();
        turn.first()
    }

    fn agents(&mut self) {
        let admin = |what: &str, event: Event| Fact { by: Some(by(what)), event };
        let provider = self.turn(vec![admin("provider", ProviderCreated { name: "one".into() }.into())]);
        let provider = ProviderId::born_at(provider);
        let money = CreditsIssued { project: PROJECT, amount: Credits(1 << 60), reference: "scale".into() };
        self.turn(vec![admin("money", money.into())]);
        for number in 0..AGENTS {
            let token_digest = Digest::of(&number.to_le_bytes());
            let expires_at = Timestamp(u64::MAX >> 1);
            let enrolment = EnrolmentCreated { provider, anchor: false, expires_at, token_digest };
            let enrolment = self.turn(vec![admin(&format!("enrolment {number}"), enrolment.into())]);
            let mut public_key = [2; 32];
            public_key[..8].copy_from_slice(&number.to_le_bytes());
            let enrolled = self.turn(vec![AgentEnrolled { provider, anchor: false, public_key, enrolment }.into()]);
            let joined = AgentJoined {
                agent: AgentId::born_at(enrolled),
                node: NodeId(1),
                epoch: 1,
                slots: 64,
                capabilities: Capabilities { cpu_class: "avx2".into(), ..Capabilities::default() },
            };
            self.turn(vec![joined.into()]);
        }
    }

    /// Submits, plans and admits the job.
    fn submit(&mut self, shards: u64) {
        let family = Registry.newest("null").expect("the family is built in");
        let checked = family.check_spec(&json!({ "shards": shards }), None).expect("the spec has no fault");
        let submitted = JobSubmitted {
            project: PROJECT,
            kind: "null".into(),
            family_version: family.version(),
            name: None,
            labels: Vec::new(),
            spec: checked.spec.clone(),
            shard_cells: None,
            requirements: Requirements::default(),
            limits: Limits::default(),
            priority: 5,
            allow_wait: false,
            verify: None,
            inputs: Vec::new(),
        };
        let job = JobId::born_at(self.turn(vec![Fact { by: Some(by("job")), event: submitted.into() }]));
        let effect = EffectId::Plan { job, stage: 0 };
        self.turn(vec![EffectStarted { effect, try_number: 1, node: NodeId(1) }.into()]);
        let plan = family
            .plan(&Past::new(&checked.spec), PlanHints::default(), &NoBlobs)
            .expect("this family plans without blobs");
        let planned = StagePlanned {
            job,
            stage: 0,
            try_number: 1,
            shards: Run { first: 0, last: (plan.shard_count - 1) as u32 },
            segments: plan.segments,
            last: plan.last,
            plan_body: plan.body,
        };
        self.turn(vec![planned.into()]);
    }

    /// Delivers and seals a batch of live leases, picked at random.
    fn finish(&mut self, count: u64, dice: &mut Dice) {
        let mut by_agent: BTreeMap<AgentId, Vec<LeaseId>> = BTreeMap::new();
        for _ in 0..count {
            let picked = dice.below(self.live.len() as u64) as usize;
            let (agent, lease) = self.live.swap_remove(picked);
            by_agent.entry(agent).or_default().push(lease);
        }
        let mut facts = Vec::new();
        for (agent, leases) in &mut by_agent {
            leases.sort_unstable();
            let position = self.head.agents.agents.get(agent).map_or(0, |a| a.position) + 1;
            let (job, attempt, count) = (leases[0].job, leases[0].attempt, leases.len() as u32);
            let digest = Digest::of(b"");
            let results = vec![ResultRun { count, digest, root: None, inline: Some(Vec::new()), bytes: 0 }];
            let shards = Runs::ascending(leases.iter().map(|l| l.shard));
            let checks = Checks { version: 1, bits: 0 };
            let received = ResultReceived { job, agent: *agent, epoch: 1, attempt, shards, position, results, checks };
            facts.push(received.into());
        }
        self.turn(facts);
        let sealed = by_agent.keys().map(|agent| {
            let known = self.head.agents.agents.get(agent).expect("it delivered just now");
            ResultsSealed { agent: *agent, upto: known.position, head: known.chain, signature: [[0; 32]; 2] }.into()
        });
        let sealed = sealed.collect();
        self.turn(sealed);
    }
}

/// Admits a job of `shards` and finishes `finished` of them in random order; gives the figures.
pub fn measure(shards: u64, finished: u64) -> Value {
    let mut house = House::new();
    house.agents();
    let before_kib = resident_kib();
    let started = Instant::now();
    house.submit(shards);
    let admitted_s = started.elapsed().as_secs_f64();
    let admitted_kib = resident_kib();
    let mut dice = Dice::of(1, "scale order");
    let started = Instant::now();
    let mut left = finished.min(shards);
    while left > 0 {
        let count = left.min(BATCH).min(house.live.len() as u64);
        assert!(count > 0, "agents with room are given work");
        house.finish(count, &mut dice);
        left -= count;
    }
    let finished_s = started.elapsed().as_secs_f64();
    let accepted: u64 = house.head.jobs.jobs.iter().map(|(_, job)| job.accepted_count).sum();
    assert_eq!(accepted, finished.min(shards), "every delivered shard is accepted");
    assert_eq!(house.head.accounting.sum(), 0, "the accounts sum to zero");
    json!({
        "shards": shards,
        "finished": accepted,
        "admitted_s": admitted_s,
        "grown_at_admission_kib": admitted_kib.saturating_sub(before_kib),
        "grown_after_finishes_kib": resident_kib().saturating_sub(before_kib),
        "finishes_per_s": accepted as f64 / finished_s,
        "in_flight": house.live.len(),
        "events": house.head.head.events,
    })
}

/// Resident memory of this process; 0 where the system does not tell.
fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}
