//! What a live agent costs the hub that holds its session.

use crate::dispatch::{JOB_WAIT, verified};
use crate::house::House;
use crate::report::{Common, rate, rounded};
use crate::rest::Rest;
use crate::{Place, machine};
use anyhow::{Result, bail};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// A shard takes so long that all agents get one before the first is free again. Units: microseconds.
const SHARD_US: u64 = 200_000;
/// Jobs after which every agent has run a shard, or never will.
const JOBS_MAX: usize = 20;
/// Memory has settled when it changed by less than a hundredth within this.
const SETTLE_LOOK: Duration = Duration::from_secs(3);
const SETTLE_WAIT: Duration = Duration::from_secs(60);
const PAGE: usize = 100;

/// What is measured.
#[derive(Clone, Debug)]
pub struct Agents {
    pub count: usize,
    pub data: Option<PathBuf>,
}

/// # Errors
/// If a process fails, or an agent does not get to run a shard.
pub async fn run(options: &Agents) -> Result<Value> {
    let place = Place::new(options.data.as_deref())?;
    let before = Common::before(&place).await?;
    let started = Instant::now();
    let mut house = House::start(place.path(), 1).await?;
    let rest = house.rest()?;
    let pid = house.hubs[0].process.pid;
    let rss_before = settled_rss(pid).await?;
    house.enrol_agents(options.count, 1).await?;
    let joined = house.join_agents().await?;
    let mut jobs = 0;
    while ran_nothing(&rest).await? > 0 {
        if jobs == JOBS_MAX {
            bail!("{} agents have not run a shard after {JOBS_MAX} jobs", ran_nothing(&rest).await?);
        }
        let job = house.submit_null(&rest, options.count as u64, SHARD_US).await?;
        house.succeeded(&rest, &job, JOB_WAIT).await?;
        jobs += 1;
    }
    let rss_after = settled_rss(pid).await?;
    let sessions = house.metric("forge_agent_sessions").await?[0] as usize;
    if sessions != options.count {
        bail!("{sessions} of {} agents have a session", options.count);
    }
    let fsyncs = house.fsyncs().await?;
    let report = verified(&house.export().await?)?;
    let common = Common {
        agents: options.count,
        fsyncs,
        seconds: started.elapsed().as_secs_f64(),
        ..before.of(&house, &report)
    };
    let grown = rss_after.saturating_sub(rss_before);
    Ok(common.with(json!({
        "bench": "agents",
        "sessions": sessions,
        "rss_kib_before": rss_before,
        "rss_kib_after": rss_after,
        "rss_kib_per_agent": rounded(grown as f64 / options.count as f64),
        "joins_per_s": rate(options.count as u64, joined.as_secs_f64()),
    })))
}

/// Agents that no accepted shard is from.
async fn ran_nothing(rest: &Rest) -> Result<usize> {
    let mut idle = 0;
    let mut next: Option<String> = None;
    loop {
        let token = next.map(|t| format!("&page_token={t}")).unwrap_or_default();
        let page = rest.get(&format!("/v1/agents?limit={PAGE}{token}")).await?;
        let agents = page["data"].as_array().cloned().unwrap_or_default();
        idle += agents.iter().filter(|a| a["accepted"].as_u64().unwrap_or(0) == 0).count();
        next = page["next_page_token"].as_str().map(str::to_owned);
        if next.is_none() {
            return Ok(idle);
        }
    }
}

/// Resident memory once it no longer changes. Units: KiB.
async fn settled_rss(pid: u32) -> Result<u64> {
    let started = Instant::now();
    let mut last = machine::rss_kib(pid)?;
    loop {
        tokio::time::sleep(SETTLE_LOOK).await;
        let now = machine::rss_kib(pid)?;
        if now.abs_diff(last) * 100 <= last || started.elapsed() > SETTLE_WAIT {
            return Ok(now);
        }
        last = now;
    }
}
