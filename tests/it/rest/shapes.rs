//! Shapes that the contract fixes: plans, shards with their attempts, members.

use forge_tests::*;
use serde_json::{Value, json};

#[tokio::test]
async fn a_plan_says_what_it_costs_how_long_it_takes_and_who_cannot_help() {
    let mut house = House::found().await;
    let client = house.client();
    let alone = client.post("/v1/plans", null(8, 500_000)).await.is(200).json();
    assert_eq!((&alone["eta"], &alone["rejected_agents"]), (&Value::Null, &json!([])));
    let agents = house.agents(2, 2).await;
    let plan = client.post("/v1/plans", null(8, 500_000)).await.is(200).json();
    let (p50, p95) = (&plan["shards"]["est_seconds"]["p50"], &plan["shards"]["est_seconds"]["p95"]);
    assert!(p50.as_f64() >= Some(0.5) && p95.as_f64() >= p50.as_f64(), "{plan}");
    assert_eq!(plan["replication"], json!({"floor": 0.0, "expected_overhead": 0.0}));
    // Eight shards on four slots: two rounds of half a second.
    for percentile in ["p50", "p95"] {
        let eta = plan["eta"][percentile].as_str().and_then(|t| t.strip_suffix("ms")).and_then(|t| t.parse().ok());
        assert!(eta >= Some(1000u64), "{plan}");
    }
    assert_eq!((plan["capacity"]["matching_agents"].as_u64(), &plan["rejected_agents"]), (Some(2), &json!([])));
    assert!(plan["digest"].is_string() && plan["credits"]["low"].is_string() && plan["warnings"].is_array());
    let mut far = null(8, 0);
    far["requirements"] = json!({"regions": ["nowhere"]});
    let far = client.post("/v1/plans", far).await.is(200).json();
    let expected: Vec<Value> = agents.iter().map(|a| json!({"agent": a, "code": "region"})).collect();
    assert_eq!(far["rejected_agents"], Value::from(expected));
    let plain = client.with_key(&house.key(PROJECT, &["jobs:read"]).await);
    let mut gpu = null(8, 0);
    gpu["requirements"] = json!({"gpu": "h100"});
    let gpu = plain.post("/v1/plans", gpu).await.is(200).json();
    let nameless = json!({"agent": null, "code": "gpu"});
    assert_eq!(gpu["rejected_agents"], json!([nameless, nameless]), "a client does not learn whose agents there are");
    // What a job shows of itself, and what is learnt from it.
    assert_eq!(plan["shards"]["est_basis"], "model");
    let job = Job::submit(&client, null(8, 100_000)).await;
    let keeps = |project: Value| project["vmem"]["charged_bytes"].as_u64().filter(|bytes| *bytes > 0).map(|_| project);
    let project = format!("/v1/projects/{PROJECT}");
    let project = until("it is charged", async || keeps(client.get(&project).await.is(200).json())).await;
    assert!(project["vmem"]["used_bytes"].as_u64() <= project["vmem"]["charged_bytes"].as_u64(), "{project}");
    assert_eq!(project["vmem"]["budget_bytes"], 256 << 20);
    job.result(&client).await;
    let shown = client.get(&format!("/v1/jobs/{}", job.id)).await.is(200).json();
    assert_eq!(shown["metadata"], json!({"payload_bytes": 0, "shards": 8, "sleep_us": 100_000}));
    let plan = client.post("/v1/plans", null(8, 500_000)).await.is(200).json();
    assert_eq!(plan["shards"]["est_basis"], "learnt");
    let p50 = plan["shards"]["est_seconds"]["p50"].as_f64();
    assert!(p50 > Some(0.25) && p50 < Some(30.0), "{plan}");
    let agent = client.get(&format!("/v1/agents/{}", agents[0])).await.is(200).json();
    let rate = &agent["rates"][0];
    assert_eq!((rate["kind"].as_str(), &rate["class"]), (Some("null"), &agent["class"]), "{agent}");
    assert!(rate["units_per_second"].as_u64() > Some(0) && rate["grants"].as_u64() > Some(0), "{agent}");
}

#[tokio::test]
async fn a_shard_keeps_its_attempts_when_it_is_verified() {
    let mut house = House::found().await;
    let client = house.client();
    let job = Job::submit(&client, null(60, 20_000)).await;
    let queued = until("the job is planned", async || {
        let answer = client.get(&format!("/v1/shards/{}.7", job.id)).await;
        (answer.status == 200).then(|| answer.json())
    })
    .await;
    assert_eq!((queued["state"].as_str(), &queued["attempts"]), (Some("queued"), &json!([])));
    let lost = house.agents(1, 1).await.remove(0);
    until("work has begun", async || (job.verified(&client).await > 0).then_some(())).await;
    house.kill_agent(&lost).await;
    let heir = house.agents(1, 2).await.remove(0);
    job.result(&client).await;
    let page = client.get(&format!("/v1/jobs/{}/shards?limit=100", job.id)).await.is(200).json();
    let shards = page["data"].as_array().expect("a list");
    assert_eq!(shards.len(), 60);
    for shard in shards {
        let attempts = shard["attempts"].as_array().expect("attempts");
        let last = attempts.last().expect("a verified shard was attempted");
        assert_eq!((shard["state"].as_str(), &shard["agent"]), (Some("verified"), &last["agent"]), "{shard}");
        assert_eq!((last["outcome"].as_str(), last["n"].as_u64()), (Some("accepted"), Some(attempts.len() as u64)));
        assert!(["queued", "started", "finished"].iter().all(|f| last[f].is_string()), "{last}");
        let seconds = &last["seconds"];
        assert!(["queue", "run", "verify"].iter().all(|f| seconds[f].as_f64() >= Some(0.0)), "{last}");
        assert!(["in", "out"].iter().all(|f| seconds.get(*f).is_some_and(Value::is_null)), "{last}");
    }
    // What the dead agent held was given to the other: both attempts stand there, in order.
    let lease_lost = |s: &&Value| s["attempts"][0]["outcome"] == "revoked";
    let twice = shards.iter().find(lease_lost).expect("a lease was lost");
    let of = |n: usize, field: &str| twice["attempts"][n][field].as_str().map(str::to_owned);
    assert_eq!(
        (of(0, "agent"), of(0, "outcome"), of(0, "reason")),
        (Some(lost), Some("revoked".into()), Some("lost".into()))
    );
    assert_eq!((of(1, "agent"), of(1, "outcome")), (Some(heir), Some("accepted".into())));
    let one = client.get(&format!("/v1/shards/{}", twice["id"].as_str().expect("an id"))).await.is(200).json();
    assert_eq!(&one, twice, "the shard alone is shown as in the list");
    assert_eq!(client.get(&format!("/v1/shards/{}.60", job.id)).await.is(404).problem(), "not-found");
}

#[tokio::test]
async fn members_say_how_near_they_are_what_they_run_and_what_room_they_have() {
    let mut house = House::found().await;
    house.grow().await;
    for node in house.running() {
        let client = house.client_of(&node);
        let version = client.get("/version").await.is(200).text("version");
        let members = until("every member showed its card", async || {
            let members = client.get("/v1/cluster").await.is(200).json()["members"].clone();
            let all = members.as_array()?.iter().all(|m| m["version"].is_string());
            all.then_some(members)
        })
        .await;
        for member in members.as_array().expect("members") {
            assert_eq!(member["version"], *version, "{member}");
            assert!(member["disk_free"].as_u64() > Some(0), "{member}");
            assert_eq!(member["rtt_ms"].is_null(), member["id"] == *node, "a node is no way from itself: {member}");
            assert!(member["rtt_ms"].is_null() || member["rtt_ms"].as_f64() > Some(0.0), "{member}");
            assert!(["addr", "role", "state"].iter().all(|f| member[f].is_string()), "{member}");
        }
    }
}
