//! How fast a log is checked offline: folded and chained, and with every decision derived again.

use crate::Place;
use crate::dispatch::{JOB_WAIT, verified};
use crate::house::House;
use crate::report::{Common, rate, rounded};
use anyhow::{Context, Result, bail};
use forge_adapters::Registry;
use forge_projections::replay::{Mode, Options, Report, Verifier};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::Instant;

/// A log shorter than this says little.
pub const EVENTS_MIN: u64 = 1_000_000;
/// Shards of one of the jobs that fill a log.
const JOB_SHARDS: u64 = 280_000;
/// So many that an event names about one shard. The shards of a few agents go together in few events, each of which
/// then costs as much as it has shards: that log would measure shards, not events.
const AGENTS: usize = 1000;

/// What is measured.
#[derive(Clone, Debug)]
pub struct Replay {
    /// An export of `format=forge`; made by a dispatch if absent.
    pub file: Option<PathBuf>,
    /// Shards of the dispatch; as many as make [`EVENTS_MIN`] events if absent.
    pub shards: Option<u64>,
    pub data: Option<PathBuf>,
}

/// # Errors
/// If the log cannot be made or read, or does not verify.
pub async fn run(options: &Replay) -> Result<Value> {
    let place = Place::new(options.data.as_deref())?;
    let before = Common::before(&place).await?;
    let made = Made { nodes: 0, agents: 0, processes: 1, fsyncs: 0 };
    let (bytes, made) = match &options.file {
        Some(file) => (std::fs::read(file).with_context(|| format!("reading {}", file.display()))?, made),
        None => dispatched(&place, options.shards).await?,
    };
    let checks = verified(&bytes)?;
    let (folded, fold_seconds) = pass(&bytes, Mode::Fold)?;
    let (derived, full_seconds) = pass(&bytes, Mode::Full)?;
    if derived.world.head != folded.world.head || derived.world.head != checks.world.head {
        bail!("two ways through the log end in different states");
    }
    let common = Common {
        nodes: made.nodes,
        agents: made.agents,
        processes: made.processes,
        fsyncs: made.fsyncs,
        events: folded.events,
        turns: folded.turns,
        seconds: fold_seconds + full_seconds,
        ..before
    };
    Ok(common.with(json!({
        "bench": "replay",
        "bytes": bytes.len(),
        "cores": 1,
        "events_per_s": rate(folded.events, fold_seconds),
        "fold_seconds": rounded(fold_seconds),
        "decisions_rederived": derived.rederived,
        "decisions_rederived_per_s": rate(derived.rederived, full_seconds),
        "full_events_per_s": rate(derived.events, full_seconds),
        "full_seconds": rounded(full_seconds),
        "differ": 0,
    })))
}

/// One pass on this thread; the bytes are in memory already.
fn pass(bytes: &[u8], mode: Mode) -> Result<(Report, f64)> {
    let options = Options { mode, until: None, recheck: false };
    let started = Instant::now();
    let report = Verifier::new(bytes, &Registry, options).finish();
    let seconds = started.elapsed().as_secs_f64();
    if !report.is_ok() {
        bail!("the log does not replay: {}", report.verify_json());
    }
    Ok((report, seconds))
}

/// How a log was made.
struct Made {
    nodes: usize,
    agents: usize,
    processes: usize,
    fsyncs: u64,
}

async fn dispatched(place: &Place, shards: Option<u64>) -> Result<(Vec<u8>, Made)> {
    let mut house = House::start(place.path(), 1).await?;
    house.enrol_agents(AGENTS, 1).await?;
    house.join_agents().await?;
    let rest = house.rest()?;
    loop {
        let job = house.submit_null(&rest, shards.unwrap_or(JOB_SHARDS), 0).await?;
        house.succeeded(&rest, &job, JOB_WAIT).await?;
        let cluster = rest.get("/v1/cluster").await?;
        if shards.is_some() || cluster["committed"].as_u64().is_some_and(|events| events >= EVENTS_MIN) {
            break;
        }
    }
    let bytes = house.export().await?;
    std::fs::write(house.folder().join("replay.forge"), &bytes).context("writing the export")?;
    let fsyncs = house.fsyncs().await?;
    Ok((bytes, Made { nodes: 1, agents: AGENTS, processes: house.processes(), fsyncs }))
}
