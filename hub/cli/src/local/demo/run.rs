//! The demo from start to verdict.

use super::checks::{CALL, Failed, black_scholes, forge_credit};
use super::house::House;
use super::kinds;
use super::{Break, DemoOptions};
use crate::commands::offline;
use anyhow::{Context, Result, anyhow};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Shards of the reference run have this many samples: a number that fits nothing.
const REFERENCE_CELLS: u64 = 1_000_003;
/// The leader is killed once this share of the job is done. Units: percent.
const KILL_AT: u64 = 30;
/// The job ends within this time.
const JOB_WAIT: Duration = Duration::from_secs(120);
const LOOK_AGAIN: Duration = Duration::from_millis(30);

/// Runs the demo; gives the exit code.
///
/// # Errors
/// If a process does not start or a request fails: the demo could not be done, which is no verdict.
pub async fn run(options: &DemoOptions) -> Result<u8> {
    let started = Instant::now();
    let (folder, keep) = match &options.data {
        Some(data) => (data.clone(), true),
        None => (fresh_folder()?, false),
    };
    std::fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    let verdict = play(options, &folder, started).await?;
    match verdict {
        Ok(line) => {
            if !keep {
                std::fs::remove_dir_all(&folder).with_context(|| format!("removing {}", folder.display()))?;
            }
            crate::output::out(&format!("{line}\n"));
            Ok(0)
        }
        Err(Failed { check, seen, expected }) => {
            say(&format!("logs and exports: {}", folder.display()));
            crate::output::out(&format!("FAIL demo {check}: {seen}, {expected}\n"));
            Ok(crate::fail::VERIFICATION)
        }
    }
}

fn fresh_folder() -> Result<PathBuf> {
    let folder = tempfile::Builder::new().prefix("forge-demo-").tempdir().context("making a folder")?;
    Ok(folder.keep())
}

pub fn say(text: &str) {
    anstream::eprintln!(" {text}");
}

fn job(samples: u64, shard_cells: Option<u64>) -> Value {
    let params = json!({
        "spot": CALL.spot, "strike": CALL.strike, "rate": CALL.rate, "dividend_yield": 0.0,
        "volatility": CALL.volatility, "maturity": CALL.maturity, "option": "call",
    });
    let spec = json!({
        "model": "european", "params": params, "samples": samples, "seed": 42,
        "outputs": ["mean", "variance", "stderr"],
    });
    json!({"kind": "monte_carlo", "name": "european call", "spec": spec, "shard_cells": shard_cells})
}

async fn play(options: &DemoOptions, folder: &Path, started: Instant) -> Result<Result<String, Failed>> {
    say("starting 3 hubs and 4 agents, each a process of its own …");
    let mut house = House::start(&folder.join("cluster"), 3, 4).await?;
    say(&format!(
        "ready after {:.1} s; submitting {} paths of a European call",
        started.elapsed().as_secs_f64(),
        options.samples
    ));
    let id = house.submit(job(options.samples, None)).await?;
    wait_for(&house, &id, |j| percent(j) >= KILL_AT || is_final(j)).await?;
    let midway = house.job(&id).await?;
    let leader = house.kill_leader().await?;
    say(&format!("{id} at {} %: killed the leader {leader} with SIGKILL", percent(&midway)));
    let done = wait_for(&house, &id, is_final).await?;
    if done["state"] != "succeeded" {
        return Ok(Err(Failed::new("job", format!("{id} {}: {}", done["state"], done["error"]), "expected succeeded")));
    }
    let (mut result, mut digest) = house.result(&id).await?;
    say(&format!(
        "{id} succeeded after {:.1} s; running it again from nothing on a single node",
        started.elapsed().as_secs_f64()
    ));
    let others = match options.kind.as_str() {
        "all" => match kinds::run(&house, folder, false).await? {
            Ok(others) => others,
            Err(failed) => return Ok(Err(failed)),
        },
        _ => Vec::new(),
    };
    let export = folder.join("demo.forge");
    std::fs::write(&export, house.export().await?).with_context(|| format!("writing {}", export.display()))?;
    drop(house);
    let (reference, again) = reference(options, folder).await?;
    let again = match again {
        Ok(again) => again,
        Err(failed) => return Ok(Err(failed)),
    };
    if let Err(failed) = kinds::compare(&others, &again) {
        return Ok(Err(failed));
    }
    spoil(options.spoil, &mut result, &mut digest, &export)?;
    let verdict = judge(&id, &done, &result, &digest, &reference, &export, (started, others.len() + 1));
    if verdict.is_ok() {
        others.iter().for_each(|other| crate::output::out(&format!("{}\n", other.line)));
    }
    Ok(verdict)
}

/// The same jobs on one node with other shards.
async fn reference(options: &DemoOptions, folder: &Path) -> Result<(Vec<u8>, Result<Vec<kinds::Ran>, Failed>)> {
    let house = House::start(&folder.join("reference"), 1, 2).await?;
    let id = house.submit(job(options.samples, Some(REFERENCE_CELLS))).await?;
    let done = wait_for(&house, &id, is_final).await?;
    if done["state"] != "succeeded" {
        return Err(anyhow!("the reference job {id} {}: {}", done["state"], done["error"]));
    }
    let others = match options.kind.as_str() {
        "all" => kinds::run(&house, folder, true).await?,
        _ => Ok(Vec::new()),
    };
    Ok((house.result(&id).await?.0, others))
}

fn spoil(spoil: Option<Break>, result: &mut [u8], digest: &mut String, export: &Path) -> Result<()> {
    match spoil {
        None => {}
        Some(Break::Result) => {
            let at = result.len() / 2;
            result[at] ^= 1;
        }
        Some(Break::Digest) => {
            let last = if digest.ends_with('0') { "1" } else { "0" };
            digest.truncate(digest.len().saturating_sub(1));
            digest.push_str(last);
        }
        Some(Break::Flip) => {
            let mut bytes = std::fs::read(export).context("reading the export")?;
            let at = bytes.len() / 2;
            bytes[at] ^= 1;
            std::fs::write(export, bytes).context("writing the export")?;
        }
        Some(Break::Credit) => {
            let forged = forge_credit(&std::fs::read(export).context("reading the export")?)?;
            std::fs::write(export, forged).context("writing the export")?;
        }
    }
    Ok(())
}

fn judge(
    id: &str,
    done: &Value,
    result: &[u8],
    digest: &str,
    reference: &[u8],
    export: &Path,
    (started, kinds): (Instant, usize),
) -> Result<String, Failed> {
    if result != reference {
        let show = |bytes: &[u8]| forge_event::Digest::of(bytes).to_string();
        return Err(Failed::new("same-bits", format!("saw {}", show(result)), format!("expected {}", show(reference))));
    }
    let computed = forge_event::Digest::of(result).to_string();
    if digest != computed || done["result"]["digest"] != computed.as_str() {
        return Err(Failed::new("digest", format!("saw {digest}"), format!("expected {computed}")));
    }
    let body: Value =
        serde_json::from_slice(result).map_err(|e| Failed::new("result", e.to_string(), "expected JSON"))?;
    let (price, stderr) = (body["mean"]["value"].as_f64(), body["stderr"]["value"].as_f64());
    let (Some(price), Some(stderr)) = (price, stderr) else {
        return Err(Failed::new("result", body.to_string(), "expected mean and stderr"));
    };
    let exact = black_scholes(&CALL);
    say(&format!(
        "price {price:.6} ± {stderr:.6}    Black–Scholes {exact:.6}    off by {:.2} standard errors",
        (price - exact) / stderr
    ));
    if (price - exact).abs() > 4.0 * stderr {
        return Err(Failed::new(
            "price",
            format!("saw {price} ± {stderr}"),
            format!("expected {exact} within 4 standard errors"),
        ));
    }
    let report =
        offline::check(export, None).map_err(|e| Failed::new("log", e.to_string(), "expected a readable export"))?;
    let found: Value = serde_json::from_str(&report.replay_json()).unwrap_or_default();
    say(&format!(
        "the log replayed offline: {} events, {} decisions derived again",
        found["events"], found["decisions"]["rederived"]
    ));
    if !report.is_ok() {
        let check = match found["error"]["code"].as_str() {
            Some("decision-differs" | "fact-refused") => "law",
            Some("ledger") => "ledger",
            _ => "log",
        };
        return Err(Failed::new(
            check,
            format!("saw {}", found["error"]),
            "expected every decision derived again, 0 differ",
        ));
    }
    if found["ledger_sum"] != "0.000000" {
        return Err(Failed::new("ledger", format!("saw {}", found["ledger_sum"]), "expected 0.000000"));
    }
    if found["jobs"][id] != computed.as_str() {
        return Err(Failed::new("replay", format!("saw {}", found["jobs"][id]), format!("expected {computed}")));
    }
    Ok(format!(
        "OK demo kinds={kinds} price={price:.6} stderr={stderr:.6} black_scholes={exact:.6} digest={computed} nodes=3 kills=1 events={} rederived={} differ={} ledger_sum={} seconds={}",
        found["events"],
        found["decisions"]["rederived"],
        found["decisions"]["differ"],
        found["ledger_sum"].as_str().unwrap_or_default(),
        started.elapsed().as_secs()
    ))
}

fn percent(job: &Value) -> u64 {
    job["progress"]["percent"].as_f64().unwrap_or(0.0) as u64
}

pub fn is_final(job: &Value) -> bool {
    matches!(job["state"].as_str(), Some("succeeded" | "failed" | "cancelled"))
}

pub async fn wait_for(house: &House, id: &str, until: impl Fn(&Value) -> bool) -> Result<Value> {
    let deadline = Instant::now() + JOB_WAIT;
    loop {
        let job = house.job(id).await?;
        if until(&job) {
            return Ok(job);
        }
        if Instant::now() > deadline {
            return Err(anyhow!(
                "{id} is still {} at {} % after {} s",
                job["state"],
                percent(&job),
                JOB_WAIT.as_secs()
            ));
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}
