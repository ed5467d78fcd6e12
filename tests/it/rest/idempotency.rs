//! A request with a key is applied once, however often it is sent.

use forge_tests::*;
use serde_json::json;

#[tokio::test]
async fn a_replay_gives_the_first_answer_to_the_byte() {
    let mut house = House::found().await;
    let client = house.client();
    let first = client.post_once("/v1/jobs", "a-b-c", null(4, 0)).await.is(201);
    let id = first.text("id");
    assert_eq!(first.header("location"), Some(format!("/v1/jobs/{id}").as_str()));
    assert!(first.header("idempotency-replayed").is_none());
    house.agents(1, 1).await;
    Job { id: id.clone() }.ended(&client).await;
    // The job has ended meanwhile; the replay shows it as of its birth.
    let again = client.post_once("/v1/jobs", "a-b-c", null(4, 0)).await.is(201);
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(again.bytes, first.bytes);
    assert_eq!(client.get("/v1/jobs").await.json()["data"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn the_order_of_fields_is_not_another_request_but_another_value_is() {
    let house = House::found().await;
    let client = house.client();
    let first = client.post_once("/v1/projects", "k", json!({"name": "x", "weight": 7})).await.is(201);
    let headers = [("idempotency-key", "k")];
    let swapped = Some(br#" {"weight":7, "name":"x"} "#.to_vec());
    let swapped = client.try_send(reqwest::Method::POST, "/v1/projects", &headers, swapped).await;
    assert_eq!(swapped.expect("the door answers").is(201).text("id"), first.text("id"));
    let other = client.post_once("/v1/projects", "k", json!({"name": "y", "weight": 7})).await.is(422);
    assert_eq!(other.problem(), "idempotency-key-reuse");
    let elsewhere = client.post_once("/v1/providers", "k", json!({"name": "x"})).await.is(422);
    assert_eq!(elsewhere.problem(), "idempotency-key-reuse");
}

#[tokio::test]
async fn a_refused_request_leaves_its_key_free() {
    let house = House::found().await;
    let poor = house.project("poor").await;
    let client = house.client().with_key(&house.key(&poor, &["jobs:read", "jobs:write"]).await);
    client.post_once("/v1/jobs", "k", json!({"kind": "null", "spec": {"shards": 0}})).await.is(422);
    client.post_once("/v1/jobs", "k", null(2, 0)).await.is(201);
}

#[tokio::test]
async fn forty_at_once_make_one_job() {
    let house = House::found().await;
    let client = house.client();
    let all = futures::future::join_all((0..40).map(|_| client.post_once("/v1/jobs", "crowd", null(2, 0)))).await;
    let mut ids = Vec::new();
    for answer in all {
        match answer.status {
            201 => ids.push(answer.text("id")),
            _ => assert_eq!(answer.is(409).problem(), "idempotency-in-flight"),
        }
    }
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 1);
    assert_eq!(client.get("/v1/jobs").await.json()["data"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn keys_survive_the_death_of_the_node() {
    let mut house = House::found().await;
    let first = house.client().post_once("/v1/jobs", "k", null(2, 0)).await.is(201);
    house.kill("n1").await;
    house.restart("n1").await;
    house.leader().await;
    let again = house.client().post_once("/v1/jobs", "k", null(2, 0)).await.is(201);
    assert_eq!((again.bytes.clone(), again.header("idempotency-replayed")), (first.bytes, Some("true")));
}

#[tokio::test]
async fn a_cancellation_is_replayed_too() {
    let house = House::found().await;
    let client = house.client();
    let path = format!("/v1/jobs/{}/cancel", Job::submit(&client, null(4, 0)).await.id);
    let first = client.post_once(&path, "stop", json!({"reason": "a"})).await.is(200);
    assert!(first.header("idempotency-replayed").is_none());
    let again = client.post_once(&path, "stop", json!({"reason": "a"})).await.is(200);
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    let other = client.post_once(&path, "stop", json!({"reason": "b"})).await.is(422);
    assert_eq!(other.problem(), "idempotency-key-reuse");
}

#[tokio::test]
async fn an_agent_is_drained_once() {
    let mut house = House::found().await;
    let agent = house.agents(1, 1).await.remove(0);
    let client = house.client();
    let path = format!("/v1/agents/{agent}/drain");
    let first = client.post_once(&path, "out", json!({})).await.is(200);
    assert_eq!(first.text("state"), "draining");
    let again = client.post_once(&path, "out", json!({})).await.is(200);
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
}
