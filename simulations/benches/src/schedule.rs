//! The scheduler alone: turns through `admit`, `decide`, `apply` and the encoder, without network and disk.
//!
//! Agents differ, jobs ask for some of them only, and leases end in every way: by results (sealed a turn later), by
//! reported failures, and by deadlines that pass because an agent kept silent.

use crate::Place;
use crate::report::{Common, rate, rounded};
use anyhow::{Result, anyhow, bail};
use forge_adapters::Registry;
use forge_event::*;
use forge_hub::Clock;
use forge_hub::genesis::{self, Genesis};
use forge_projections::World;
use forge_projections::decide::POLICY;
use forge_projections::family::{NoBlobs, Past, PlanHints};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::{Duration, Instant};

const NODE: NodeId = NodeId(1);
const PROJECT: ProjectId = ProjectId(4);
const KEY: KeyId = KeyId(5);
const SLOTS: u32 = 4;
/// Log time between two turns.
const TURN_MS: DurationMs = DurationMs(200);
/// Agents whose results stand in one turn.
const DELIVERING_MAX: usize = 256;
/// Agents enrolled in one turn.
const ENROLLED_MAX: usize = 200;
/// Of so many delivering agents one reports a failure, and one keeps silent over a lease.
const FAILS_ONE_IN: u64 = 64;
const SILENT_ONE_IN: u64 = 128;
/// Jobs of each shape, and shards of a job.
const JOBS_EACH: u64 = 4;
const JOB_SHARDS: u64 = 50_000_000;
/// Weights of the projects that share the agents.
const WEIGHTS: [u16; 3] = [100, 50, 10];

/// What is measured.
#[derive(Clone, Debug)]
pub struct Schedule {
    pub agents: usize,
    /// Time spent in turns.
    pub seconds: f64,
    pub data: Option<PathBuf>,
}

/// # Errors
/// If a fact is refused: a bug of the bench.
pub async fn run(options: &Schedule) -> Result<Value> {
    let place = Place::new(options.data.as_deref())?;
    let before = Common::before(&place).await?;
    let mut hub = Hub::found()?;
    hub.enrol(options.agents)?;
    hub.submit()?;
    hub.fill()?;
    let filled = (hub.world.head, hub.tally);
    hub.spent = Duration::ZERO;
    while hub.spent.as_secs_f64() < options.seconds {
        hub.deliver_turn()?;
    }
    let (seconds, head) = (hub.spent.as_secs_f64(), hub.world.head);
    if hub.world.accounting.sum() != 0 {
        bail!("the books do not balance");
    }
    let tally = hub.tally.since(filled.1);
    let common = Common {
        nodes: 1,
        agents: options.agents,
        processes: 1,
        events: head.events - filled.0.events,
        turns: head.turns - filled.0.turns,
        seconds,
        ..before
    };
    Ok(common.with(json!({
        "bench": "schedule",
        "assignments": tally.assigned,
        "assignments_per_s": rate(tally.assigned, seconds),
        "assignments_per_event": rounded(tally.assigned as f64 / tally.assigned_events.max(1) as f64),
        "accepted": tally.accepted,
        "failed": tally.failed,
        "expired": tally.expired,
        "classes": hub.world.scheduler.classes.len(),
        "shapes": hub.world.scheduler.shapes.len(),
        "turn_bytes": tally.bytes,
    })))
}

/// Shards by what became of them.
#[derive(Clone, Copy, Default)]
struct Tally {
    assigned: u64,
    assigned_events: u64,
    accepted: u64,
    failed: u64,
    expired: u64,
    bytes: u64,
}

impl Tally {
    fn since(self, before: Tally) -> Tally {
        Tally {
            assigned: self.assigned - before.assigned,
            assigned_events: self.assigned_events - before.assigned_events,
            accepted: self.accepted - before.accepted,
            failed: self.failed - before.failed,
            expired: self.expired - before.expired,
            bytes: self.bytes - before.bytes,
        }
    }
}

/// Leases that one decision opened.
struct Held {
    job: JobId,
    attempt: AttemptNumber,
    shards: Runs,
}

/// A leader without a log.
struct Hub {
    world: World,
    agents: Vec<AgentId>,
    /// By place in `agents`.
    held: Vec<Vec<Held>>,
    first_agent: std::collections::BTreeMap<AgentId, usize>,
    /// Agents whose results wait for a seal.
    unsealed: Vec<AgentId>,
    next: usize,
    visits: u64,
    tally: Tally,
    /// Time inside turns, from opening to the encoded and chained frame.
    spent: Duration,
}

fn by() -> Option<By> {
    Some(By { key: Some(KEY), ..By::default() })
}

fn asked(event: impl Into<Event>) -> Fact {
    Fact { by: by(), event: event.into() }
}

fn capabilities(number: usize) -> Capabilities {
    let digest = Digest::of(&number.to_le_bytes()).0;
    let pick = |at: usize, count: usize| usize::from(digest[at]) % count;
    Capabilities {
        cpu_class: ["sse2", "avx2", "avx512"][pick(0, 3)].into(),
        gpu: (pick(1, 4) == 0).then(|| "a100".into()),
        mem_bytes: [8u64, 32, 128][pick(2, 3)] << 30,
        region: ["eu", "us", "ap"][pick(3, 3)].into(),
        software: if pick(4, 2) == 0 { vec!["ffmpeg-5.1".into()] } else { Vec::new() },
    }
}

/// What the jobs ask for, from anything to one agent in about fifty.
fn shapes() -> Vec<Requirements> {
    let any = Requirements::default();
    vec![
        any.clone(),
        Requirements { cpu_class: Some("avx2".into()), ..any.clone() },
        Requirements { cpu_class: Some("avx512".into()), regions: vec!["eu".into()], ..any.clone() },
        Requirements { gpu: Some("a100".into()), ..any.clone() },
        Requirements { mem_bytes_min: 64 << 30, regions: vec!["ap".into(), "us".into()], ..any.clone() },
        Requirements { gpu: Some("a100".into()), software: vec!["ffmpeg-5.1".into()], mem_bytes_min: 100 << 30, ..any },
    ]
}

impl Hub {
    fn found() -> Result<Hub> {
        let first = Genesis {
            addresses: Addresses::default(),
            public_key: [1; 32],
            tip: Digest::of(b"tip"),
            admin_key: Digest::of(b"key"),
        };
        let turn = genesis::turn(&first, &Clock::system(), &Registry);
        let (frame, _) = turn.map_err(|r| anyhow!("genesis is refused: {r}"))?;
        let (turn, _) = codec::decode_turn(&frame)?;
        let mut world = World::default();
        world.fold(&turn, &frame, &Registry, &mut ());
        Ok(Hub {
            world,
            agents: Vec::new(),
            held: Vec::new(),
            first_agent: std::collections::BTreeMap::new(),
            unsealed: Vec::new(),
            next: 0,
            visits: 0,
            tally: Tally::default(),
            spent: Duration::ZERO,
        })
    }

    /// One turn, as a leader makes it; gives the first fact's position.
    fn turn(&mut self, facts: Vec<Fact>) -> Result<EventIndex> {
        let expected = self.world.head;
        let (at, salt) = (self.world.at.after(TURN_MS), Digest::of(&expected.turns.to_le_bytes()).0);
        let started = Instant::now();
        self.world.open(at, salt);
        for fact in &facts {
            let admitted = self.world.admit(fact, at, &Registry);
            admitted.map_err(|r| anyhow!("{} is refused: {r}", fact.event.name()))?;
            self.world.apply(fact.by.as_ref(), &fact.event, &Registry);
        }
        let decisions = self.world.decide(&Registry);
        let turn = Turn { expected, at, salt, policy: POLICY, facts, decisions };
        let frame = self.world.frame_of(&turn);
        self.world.close(&frame);
        self.spent += started.elapsed();
        if frame.len() > limits::TURN_BYTES_MAX {
            bail!("a turn of {} bytes would not be appended", frame.len());
        }
        self.tally.bytes += frame.len() as u64;
        turn.decisions.iter().for_each(|event| self.see(event));
        Ok(turn.first())
    }

    fn see(&mut self, event: &Event) {
        match event {
            Event::ShardAssigned(e) => {
                self.tally.assigned += e.shards.count();
                self.tally.assigned_events += 1;
                let place = self.first_agent[&e.agent];
                self.held[place].push(Held { job: e.job, attempt: e.attempt, shards: e.shards.clone() });
            }
            Event::ResultAccepted(e) => self.tally.accepted += e.shards.count(),
            Event::LeaseExpired(e) => self.tally.expired += e.shards.count(),
            _ => {}
        }
    }

    fn enrol(&mut self, count: usize) -> Result<()> {
        let provider = ProviderId::born_at(self.turn(vec![asked(ProviderCreated { name: "bench".into() })])?);
        for batch in (0..count).collect::<Vec<_>>().chunks(ENROLLED_MAX) {
            let mut facts = Vec::new();
            let first = self.world.head.events + 1;
            for number in batch {
                let token_digest = Digest::of(&(*number as u64).to_be_bytes());
                let expires_at = self.world.at.after(DurationMs(600_000));
                let enrolment = EventIndex(first + facts.len() as u64);
                facts.push(asked(EnrolmentCreated { provider, anchor: false, expires_at, token_digest }));
                let agent = AgentId::born_at(EventIndex(first + facts.len() as u64));
                facts.push(AgentEnrolled { provider, anchor: false, public_key: token_digest.0, enrolment }.into());
                let capabilities = capabilities(*number);
                facts.push(AgentJoined { agent, node: NODE, epoch: 1, slots: SLOTS, capabilities }.into());
                self.first_agent.insert(agent, self.agents.len());
                self.agents.push(agent);
                self.held.push(Vec::new());
            }
            self.turn(facts)?;
        }
        Ok(())
    }

    fn submit(&mut self) -> Result<()> {
        let amount = Credits(u128::from(JOB_SHARDS) * 1_000_000);
        let mut projects = vec![PROJECT];
        for weight in WEIGHTS {
            let created = asked(ProjectCreated { name: "bench".into(), quota: None, weight });
            projects.push(ProjectId::born_at(self.turn(vec![created])?));
        }
        for project in &projects {
            self.turn(vec![asked(CreditsIssued { project: *project, amount, reference: "bench".into() })])?;
        }
        for (number, requirements) in shapes().into_iter().enumerate() {
            for copy in 0..JOBS_EACH {
                let project = projects[(number + copy as usize) % projects.len()];
                self.submit_one(project, requirements.clone(), copy as u8 + 3)?;
            }
        }
        Ok(())
    }

    fn submit_one(&mut self, project: ProjectId, requirements: Requirements, priority: u8) -> Result<()> {
        let spec = format!(r#"{{"shards":{JOB_SHARDS},"sleep_us":0,"payload_bytes":0}}"#).into_bytes();
        let submitted = JobSubmitted {
            project,
            kind: "null".into(),
            family_version: 1,
            name: None,
            labels: Vec::new(),
            spec,
            shard_cells: None,
            requirements,
            limits: forge_event::Limits::default(),
            priority,
            allow_wait: true,
            verify: None,
            inputs: Vec::new(),
        };
        let job = JobId::born_at(self.turn(vec![asked(submitted.clone())])?);
        let due = self.world.effect_due(job);
        let (effect, try_number) = due.ok_or_else(|| anyhow!("a new job has to be planned"))?;
        self.turn(vec![EffectStarted { effect, try_number, node: NODE }.into()])?;
        let family = forge_projections::Families::family(&Registry, "null", 1);
        let family = family.ok_or_else(|| anyhow!("there is no null family"))?;
        let plan = family
            .plan(&Past::new(&submitted.spec), PlanHints::default(), &NoBlobs)
            .expect("this family plans without blobs");
        let shards = Run { first: 0, last: (plan.shard_count - 1) as u32 };
        let planned = StagePlanned {
            job,
            stage: 0,
            try_number,
            shards,
            segments: plan.segments,
            last: plan.last,
            plan_body: plan.body,
        };
        self.turn(vec![planned.into()])?;
        Ok(())
    }

    /// Turns without facts until nothing more is assigned: every agent that is wanted is full.
    fn fill(&mut self) -> Result<()> {
        loop {
            let before = self.tally.assigned;
            self.turn(Vec::new())?;
            if self.tally.assigned == before {
                return if before > 0 { Ok(()) } else { Err(anyhow!("nothing was assigned")) };
            }
        }
    }

    /// A turn in which last turn's results are sealed and the next agents deliver what they hold.
    fn deliver_turn(&mut self) -> Result<()> {
        let mut facts: Vec<Fact> =
            std::mem::take(&mut self.unsealed).into_iter().map(|a| self.seal(a)).collect::<Result<_>>()?;
        for _ in 0..self.agents.len().min(DELIVERING_MAX) {
            let place = self.next;
            self.next = (self.next + 1) % self.agents.len();
            let held = std::mem::take(&mut self.held[place]);
            if !held.is_empty() {
                self.deliver(self.agents[place], held, &mut facts);
            }
        }
        self.turn(facts).map(drop)
    }

    fn seal(&self, agent: AgentId) -> Result<Fact> {
        let known = self.world.agents.agents.get(&agent).ok_or_else(|| anyhow!("{agent} is not known"))?;
        let last = self.world.aggregator.pending.get(agent, known.position);
        let head = last.ok_or_else(|| anyhow!("{agent} has nothing to seal"))?.chain;
        Ok(ResultsSealed { agent, upto: known.position, head, signature: [[0; 32]; 2] }.into())
    }

    fn deliver(&mut self, agent: AgentId, held: Vec<Held>, facts: &mut Vec<Fact>) {
        let mut position = self.world.agents.agents.get(&agent).map_or(0, |a| a.position) + 1;
        let mut delivered = false;
        for Held { job, attempt, shards } in held {
            self.visits += 1;
            if self.visits.is_multiple_of(SILENT_ONE_IN) {
                // Never heard of again: its deadline ends it.
                continue;
            }
            if self.visits.is_multiple_of(FAILS_ONE_IN) {
                self.tally.failed += shards.count();
                facts.push(ShardReportedFailed { job, agent, epoch: 1, attempt, shards, code: "bench".into() }.into());
                continue;
            }
            let count = shards.count();
            let run = ResultRun {
                count: count as u32,
                digest: Digest::of(b""),
                root: None,
                inline: Some(Vec::new()),
                bytes: 0,
            };
            let (results, checks) = (vec![run], Checks { version: 1, bits: 0 });
            let received = ResultReceived { job, agent, epoch: 1, attempt, shards, position, results, checks };
            facts.push(received.into());
            position += count;
            delivered = true;
        }
        if delivered {
            self.unsealed.push(agent);
        }
    }
}
