//! A result's bytes depend on the spec and on nothing that happened.

mod jobs;

use bytes::Bytes;
use forge_adapters::Registry;
use forge_projections::replay::{Options, Verifier};
use forge_tests::*;
use jobs::{Case, cases, cut, storms};
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

/// One job whose results are inline, and one whose results lie in blobs; each is a single shard, as its family allows up to
/// 262,144 storms a shard.
#[tokio::test]
async fn a_shard_goes_on_where_an_agent_that_died_left_it() {
    let mut house = House::found().await;
    house.agents(3, 1).await;
    let client = house.client();
    let (samples, members): (u64, u64) = if is_full() { (400_000_000, 200_000) } else { (8_000_000, 8_000) };
    let cases = [(of_many(samples), samples), (storms(&client, members).await, members + 1)];
    let mut jobs = Vec::new();
    for (body, cells) in &cases {
        jobs.push(Job::submit(&client, cut(body.clone(), json!(cells))).await);
    }
    let events = async |job: &Job, kind: &str| {
        let path = format!("/v1/jobs/{}/events?type={kind}", job.id);
        client.get(&path).await.is(200).json()["data"].as_array().expect("a list").clone()
    };
    for job in &jobs {
        let agent = until("its only shard left a checkpoint", async || {
            events(job, "checkpoint.received").await.first()?["data"]["agent"].as_str().map(str::to_owned)
        });
        house.kill_agent(&agent.await).await;
    }
    for (job, (body, cells)) in jobs.iter().zip(&cases) {
        let result = job.result(&client).await;
        let left = events(job, "checkpoint.received").await;
        let of_first = left.iter().filter(|event| event["data"]["attempt"] == 1);
        let resumed = events(job, "shard.resumed").await;
        let from = resumed.first().and_then(|event| event["data"]["from"].as_u64());
        assert!(from.is_some_and(|from| from >= cells / 16), "{resumed:?}");
        let last = of_first.filter_map(|event| event["data"]["cells"].as_u64()).max();
        assert_eq!(from, last, "it goes on behind the last one");
        let again = run(&house, cut(body.clone(), json!(cells.div_ceil(8)))).await;
        assert_eq!(again, result, "to the bits of a run in eight shards");
    }
    let log = house.export(&client).await;
    let report = Verifier::new(&log, &Registry, Options { recheck: true, ..Options::default() }).finish();
    assert_eq!(report.fault, None, "the checkpoints of the log pass their checks again");
}

/// Each family's jobs in every sharding. One sharding of each comes first, and the leader is killed once the documents of
/// all of these are made and none is recorded; the others then come at once, and an agent dies in the middle of a shard.
#[tokio::test]
async fn who_died_does_not_show_in_any_family() {
    let mut one = House::found().await;
    one.agents(2, 1).await;
    let client = one.client();
    let mut references = Vec::new();
    for Case { name, jobs } in cases(&client).await {
        references.push((name, run(&one, jobs[0].clone()).await));
    }
    drop(one);

    let mut three = House::of_three().await;
    let mut agents = three.agents(4, 1).await;
    let leader = three.leader().await;
    three.hold_reductions(&leader);
    let client = three.client();
    let cases = cases(&client).await;
    let mut submitted = Vec::new();
    for Case { name, jobs } in &cases {
        submitted.push((*name, Job::submit(&client, jobs[1].clone()).await));
    }
    for (name, job) in &submitted {
        let reduction = format!("{}:reduce:1", job.id);
        until(&format!("{name} is reduced"), async || three.held(&leader).contains(&reduction).then_some(())).await;
        let state = client.get(&format!("/v1/jobs/{}", job.id)).await.is(200).text("state");
        assert_eq!(state, "reducing", "{name}");
    }
    three.kill(&leader).await;
    three.leader().await;

    let client = three.client();
    for Case { name, jobs } in &cases {
        for job in jobs {
            submitted.push((*name, Job::submit(&client, job.clone()).await));
        }
    }
    let dying = agents.remove(0);
    until("an agent that will die is at work", async || {
        let agent = client.get(&format!("/v1/agents/{dying}")).await.is(200).json();
        agent["leases"].as_u64().filter(|leases| *leases > 0)
    })
    .await;
    three.kill_agent(&dying).await;
    for (name, job) in submitted {
        let reference = references.iter().find(|(n, _)| *n == name).expect("each has a reference");
        assert_eq!(job.result(&client).await, reference.1, "{name}");
    }
}
