//! `forge bench …`: figures of this machine, each beside what the machine gives bare.

use super::Done;
use super::local::{block, block_as_node};
use crate::args::Global;
use crate::fail::{Failure, INTERRUPTED};
use crate::local::signal;
use crate::output;
use clap::{Args, Subcommand};
use forge_benches::{agents, dispatch, failover, fleet, limits, log, loss, replay, schedule, writers};
use serde_json::Value;
use std::path::PathBuf;

/// Where a bench keeps what it writes.
#[derive(Args, Clone, Debug)]
pub struct Kept {
    /// Keep logs and exports here; a new folder below this one, removed at the end, without it
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

#[derive(Subcommand)]
#[command(after_help = "Examples:
  forge bench dispatch --nodes 3 --agents 8 -o json
  forge bench log --nodes 3 --writers 512")]
pub enum Verb {
    /// Null shards end to end
    Dispatch {
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=7))]
        nodes: u8,
        #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..))]
        agents: u32,
        #[arg(long, default_value_t = 400_000, value_parser = clap::value_parser!(u64).range(1..))]
        shards: u64,
        /// Shards that each agent computes at once
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
        slots: u32,
        #[command(flatten)]
        kept: Kept,
    },
    /// The log: writers with one outstanding 256-byte event each
    Log {
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=7))]
        nodes: u8,
        #[arg(long, default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..=4096))]
        writers: u32,
        #[arg(long, default_value_t = 10.0)]
        seconds: f64,
        /// Writers have a process of their own, which reaches the leader as another node does
        #[arg(long)]
        apart: bool,
        #[command(flatten)]
        kept: Kept,
    },
    /// Replay of a log, on one core
    Replay {
        /// An export of format=forge; the log of a dispatch without it
        file: Option<PathBuf>,
        /// Shards of that dispatch; as many as make a million events without it
        #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
        shards: Option<u64>,
        #[command(flatten)]
        kept: Kept,
    },
    /// Results over a path that loses datagrams, beside one that loses none
    Loss {
        #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..))]
        agents: u32,
        /// Shards that each agent computes at once
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
        slots: u32,
        /// Datagrams of a hundred that are lost, in each direction
        #[arg(long, default_value_t = 2.0, value_name = "PERCENT", value_parser = percent)]
        loss: f64,
        /// Added to each direction
        #[arg(long, default_value_t = 0, value_name = "MS", value_parser = clap::value_parser!(u64).range(..=1000))]
        delay: u64,
        /// Lossless and lossy stretches of each size
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
        rounds: u32,
        /// About as long as a lossless stretch takes
        #[arg(long, default_value_t = 2.0)]
        seconds: f64,
        /// Bytes of a result, each size on its own
        #[arg(long, value_delimiter = ',', default_values_t = [64, 4096, 32_768], value_name = "BYTES",
              value_parser = clap::value_parser!(u64).range(1..=65_536))]
        sizes: Vec<u64>,
        /// Which datagrams are lost
        #[arg(long, default_value_t = 1)]
        seed: u64,
        #[command(flatten)]
        kept: Kept,
    },
    /// Memory of a live agent, and how fast agents join
    Agents {
        #[arg(long, default_value_t = 5000, value_parser = clap::value_parser!(u32).range(1..))]
        count: u32,
        #[command(flatten)]
        kept: Kept,
    },
    /// The leader killed under a writer of 1 kHz
    Failover {
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(3..=7))]
        nodes: u8,
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
        trials: u32,
        #[command(flatten)]
        kept: Kept,
    },
    /// The scheduler alone, in this process
    Schedule {
        #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
        agents: u32,
        #[arg(long, default_value_t = 5.0)]
        seconds: f64,
        #[command(flatten)]
        kept: Kept,
    },
}

/// Agents of one process, for a bench that started it.
#[derive(Args)]
pub struct Fleet {
    #[arg(long)]
    data: PathBuf,
    #[arg(long)]
    count: usize,
    #[arg(long)]
    slots: u32,
}

/// A hub with writers, for a bench that started it.
#[derive(Args)]
pub struct WritingHub {
    #[arg(long)]
    data: PathBuf,
}

pub fn run(global: &Global, verb: Verb) -> Done {
    let body = block(async {
        let ended = signal::ended().map_err(anyhow::Error::from)?;
        tokio::select! { biased;
            // What was started is killed as it is dropped, and the folder goes.
            () = ended => Err(Failure::silent(INTERRUPTED)),
            body = measure(verb) => Ok(body?),
        }
    })??;
    match global.output.is_json() {
        true => output::out(&format!("{body}\n")),
        false => output::out(&table(&body)),
    }
    Ok(0)
}

async fn measure(verb: Verb) -> anyhow::Result<Value> {
    match verb {
        Verb::Dispatch { nodes, agents, shards, slots, kept } => {
            let (nodes, agents) = (usize::from(nodes), agents as usize);
            dispatch::run(&dispatch::Dispatch { nodes, agents, slots, shards, data: kept.data }).await
        }
        Verb::Log { nodes, writers, seconds, apart, kept } => {
            let (nodes, writers) = (usize::from(nodes), writers as usize);
            log::run(&log::LogBench { nodes, writers, seconds, apart, data: kept.data }).await
        }
        Verb::Replay { file, shards, kept } => replay::run(&replay::Replay { file, shards, data: kept.data }).await,
        Verb::Loss { agents, slots, loss: percent, delay: delay_ms, rounds, seconds, sizes, seed, kept } => {
            let (agents, rounds, part) = (agents as usize, rounds as usize, percent / 100.0);
            let data = kept.data;
            loss::run(&loss::Loss { agents, slots, part, delay_ms, rounds, seconds, sizes, seed, data }).await
        }
        Verb::Agents { count, kept } => agents::run(&agents::Agents { count: count as usize, data: kept.data }).await,
        Verb::Failover { nodes, trials, kept } => {
            let (nodes, trials) = (usize::from(nodes), trials as usize);
            failover::run(&failover::Failover { nodes, trials, data: kept.data }).await
        }
        Verb::Schedule { agents, seconds, kept } => {
            schedule::run(&schedule::Schedule { agents: agents as usize, seconds, data: kept.data }).await
        }
    }
}

/// More than nothing, so that there is something to compare.
fn percent(text: &str) -> Result<f64, String> {
    let percent: f64 = text.parse().map_err(|_| format!("{text} is no number"))?;
    if percent > 0.0 && percent <= 50.0 { Ok(percent) } else { Err("between 0 and 50".into()) }
}

/// One line a figure; those of the limits behind a dot.
fn table(body: &Value) -> String {
    let mut rows: Vec<(String, String)> = Vec::new();
    for (name, value) in body.as_object().into_iter().flatten() {
        match value.as_object() {
            Some(inner) => rows.extend(inner.iter().map(|(n, v)| (format!("{name}.{n}"), output::text(v)))),
            None => rows.push((name.clone(), output::text(value))),
        }
    }
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    rows.iter().map(|(name, value)| format!("{name:<width$}  {value}\n")).collect()
}

pub fn run_fleet(fleet: &Fleet) -> Done {
    block(fleet::run(&fleet.data, fleet.count, fleet.slots))??;
    Ok(0)
}

pub fn run_hub(hub: &WritingHub) -> Done {
    block_as_node(writers::run(&hub.data))??;
    Ok(0)
}

pub fn run_echo() -> Done {
    block(limits::echo())??;
    Ok(0)
}
