//! The log alone: writers with one outstanding event each, acknowledged after commit on a majority.

use crate::Place;
use crate::house::{House, Hubs};
use crate::peers::Lanes;
use crate::report::{Common, rate, rounded};
use crate::writers::{self, EVENT_BYTES, Order, Wrote};
use anyhow::{Result, anyhow, bail};
use forge_event::NodeId;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Links that writers of another process share; each node of a cluster has one.
const LINKS_MAX: usize = 2;
/// Before anything is measured.
const WARM_UP: Duration = Duration::from_secs(1);
/// Nodes count their turns this often; by then nothing is in flight any more.
const COUNTED: Duration = Duration::from_millis(700);
/// Writers are done this long after their time at the latest.
const LATE_MAX: Duration = Duration::from_secs(60);

/// What is measured.
#[derive(Clone, Debug)]
pub struct LogBench {
    pub nodes: usize,
    pub writers: usize,
    pub seconds: f64,
    /// Whether the writers have a process of their own.
    pub apart: bool,
    pub data: Option<PathBuf>,
}

/// # Errors
/// If a process fails or an event is not committed.
pub async fn run(options: &LogBench) -> Result<Value> {
    let place = Place::new(options.data.as_deref())?;
    let before = Common::before(&place).await?;
    let kind = if options.apart { Hubs::Plain } else { Hubs::Writing };
    let house = House::start_with(place.path(), options.nodes, kind).await?;
    house.settled(options.nodes).await?;
    let leader = house.leader().await?;
    let lanes = match options.apart {
        true => Some(Arc::new(Lanes::new(&house, LINKS_MAX.min(options.writers))?)),
        false => None,
    };
    let mut writing = Writing { house, leader, lanes, writers: options.writers, next: 0 };
    writing.write_for(WARM_UP).await?;
    tokio::time::sleep(COUNTED).await;
    let (fsyncs, counted) = (writing.house.fsyncs().await?, writing.counted().await?);
    let took = writing.write_for(Duration::from_secs_f64(options.seconds)).await?;
    tokio::time::sleep(COUNTED).await;
    let (fsyncs, after) = (writing.house.fsyncs().await? - fsyncs, writing.counted().await?);
    let (events, turns) = (after.0 - counted.0, after.1 - counted.1);
    // The hub's own housekeeping may add an event or two; fewer than were acknowledged cannot be.
    if events < took.events {
        bail!("{} events were acknowledged, but the log grew by {events}", took.events);
    }
    let common = Common {
        nodes: options.nodes,
        processes: writing.house.processes(),
        fsyncs,
        events: took.events,
        turns,
        seconds: took.seconds,
        ..before
    };
    let ms = |us: u64| rounded(us as f64 / 1000.0);
    Ok(common.with(json!({
        "bench": "log",
        "writers": options.writers,
        "writers_in": match options.apart {
            true => "a process of their own, over the lane on which nodes forward to the leader",
            false => "the leader's process",
        },
        "event_bytes": EVENT_BYTES,
        "events_per_s": rate(took.events, took.seconds),
        "turns_per_s": rate(turns, took.seconds),
        "append_ms_p50": ms(took.p50_us),
        "append_ms_p99": ms(took.p99_us),
        "append_ms_max": ms(took.max_us),
    })))
}

struct Writing {
    house: House,
    leader: NodeId,
    /// Of writers that have a process of their own.
    lanes: Option<Arc<Lanes>>,
    writers: usize,
    next: u64,
}

impl Writing {
    fn leader(&self) -> Result<usize> {
        let at = self.house.hubs.iter().position(|h| h.node == self.leader);
        at.ok_or_else(|| anyhow!("the leader is not ours"))
    }

    async fn write_for(&mut self, span: Duration) -> Result<Wrote> {
        let (project, key) = (self.house.project, self.house.key);
        let span_ms = span.as_millis() as u64;
        let order = Order { project, key, writers: self.writers, span_ms, first: self.next };
        let wrote = match self.lanes.clone() {
            Some(lanes) => {
                let leader = self.leader;
                let send = move |writer, command| {
                    let link = lanes.link(leader, writer).expect("there are links to every node").clone();
                    async move { link.forward(leader, command).await }
                };
                writers::write(order, send).await?
            }
            None => {
                let at = self.leader()?;
                let process = &mut self.house.hubs[at].process;
                process.say(&serde_json::to_string(&order)?).await?;
                serde_json::from_value(process.line(span + LATE_MAX).await?)?
            }
        };
        self.next = wrote.next;
        Ok(wrote)
    }

    /// Events and turns that the leader has folded.
    async fn counted(&self) -> Result<(u64, u64)> {
        let at = self.leader()?;
        let events = self.house.metric("forge_events_total").await?;
        let turns = self.house.metric("forge_turns_total").await?;
        Ok((events[at] as u64, turns[at] as u64))
    }
}
