//! A result's bytes depend on the spec and on nothing that happened.

use bytes::Bytes;
use forge_adapters::Registry;
use forge_projections::replay::{Options, Verifier};
use forge_tests::*;
use serde_json::{Value, json};

/// The small job: few paths, so that shards of one path are affordable.
const SMALL: u64 = 600;

/// The larger one: long enough for somebody to die in the middle.
fn large() -> Value {
    let samples: u64 = if is_full() { 40_000_000 } else { 2_000_000 };
    let mut body = call(samples, Value::Null);
    body["spec"]["exact_tail"] = json!(false);
    body
}

fn cut(mut body: Value, shard_cells: Value) -> Value {
    if !shard_cells.is_null() {
        body["shard_cells"] = shard_cells;
    }
    body
}

async fn run(house: &House, body: Value) -> Bytes {
    let client = house.client();
    Job::submit(&client, body).await.result(&client).await
}

#[tokio::test]
async fn shard_size_and_number_of_nodes_do_not_show() {
    let mut one = House::found().await;
    one.agents(2, 2).await;
    let reference = run(&one, call(SMALL, Value::Null)).await;
    let document: Value = serde_json::from_slice(&reference).expect("a result is JSON");
    assert_eq!((document["kind"].as_str(), document["samples"].as_u64()), (Some("monte_carlo"), Some(SMALL)));
    for cells in [json!(1), json!(7), json!(64)] {
        assert_eq!(run(&one, call(SMALL, cells.clone())).await, reference, "{cells} cells a shard on one node");
    }
    let mut three = House::of_three().await;
    three.agents(3, 1).await;
    for cells in [Value::Null, json!(7), json!(64)] {
        assert_eq!(run(&three, call(SMALL, cells.clone())).await, reference, "{cells} cells a shard on three nodes");
    }
}

#[tokio::test]
async fn who_died_does_not_show() {
    let mut one = House::found().await;
    one.agents(1, 2).await;
    let reference = run(&one, large()).await;
    drop(one);

    let mut three = House::of_three().await;
    let agents = three.agents(3, 1).await;
    let client = three.client();
    let job = Job::submit(&client, cut(large(), json!(5000))).await;
    until("the job is under way", async || (job.verified(&client).await >= 20).then_some(())).await;
    let leader = three.leader().await;
    three.kill_agent(&agents[0]).await;
    three.kill(&leader).await;
    three.leader().await;
    let client = three.client();
    assert_eq!(job.result(&client).await, reference);
    let log = three.export(&client).await;
    let report = Verifier::new(&log, &Registry, Options { recheck: true, ..Options::default() }).finish();
    assert_eq!(report.fault, None, "the log of all this is derived again to the byte");
    assert_eq!(report.ledger_sum(), 0);
}
