//! Laws that hold for any sequence of commands.

mod checkpoints;
mod forged;
mod quotas;

use crate::rig::Hub;
use crate::rig::fake::{self, FAMILIES};
use forge_event::*;
use forge_projections::World;
use forge_projections::explain::Reason;
use forge_projections::family::Family;
use forge_projections::replay::{Mode, Options, Verifier};
use proptest::prelude::*;

/// What may happen. Numbers pick among what there is, modulo its count.
#[derive(Clone, Debug)]
enum Act {
    Submit {
        project: u8,
        shards: u8,
        priority: u8,
        wait: bool,
        attempts: Option<u8>,
        class: u8,
        deadline: Option<u16>,
    },
    Start(u8),
    Finish(u8),
    EffectFailed(u8),
    Join {
        agent: u8,
        slots: u8,
        class: u8,
    },
    Lose(u8),
    Leave(u8),
    Drain(u8),
    Deliver {
        agent: u8,
        most: u8,
        byte: u8,
    },
    Repeat {
        agent: u8,
        job: u8,
        shard: u8,
        attempt: u8,
    },
    Seal {
        agent: u8,
        less: u8,
    },
    Fail {
        agent: u8,
        most: u8,
    },
    Checkpoint {
        agent: u8,
        cells: u8,
        bad: bool,
    },
    Cancel(u8),
    Issue {
        project: u8,
        credits: u8,
    },
    NodeLost,
    Leader(u16),
    Price(u8),
    Quota {
        project: u8,
        shards: Option<u8>,
        credits: Option<u8>,
    },
    Tick(u16),
    /// The leader's world is read back from a snapshot of the follower.
    Failover,
}

fn acts() -> impl Strategy<Value = Act> {
    let n = any::<u8>;
    prop_oneof![
        4 => (n(), 1..24u8, n(), any::<bool>(), proptest::option::of(1..4u8), n(), proptest::option::of(any::<u16>()))
            .prop_map(|(project, shards, priority, wait, attempts, class, deadline)|
                Act::Submit { project, shards, priority: priority % 10, wait, attempts, class, deadline }),
        6 => n().prop_map(Act::Start),
        6 => n().prop_map(Act::Finish),
        1 => n().prop_map(Act::EffectFailed),
        4 => (n(), 1..4u8, n()).prop_map(|(agent, slots, class)| Act::Join { agent, slots, class }),
        2 => n().prop_map(Act::Lose),
        1 => n().prop_map(Act::Leave),
        1 => n().prop_map(Act::Drain),
        10 => (n(), 1..9u8, n()).prop_map(|(agent, most, byte)| Act::Deliver { agent, most, byte }),
        2 => (n(), n(), 0..8u8, 1..4u8).prop_map(|(agent, job, shard, attempt)| Act::Repeat { agent, job, shard, attempt }),
        8 => (n(), 0..3u8).prop_map(|(agent, less)| Act::Seal { agent, less }),
        2 => (n(), 1..4u8).prop_map(|(agent, most)| Act::Fail { agent, most }),
        4 => (n(), 0..20u8, any::<bool>()).prop_map(|(agent, cells, bad)| Act::Checkpoint { agent, cells, bad }),
        1 => n().prop_map(Act::Cancel),
        2 => (n(), n()).prop_map(|(project, credits)| Act::Issue { project, credits }),
        1 => Just(Act::NodeLost),
        1 => any::<u16>().prop_map(Act::Leader),
        1 => n().prop_map(Act::Price),
        2 => (n(), proptest::option::of(0..6u8), proptest::option::of(n()))
            .prop_map(|(project, shards, credits)| Act::Quota { project, shards, credits }),
        6 => any::<u16>().prop_map(Act::Tick),
        1 => Just(Act::Failover),
    ]
}

struct Play {
    hub: Hub,
    projects: Vec<ProjectId>,
    agents: Vec<AgentId>,
    jobs: Vec<JobId>,
    term: Term,
}

fn pick<T: Copy>(list: &[T], n: u8) -> Option<T> {
    list.get(usize::from(n) % list.len().max(1)).copied()
}

impl Play {
    fn new() -> Play {
        let mut hub = Hub::new();
        let projects = vec![hub.project(1, None), hub.project(3, Some(Credits(30_000_000)))];
        projects.iter().for_each(|p| hub.issue(*p, 40_000_000));
        let providers = [hub.provider(), hub.provider()];
        let agents = (0..4).map(|n| hub.agent(providers[n % 2])).collect();
        Play { hub, projects, agents, jobs: Vec::new(), term: 1 }
    }

    /// The facts of an act as the state now has it; they may be refused.
    fn facts(&mut self, act: &Act) -> Vec<Fact> {
        let epoch = |play: &Play, agent| play.hub.epoch(agent);
        let index = self.hub.leader.head.events + 1;
        match *act {
            Act::Submit { project, shards, priority, wait, attempts, class, deadline } => {
                let mut job = Hub::submission(pick(&self.projects, project).unwrap(), u64::from(shards));
                // Every third job has three stages.
                if shards % 3 == 0 {
                    job.spec = format!("{{\"shards\":{shards},\"stages\":3}}").into_bytes();
                }
                // Every other one has shards that can be resumed.
                if shards % 2 == 0 {
                    let end = job.spec.len() - 1;
                    job.spec.splice(end.., *b",\"resumable\":true}");
                }
                job.priority = priority;
                job.allow_wait = wait;
                job.limits.max_attempts = attempts.map(u16::from);
                job.limits.deadline_ms = deadline.map(|ms| 1 + u64::from(ms));
                job.requirements.cpu_class = (class % 3 == 0).then(|| "avx512".into());
                self.jobs.push(JobId(index));
                vec![self.hub.asked(job)]
            }
            Act::Start(job) => {
                let effect = pick(&self.jobs, job).and_then(|job| self.hub.effect(job));
                effect.into_iter().map(|(started, _)| started.into()).collect()
            }
            Act::Finish(job) => {
                let job = pick(&self.jobs, job).and_then(|job| self.hub.leader.jobs.jobs.get(&job));
                let running = job.and_then(|job| job.running);
                running
                    .into_iter()
                    .map(|r| Fact { by: None, event: self.hub.outcome(r.effect, r.try_number) })
                    .collect()
            }
            Act::EffectFailed(job) => {
                let job = pick(&self.jobs, job).and_then(|job| self.hub.leader.jobs.jobs.get(&job));
                let failed = |r: forge_projections::jobs::Running| EffectFailed {
                    effect: r.effect,
                    try_number: r.try_number,
                    code: "broken".into(),
                    detail: String::new(),
                };
                job.and_then(|job| job.running).into_iter().map(|r| failed(r).into()).collect()
            }
            Act::Join { agent, slots, class } => {
                let mut capabilities = Hub::capabilities();
                if class % 2 == 0 {
                    capabilities.cpu_class = "avx512".into();
                }
                let agent = pick(&self.agents, agent).unwrap();
                vec![self.hub.joined(agent, NodeId(1), u32::from(slots), capabilities)]
            }
            Act::Lose(agent) | Act::Leave(agent) => {
                let agent = pick(&self.agents, agent).unwrap();
                let left = matches!(act, Act::Leave(_));
                let reason = if left { LostReason::Left } else { LostReason::Disconnected };
                vec![AgentLost { agent, epoch: epoch(self, agent), reason }.into()]
            }
            Act::Drain(agent) => {
                let agent = pick(&self.agents, agent).unwrap();
                vec![AgentDraining { agent, epoch: epoch(self, agent) }.into()]
            }
            Act::Deliver { agent, most, byte } => {
                let agent = pick(&self.agents, agent).unwrap();
                let Some((job, attempt, shards)) = self.some_leases(agent, most) else { return Vec::new() };
                let bytes = match self.cells_left(job, shards.0[0].first) {
                    _ if byte % 8 == 0 => fake::bad(),
                    None => fake::good(byte % 3),
                    Some(cells) => fake::part(byte % 3, cells),
                };
                vec![self.hub.received(agent, job, attempt, shards, bytes)]
            }
            Act::Repeat { agent, job, shard, attempt } => {
                let agent = pick(&self.agents, agent).unwrap();
                let Some(job) = pick(&self.jobs, job) else { return Vec::new() };
                let shards = Runs::one(u32::from(shard));
                vec![self.hub.received(agent, job, u16::from(attempt), shards, fake::good(1))]
            }
            Act::Seal { agent, less } => {
                let agent = pick(&self.agents, agent).unwrap();
                let last = self.hub.leader.agents.agents.get(&agent).unwrap().position;
                vec![self.hub.sealed(agent, last.saturating_sub(u64::from(less)))]
            }
            Act::Fail { agent, most } => {
                let agent = pick(&self.agents, agent).unwrap();
                let Some((job, attempt, shards)) = self.some_leases(agent, most) else { return Vec::new() };
                let code = "crashed".into();
                vec![ShardReportedFailed { job, agent, epoch: epoch(self, agent), attempt, shards, code }.into()]
            }
            Act::Checkpoint { agent, cells, bad } => {
                let agent = pick(&self.agents, agent).unwrap();
                let lease = pick(&self.hub.leases(agent), cells);
                let cells = u64::from(cells);
                let bytes = fake::part(cells as u8, cells + u64::from(bad));
                lease.map(|lease| self.hub.checkpoint(agent, lease, cells, bytes)).into_iter().collect()
            }
            Act::Cancel(job) => {
                let job = pick(&self.jobs, job);
                job.map(|job| self.hub.asked(JobCancelRequested { job, reason: None })).into_iter().collect()
            }
            Act::Issue { project, credits } => {
                let project = pick(&self.projects, project).unwrap();
                let amount = Credits(u128::from(credits) * 100_000);
                vec![self.hub.asked(CreditsIssued { project, amount, reference: String::new() })]
            }
            Act::NodeLost => vec![NodeLost { node: NodeId(1), term: self.term }.into()],
            Act::Leader(extend_ms) => {
                self.term += 1;
                let (node, extend_ms) = (NodeId(1), u64::from(extend_ms));
                vec![LeaderStarted { node, term: self.term, wall: self.hub.now, extend_ms }.into()]
            }
            Act::Price(num) => {
                let old = self.hub.leader.cluster.prices().unwrap().clone();
                let rate = Rate { num: 1 + u64::from(num) * 1_000_003, den: 7 };
                let version = old.version + 1;
                vec![self.hub.asked(PolicyChanged { version, prices: vec![("fake".into(), rate)], ..old })]
            }
            Act::Quota { project, shards, credits } => {
                let project = pick(&self.projects, project).unwrap();
                let credits = credits.map(|credits| Credits(u128::from(credits) * 1_000_000));
                let quota = Quota { shards: shards.map(u64::from), credits, ..Quota::default() };
                vec![self.hub.asked(QuotaChanged { project, quota, replaces: None })]
            }
            Act::Tick(_) | Act::Failover => Vec::new(),
        }
    }

    /// Up to `most` leases of an agent that may travel in one fact.
    fn some_leases(&self, agent: AgentId, most: u8) -> Option<(JobId, AttemptNumber, Runs)> {
        let leases = self.hub.leases(agent);
        let first = leases.first()?;
        // Equal results are of equally many cells.
        let cells = |l: &LeaseId| self.cells_left(l.job, l.shard);
        let same =
            leases.iter().filter(|l| (l.job, l.attempt) == (first.job, first.attempt) && cells(l) == cells(first));
        let shards = Runs::ascending(same.map(|l| l.shard).take(usize::from(most)));
        Some((first.job, first.attempt, shards))
    }

    /// Cells that an attempt at a shard has to do; `None`: its job has none to speak of.
    fn cells_left(&self, job: JobId, shard: ShardIndex) -> Option<u64> {
        let known = self.hub.leader.jobs.jobs.get(&job)?;
        let plan = &known.stage_of(shard)?.plan_body;
        let all = FAMILIES.cells(&known.submitted.spec, plan, shard)?;
        Some(all - self.hub.leader.resumes_from(job, shard))
    }

    /// Plays acts that share a turn; what is refused is left out.
    fn play(&mut self, acts: &[Act]) {
        let mut facts: Vec<Fact> = Vec::new();
        for act in acts {
            match act {
                Act::Tick(ms) => self.hub.pass(u64::from(*ms), |_| {}),
                Act::Failover => self.hub.leader = snapshot(&self.hub.follower),
                _ => facts.extend(self.facts(act)),
            }
        }
        self.hub.willing_turn(facts);
        self.check();
    }

    fn check(&self) {
        let world = &self.hub.leader;
        for (id, job) in world.jobs.jobs.iter() {
            let live = world.scheduler.leases.of_job(*id).map(|(_, grant)| grant.shards.count()).sum::<u64>();
            assert_eq!(job.in_flight_count, live, "leases of {id}");
            let escrow = world.accounting.balance(forge_projections::accounting::Account::JobEscrow(*id));
            assert!(job.ended.is_none() || escrow == 0, "{id} is over and holds {escrow}");
            assert!(job.ended.is_none() || live == 0, "{id} is over and has leases");
            assert!(job.closed_count <= job.accepted_count && job.accepted_count <= job.shard_count);
            let Some(work) = world.scheduler.work.get(id) else {
                assert_eq!(job.begun_count, 0, "{id} has no work");
                continue;
            };
            let again = work.retries.iter().filter(|(_, retry)| retry.pending).count() as u64;
            assert_eq!(job.begun_count, job.in_flight_count + again, "{id} is under way");
            assert!(!job.is_complete() || work.half_done.iter().next().is_none(), "{id} is whole and has shards begun");
            for (shard, begun) in work.half_done.iter() {
                assert!(begun.from > 0 || begun.checkpoint.is_some(), "nothing is done of {id}.{shard}");
            }
        }
        for (id, agent) in world.agents.agents.iter() {
            let live = world.scheduler.leases.of(*id).iter().map(|grant| grant.shards.count()).sum::<u64>();
            assert_eq!(u64::from(agent.leases), live, "leases of {id}");
            assert!(world.explain_agent(*id, true).is_some());
        }
        for (id, project) in world.projects.projects.iter() {
            let jobs = world.jobs.jobs.iter().filter(|(_, j)| j.project() == *id).map(|(job, _)| *job);
            let held: i128 =
                jobs.map(|j| world.accounting.balance(forge_projections::accounting::Account::JobEscrow(j))).sum();
            assert_eq!(held as u128, project.escrow, "escrow of {id}");
            let begun = world.jobs.jobs.iter().filter(|(_, j)| j.project() == *id).map(|(_, j)| j.begun_count);
            assert_eq!(begun.sum::<u64>(), project.begun_count, "shards of {id} under way");
        }
        self.check_explanations();
    }

    /// Right after a decision nothing waits that could be assigned.
    fn check_explanations(&self) {
        let world = &self.hub.leader;
        let busy = world.next_decision_time().is_some_and(|at| at <= world.at);
        for (id, job) in world.jobs.jobs.iter() {
            let explained = world.explain_job(*id, true).expect("the job exists");
            assert!(busy || explained.decisive.code != Reason::NextTurn, "{explained:?}");
            for shard in 0..job.shard_count as u32 {
                let shard = ShardId { job: *id, shard };
                let explained = world.explain_shard(shard, false).expect("the shard exists");
                assert!(explained.agents.is_empty(), "no names were asked for");
                assert!(busy || explained.decisive.code != Reason::NextTurn, "{explained:?}");
            }
        }
    }
}

fn snapshot(world: &World) -> World {
    let bytes = postcard::to_allocvec(world).expect("a world can be written");
    postcard::from_bytes(&bytes).expect("and read back")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, max_shrink_iters: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Ledger, roots, causes and spinning are checked by the rig at every turn.
    #[test]
    fn any_history_is_decided_folded_and_verified_alike(
        turns in proptest::collection::vec(proptest::collection::vec(acts(), 1..4), 1..90),
        cut in 0..90usize,
    ) {
        let mut play = Play::new();
        let mut restored: Option<(usize, World)> = None;
        for (n, acts) in turns.iter().enumerate() {
            if n == cut {
                restored = Some((play.hub.frames.len(), snapshot(&play.hub.follower)));
            }
            play.play(acts);
        }
        // A snapshot in the middle, then the rest of the log, is the same as the whole log.
        if let Some((offset, mut world)) = restored {
            let mut rest = &play.hub.frames[offset..];
            while !rest.is_empty() {
                let (turn, length) = codec::decode_turn(rest).expect("it was encoded here");
                world.fold(&turn, &rest[..length], &FAMILIES, &mut ());
                rest = &rest[length..];
            }
            prop_assert_eq!(world.state_digest(), play.hub.follower.state_digest());
        }
        // Whatever waits comes to rest.
        play.hub.pass(600_000, |_| {});
        play.check();
        let archive = play.hub.archive();
        for mode in [Mode::Full, Mode::Fold] {
            let report = Verifier::new(&archive, &FAMILIES, Options { mode, recheck: true, until: None }).finish();
            prop_assert_eq!(&report.fault, &None);
            prop_assert_eq!(report.world.state_digest(), play.hub.follower.state_digest());
        }
    }
}
