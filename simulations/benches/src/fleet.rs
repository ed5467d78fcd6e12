//! The agents' side of a bench: many agents of one process, each with its own key and folder.

use anyhow::{Context, Result, anyhow};
use forge_agent::{AgentConfig, AgentHandle, Fleet};
use futures::stream::{self, StreamExt, TryStreamExt};
use serde_json::{Value, json};
use std::io::Write;
use std::path::{Path, PathBuf};
use tokio::io::{AsyncBufReadExt, BufReader, Lines, Stdin};

/// One-time tokens in a fleet's folder, one a line.
pub const TOKENS_FILE: &str = "tokens";
/// Agents that enrol at once.
const ENROL_AT_ONCE: usize = 16;

/// Enrols `count` agents, says so, waits for a line on stdin, starts them, says when all have a session, and runs
/// them until stdin ends.
///
/// # Errors
/// If an agent is not enrolled or ends before it has a session.
pub async fn run(data: &Path, count: usize, slots: u32) -> Result<()> {
    let fleet = Fleet::new();
    let tokens = std::fs::read_to_string(data.join(TOKENS_FILE)).context("reading tokens")?;
    let tokens: Vec<String> = tokens.lines().map(str::to_owned).collect();
    if tokens.len() != count {
        return Err(anyhow!("{count} agents need as many tokens; there are {}", tokens.len()));
    }
    let enrol = |(number, token): (usize, String)| {
        let (fleet, folder) = (fleet.clone(), data.join(number.to_string()));
        async move {
            fleet.enrol(&token, &folder).await?;
            anyhow::Ok(folder)
        }
    };
    let folders: Vec<PathBuf> =
        stream::iter(tokens.into_iter().enumerate()).map(enrol).buffer_unordered(ENROL_AT_ONCE).try_collect().await?;
    say(&json!({"enrolled": folders.len()}))?;
    let mut input = BufReader::new(tokio::io::stdin()).lines();
    if next(&mut input).await.is_none() {
        return Ok(());
    }
    let configs = folders.into_iter().map(|folder| AgentConfig { slots, ..AgentConfig::new(folder) }).collect();
    let agents = fleet.start_many(configs).await?;
    for agent in &agents {
        agent.ready().await?;
    }
    say(&json!({"ready": true, "agents": agents.len()}))?;
    while next(&mut input).await.is_some() {}
    agents.iter().for_each(AgentHandle::stop);
    Ok(())
}

async fn next(input: &mut Lines<BufReader<Stdin>>) -> Option<String> {
    input.next_line().await.ok().flatten()
}

/// Writes one line to stdout at once.
///
/// # Errors
/// If nobody reads.
pub fn say(line: &Value) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).context("writing to stdout")
}
