//! Ids on the command line: `j1842`, `last`, or the beginning of a name.

use crate::client::{Ask, Client, encode};
use crate::fail::{Failure, NOT_FOUND};
use forge_event::{AgentId, JobId, KeyId, ProjectId, ProviderId, ShardId};
use serde_json::Value;

/// Objects that a name's beginning is looked for among.
const LOOKED_AT: usize = 500;

/// A kind of thing that is listed and has ids.
struct Noun {
    name: &'static str,
    path: &'static str,
    /// The field of its name, which is also the list's filter.
    named: Option<&'static str>,
    is_id: fn(&str) -> bool,
}

const JOB: Noun =
    Noun { name: "job", path: "/v1/jobs", named: Some("name"), is_id: |text| text.parse::<JobId>().is_ok() };
const PROJECT: Noun = Noun {
    name: "project",
    path: "/v1/projects",
    named: Some("name"),
    is_id: |text| text.parse::<ProjectId>().is_ok(),
};
const PROVIDER: Noun = Noun {
    name: "provider",
    path: "/v1/providers",
    named: Some("name"),
    is_id: |text| text.parse::<ProviderId>().is_ok(),
};
const KEY: Noun =
    Noun { name: "key", path: "/v1/keys", named: Some("label"), is_id: |text| text.parse::<KeyId>().is_ok() };
const AGENT: Noun =
    Noun { name: "agent", path: "/v1/agents", named: None, is_id: |text| text.parse::<AgentId>().is_ok() };

/// The job that `text` means.
pub async fn job(client: &Client, text: &str) -> Result<String, Failure> {
    find(client, &JOB, text).await
}

/// The project that `text` means.
pub async fn project(client: &Client, text: &str) -> Result<String, Failure> {
    find(client, &PROJECT, text).await
}

/// The provider that `text` means.
pub async fn provider(client: &Client, text: &str) -> Result<String, Failure> {
    find(client, &PROVIDER, text).await
}

/// The API key that `text` means.
pub async fn key(client: &Client, text: &str) -> Result<String, Failure> {
    find(client, &KEY, text).await
}

/// The agent that `text` means: agents have no names.
pub async fn agent(client: &Client, text: &str) -> Result<String, Failure> {
    find(client, &AGENT, text).await
}

async fn find(client: &Client, noun: &Noun, text: &str) -> Result<String, Failure> {
    if (noun.is_id)(text) {
        return Ok(text.into());
    }
    if text == "last" {
        let page = client.json(Ask::get(format!("{}?limit=1&order=desc", noun.path))).await?;
        let id = page["data"][0]["id"].as_str().map(String::from);
        return id.ok_or_else(|| Failure::new(NOT_FOUND, "not-found", format!("there is no {} yet", noun.name)));
    }
    match noun.named {
        Some(named) => by_name(client, noun, named, text).await,
        None => Err(Failure::new(NOT_FOUND, "not-found", format!("there is no {} `{text}`", noun.name))),
    }
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

async fn by_name(client: &Client, noun: &Noun, named: &str, text: &str) -> Result<String, Failure> {
    let path = noun.path;
    let exact = client.json(Ask::get(format!("{path}?limit=1&order=desc&{named}={}", encode(text)))).await?;
    if let Some(id) = exact["data"][0]["id"].as_str() {
        return Ok(id.into());
    }
    let page = client.json(Ask::get(format!("{path}?limit={LOOKED_AT}&order=desc"))).await?;
    let begins = |object: &&Value| object[named].as_str().is_some_and(|n| n.starts_with(text));
    let found: Vec<&Value> = page["data"].as_array().into_iter().flatten().filter(begins).collect();
    let shown = |object: &Value| {
        format!("{} ({})", object["id"].as_str().unwrap_or_default(), object[named].as_str().unwrap_or_default())
    };
    match found.as_slice() {
        [one] => Ok(one["id"].as_str().unwrap_or_default().into()),
        [] => {
            let detail = format!("there is no {0} `{text}`, and no {0}'s {named} begins so", noun.name);
            Err(Failure::new(NOT_FOUND, "not-found", detail))
        }
        many => {
            let candidates = many.iter().take(10).map(|object| shown(object)).collect::<Vec<_>>().join(", ");
            Err(Failure::usage(format!("`{text}` is the beginning of several names: {candidates}")))
        }
    }
}
