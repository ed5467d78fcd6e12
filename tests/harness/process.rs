//! A node or an agent as a process. It lives until its input ends, so none outlives the test that started it.
//!
//! ```text
//! found DIR            makes the first node of a cluster; prints {"admin_key","ca"}
//! join DIR TOKEN       makes a node that joins; prints {"node"}
//! node DIR             runs it; prints {"url","agents"} when its doors are open
//! enrol DIR TOKEN      makes an agent; prints {"agent","provider"}, or {"code"} and exits 6
//! agent DIR SLOTS      runs it; prints {"agent"} when its first session is up
//! ```
//! The word `drain` on the input ends a node or an agent in good order.

use anyhow::{Context, anyhow, bail};
use forge_agent::{AgentConfig, EnrolError};
use forge_hub::Node;
use forge_hub::config::{Listen, NodeFile};
use forge_hub::init::{self, Settings};
use forge_hub::node::STORAGE_EXIT;
use forge_protocol::Token;
use forge_tests::hold;
use serde_json::{Value, json};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::task::JoinHandle;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

/// Shards of tests are short.
const CHECKPOINT_INTERVAL: Duration = Duration::from_millis(20);

/// Exit code of a refused enrolment, as the CLI's.
const REFUSED_EXIT: u8 = 6;

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let filter = EnvFilter::new(std::env::var("FORGE_TEST_LOG").unwrap_or_else(|_| "off".into()));
    let said = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_filter(filter);
    let folder = words.get(1).map_or("", |folder| folder);
    tracing_subscriber::registry().with(said).with(hold::layer(Path::new(folder))).init();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["found", folder] => {
            let founded = init::found(Path::new(folder), "test", settings()).await?;
            say(json!({"admin_key": founded.admin_key, "ca": founded.ca_pem}));
        }
        ["join", folder, token] => {
            let token: Token = token.parse().map_err(|e| anyhow!("the token: {e}"))?;
            let node = init::join(Path::new(folder), &token, settings()).await?;
            say(json!({"node": node.to_string()}));
        }
        ["node", folder] => return node(Path::new(folder)).await,
        ["enrol", folder, token] => match forge_agent::enrol(token, Path::new(folder)).await {
            Ok(enrolled) => {
                say(json!({"agent": enrolled.agent.to_string(), "provider": enrolled.provider.to_string()}))
            }
            Err(EnrolError::Refused(refusal)) => {
                say(json!({"code": refusal.code()}));
                return Ok(ExitCode::from(REFUSED_EXIT));
            }
            Err(error) => return Err(error.into()),
        },
        ["agent", folder, slots] => return agent(folder, slots.parse().context("the number of slots")?).await,
        _ => bail!("no such words: {words:?}"),
    }
    Ok(ExitCode::SUCCESS)
}

/// Loopback, any free ports, REST with TLS.
fn settings() -> Settings {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    Settings { listen: Listen { rest: any, agents: any, peers: any }, advertise: None, plain_rest: false }
}

fn say(answer: Value) {
    println!("{answer}");
}

/// The first word of the input; `None` when it ends. One reader for the whole life: a read cannot be taken back.
fn input() -> JoinHandle<Option<String>> {
    tokio::spawn(async {
        let mut buffer = [0; 64];
        match tokio::io::stdin().read(&mut buffer).await {
            Ok(length) if length > 0 => Some(String::from_utf8_lossy(&buffer[..length]).trim().to_owned()),
            _ => None,
        }
    })
}

async fn node(folder: &Path) -> anyhow::Result<ExitCode> {
    let node = Node::start(folder, NodeFile::load(folder)?).await?;
    say(json!({"url": node.url(), "agents": node.listen.agents.to_string()}));
    let word = tokio::select! {
        biased;
        fault = node.fatal() => {
            eprintln!("the log failed: {fault:?}");
            std::process::exit(STORAGE_EXIT);
        }
        word = input() => word?,
    };
    if word.as_deref() != Some("drain") {
        // The test is over, or died: nobody wants a good end.
        std::process::exit(0);
    }
    node.drain().await;
    Ok(ExitCode::SUCCESS)
}

async fn agent(folder: &str, slots: u32) -> anyhow::Result<ExitCode> {
    let config = AgentConfig { slots, checkpoint_interval: CHECKPOINT_INTERVAL, ..AgentConfig::new(folder) };
    let agent = forge_agent::Agent::start(config).await?;
    let mut input = input();
    let up = tokio::select! {
        biased;
        _ = &mut input => std::process::exit(0),
        up = agent.ready() => up,
    };
    up.map_err(|why| anyhow!("the agent ended: {why}"))?;
    say(json!({"agent": agent.agent_id().to_string()}));
    let word = tokio::select! {
        biased;
        why = agent.ended() => bail!("the agent ended: {why}"),
        word = input => word?,
    };
    if word.as_deref() != Some("drain") {
        std::process::exit(0);
    }
    let why = agent.drain().await;
    anyhow::ensure!(why == forge_agent::Stopped::Drained, "{why}");
    Ok(ExitCode::SUCCESS)
}
