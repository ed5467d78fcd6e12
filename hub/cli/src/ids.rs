//! Ids on the command line: `j1842`, `last`, or the beginning of a job's name.

use crate::client::{Ask, Client, encode};
use crate::fail::{Failure, NOT_FOUND};
use forge_event::{JobId, ShardId};
use serde_json::Value;

/// Jobs that a name is looked for among.
const LOOKED_AT: usize = 500;

/// The job that `text` means.
pub async fn job(client: &Client, text: &str) -> Result<String, Failure> {
    if text.parse::<JobId>().is_ok() {
        return Ok(text.into());
    }
    if text == "last" {
        let page = client.json(Ask::get("/v1/jobs?limit=1")).await?;
        let id = page["data"][0]["id"].as_str().map(String::from);
        return id.ok_or_else(|| Failure::new(NOT_FOUND, "not-found", "there is no job yet"));
    }
    by_name(client, text).await
}

/// The job or shard that `text` means: `j1842.17`, `last.17`, `ocean.17`.
pub async fn job_or_shard(client: &Client, text: &str) -> Result<String, Failure> {
    if text.parse::<ShardId>().is_ok() {
        return Ok(text.into());
    }
    match text.rsplit_once('.') {
        Some((name, shard)) if !shard.is_empty() && shard.bytes().all(|b| b.is_ascii_digit()) => {
            Ok(format!("{}.{shard}", job(client, name).await?))
        }
        _ => job(client, text).await,
    }
}

async fn by_name(client: &Client, text: &str) -> Result<String, Failure> {
    let exact = client.json(Ask::get(format!("/v1/jobs?limit=1&name={}", encode(text)))).await?;
    if let Some(id) = exact["data"][0]["id"].as_str() {
        return Ok(id.into());
    }
    let page = client.json(Ask::get(format!("/v1/jobs?limit={LOOKED_AT}"))).await?;
    let named = |job: &&Value| job["name"].as_str().is_some_and(|n| n.starts_with(text));
    let found: Vec<&Value> = page["data"].as_array().into_iter().flatten().filter(named).collect();
    let shown = |job: &Value| {
        format!("{} ({})", job["id"].as_str().unwrap_or_default(), job["name"].as_str().unwrap_or_default())
    };
    match found.as_slice() {
        [one] => Ok(one["id"].as_str().unwrap_or_default().into()),
        [] => {
            Err(Failure::new(NOT_FOUND, "not-found", format!("there is no job `{text}`, and no job's name begins so")))
        }
        many => {
            let candidates = many.iter().take(10).map(|job| shown(job)).collect::<Vec<_>>().join(", ");
            Err(Failure::usage(format!("`{text}` is the beginning of several names: {candidates}")))
        }
    }
}
