//! How fast a log is folded, chained and derived again.
//!
//! `cargo run --release -p forge-projections --example throughput -- SHARDS AGENTS MOST REPEATS`: `MOST` results share an event.

#[path = "../tests/rig/mod.rs"]
mod rig;

use forge_event::*;
use forge_projections::replay::{Mode, Options, Verifier};
use rig::Hub;
use rig::fake::{self, FAMILIES};
use std::time::Instant;

fn main() {
    let shards: u64 = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(200_000);
    let agents: usize = std::env::args().nth(2).and_then(|n| n.parse().ok()).unwrap_or(64);
    let most: usize = std::env::args().nth(3).and_then(|n| n.parse().ok()).unwrap_or(usize::MAX);
    let repeats: usize = std::env::args().nth(4).and_then(|n| n.parse().ok()).unwrap_or(1);
    let mut hub = Hub::new();
    hub.checks = false;
    let project = hub.project(1, None);
    hub.issue(project, u128::from(shards) * 1_000_000);
    let provider = hub.provider();
    let agents: Vec<AgentId> = (0..agents).map(|_| hub.agent(provider)).collect();
    for agent in &agents {
        let joined = hub.joined(*agent, NodeId(1), 4, Hub::capabilities());
        hub.turn(vec![joined]).expect("admitted");
    }
    let fact = hub.asked(Hub::submission(project, shards));
    let job = JobId::born_at(hub.turn(vec![fact]).expect("admitted"));
    hub.run_effect(job).expect("planned");
    let started = Instant::now();
    while hub.leader.effect_due(job).is_none() {
        hub.now = hub.now.after(DurationMs(1));
        let mut facts = Vec::new();
        for agent in agents.iter().copied() {
            let leases = hub.leases(agent);
            let Some(first) = leases.first() else { continue };
            let runs = leases.iter().filter(|l| l.attempt == first.attempt).map(|l| l.shard);
            let runs = Runs::ascending(runs.take(most));
            facts.push(hub.received(agent, job, first.attempt, runs, fake::good(1)));
        }
        hub.turn(facts).expect("admitted");
        let seals = agents.iter().filter(|a| hub.leader.unsealed_of(**a).next().is_some());
        let seals =
            seals.map(|a| hub.sealed(*a, hub.leader.agents.agents.get(a).expect("enrolled").position)).collect();
        hub.turn(seals).expect("admitted");
    }
    hub.run_effect(job).expect("reduced");
    let (decided, archive) = (started.elapsed(), hub.archive());
    let events = hub.leader.head.events;
    let rate = |what: &str, count: u64, seconds: f64| {
        println!("{what}: {count} in {seconds:.3} s = {:.0}/s", count as f64 / seconds);
    };
    println!("{shards} shards, {events} events, {} turns, {} bytes", hub.leader.head.turns, archive.len());
    println!("{:.1} log bytes a shard", archive.len() as f64 / shards as f64);
    rate("led, events", events, decided.as_secs_f64());
    for mode in [Mode::Fold, Mode::Full].into_iter().flat_map(|mode| std::iter::repeat_n(mode, repeats)) {
        let started = Instant::now();
        let report = Verifier::new(&archive, &FAMILIES, Options { mode, ..Options::default() }).finish();
        let seconds = started.elapsed().as_secs_f64();
        assert_eq!(report.fault, None);
        rate(&format!("{mode:?}, events"), report.events, seconds);
        rate(&format!("{mode:?}, shards"), shards, seconds);
        if mode == Mode::Full {
            rate("decisions derived again", report.rederived, seconds);
        }
    }
}
