//! `forge dev`, `forge hub …`, `forge agent …`: what runs on this machine.

use super::Done;
use crate::args::Global;
use crate::contexts::{Context, Contexts};
use crate::fail::{AUTH, Failure, OTHER, UNAVAILABLE};
use crate::local::hub::ListenFlags;
use crate::local::{agent, demo, dev, hub, ready, signal};
use crate::output::{self, column, text};
use clap::{Args, Subcommand};
use forge_agent::{AgentConfig, EnrolError};
use forge_hub::init::InitError;
use forge_hub::join::JoinError;
use serde_json::json;
use std::io;
use std::path::PathBuf;
use tokio::runtime::Runtime;

/// Exit code of a process that was ended in good order.
const ENDED: u8 = 0;

#[derive(Args)]
#[command(after_help = "Examples:
  forge dev
  forge dev --nodes 3 --agents 8 --listen 127.0.0.1:0 -o json")]
pub struct Dev {
    /// Hub nodes: 1, 3 or 5
    #[arg(long, default_value_t = 1, value_parser = nodes)]
    nodes: usize,
    #[arg(long, default_value_t = 4)]
    agents: usize,
    /// Shards that each agent computes at once
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    slots: u32,
    /// Kept from run to run
    #[arg(long, default_value = "./.forge-dev")]
    data: PathBuf,
    #[command(flatten)]
    flags: ListenFlags,
}

fn nodes(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(n @ (1 | 3 | 5)) => Ok(n),
        _ => Err("a cluster has 1, 3 or 5 nodes".into()),
    }
}

#[derive(Subcommand)]
pub enum HubVerb {
    /// Make a node's folder: a new cluster, or with --join one more node of a cluster
    #[command(after_help = "Examples:
  forge hub init --data D1 && forge hub run --data D1
  forge cluster add -o json      (on a machine with a key), then
  forge hub init --data D2 --join TOKEN && forge hub run --data D2")]
    Init {
        #[arg(long)]
        data: PathBuf,
        #[arg(long, default_value = "forge")]
        cluster_name: String,
        /// A token of `forge cluster add`
        #[arg(long, value_name = "TOKEN")]
        join: Option<String>,
        /// REST without TLS; only on loopback
        #[arg(long)]
        plain_rest: bool,
        #[command(flatten)]
        flags: ListenFlags,
    },
    /// Run a node until SIGTERM
    Run {
        #[arg(long)]
        data: PathBuf,
        #[command(flatten)]
        flags: ListenFlags,
    },
}

#[derive(Subcommand)]
pub enum AgentVerb {
    /// Spend a token of `forge agents invite`: makes the agent's key pair
    Enrol {
        token: String,
        #[arg(long)]
        data: PathBuf,
    },
    /// Run an agent until SIGTERM drains it
    Run {
        #[arg(long)]
        data: PathBuf,
        /// Shards computed at once; a slot a core if absent
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
        slots: Option<u32>,
        #[arg(long)]
        region: Option<String>,
        #[arg(long)]
        gpu: Option<String>,
        /// What is installed, e.g. ffmpeg-5.1; repeatable
        #[arg(long)]
        software: Vec<String>,
    },
}

/// Programs that stay log to stderr; `FORGE_LOG` says how much.
fn speak(verbose: bool) {
    let (all, raft) = if verbose { ("info", "warn") } else { ("warn", "error") };
    let default = format!("{all},audit={all},{}={raft}", forge_log::RAFT_TARGET);
    let filter = tracing_subscriber::EnvFilter::try_from_env("FORGE_LOG").unwrap_or_else(|_| default.as_str().into());
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).try_init();
}

pub(super) fn block<T>(work: impl Future<Output = T>) -> Result<T, Failure> {
    block_on(tokio::runtime::Builder::new_multi_thread().enable_all().build(), work)
}

/// The same, for a process that is one node and nothing else.
pub(super) fn block_as_node<T>(work: impl Future<Output = T>) -> Result<T, Failure> {
    block_on(forge_hub::lane::runtime_of_a_node(), work)
}

fn block_on<T>(runtime: io::Result<Runtime>, work: impl Future<Output = T>) -> Result<T, Failure> {
    let runtime = runtime.map_err(|e| Failure::new(OTHER, "runtime", format!("starting: {e}")))?;
    Ok(runtime.block_on(work))
}

fn code(code: i32) -> u8 {
    u8::try_from(code).unwrap_or(OTHER)
}

pub fn run_dev(global: &Global, args: Dev) -> Done {
    speak(global.verbose);
    let Dev { nodes, agents, slots, data, flags } = args;
    let options = dev::DevOptions { data, nodes, agents, slots, flags };
    let json = global.output.is_json();
    block(async move {
        let ended = signal::ended().map_err(anyhow::Error::from)?;
        tokio::pin!(ended);
        let running = tokio::select! { biased;
            () = &mut ended => return Ok(ENDED),
            running = dev::Dev::start(&options) => running?,
        };
        let ready = &running.ready;
        let context =
            Context { urls: ready.urls.clone(), key: ready.key.clone(), project: ready.project.clone(), ca: None };
        Contexts::keep("dev", context)?;
        if json {
            ready::print(&ready.to_json()).map_err(anyhow::Error::from)?;
        } else {
            banner(ready, agents);
        }
        ended.await;
        running.stop().await;
        Ok(ENDED)
    })?
}

fn banner(ready: &ready::Ready, agents: usize) {
    anstream::eprintln!(" Forge Hub {}   (data: {}, Ctrl-C stops it)", env!("CARGO_PKG_VERSION"), ready.data);
    for (url, doors) in ready.urls.iter().zip(&ready.agents) {
        anstream::eprintln!("  ✓ hub     REST {url}   agents {doors}/udp");
    }
    anstream::eprintln!(
        "  ✓ agents  {agents} ready      ✓ project demo (1000000 credits), key saved to context \"dev\""
    );
    anstream::eprintln!(" Next:  forge submit monte_carlo model=pi samples=1e8 --wait");
}

/// Runs the demo.
pub fn run_demo(options: &demo::DemoOptions) -> Done {
    Ok(block(demo::run(options))??)
}

pub fn run_hub(global: &Global, verb: HubVerb) -> Done {
    speak(global.verbose);
    match verb {
        HubVerb::Init { data, cluster_name, join, plain_rest, flags } => {
            let made =
                block(hub::init(&data, &cluster_name, join.as_deref(), &flags, plain_rest))?.map_err(not_made)?;
            let body = json!({
                "node": made.node,
                "cluster": made.cluster,
                "data": made.data,
                "admin_key": made.admin_key,
                "ca": made.ca,
            });
            let fields = [
                column("node", |b| text(&b["node"])),
                column("cluster", |b| text(&b["cluster"])),
                column("admin key", |b| text(&b["admin_key"])),
                column("ca", |b| text(&b["ca"])),
            ];
            output::object(global.output, &body, &fields);
            output::hint(global.output, &format!("start it: forge hub run --data {}", data.display()));
            Ok(0)
        }
        HubVerb::Run { data, flags } => {
            let ended = block_as_node(hub::run(&data, &flags, global.output.is_json()))??;
            Ok(code(ended))
        }
    }
}

pub fn run_agent(global: &Global, verb: AgentVerb) -> Done {
    speak(global.verbose);
    match verb {
        AgentVerb::Enrol { token, data } => {
            let enrolled = block(forge_agent::enrol(&token, &data))?.map_err(refused)?;
            let body = json!({"agent": enrolled.agent.to_string(), "provider": enrolled.provider.to_string()});
            crate::local::ready::print(&body).map_err(anyhow::Error::from)?;
            Ok(0)
        }
        AgentVerb::Run { data, slots, region, gpu, software } => {
            let mut config = AgentConfig::new(data);
            config.slots = slots.unwrap_or(config.slots);
            config.region = region.unwrap_or_default();
            config.gpu = gpu;
            config.software = software;
            let ended = block(agent::run(config))??;
            Ok(code(ended))
        }
    }
}

fn not_made(error: anyhow::Error) -> Failure {
    let detail = format!("{error:#}");
    match error.downcast_ref::<InitError>() {
        Some(InitError::Join(JoinError::Spent)) => Failure::new(AUTH, "enrolment-spent", detail),
        Some(InitError::Join(JoinError::Unknown)) => Failure::new(AUTH, "token-unknown", detail),
        Some(InitError::Join(JoinError::NoLeader)) => Failure::new(UNAVAILABLE, "no-leader", detail),
        Some(InitError::Join(JoinError::Link(_)) | InitError::Unreachable(_)) => {
            Failure::new(UNAVAILABLE, "unreachable", detail)
        }
        Some(InitError::Taken(_) | InitError::WrongToken) => Failure::usage(detail),
        _ if error.is::<forge_protocol::TokenError>() => Failure::usage(detail),
        _ => Failure::from(error),
    }
}

fn refused(error: EnrolError) -> Failure {
    let detail = format!("{:#}", anyhow::anyhow!("{error}"));
    match &error {
        EnrolError::Refused(_) => Failure::new(AUTH, error.code().unwrap_or("refused"), detail),
        EnrolError::Token(_) | EnrolError::NodeToken | EnrolError::Enrolled { .. } => Failure::usage(detail),
        EnrolError::Unreachable(_) | EnrolError::BrokenOff { .. } => Failure::new(UNAVAILABLE, "unreachable", detail),
        _ => Failure::from(anyhow::Error::from(error)),
    }
}
