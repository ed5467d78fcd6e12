//! A result's bytes depend on the spec and on nothing that happened.

use bytes::Bytes;
use forge_adapters::Registry;
use forge_event::Digest;
use forge_projections::replay::{Options, Verifier};
use forge_tests::*;
use serde_json::{Value, json};

/// The small job: few paths, so that shards of one path are affordable.
const SMALL: u64 = 600;

/// The larger one: long enough for somebody to die in the middle.
fn large() -> Value {
    of_many(if is_full() { 40_000_000 } else { 2_000_000 })
}

fn of_many(samples: u64) -> Value {
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

#[tokio::test]
async fn a_shard_goes_on_where_an_agent_that_died_left_it() {
    let mut house = House::found().await;
    house.agents(2, 1).await;
    let client = house.client();
    let samples: u64 = if is_full() { 400_000_000 } else { 8_000_000 };
    let job = Job::submit(&client, cut(of_many(samples), json!(samples))).await;
    let left = format!("/v1/jobs/{}/events?type=checkpoint.received", job.id);
    let agent = until("the only shard left a checkpoint", async || {
        let events = client.get(&left).await.is(200).json();
        events["data"][0]["data"]["agent"].as_str().map(str::to_owned)
    });
    house.kill_agent(&agent.await).await;
    let result = job.result(&client).await;
    let last = client.get(&left).await.is(200).json()["data"].as_array().expect("a list").clone();
    let of_first =
        last.iter().filter(|event| event["data"]["attempt"] == 1).filter_map(|e| e["data"]["cells"].as_u64());
    let resumed = client.get(&format!("/v1/jobs/{}/events?type=shard.resumed", job.id)).await.is(200).json();
    let from = resumed["data"][0]["data"]["from"].as_u64();
    assert!(from.is_some_and(|from| from >= samples / 16), "{resumed}");
    assert_eq!(from, of_first.max(), "it goes on behind the last one");
    assert_eq!(
        run(&house, cut(of_many(samples), json!(samples / 8))).await,
        result,
        "to the bits of a run in eight shards"
    );
    let log = house.export(&client).await;
    let report = Verifier::new(&log, &Registry, Options { recheck: true, ..Options::default() }).finish();
    assert_eq!(report.fault, None, "the checkpoints of the log pass their checks again");
}

/// Jobs that read blobs, have several stages and leave blobs, with their shardings.
async fn with_blobs(client: &Client) -> Vec<(&'static str, Vec<Value>)> {
    let keep = async |bytes: Vec<u8>| {
        let digest = Digest::of(&bytes).to_string();
        put(client, &digest, bytes).await;
        digest
    };
    let size = if is_full() { 512 } else { 192 };
    let wave = |i: usize, j: usize| ((i * 31 + j * 17) % 101) as f64 / 7.0 - 6.5;
    let matrix = keep(npy(size, size, wave)).await;
    // Heavy on its diagonal, so that it has a factor.
    let definite = keep(npy(size, size, |i, j| if i == j { 900.0 } else { wave(i.min(j), i.max(j)) / 50.0 })).await;
    let field = keep(npy(48, 400, |i, j| (i as f64 * 0.3).sin() * (j as f64 * 0.05).cos() + wave(i, j) / 90.0)).await;
    let tiles = |spec: Value| -> Vec<Value> {
        let cut = |tile: Value| {
            let mut spec = spec.clone();
            spec["tile"] = tile;
            json!({"kind": "blas", "spec": spec})
        };
        [json!([17, 23]), json!([64, 64]), json!([size, 5]), json!([40, 40])].into_iter().map(cut).collect()
    };
    let climate = json!({"kind": "climate_pca", "spec": {"members": [field], "layout": "npy", "var": null, "lat": null,
        "weights": "none", "modes": 3, "mask": "nan", "outputs": ["eigenvalues", "eofs", "pcs"]}});
    let square = |tile: usize| json!({"kind": "blas", "spec": {"op": "cholesky", "dtype": "f64", "A": definite, "tile": [tile, tile]}});
    vec![
        ("gemm", tiles(json!({"op": "gemm", "dtype": "f64", "A": matrix, "B": definite, "alpha": 0.3}))),
        ("cholesky", [16, 48, 64, 31].into_iter().map(square).collect()),
        (
            "climate_pca",
            [json!(null), json!(64), json!(97), json!(400)].into_iter().map(|n| cut(climate.clone(), n)).collect(),
        ),
    ]
}

#[tokio::test]
async fn who_died_does_not_show_where_blobs_lie_between_the_shards() {
    let mut one = House::found().await;
    one.agents(1, 2).await;
    let client = one.client();
    let mut references = Vec::new();
    for (name, jobs) in with_blobs(&client).await {
        references.push((name, run(&one, jobs[0].clone()).await));
    }
    drop(one);

    let mut three = House::of_three().await;
    let mut agents = three.agents(4, 1).await;
    let client = three.client();
    let cases = with_blobs(&client).await;
    // All shardings of all families at once: results come in whatever order there is.
    let mut submitted = Vec::new();
    for (name, jobs) in cases {
        for job in jobs {
            submitted.push((name, Job::submit(&client, job).await));
        }
    }
    let under_way = &submitted[1].1;
    until("a job is under way", async || (under_way.verified(&client).await >= 2).then_some(())).await;
    three.kill_agent(&agents.remove(0)).await;
    let leader = three.leader().await;
    three.kill(&leader).await;
    let client = three.client();
    for (name, job) in submitted {
        let reference = references.iter().find(|(n, _)| *n == name).expect("each has a reference");
        assert_eq!(job.result(&client).await, reference.1, "{name}");
    }
}
