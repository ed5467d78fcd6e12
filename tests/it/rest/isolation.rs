//! One project cannot see, list or touch another's objects, nor learn whether they exist.

use forge_tests::*;
use reqwest::Method;
use serde_json::{Value, json};

/// What a client's key has.
const CLIENT: [&str; 4] = ["jobs:read", "jobs:write", "blobs", "ledger:read"];

/// Every route with an id in it that a project can own, filled in.
async fn routes_to(house: &House, job: &str, project: &str, key: &str) -> Vec<(Method, String)> {
    let description = house.client().get("/openapi.json").await.is(200).json();
    let mut found = Vec::new();
    for (path, item) in description["paths"].as_object().expect("a description has paths") {
        let id = match path.split('/').nth(2) {
            Some("jobs") => job.to_owned(),
            Some("shards") => format!("{job}.0"),
            Some("projects") => project.to_owned(),
            Some("keys") => key.to_owned(),
            _ => continue,
        };
        if path.contains("{id}") {
            let methods = item.as_object().into_iter().flatten().filter_map(|(m, _)| m.to_uppercase().parse().ok());
            found.extend(methods.map(|m: Method| (m, path.replace("{id}", &id))));
        }
    }
    found
}

/// A problem without what differs from request to request.
fn gist(answer: &Answer, id: &str) -> Value {
    let mut body = answer.json();
    for field in ["request_id", "log_index"] {
        body[field] = Value::Null;
    }
    serde_json::from_str(&body.to_string().replace(id, "ID")).expect("it stays JSON")
}

#[tokio::test]
async fn foreign_objects_and_missing_ones_look_the_same_on_every_route() {
    let mut house = House::found().await;
    house.agents(1, 1).await;
    let admin = house.client();
    let job = Job::submit(&admin, null(3, 0)).await;
    job.ended(&admin).await;
    let other = house.project("other").await;
    let mine = house.key(&other, &CLIENT).await;
    let stranger = admin.with_key(&mine);
    let admin_id = admin.key.split('_').nth(2).expect("a key names itself").to_owned();

    let foreign = routes_to(&house, &job.id, PROJECT, &admin_id).await;
    let missing = routes_to(&house, "j999999", "p999999", "k999999").await;
    assert!(foreign.len() >= 10, "{foreign:?}");
    for ((method, there), (_, nowhere)) in foreign.iter().zip(&missing) {
        let body = (*method == Method::POST).then(|| json!({}));
        let seen = stranger.send(method.clone(), there, &[], body.clone()).await;
        let unseen = stranger.send(method.clone(), nowhere, &[], body).await;
        // Without a scope the answer is 403 for every id; with it, 404.
        assert!(
            matches!((seen.status, seen.problem().as_str()), (404, "not-found") | (403, "forbidden")),
            "{method} {there}"
        );
        let at = |path: &str| path.split('/').nth(3).expect("the id").to_owned();
        assert_eq!(gist(&seen, &at(there)), gist(&unseen, &at(nowhere)), "{method} {there} tells that it exists");
        let owned =
            there.starts_with("/v1/jobs") || there.starts_with("/v1/shards") || there.starts_with("/v1/projects");
        assert!(!owned || seen.status == 404, "{method} {there}");
    }
}

#[tokio::test]
async fn lists_streams_and_books_show_the_own_project_only() {
    let mut house = House::found().await;
    house.agents(1, 1).await;
    let admin = house.client();
    let job = Job::submit(&admin, null(3, 0)).await;
    job.ended(&admin).await;
    let other = house.project("other").await;
    let stranger = admin.with_key(&house.key(&other, &CLIENT).await);

    assert_eq!(stranger.get("/v1/jobs").await.is(200).json()["data"], json!([]));
    let events = stranger.get("/v1/events").await.is(200).json();
    let births = events["data"].as_array().expect("a list").iter().filter_map(|e| e["type"].as_str());
    let births: Vec<&str> = births.collect();
    assert_eq!(births, ["hub.forge.project.created.v1", "hub.forge.key.created.v1"], "its own birth and its key's");
    let summary = stranger.get("/v1/jobs/summary").await.is(200);
    assert!(
        !String::from_utf8_lossy(&summary.bytes).contains('1') || summary.json()["states"].is_null(),
        "{}",
        summary.json()
    );
    let projects = stranger.get("/v1/projects").await.is(200).json();
    assert_eq!(projects["data"].as_array().map(Vec::len), Some(1), "{projects}");
    let books = stranger.get("/v1/ledger/accounts").await.is(200).json();
    let accounts = books["data"].as_array().expect("a list").iter().filter_map(|a| a["account"].as_str());
    assert!(accounts.clone().all(|a| a == format!("project:{other}:available")), "{books}");
    assert_eq!(stranger.get("/v1/ledger/accounts?all=true").await.status, 403);
    assert_eq!(stranger.get(&format!("/v1/events?subject={}", job.id)).await.is(404).problem(), "not-found");
    for path in ["/v1/log", "/v1/log/1", "/v1/log/export", "/v1/state/digest", "/v1/cluster", "/v1/agents", "/v1/keys"]
    {
        assert_eq!(stranger.get(path).await.is(403).problem(), "forbidden", "{path}");
    }
    for path in ["/v1/jobs", "/v1/jobs/summary", "/v1/events", "/v1/ledger/accounts"] {
        let asked = stranger.get(&format!("{path}?project={PROJECT}")).await;
        assert_eq!(asked.is(404).problem(), "not-found", "{path}");
    }
    let there = stranger.post(&format!("/v1/jobs?project={PROJECT}"), null(1, 0)).await;
    assert_eq!(there.is(404).problem(), "not-found");
}

#[tokio::test]
async fn an_idempotency_key_belongs_to_the_key_that_used_it() {
    let house = House::found().await;
    let admin = house.client();
    let other = house.project("other").await;
    let stranger = admin.with_key(&house.key(&other, &CLIENT).await);
    let mine = admin.post_once("/v1/jobs", "same-words", null(2, 0)).await.is(201);
    let theirs = stranger.post_once("/v1/jobs", "same-words", null(3, 0)).await;
    assert!(theirs.header("idempotency-replayed").is_none());
    assert_ne!(theirs.is(201).text("id"), mine.text("id"));
}
