//! How long nobody is acknowledged when the leader's process is killed, and what is lost with it.

use crate::Place;
use crate::dispatch::verified;
use crate::house::House;
use crate::peers::{Credited, Lanes};
use crate::report::{Common, rounded};
use crate::rest::Rest;
use anyhow::{Context, Result, anyhow, bail};
use forge_event::archive::Reader;
use forge_event::{Event, KeyId, LostReason, NodeId, ProjectId};
use forge_projections::Command;
use hdrhistogram::Histogram;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

const AGENTS: usize = 4;
const SLOTS: u32 = 2;
/// What the agents do meanwhile: leases are live all the time.
const SHARDS: u64 = 4_000_000;
const SHARD_US: u64 = 20_000;
/// The writer's beat: 1 kHz.
const BEAT: Duration = Duration::from_millis(1);
/// After so long without an acknowledgement the writer asks the other nodes too.
const SILENCE: Duration = Duration::from_millis(50);
/// A request that is not acknowledged by then is given up; it may or may not be in the log.
const REQUEST_WAIT: Duration = Duration::from_secs(1);
/// Requests under way at a node that does not acknowledge any.
const PROBES_MAX: usize = 32;
/// Acknowledgements by others after which a trial is over.
const ACKS_AFTER: usize = 500;
const TRIAL_WAIT: Duration = Duration::from_secs(60);
/// Undisturbed writing before each kill.
const STEADY: Duration = Duration::from_secs(1);
const LOOK_AGAIN: Duration = Duration::from_millis(10);
const EVENT_BYTES: usize = 256;

/// What is measured.
#[derive(Clone, Debug)]
pub struct Failover {
    pub nodes: usize,
    pub trials: usize,
    pub data: Option<PathBuf>,
}

/// # Errors
/// If a process fails in another way than by our hand, the cluster does not come back, or its log does not verify.
pub async fn run(options: &Failover) -> Result<Value> {
    if options.nodes < 3 {
        bail!("failover needs at least 3 nodes");
    }
    let place = Place::new(options.data.as_deref())?;
    let before = Common::before(&place).await?;
    let mut house = House::start(place.path(), options.nodes).await?;
    house.enrol_agents(AGENTS, SLOTS).await?;
    house.join_agents().await?;
    let rest = house.rest()?;
    house.submit_null(&rest, SHARDS, SHARD_US).await?;
    let leader = house.leader().await?;
    let writer = Writer::start(&house, leader)?;
    let mut gaps: Histogram<u64> = Histogram::new(3)?;
    let mut fsyncs_of_dead = 0;
    let (started, fsyncs_before) = (Instant::now(), house.fsyncs().await?);
    for trial in 1..=options.trials {
        agents_at_work(&rest).await?;
        tokio::time::sleep(STEADY).await;
        let leader = writer.served_by();
        fsyncs_of_dead += fsyncs_of(&house, leader).await?;
        let killed = house.kill(leader).await?;
        writer.served_by_others(leader, killed).await.with_context(|| format!("trial {trial}"))?;
        gaps.record(writer.gap(killed)?.as_micros() as u64)?;
        house.restart(leader).await?;
        house.settled(options.nodes).await?;
    }
    agents_at_work(&rest).await?;
    let seconds = started.elapsed().as_secs_f64();
    let written = writer.stop().await?;
    let fsyncs = (house.fsyncs().await? + fsyncs_of_dead).saturating_sub(fsyncs_before);
    let export = house.export().await?;
    let report = verified(&export)?;
    let found = Found::read(&export)?;
    let lost = written.acknowledged.iter().filter(|n| !found.references.contains(n)).count();
    let common = Common { agents: AGENTS, fsyncs, seconds, ..before.of(&house, &report) };
    let ms = |us: u64| rounded(us as f64 / 1000.0);
    Ok(common.with(json!({
        "bench": "failover",
        "trials": options.trials,
        "gap_ms_p50": ms(gaps.value_at_quantile(0.5)),
        "gap_ms_max": ms(gaps.max()),
        "gap_ms_all": gaps.iter_recorded().flat_map(|v| vec![ms(v.value_iterated_to()); v.count_at_value() as usize]).collect::<Vec<_>>(),
        "requests": written.requests,
        "acknowledged": written.acknowledged.len(),
        "acknowledged_lost": lost,
        "healthy_agents_lost": found.agents_lost,
        "healthy_leases_expired": found.leases_expired,
        "healthy_leases_revoked": found.leases_revoked,
    })))
}

async fn fsyncs_of(house: &House, node: NodeId) -> Result<u64> {
    let at = house.hubs.iter().position(|h| h.node == node).ok_or_else(|| anyhow!("{node} is not ours"))?;
    Ok(house.metric("forge_log_fsyncs_total").await?[at] as u64)
}

/// Waits until every agent has a session again; those of a killed node are elsewhere by then.
async fn agents_at_work(rest: &Rest) -> Result<()> {
    let started = Instant::now();
    loop {
        let page = rest.get("/v1/agents").await?;
        let agents = page["data"].as_array().cloned().unwrap_or_default();
        let live = agents.iter().filter(|a| matches!(a["state"].as_str(), Some("ready" | "busy"))).count();
        if live == AGENTS {
            return Ok(());
        }
        if started.elapsed() > TRIAL_WAIT {
            bail!("{live} of {AGENTS} agents came back");
        }
        tokio::time::sleep(LOOK_AGAIN * 10).await;
    }
}

/// What the log says of the whole run. No agent was harmed: every one of them was healthy all the time.
struct Found {
    references: BTreeSet<u64>,
    agents_lost: u64,
    leases_expired: u64,
    leases_revoked: u64,
}

impl Found {
    fn read(export: &[u8]) -> Result<Found> {
        let mut found = Found { references: BTreeSet::new(), agents_lost: 0, leases_expired: 0, leases_revoked: 0 };
        let mut reader = Reader::new(export)?;
        while let Some(step) = reader.next() {
            for (_, event) in step?.turn.events() {
                match event {
                    // The credits of the house itself have a reference that is no number.
                    Event::CreditsIssued(e) => found.references.extend(e.reference.parse::<u64>().ok()),
                    Event::AgentLost(e) if e.reason != LostReason::Left => found.agents_lost += 1,
                    Event::LeaseExpired(e) => found.leases_expired += e.shards.count(),
                    Event::LeaseRevoked(e) => found.leases_revoked += e.shards.count(),
                    _ => {}
                }
            }
        }
        Ok(found)
    }
}

/// An acknowledged request.
#[derive(Clone, Copy)]
struct Ack {
    at: Instant,
    number: u64,
    node: NodeId,
}

struct Shared {
    lanes: Lanes,
    nodes: Vec<NodeId>,
    project: ProjectId,
    key: KeyId,
    acks: Mutex<Vec<Ack>>,
    /// Position in `nodes` of who acknowledged last.
    current: AtomicUsize,
    /// Requests under way at each node.
    under_way: Vec<AtomicUsize>,
    stop: AtomicBool,
}

/// One open-loop writer: a request a beat, whether or not the ones before were answered.
struct Writer {
    shared: Arc<Shared>,
    task: JoinHandle<u64>,
}

struct Written {
    requests: u64,
    acknowledged: Vec<u64>,
}

impl Writer {
    fn start(house: &House, leader: NodeId) -> Result<Writer> {
        let nodes: Vec<NodeId> = house.hubs.iter().map(|h| h.node).collect();
        let current = nodes.iter().position(|n| *n == leader).unwrap_or(0);
        let shared = Arc::new(Shared {
            lanes: Lanes::new(house, 1)?,
            under_way: nodes.iter().map(|_| AtomicUsize::new(0)).collect(),
            nodes,
            project: house.project,
            key: house.key,
            acks: Mutex::default(),
            current: AtomicUsize::new(current),
            stop: AtomicBool::new(false),
        });
        let task = tokio::spawn(beat(shared.clone()));
        Ok(Writer { shared, task })
    }

    /// Who acknowledged last, and therefore leads: what nodes say of the leader may be old news.
    fn served_by(&self) -> NodeId {
        self.shared.nodes[self.shared.current.load(Ordering::Relaxed)]
    }

    /// Waits until nodes other than `dead` acknowledge what is written.
    async fn served_by_others(&self, dead: NodeId, killed: Instant) -> Result<()> {
        while killed.elapsed() < TRIAL_WAIT {
            let count = {
                let acks = self.shared.acks.lock().unwrap_or_else(PoisonError::into_inner);
                acks.iter().rev().take_while(|a| a.at > killed).filter(|a| a.node != dead).count()
            };
            if count >= ACKS_AFTER {
                return Ok(());
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        bail!("nobody acknowledges after {dead} was killed")
    }

    /// The longest time without an acknowledgement that ended after the kill: from the last one that the dead leader
    /// gave, or that was still on its way, to the first one of its successor.
    fn gap(&self, killed: Instant) -> Result<Duration> {
        let mut acks = self.shared.acks.lock().unwrap_or_else(PoisonError::into_inner).clone();
        acks.sort_by_key(|a| a.at);
        let behind = acks.partition_point(|a| a.at <= killed);
        let around = acks.get(behind.saturating_sub(1)..).unwrap_or_default();
        let gaps = around.windows(2).map(|w| w[1].at.duration_since(w[0].at));
        gaps.max().ok_or_else(|| anyhow!("nothing was acknowledged around the kill"))
    }

    async fn stop(self) -> Result<Written> {
        self.shared.stop.store(true, Ordering::Relaxed);
        let requests = self.task.await?;
        // What was asked last may still be acknowledged.
        tokio::time::sleep(REQUEST_WAIT).await;
        let acks = self.shared.acks.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(Written { requests, acknowledged: acks.iter().map(|a| a.number).collect() })
    }
}

/// Writes until told to stop; gives how many requests it made.
async fn beat(shared: Arc<Shared>) -> u64 {
    let mut ticks = tokio::time::interval(BEAT);
    let mut number = 0;
    while !shared.stop.load(Ordering::Relaxed) {
        ticks.tick().await;
        if let Some(at) = target(&shared, number) {
            shared.under_way[at].fetch_add(1, Ordering::Relaxed);
            tokio::spawn(write(shared.clone(), at, number));
        }
        number += 1;
    }
    number
}

/// Whom to ask: whoever acknowledged last; if that fell silent, everybody in turn.
fn target(shared: &Shared, number: u64) -> Option<usize> {
    let last = shared.acks.lock().unwrap_or_else(PoisonError::into_inner).last().map(|a| a.at);
    let current = shared.current.load(Ordering::Relaxed);
    if last.is_none_or(|at| at.elapsed() < SILENCE) {
        return Some(current);
    }
    let count = shared.nodes.len();
    let order = (0..count).map(|step| (number as usize + step) % count);
    order.into_iter().find(|at| shared.under_way[*at].load(Ordering::Relaxed) < PROBES_MAX)
}

async fn write(shared: Arc<Shared>, at: usize, number: u64) {
    let node = shared.nodes[at];
    let command = Command::Fact(Credited::new(shared.project, shared.key, EVENT_BYTES, false).fact(number));
    if let Some(link) = shared.lanes.link(node, 0)
        && let Ok(Ok(_)) = tokio::time::timeout(REQUEST_WAIT, link.forward(node, command)).await
    {
        shared.current.store(at, Ordering::Relaxed);
        let ack = Ack { at: Instant::now(), number, node };
        shared.acks.lock().unwrap_or_else(PoisonError::into_inner).push(ack);
    }
    shared.under_way[at].fetch_sub(1, Ordering::Relaxed);
}
