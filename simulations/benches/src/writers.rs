//! Writers with one outstanding event each, and the hub's process that has some.

use crate::fleet::say;
use crate::peers::Credited;
use anyhow::{Context, Result, anyhow};
use forge_event::{KeyId, ProjectId};
use forge_hub::config::NodeFile;
use forge_hub::node::Node;
use forge_projections::{Command, CommandError, Committed};
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::future::Future;
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, BufReader};

/// A fact with its origin, as it stands in a turn.
pub const EVENT_BYTES: usize = 256;

/// What writers are asked to do.
#[derive(Clone, Copy, Serialize, Deserialize, Debug)]
pub struct Order {
    pub project: ProjectId,
    pub key: KeyId,
    pub writers: usize,
    pub span_ms: u64,
    /// The first number that no event has yet.
    pub first: u64,
}

/// What they did. Units: microseconds from an event's command to its acknowledgement.
#[derive(Clone, Copy, Serialize, Deserialize, Debug)]
pub struct Wrote {
    pub events: u64,
    /// Until the last was done.
    pub seconds: f64,
    pub next: u64,
    pub p50_us: u64,
    pub p99_us: u64,
    pub max_us: u64,
}

/// Lets every writer write for so long; `send` is told which writer it is.
///
/// # Errors
/// If an event is not committed.
pub async fn write<A>(order: Order, send: impl Fn(usize, Command) -> A + Clone + Send + 'static) -> Result<Wrote>
where
    A: Future<Output = Result<Committed, CommandError>> + Send,
{
    let started = Instant::now();
    let end = started + Duration::from_millis(order.span_ms);
    let credited = Credited::new(order.project, order.key, EVENT_BYTES, false);
    let mut tasks = Vec::new();
    for writer in 0..order.writers {
        let send = send.clone();
        let (mut number, step) = (order.first + writer as u64, order.writers as u64);
        tasks.push(tokio::spawn(async move {
            // Not a histogram each: hundreds of them would be most of what this process has in its caches.
            let mut took: Vec<u32> = Vec::new();
            let mut asked = Instant::now();
            while asked < end {
                let command = Command::Fact(credited.fact(number));
                number += step;
                send(writer, command).await.map_err(|e| anyhow!("an event was not committed: {e:?}"))?;
                let answered = Instant::now();
                took.push((answered - asked).as_micros() as u32);
                asked = answered;
            }
            anyhow::Ok((took, number))
        }));
    }
    let mut all: Histogram<u64> = Histogram::new(3)?;
    let mut next = order.first;
    for task in tasks {
        let (took, number) = task.await??;
        for us in took {
            all.record(us.into())?;
        }
        next = next.max(number);
    }
    Ok(Wrote {
        events: all.len(),
        seconds: started.elapsed().as_secs_f64(),
        next,
        p50_us: all.value_at_quantile(0.5),
        p99_us: all.value_at_quantile(0.99),
        max_us: all.max(),
    })
}

/// Runs a node as `forge hub run` does, and carries out the orders that stand on stdin, a line each, until it ends.
///
/// # Errors
/// If the node does not start, or an order cannot be carried out.
pub async fn run(data: &Path) -> Result<()> {
    let node = Node::start(data, NodeFile::load(data)?).await?;
    say(&json!({"ready": true, "node": node.hub.node().to_string(), "url": node.url()}))?;
    let mut orders = BufReader::new(tokio::io::stdin()).lines();
    while let Some(order) = orders.next_line().await.context("reading an order")? {
        let order: Order = serde_json::from_str(&order).context("reading an order")?;
        let hub = node.hub.clone();
        let send = move |_, command| {
            let hub = hub.clone();
            async move { hub.command(command).await }
        };
        say(&serde_json::to_value(write(order, send).await?)?)?;
    }
    node.drain().await;
    Ok(())
}
