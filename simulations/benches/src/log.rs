//! The log alone: writers with one outstanding event each, acknowledged after commit on a majority.

use crate::house::House;
use crate::limits::Limits;
use crate::peers::{Lanes, credits};
use crate::report::{Common, rate, rounded};
use crate::{Place, machine};
use anyhow::{Result, anyhow, bail};
use forge_event::{KeyId, NodeId, ProjectId};
use forge_projections::Command;
use hdrhistogram::Histogram;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A fact with its origin, as it stands in a turn.
pub const EVENT_BYTES: usize = 256;
/// Links that all writers share; each node of a cluster has one.
const LINKS_MAX: usize = 2;
/// Before anything is measured.
const WARM_UP: Duration = Duration::from_secs(1);
/// Nodes count their turns this often; by then nothing is in flight any more.
const COUNTED: Duration = Duration::from_millis(700);

/// What is measured.
#[derive(Clone, Debug)]
pub struct LogBench {
    pub nodes: usize,
    pub writers: usize,
    pub seconds: f64,
    pub data: Option<PathBuf>,
}

/// # Errors
/// If a process fails or an event is not committed.
pub async fn run(options: &LogBench) -> Result<Value> {
    let load_before = machine::load();
    let place = Place::new(options.data.as_deref())?;
    let limits = Limits::measure(place.path()).await?;
    let house = House::start(place.path(), options.nodes).await?;
    house.settled(options.nodes).await?;
    let leader = house.leader().await?;
    let lanes = Arc::new(Lanes::new(&house, LINKS_MAX.min(options.writers))?);
    let mut writers =
        Writers { lanes, leader, project: house.project, key: house.key, count: options.writers, next: 0 };
    writers.write_for(WARM_UP).await?;
    tokio::time::sleep(COUNTED).await;
    let (fsyncs, before) = (house.fsyncs().await?, counted(&house, leader).await?);
    let (seconds, took) = writers.write_for(Duration::from_secs_f64(options.seconds)).await?;
    tokio::time::sleep(COUNTED).await;
    let (fsyncs, after) = (house.fsyncs().await? - fsyncs, counted(&house, leader).await?);
    let (events, turns) = (after.0 - before.0, after.1 - before.1);
    // The hub's own housekeeping may add an event or two; fewer than were acknowledged cannot be.
    if events < took.len() {
        bail!("{} events were acknowledged, but the log grew by {events}", took.len());
    }
    let common = Common {
        nodes: options.nodes,
        agents: 0,
        processes: house.processes(),
        fsyncs,
        events: took.len(),
        turns,
        seconds,
        load_before,
        limits,
    };
    let ms = |quantile| rounded(took.value_at_quantile(quantile) as f64 / 1000.0);
    Ok(common.with(json!({
        "bench": "log",
        "writers": options.writers,
        "writers_in": "a process of their own, over the lane on which nodes forward to the leader",
        "event_bytes": EVENT_BYTES,
        "events_per_s": rate(took.len(), seconds),
        "turns_per_s": rate(turns, seconds),
        "append_ms_p50": ms(0.5),
        "append_ms_p99": ms(0.99),
        "append_ms_max": rounded(took.max() as f64 / 1000.0),
    })))
}

/// Events and turns that the leader has folded.
async fn counted(house: &House, leader: NodeId) -> Result<(u64, u64)> {
    let at = house.hubs.iter().position(|h| h.node == leader).ok_or_else(|| anyhow!("the leader is not ours"))?;
    let events = house.metric("forge_events_total").await?;
    let turns = house.metric("forge_turns_total").await?;
    Ok((events[at] as u64, turns[at] as u64))
}

struct Writers {
    lanes: Arc<Lanes>,
    leader: NodeId,
    project: ProjectId,
    key: KeyId,
    count: usize,
    /// The first number that no event has yet.
    next: u64,
}

impl Writers {
    /// Lets every writer write for so long; gives the seconds until the last was done, and how long each append took
    /// in microseconds.
    async fn write_for(&mut self, span: Duration) -> Result<(f64, Histogram<u64>)> {
        let started = Instant::now();
        let end = started + span;
        let mut tasks = Vec::new();
        for writer in 0..self.count {
            let link = self.lanes.link(self.leader, writer).ok_or_else(|| anyhow!("no link to the leader"))?.clone();
            let (leader, project, key) = (self.leader, self.project, self.key);
            let (mut number, step) = (self.next + writer as u64, self.count as u64);
            tasks.push(tokio::spawn(async move {
                let mut took: Histogram<u64> = Histogram::new(3)?;
                while Instant::now() < end {
                    let command = Command::Fact(credits(project, key, number, EVENT_BYTES, false));
                    number += step;
                    let asked = Instant::now();
                    let answer = link.forward(leader, command).await;
                    answer.map_err(|e| anyhow!("an event was not committed: {e:?}"))?;
                    took.record(asked.elapsed().as_micros() as u64)?;
                }
                anyhow::Ok((took, number))
            }));
        }
        let mut all: Histogram<u64> = Histogram::new(3)?;
        for task in tasks {
            let (took, number) = task.await??;
            all.add(took)?;
            self.next = self.next.max(number);
        }
        Ok((started.elapsed().as_secs_f64(), all))
    }
}
