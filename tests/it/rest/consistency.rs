//! What an answer reflects.

use forge_tests::*;
use reqwest::Method;
use serde_json::json;

#[tokio::test]
async fn an_answer_says_which_state_it_reflects() {
    let house = House::found().await;
    let client = house.client();
    let before = client.get("/v1/jobs").await.index();
    let written = client.post("/v1/jobs", null(1, 0)).await.is(201);
    let born: u64 = written.text("id")[1..].parse().expect("an id is a position");
    assert!(born > before && written.index() >= born);
    assert_eq!(written.json()["created_index"], born);
    let read = client.get("/v1/jobs").await.is(200);
    assert!(read.index() >= written.index() && read.header("forge-age-ms").is_none());
    let local = client.get("/v1/jobs?consistency=local").await.is(200);
    assert!(local.header("forge-age-ms").is_some_and(|ms| ms.parse::<u64>().is_ok()));
}

#[tokio::test]
async fn a_node_that_cannot_reach_the_index_asked_for_says_so() {
    let house = House::found().await;
    let client = house.client();
    let here = client.get("/v1/jobs").await.index();
    let ask = async |index: u64, path: &str| {
        client.send(Method::GET, path, &[("forge-min-index", &index.to_string())], None).await
    };
    ask(here, "/v1/jobs").await.is(200);
    ask(here, "/v1/state/digest").await.is(200);
    let behind = ask(here + 1_000_000, "/v1/jobs?consistency=local").await.is(503);
    assert_eq!(behind.problem(), "replica-behind");
}

#[tokio::test]
async fn an_etag_names_a_version_of_a_job() {
    let mut house = House::found().await;
    let client = house.client();
    let job = Job::submit(&client, null(2, 0)).await;
    let path = format!("/v1/jobs/{}", job.id);
    house.agents(1, 1).await;
    job.ended(&client).await;
    let shown = client.get(&path).await.is(200);
    let etag = shown.header("etag").expect("a job has an etag").to_owned();
    assert!(etag.starts_with(&format!("\"{}@", job.id)), "{etag}");
    let same = client.send(Method::GET, &path, &[("if-none-match", &etag)], None).await;
    assert!(same.is(304).bytes.is_empty());
    client.send(Method::GET, &path, &[("if-none-match", "\"j1@1\"")], None).await.is(200);
    let result = client.get(&format!("{path}/result")).await.is(200);
    let digest = result.header("etag").expect("a result has an etag").to_owned();
    let same = client.send(Method::GET, &format!("{path}/result"), &[("if-none-match", &digest)], None).await;
    same.is(304);
}

#[tokio::test]
async fn the_state_digest_names_its_index_and_moves_with_the_state() {
    let house = House::found().await;
    let client = house.client();
    let one = client.get("/v1/state/digest").await.is(200).json();
    assert!(one["digest"].as_str().is_some_and(|d| d.starts_with("blake3:") && d.len() == 71), "{one}");
    assert!(one["parts"]["accounting"].is_string() && one["index"].is_u64(), "{one}");
    let written = client.post("/v1/projects", json!({"name": "x"})).await.is(201).index();
    let two = client.get("/v1/state/digest").await.is(200).json();
    assert!(two["index"].as_u64() >= Some(written));
    assert_ne!(one["digest"], two["digest"]);
    assert_ne!(one["parts"]["projects"], two["parts"]["projects"]);
}
