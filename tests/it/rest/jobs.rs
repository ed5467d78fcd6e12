//! A job's life as its owner sees it.

use forge_event::Digest;
use forge_tests::*;
use reqwest::Method;
use serde_json::{Value, json};

#[tokio::test]
async fn a_job_goes_in_and_its_result_comes_out() {
    let mut house = House::found().await;
    house.agents(2, 2).await;
    let client = house.client();
    let job = Job::submit(&client, null(500, 0)).await;
    assert_eq!(&job.result(&client).await[..], br#"{"kind":"null","format":1,"shards":500}"#);
    let shown = client.get(&format!("/v1/jobs/{}", job.id)).await.json();
    assert_eq!((shown["progress"]["verified"].as_u64(), shown["progress"]["percent"].as_u64()), (Some(500), Some(100)));
    assert_eq!(shown["credits"]["escrow"], "0.000000");
    let books = client.get("/v1/ledger/trial-balance").await.is(200).json();
    assert_eq!(books["sum"], "0.000000");
}

#[tokio::test]
async fn a_plan_commits_nothing_and_a_changed_one_is_refused() {
    let mut house = House::found().await;
    house.agents(1, 2).await;
    let client = house.client();
    let before = client.get("/v1/jobs").await.index();
    let plan = client.post("/v1/plans", call(100_000, json!(500))).await.is(200).json();
    assert_eq!(plan["shards"]["count"], 200);
    assert_eq!(client.get("/v1/jobs").await.json()["data"], json!([]));
    let events = client.get(&format!("/v1/log?from={}", before + 1)).await.is(200).json();
    assert!(!events["data"].to_string().contains("job.submitted"));
    let mut body = call(100_000, json!(500));
    body["expect_plan"] = json!("blake3:0000");
    let changed = client.post("/v1/jobs", body.clone()).await;
    assert_eq!(changed.clone().is(409).problem(), "plan-changed");
    assert_eq!((&changed.json()["actual"], &changed.json()["expected"]), (&plan["digest"], &json!("blake3:0000")));
    body["expect_plan"] = plan["digest"].clone();
    client.post("/v1/jobs", body).await.is(201);
}

#[tokio::test]
async fn progress_over_many_stages_never_falls_and_the_plan_stays_the_first() {
    let mut house = House::found().await;
    house.agents(1, 1).await;
    let client = house.client();
    let definite = npy(96, 96, |i, j| if i == j { 200.0 } else { 1.0 });
    let digest = Digest::of(&definite).to_string();
    put(&client, &digest, definite).await;
    let body = json!({"kind": "blas", "spec": {"op": "cholesky", "dtype": "f64", "A": digest, "tile": [8, 8]}});
    let plan = client.post("/v1/plans", body.clone()).await.is(200).json();
    let job = Job::submit(&client, body).await;
    let (mut least, mut seen) = (0, Vec::new());
    until("it ends", async || {
        let shown = client.get(&format!("/v1/jobs/{}", job.id)).await.is(200).json();
        let listed = client.get("/v1/jobs").await.is(200).json()["data"][0].clone();
        for job in [shown, listed] {
            let percent = job["progress"]["percent"].as_u64().expect("a number");
            assert!(percent >= least, "{percent} after {least}");
            assert_eq!(percent == 100, job["state"] == "succeeded", "{job}");
            assert!(job["plan_digest"].is_null() || job["plan_digest"] == plan["digest"], "{job}");
            least = percent;
            seen.push(percent);
        }
        (least == 100).then_some(())
    })
    .await;
    assert!(seen.iter().any(|percent| (1..100).contains(percent)), "{seen:?}");
}

#[tokio::test]
async fn a_cancelled_job_is_cancelled_when_the_answer_comes() {
    let mut house = House::found().await;
    let client = house.client();
    let job = Job::submit(&client, null(100_000, 1000)).await;
    let path = format!("/v1/jobs/{}", job.id);
    assert_eq!(client.get(&format!("{path}/result")).await.is(409).problem(), "not-finished");
    house.agents(1, 2).await;
    until("some shard is done", async || (job.verified(&client).await > 0).then_some(())).await;
    let cancelled = client.post(&format!("{path}/cancel"), json!({"reason": "enough"})).await.is(200);
    assert_eq!(cancelled.text("state"), "cancelled");
    let events = client.get(&format!("{path}/events?type=job.cancelled")).await.is(200).json();
    assert_eq!(events["data"].as_array().map(Vec::len), Some(1));
    assert_eq!(client.post(&format!("{path}/cancel"), json!({})).await.is(200).text("state"), "cancelled");
    assert_eq!(client.get(&format!("{path}/result")).await.is(409).problem(), "no-result");
    let held = client.get(&path).await.json()["credits"]["escrow"].clone();
    assert_eq!(held, "0.000000");
    let other = Job::submit(&client, null(1, 0)).await;
    other.ended(&client).await;
    let late = client.post(&format!("/v1/jobs/{}/cancel", other.id), json!({})).await.is(409);
    assert_eq!(late.problem(), "invalid-transition");
}

#[tokio::test]
async fn a_project_without_credits_is_told_the_numbers() {
    let mut house = House::found().await;
    house.agents(1, 1).await;
    let poor = house.project("poor").await;
    let admin = house.client();
    let client = admin.with_key(&house.key(&poor, &["jobs:read", "jobs:write"]).await);
    let job = client.post("/v1/jobs", call(100_000, json!(100))).await;
    // Refused at the door, or failed once its plan is known: never run.
    match job.status {
        201 => {
            let ended = Job { id: job.text("id") }.ended(&client).await;
            assert_eq!(
                (ended["state"].as_str(), ended["error"]["code"].as_str()),
                (Some("failed"), Some("quota-exceeded"))
            );
        }
        _ => assert_eq!(job.is(409).problem(), "quota-exceeded"),
    }
    let mut capped = call(100_000, json!(100));
    capped["limits"] = json!({"max_credits": "0.000001"});
    let capped = Job::submit(&admin, capped).await.ended(&admin).await;
    assert_eq!(capped["error"]["code"], "quota-exceeded", "{capped}");
}

#[tokio::test]
async fn a_project_keeps_to_its_quota() {
    let mut house = House::found().await;
    house.agents(1, 8).await;
    let admin = house.client();
    let path = format!("/v1/projects/{PROJECT}/quota");
    let first = admin.get(&path).await.is(200);
    assert_eq!((&first.json()["limits"]["shards"], &first.json()["used"]["shards"]), (&json!(null), &json!(0)));
    let seen = first.header("etag").expect("a tag").to_owned();
    let set = |body: Value, etag: &str| {
        let (admin, path, etag) = (&admin, &path, etag.to_owned());
        async move { admin.send(Method::PUT, path, &[("if-match", &*etag)], Some(body)).await }
    };
    let quota =
        json!({"credits": null, "shards": 2, "blob_bytes": 10, "blob_count": null, "vmem_bytes": null, "uploads": 3});
    let changed = set(quota.clone(), &seen).await.is(200);
    assert_eq!((&changed.json()["quota"], &changed.json()["limits"]["uploads"]), (&quota, &json!(3)));
    assert_eq!(set(json!({}), &seen).await.is(412).problem(), "stale-etag");
    let wrong = set(json!({"shards": -1, "upload": 1}), "*").await.is(422).json();
    let faults = wrong["errors"].as_array().expect("a list").iter().map(|fault| fault["pointer"].clone());
    assert_eq!(Value::from_iter(faults), json!(["#/upload", "#/shards"]), "{wrong}");
    let client = admin.with_key(&house.key(PROJECT, &["jobs:read", "jobs:write", "blobs"]).await);
    let own = client.send(Method::PUT, &path, &[], Some(quota)).await.is(403);
    assert_eq!(own.problem(), "forbidden");

    let blob = b"eleven bytes".to_vec();
    let digest = Digest::of(&blob).to_string();
    let refused = client.try_send(Method::PUT, &format!("/v1/blobs/{digest}"), &[], Some(blob)).await;
    assert_eq!(refused.expect("an answer").is(409).problem(), "quota-exceeded");
    set(json!({"shards": 2, "uploads": 0}), "*").await.is(200);
    let digest = Digest::of(b"small").to_string();
    let refused = client.try_send(Method::PUT, &format!("/v1/blobs/{digest}"), &[], Some(b"small".to_vec())).await;
    assert_eq!(refused.expect("an answer").is(429).problem(), "rate-limited");
    let job = Job::submit(&client, null(6, 50_000)).await;
    let waits = until("two shards are under way", async || {
        let used = client.get(&path).await.is(200).json()["used"]["shards"].as_u64();
        let why = client.get(&format!("/v1/shards/{}.5/explain", job.id)).await;
        (used == Some(2) && why.status == 200).then(|| why.json()["decisive"]["code"].clone())
    });
    assert_eq!(waits.await, "project-limit");
    job.result(&client).await;
    assert_eq!(client.get(&path).await.is(200).json()["used"]["shards"], 0);
}

#[tokio::test]
async fn a_deadline_ends_a_job_that_waits() {
    let house = House::found().await;
    let client = house.client();
    let mut body = null(5, 0);
    body["limits"] = json!({"deadline": "1s"});
    body["allow_wait"] = json!(true);
    let ended = Job::submit(&client, body).await.ended(&client).await;
    assert_eq!(ended["state"], "failed", "{ended}");
    assert_eq!(ended["credits"]["escrow"], "0.000000");
}

#[tokio::test]
async fn explain_says_why_nothing_runs() {
    let house = House::found().await;
    let client = house.client();
    let mut body = null(5, 0);
    body["allow_wait"] = json!(true);
    let job = Job::submit(&client, body).await;
    let path = format!("/v1/jobs/{}/explain", job.id);
    let why = until("the job is planned and waits", async || {
        let why = client.get(&path).await.is(200).json();
        (why["state"] == "queued").then_some(why)
    })
    .await;
    assert!(why["headline"].is_string() && why["funnel"].is_array() && why["decisive"]["code"].is_string(), "{why}");
    let shard = client.get(&format!("/v1/shards/{}.0/explain", job.id)).await.is(200).json();
    assert_eq!(shard["subject"], format!("{}.0", job.id));
    let job = client.get(&format!("/v1/jobs/{}", job.id)).await.json();
    assert!(job["waiting_reason"]["code"].is_string(), "{job}");
}

#[tokio::test]
async fn a_waiting_read_answers_when_the_job_ends_or_the_time_passes() {
    let mut house = House::found().await;
    let client = house.client();
    let job = Job::submit(&client, null(20, 0)).await;
    let path = format!("/v1/jobs/{}", job.id);
    let passed = client.get(&format!("{path}?wait=1s&until=terminal")).await.is(200);
    assert_eq!(
        (passed.json()["meta"]["timed_out"].as_bool(), passed.header("preference-applied")),
        (Some(true), Some("wait=1"))
    );
    house.agents(1, 1).await;
    let headers = [("prefer", "wait=30")];
    let ended = client.send(Method::GET, &format!("{path}?until=terminal"), &headers, None).await.is(200);
    assert_eq!((ended.text("state").as_str(), ended.json()["meta"]["timed_out"].as_bool()), ("succeeded", Some(false)));
}

#[tokio::test]
async fn a_job_is_cancelled_only_as_the_caller_saw_it() {
    let house = House::found().await;
    let client = house.client();
    let id = Job::submit(&client, null(4, 0)).await.id;
    let path = format!("/v1/jobs/{id}/cancel");
    let stale = [("if-match", "\"j1-0\"")];
    let refused = client.send(reqwest::Method::POST, &path, &stale, Some(json!({}))).await.is(412);
    assert_eq!(refused.problem(), "stale-etag");
    // Without agents nothing changes once it waits.
    let etag = until("the job waits", async || {
        let job = client.get(&format!("/v1/jobs/{id}")).await;
        (job.json()["state"] == "queued").then(|| job.header("etag").expect("a tag").to_owned())
    })
    .await;
    client.send(reqwest::Method::POST, &path, &[("if-match", &etag)], Some(json!({}))).await.is(200);
}

#[tokio::test]
async fn what_the_contract_has_and_this_version_not_says_so() {
    let house = House::found().await;
    let client = house.client();
    for path in ["/v1/agents/a7/sandbox", "/v1/jobs/j7/retry", "/v1/jobs/j7/pause", "/v1/ledger/transfers"] {
        assert_eq!(client.post(path, json!({})).await.is(422).problem(), "not-yet");
    }
    let patched = client.send(Method::PATCH, "/v1/jobs/j7", &[], Some(json!({}))).await;
    assert_eq!(patched.is(422).problem(), "not-yet");
}
