//! `forge agent enrol`, `forge agent run`.

use super::{ready, signal};
use anyhow::{Context, Result};
use forge_agent::{Agent, AgentConfig, Stopped};
use serde_json::json;

/// Runs an agent until SIGTERM or SIGINT drains it; writes the ready line once its first session is up. Gives the exit code.
///
/// # Errors
/// If it cannot start.
pub async fn run(config: AgentConfig) -> Result<i32> {
    let ended = signal::ended().context("installing signal handlers")?;
    let agent = Agent::start(config).await?;
    let id = agent.agent_id();
    tokio::pin!(ended);
    tokio::select! { biased;
        () = &mut ended => return drain(&agent).await,
        ready = agent.ready() => ready?,
    }
    ready::print(&json!({"ready": true, "agent": id.to_string(), "pid": std::process::id()}))?;
    tokio::select! { biased;
        () = ended => drain(&agent).await,
        why = agent.ended() => Err(why.into()),
    }
}

async fn drain(agent: &forge_agent::AgentHandle) -> Result<i32> {
    match agent.drain().await {
        Stopped::Drained | Stopped::Stopped => Ok(0),
        other => Err(other.into()),
    }
}
