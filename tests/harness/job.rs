//! Jobs as clients submit and await them.

use crate::client::{Answer, Client};
use bytes::Bytes;
use serde_json::{Value, json};

/// A job of `shards` shards that do nothing for `sleep_us` each.
pub fn null(shards: u64, sleep_us: u64) -> Value {
    json!({"kind": "null", "spec": {"shards": shards, "sleep_us": sleep_us, "payload_bytes": 0}})
}

/// A European call with every output, of `samples` paths; `shard_cells` may be `null`.
pub fn call(samples: u64, shard_cells: Value) -> Value {
    let params = json!({"spot": 100, "strike": 100, "rate": 0.05, "dividend_yield": 0.0, "volatility": 0.2,
        "maturity": 1.0, "option": "call"});
    let mut body = json!({"kind": "monte_carlo", "spec": {"model": "european", "params": params, "samples": samples,
        "seed": 42, "outputs": ["mean", "variance", "stderr", "hist", "quantiles"],
        "hist": {"edges": [0.0, 10.0, 20.0]}, "quantiles": [0.01, 0.5, 0.99], "exact_tail": true}});
    if !shard_cells.is_null() {
        body["shard_cells"] = shard_cells;
    }
    body
}

/// A submitted job.
#[derive(Clone, Debug)]
pub struct Job {
    pub id: String,
}

impl Job {
    /// Submits it.
    pub async fn submit(client: &Client, body: Value) -> Job {
        Job { id: client.post("/v1/jobs", body).await.is(201).text("id") }
    }

    /// Waits for its end, on whichever node the client asks.
    pub async fn ended(&self, client: &Client) -> Value {
        loop {
            let job = client.get(&format!("/v1/jobs/{}?wait=30s&until=terminal", self.id)).await.is(200).json();
            if matches!(job["state"].as_str(), Some("succeeded" | "failed" | "cancelled")) {
                return job;
            }
        }
    }

    /// Waits until it succeeded and gives its result document.
    ///
    /// # Panics
    /// If it ends in another way.
    pub async fn result(&self, client: &Client) -> Bytes {
        let job = self.ended(client).await;
        assert_eq!(job["state"], "succeeded", "{job}");
        let answer: Answer = client.get(&format!("/v1/jobs/{}/result", self.id)).await.is(200);
        assert_eq!(answer.header("forge-result-digest"), job["result"]["digest"].as_str());
        answer.bytes
    }

    /// Shards that were accepted so far.
    pub async fn verified(&self, client: &Client) -> u64 {
        let job = client.get(&format!("/v1/jobs/{}", self.id)).await.is(200).json();
        job["progress"]["verified"].as_u64().expect("progress counts")
    }
}
