//! Null shards end to end: submission, planning, assignment, a stream an attempt, commit, result.

use crate::Place;
use crate::house::House;
use crate::report::{Common, rate, rounded};
use anyhow::{Context, Result, bail};
use forge_adapters::Registry;
use forge_projections::replay::{Mode, Options, Report, Verifier};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// A job of a bench ends within this time.
pub const JOB_WAIT: Duration = Duration::from_secs(1800);

/// What is measured.
#[derive(Clone, Debug)]
pub struct Dispatch {
    pub nodes: usize,
    pub agents: usize,
    /// Shards that each agent computes at once.
    pub slots: u32,
    pub shards: u64,
    pub data: Option<PathBuf>,
}

/// # Errors
/// If a process fails, the job does not succeed, or the log it leaves does not verify.
pub async fn run(options: &Dispatch) -> Result<Value> {
    let place = Place::new(options.data.as_deref())?;
    let before = Common::before(&place).await?;
    let mut house = House::start(place.path(), options.nodes).await?;
    house.enrol_agents(options.agents, options.slots).await?;
    house.join_agents().await?;
    let rest = house.rest()?;
    let (fsyncs, cpu) = (house.fsyncs().await?, house.hub_cpu_us()?);
    let started = Instant::now();
    let job = house.submit_null(&rest, options.shards, 0).await?;
    house.succeeded(&rest, &job, JOB_WAIT).await?;
    let seconds = started.elapsed().as_secs_f64();
    let cpu = house.hub_cpu_us()? - cpu;
    let fsyncs = house.fsyncs().await? - fsyncs;
    let latency = latency_ms(&house).await?;
    let export = house.export().await?;
    std::fs::write(place.path().join("dispatch.forge"), &export).context("writing the export")?;
    let report = verified(&export)?;
    let common = Common { agents: options.agents, fsyncs, seconds, ..before.of(&house, &report) };
    let shards = options.shards as f64;
    let quic = common.limits.quic_streams_per_s;
    Ok(common.with(json!({
        "bench": "dispatch",
        "shards": options.shards,
        "slots": options.slots,
        "shards_per_s": rate(options.shards, seconds),
        "cpu_us_per_shard": rounded(cpu as f64 / shards),
        "latency_ms_p50": latency.0,
        "latency_ms_p99": latency.1,
        "log_bytes_per_shard": rounded(export.len() as f64 / shards),
        "of_bare_quic": rounded(rate(options.shards, seconds) / quic.max(1) as f64),
        "verified": true,
        "decisions_rederived": report.rederived,
    })))
}

/// From assignment to acceptance, of the node where it was slowest: quantiles of several nodes do not add up.
async fn latency_ms(house: &House) -> Result<(f64, f64)> {
    let worst = |found: Vec<f64>| found.into_iter().fold(0.0, f64::max);
    let p50 = worst(house.metric("forge_shard_run_seconds{quantile=\"0.5\"}").await?);
    let p99 = worst(house.metric("forge_shard_run_seconds{quantile=\"0.99\"}").await?);
    Ok((rounded(p50 * 1000.0), rounded(p99 * 1000.0)))
}

/// What `forge log verify` does; a log that does not verify is no measure of anything.
pub fn verified(export: &[u8]) -> Result<Report> {
    let options = Options { mode: Mode::Full, until: None, recheck: true };
    let seal = |key: &[u8; 32], message: &[u8], signature: &[u8; 64]| {
        forge_log::network::identity::verify(key, message, signature)
    };
    let report = Verifier::new(export, &Registry, options).sealed_by(&seal).finish();
    if !report.is_ok() {
        bail!("the log that this bench left does not verify: {}", report.verify_json());
    }
    Ok(report)
}
