//! One run: a cluster, its agents and clients, faults, healing, and the end that must come.

use crate::Options;
use crate::agents;
use crate::clients::Client;
use crate::dice::Dice;
use crate::invariants::Seen;
use crate::nemesis::Nemesis;
use crate::network::{Network, Weather};
use crate::node::Cluster;
use crate::oracle::Oracle;
use crate::plan::{NODES, Plan};
use crate::report::Report;
use crate::setup;
use crate::trace::Trace;
use forge_event::{Event, EventIndex};
use forge_log::Log;
use forge_projections::jobs::JobState;
use futures::StreamExt;
use std::time::Duration;
use tokio::runtime::{Builder, RngSeed};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Requests are answered within this once the faults are over. Units: virtual time.
const ANSWERED_WAIT: Duration = Duration::from_secs(60);
/// Jobs end within this: leases of vanished agents expire, and each leader change extends them.
const ENDED_WAIT: Duration = Duration::from_secs(1_200);
/// Nodes meet within this.
const MEET_WAIT: Duration = Duration::from_secs(30);
/// Between two looks at what goes on.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Plays one seed.
pub fn run_seed(seed: u64, options: Options) -> Report {
    run_plan(&plan_of(seed, options), options)
}

fn plan_of(seed: u64, options: Options) -> Plan {
    let mut plan = Plan::of(seed);
    if options.calm {
        plan.schedule.clear();
        plan.weather = Weather::calm();
    }
    plan
}

/// Plays a plan, perhaps one whose schedule was shortened by hand.
pub fn run_plan(plan: &Plan, options: Options) -> Report {
    forge_log::seed_this_thread(Some(plan.seed));
    let runtime = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .rng_seed(RngSeed::from_bytes(&plan.seed.to_le_bytes()))
        .build()
        .expect("a runtime without I/O can always be built");
    let report = runtime.block_on(play(plan, options));
    forge_log::seed_this_thread(None);
    report
}

async fn play(plan: &Plan, options: Options) -> Report {
    let trace = Trace::new(options.worded);
    let oracle = Oracle::new(trace.clone());
    let seen = oracle.clone();
    let on_promise = std::sync::Arc::new(move |node, term| seen.see(&Seen::Promised { node, term }));
    let network = Network::new(Dice::of(plan.seed, "network"), trace.clone(), on_promise);
    let cluster = Cluster::new(plan, network.clone(), oracle.clone(), trace.clone());
    let mut tasks = JoinSet::new();
    if let Err(what) = act(plan, &cluster, &network, &oracle, &trace, &mut tasks).await {
        oracle.see(&Seen::Stuck { what });
    }
    finish(&cluster, &oracle).await;
    tasks.abort_all();
    let virtual_ms = trace.now_us() / 1000;
    (1..=NODES).for_each(|node| cluster.crash(node));
    tokio::time::sleep(Duration::from_secs(6)).await;
    report(plan, &oracle, &trace, virtual_ms)
}

/// Everything between the first node's start and the last job's end.
async fn act(
    plan: &Plan,
    cluster: &Cluster,
    network: &Network,
    oracle: &Oracle,
    trace: &Trace,
    tasks: &mut JoinSet<()>,
) -> Result<(), String> {
    setup::form(cluster, plan).await?;
    let (release, released) = watch::channel(false);
    for agent in setup::agents(cluster, plan, network, oracle, trace, &released).await? {
        tasks.spawn(agents::run(agent));
    }
    let mut clients = JoinSet::new();
    for number in 1..=plan.clients {
        clients.spawn(Client::new(number, plan, (cluster, network, oracle, trace)).run());
    }
    let nemesis =
        Nemesis { cluster: cluster.clone(), network: network.clone(), oracle: oracle.clone(), trace: trace.clone() };
    let looking = nemesis.clone();
    tasks.spawn(async move {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            looking.look_at_archives();
        }
    });
    nemesis.run(plan).await;
    nemesis.heal().await;
    release.send_replace(true);
    let answered = tokio::time::timeout(ANSWERED_WAIT, async {
        while let Some(client) = clients.join_next().await {
            client.map_err(|e| format!("a client ended early: {e}"))?;
        }
        Ok(())
    });
    answered.await.unwrap_or_else(|_| Err("clients still wait for answers".to_owned()))?;
    let ended = tokio::time::timeout(ENDED_WAIT, all_ended(oracle));
    ended.await.map_err(|_| "jobs do not end".to_owned())?;
    let met = tokio::time::timeout(MEET_WAIT, meet(cluster, oracle));
    met.await.map_err(|_| "the nodes do not come to the same turn".to_owned())
}

async fn all_ended(oracle: &Oracle) {
    while oracle.read(|world| world.jobs.jobs.iter().any(|(_, job)| job.ended.is_none())) {
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn meet(cluster: &Cluster, oracle: &Oracle) {
    loop {
        let expected = oracle.read(|world| world.head);
        let met = |node| cluster.committed(node).is_some_and(|c| c.read(|world| world.head == expected));
        if (1..=NODES).all(met) {
            return;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// The last look at every node: its state, and its history from the first event on.
async fn finish(cluster: &Cluster, oracle: &Oracle) {
    let frames = oracle.frames();
    // All at once: reading history lets the nodes go on.
    for node in 1..=NODES {
        cluster.committed(node).iter().for_each(|committed| oracle.last_look(node, committed));
    }
    for node in 1..=NODES {
        let Some(log) = cluster.log(node) else { continue };
        let mut history = log.read(EventIndex(1));
        let mut turns = 0;
        let why = loop {
            if turns == frames.len() {
                break None;
            }
            match history.next().await {
                Some(Ok(turn)) if frames.get(turns) == Some(&turn.frame) => turns += 1,
                Some(Ok(turn)) => break Some(format!("turn {} reads back as another", turn.head.turns)),
                Some(Err(error)) => break Some(format!("history ends behind turn {turns}: {error}")),
                None => break Some(format!("history ends behind turn {turns}")),
            }
        };
        if let Some(why) = why {
            oracle.see(&Seen::HistoryBroken { node, why });
        }
    }
    oracle.end();
}

fn report(plan: &Plan, oracle: &Oracle, trace: &Trace, virtual_ms: u64) -> Report {
    let (digest, steps) = trace.digest();
    let mut report = Report {
        seed: plan.seed,
        trace: digest,
        steps,
        virtual_ms,
        faults: trace.faults(),
        failures: oracle.failures(),
        lines: trace.lines(),
        ..Report::default()
    };
    oracle.read(|world| {
        report.turns = world.head.turns;
        report.events = world.head.events;
        report.jobs = world.jobs.jobs.len();
        report.succeeded = world.jobs.jobs.iter().filter(|(_, j)| j.state == JobState::Succeeded).count() as u64;
    });
    for frame in oracle.frames() {
        let Ok((turn, _)) = forge_event::codec::decode_turn(&frame) else { continue };
        for (_, event) in turn.events() {
            match event {
                Event::LeaderStarted(_) => report.leader_changes += 1,
                Event::ResultAccepted(e) => report.shards += e.shards.count(),
                Event::JobSubmitted(_) | Event::JobCancelRequested(_) | Event::CreditsIssued(_) => {
                    report.acknowledged += 1;
                }
                _ => {}
            }
        }
    }
    // Genesis starts the first leader, the founder's own first turn says so again.
    report.leader_changes = report.leader_changes.saturating_sub(2);
    report
}
