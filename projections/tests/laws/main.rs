//! Laws that hold for any sequence of commands.

#![allow(clippy::unwrap_used)]

mod rig;

use forge_event::*;
use forge_projections::World;
use forge_projections::explain::Reason;
use forge_projections::family::Family;
use forge_projections::replay::{Mode, Options, Verifier};
use proptest::prelude::*;
use rig::Hub;
use rig::fake::{self, FAMILIES};

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

/// A small history for the tests below.
fn history() -> Hub {
    let mut hub = Hub::new();
    let project = hub.project(1, None);
    hub.issue(project, 50_000_000);
    let provider = hub.provider();
    let agent = hub.agent(provider);
    let joined = hub.joined(agent, NodeId(1), 4, Hub::capabilities());
    hub.turn(vec![joined]).unwrap();
    let fact = hub.asked(Hub::submission(project, 8));
    let job = JobId::born_at(hub.turn(vec![fact]).unwrap());
    hub.run_effect(job).unwrap();
    let fact = hub.received(agent, job, 1, Runs::span(0, 7), fake::good(1));
    hub.turn(vec![fact]).unwrap();
    let fact = hub.sealed(agent, 8);
    hub.turn(vec![fact]).unwrap();
    hub.run_effect(job).unwrap();
    assert!(hub.leader.jobs.jobs.get(&job).unwrap().ended.is_some());
    hub
}

/// Every decision of a log, one at a time, left out, doubled, or put elsewhere: never verified.
#[test]
fn a_log_with_other_decisions_is_refused() {
    let hub = history();
    let mut turns = Vec::new();
    let mut rest = &hub.frames[..];
    while !rest.is_empty() {
        let (turn, length) = codec::decode_turn(rest).unwrap();
        turns.push(turn);
        rest = &rest[length..];
    }
    let mut forged = 0;
    for at in 0..turns.len() {
        for decision in 0..turns[at].decisions.len() {
            let mut lie = turns.clone();
            lie[at].decisions.remove(decision);
            let report = Verifier::new(&rechained(lie), &FAMILIES, Options::default()).finish();
            let fault = report.fault.expect("a decision is missing");
            assert_eq!((fault.code.name(), fault.turn), ("decision-differs", at as u64 + 1));
            assert_eq!(fault.last_good_index.0 + 1, turns[at].first().0);
            forged += 1;
        }
    }
    assert!(forged >= 6);
}

/// A log whose frames and chain are in order.
fn rechained(turns: Vec<Turn>) -> Vec<u8> {
    let (mut head, mut frames, mut genesis) = (Head::default(), Vec::new(), None);
    for mut turn in turns {
        turn.expected = head;
        let frame = codec::encode_turn(&turn);
        head = head.after(&frame, turn.len());
        genesis.get_or_insert(Digest::of(&frame));
        frames.extend_from_slice(&frame);
    }
    let header =
        archive::Header { magic: archive::MAGIC, cluster: genesis.unwrap_or_default(), before: Head::default() };
    let trailer = archive::Trailer { turns: head.turns, events: head.events, head };
    [archive::encode_header(&header), frames, archive::encode_trailer(&trailer)].concat()
}

#[test]
fn a_forged_fact_is_refused() {
    let hub = history();
    let (turn, _) = codec::decode_turn(&hub.frames).unwrap();
    let mut lie = turn.clone();
    let extra = CreditsIssued { project: ProjectId(4), amount: Credits(1), reference: String::new() };
    lie.facts.push(Fact { by: None, event: extra.into() });
    let report = Verifier::new(&rechained(vec![lie]), &FAMILIES, Options::default()).finish();
    let fault = report.fault.expect("credits are not issued without a key");
    assert_eq!((fault.code.name(), fault.index), ("fact-refused", EventIndex(turn.last().0 + 1)));
}

#[test]
fn any_flipped_bit_and_any_cut_is_noticed() {
    let hub = history();
    let good = hub.archive();
    let report = Verifier::new(&good, &FAMILIES, Options::default()).finish();
    assert_eq!(report.fault, None);
    assert_eq!(report.events, hub.leader.head.events);
    assert!(report.verify_json().starts_with("{\"ok\":true,"));
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        let report = Verifier::new(&bad, &FAMILIES, Options::default()).finish();
        assert!(report.fault.is_some(), "byte {at}");
        let report = Verifier::new(&good[..at], &FAMILIES, Options::default()).finish();
        let code = report.fault.expect("it is cut").code.name();
        assert_eq!(code, "truncated", "cut at {at}");
    }
}

#[test]
fn replay_stops_behind_the_turn_that_holds_the_index() {
    let hub = history();
    let archive = hub.archive();
    let options = Options { until: Some(EventIndex(3)), ..Options::default() };
    let report = Verifier::new(&archive, &FAMILIES, options).finish();
    assert_eq!((report.fault.clone(), report.world.head.events), (None, 5));
    let whole = Verifier::new(&archive, &FAMILIES, Options::default()).finish();
    let json: serde_json::Value = serde_json::from_str(&whole.replay_json()).unwrap();
    assert_eq!(json["state_digest"], hub.follower.state_digest().digest.to_string());
    assert_eq!(json["jobs"].as_object().unwrap().len(), 1);
    assert_eq!(json["balances"]["equity:issued"], "-50.000000");
}

/// Bits of checks that read blobs cannot be derived from a log alone; those of the free checks can.
#[test]
fn a_result_that_only_its_blobs_convict_leaves_an_honest_log() {
    for (flagged, honest) in [(true, true), (false, false)] {
        let mut hub = Hub::new();
        let project = hub.project(1, None);
        hub.issue(project, 50_000_000);
        let provider = hub.provider();
        let agent = hub.agent(provider);
        let joined = hub.joined(agent, NodeId(1), 4, Hub::capabilities());
        hub.turn(vec![joined]).unwrap();
        let digest = Digest::of(b"an input");
        let blob = hub.asked(BlobRecorded { project, digest, bytes: 8, job: None });
        hub.turn(vec![blob]).unwrap();
        let mut submission = Hub::submission(project, 1);
        submission.spec = format!("{{\"shards\":1,\"input\":\"{digest}\"}}").into_bytes();
        submission.inputs = vec![digest];
        let fact = hub.asked(submission);
        let job = JobId::born_at(hub.turn(vec![fact]).unwrap());
        hub.run_effect(job).unwrap();
        // Passes the free checks and is flagged all the same; or fails them and is let through.
        let bytes = if flagged { fake::good(1) } else { fake::bad() };
        let mut fact = hub.received(agent, job, 1, Runs::one(0), bytes);
        let Event::ResultReceived(received) = &mut fact.event else { unreachable!("it is a delivery") };
        received.checks.bits = if flagged { 1 << 7 } else { 0 };
        hub.turn(vec![fact]).unwrap();
        let options = Options { recheck: true, ..Options::default() };
        let report = Verifier::new(&hub.archive(), &FAMILIES, options).finish();
        assert_eq!(report.fault.is_none(), honest, "{:?}", report.fault);
    }
}

/// A job of one shard of 16 cells, at the first of two agents; its agents.
fn resumable() -> (Hub, JobId, [AgentId; 2]) {
    let mut hub = Hub::new();
    let project = hub.project(1, None);
    hub.issue(project, 50_000_000);
    let provider = hub.provider();
    let agents = [hub.agent(provider), hub.agent(provider)];
    let mut submission = Hub::submission(project, 1);
    submission.spec = b"{\"shards\":1,\"resumable\":true}".to_vec();
    let fact = hub.asked(submission);
    let job = JobId::born_at(hub.turn(vec![fact]).unwrap());
    hub.run_effect(job).unwrap();
    for agent in agents {
        let joined = hub.joined(agent, NodeId(1), 1, Hub::capabilities());
        hub.turn(vec![joined]).unwrap();
    }
    assert_eq!(hub.leases(agents[0]).len(), 1, "the first to join has it");
    (hub, job, agents)
}

fn checkpoint(hub: &mut Hub, agent: AgentId, cells: u64) -> Result<EventIndex, forge_projections::Rejection> {
    let fact = hub.checkpoint(agent, hub.leases(agent)[0], cells, fake::part(1, cells));
    hub.turn(vec![fact])
}

#[test]
fn a_lost_attempt_is_taken_up_behind_its_checkpoint() {
    let (mut hub, job, [first, second]) = resumable();
    checkpoint(&mut hub, first, 4).unwrap();
    checkpoint(&mut hub, first, 10).unwrap();
    for wrong in [10, 16, 17] {
        checkpoint(&mut hub, first, wrong).expect_err("it says nothing new, or is the end, or beyond");
    }
    assert_eq!(hub.leader.resumes_from(job, 0), 0, "while it lives nobody needs it");
    let epoch = hub.epoch(first);
    hub.turn(vec![AgentLost { agent: first, epoch, reason: LostReason::Left }.into()]).unwrap();
    assert_eq!(hub.leader.resumes_from(job, 0), 10);
    assert_eq!(hub.leases(second).len(), 1);

    // The next one is lost too; what it did counts from where it began.
    checkpoint(&mut hub, second, 3).unwrap();
    hub.pass(1, |_| {});
    let epoch = hub.epoch(second);
    hub.turn(vec![AgentLost { agent: second, epoch, reason: LostReason::Left }.into()]).unwrap();
    assert_eq!(hub.leader.resumes_from(job, 0), 13);
    let joined = hub.joined(first, NodeId(1), 1, Hub::capabilities());
    hub.turn(vec![joined]).unwrap();
    hub.pass(10_000, |_| {});

    // A result of the whole shard is not what this attempt was asked for.
    let lease = hub.leases(first)[0];
    assert_eq!(lease.attempt, 3);
    let whole = hub.received(first, job, 3, Runs::one(0), fake::part(1, 16));
    let Event::ResultReceived(received) = &whole.event else { unreachable!("it is a delivery") };
    assert_ne!(received.checks.bits, 0);
    let rest = hub.received(first, job, 3, Runs::one(0), fake::part(1, 3));
    hub.turn(vec![rest]).unwrap();
    let seal = hub.sealed(first, 1);
    hub.turn(vec![seal]).unwrap();
    let mid = hub.leader.aggregator.vmem.get(job, 0).unwrap().encode();
    assert_eq!(mid[..8], 16u64.to_le_bytes(), "each cell is folded once");
    hub.run_effect(job).unwrap();
    let ended = hub.leader.jobs.jobs.get(&job).unwrap();
    assert_eq!(ended.state.name(), "succeeded");
    assert_eq!(ended.charged, ended.hold.unwrap().rate.of(1), "one shard is paid once, to who ended it");
    let report = Verifier::new(&hub.archive(), &FAMILIES, Options { recheck: true, ..Options::default() }).finish();
    assert_eq!((report.fault, report.rechecked), (None, 4));
}

#[test]
fn an_attempt_that_was_wrong_leaves_nothing() {
    let (mut hub, job, [first, _]) = resumable();
    checkpoint(&mut hub, first, 10).unwrap();
    let (epoch, code, shards) = (hub.epoch(first), "crashed".into(), Runs::one(0));
    hub.turn(vec![ShardReportedFailed { job, agent: first, epoch, attempt: 1, shards, code }.into()]).unwrap();
    assert_eq!(hub.leader.resumes_from(job, 0), 0);
    assert_eq!(hub.leader.begun(job, 0).unwrap().checkpoint, None);
}

#[test]
fn a_checkpoint_that_its_checks_convict_is_noticed() {
    let (mut hub, _, [first, _]) = resumable();
    let mut fact = hub.checkpoint(first, hub.leases(first)[0], 10, fake::part(1, 11));
    let Event::CheckpointReceived(e) = &mut fact.event else { unreachable!("it is a checkpoint") };
    assert_ne!(e.checks.bits, 0);
    hub.turn(vec![fact.clone()]).expect_err("it fails its checks");
    let Event::CheckpointReceived(e) = &mut fact.event else { unreachable!("it is a checkpoint") };
    e.checks.bits = 0;
    hub.turn(vec![fact]).expect("a node that lies about it");
    let report = Verifier::new(&hub.archive(), &FAMILIES, Options { recheck: true, ..Options::default() }).finish();
    assert_eq!(report.fault.expect("replay checks again").code.name(), "result-differs");
}
