//! Pages.

use forge_tests::*;
use serde_json::{Value, json};
use std::collections::BTreeSet;

#[tokio::test]
async fn pages_show_every_job_once_also_while_more_are_submitted() {
    let house = House::found().await;
    let client = house.client();
    let mut all = Vec::new();
    for _ in 0..7 {
        all.push(Job::submit(&client, null(1, 0)).await.id);
    }
    let mut seen: Vec<String> = Vec::new();
    let mut path = "/v1/jobs?limit=3&order=asc".to_owned();
    loop {
        let page = client.get(&path).await.is(200).json();
        let ids = page["data"].as_array().expect("a list").iter().filter_map(|j| j["id"].as_str());
        seen.extend(ids.map(str::to_owned));
        assert!(page["as_of_index"].is_u64());
        let Some(token) = page["next_page_token"].as_str() else { break };
        if seen.len() == 3 {
            all.push(Job::submit(&client, null(1, 0)).await.id);
        }
        path = format!("/v1/jobs?limit=3&order=asc&page_token={token}");
    }
    assert_eq!(seen, all);
}

#[tokio::test]
async fn a_page_token_is_bound_to_its_list() {
    let house = House::found().await;
    let client = house.client();
    for _ in 0..3 {
        Job::submit(&client, null(1, 0)).await;
    }
    let token = client.get("/v1/jobs?limit=1").await.is(200).text("next_page_token");
    client.get(&format!("/v1/jobs?limit=2&page_token={token}")).await.is(200);
    for path in [
        format!("/v1/jobs?limit=1&state=running&page_token={token}"),
        format!("/v1/jobs?limit=1&order=asc&page_token={token}"),
        format!("/v1/agents?limit=1&page_token={token}"),
        format!("/v1/jobs?limit=1&page_token={token}0"),
        "/v1/jobs?limit=1&page_token=00000000000000000000000000000001".to_owned(),
    ] {
        assert_eq!(client.get(&path).await.is(400).problem(), "invalid-request", "{path}");
    }
}

#[tokio::test]
async fn filters_choose_by_state_kind_and_label() {
    let mut house = House::found().await;
    let client = house.client();
    let mut labelled = null(1, 0);
    labelled["labels"] = json!({"team": "ocean"});
    let ocean = Job::submit(&client, labelled).await.id;
    let waiting = Job::submit(&client, null(1, 0)).await;
    let ids = async |query: &str| -> Vec<String> {
        let page = client.get(&format!("/v1/jobs?{query}")).await.is(200).json();
        page["data"].as_array().expect("a list").iter().filter_map(|j| j["id"].as_str().map(str::to_owned)).collect()
    };
    assert_eq!(ids("label.team=ocean").await, std::slice::from_ref(&ocean));
    assert_eq!(ids("kind=monte_carlo").await, Vec::<String>::new());
    house.agents(1, 1).await;
    waiting.ended(&client).await;
    Job { id: ocean }.ended(&client).await;
    assert_eq!(ids("state=succeeded").await.len(), 2);
    assert_eq!(ids("state=running,queued").await.len(), 0);
    let summary = client.get("/v1/jobs/summary").await.is(200).json();
    assert!(summary.to_string().contains("\"succeeded\":2"), "{summary}");
}

/// What tells an object of a list from the others.
fn mark(object: &Value) -> String {
    let named = ["id", "account", "index"].iter().find(|f| !object[f].is_null()).expect("an object has a name");
    object[named].to_string()
}

/// All objects of a list, two a page.
async fn walk(client: &Client, path: &str, order: &str) -> Vec<String> {
    let mut seen = Vec::new();
    let first = format!("{path}{}limit=2&order={order}", if path.contains('?') { '&' } else { '?' });
    let mut next = first.clone();
    loop {
        let page = client.get(&next).await.is(200).json();
        let data = page["data"].as_array().expect("a list");
        assert!(data.len() <= 2 && page["as_of_index"].is_u64(), "{page}");
        seen.extend(data.iter().map(mark));
        let Some(token) = page["next_page_token"].as_str() else { return seen };
        next = format!("{first}&page_token={token}");
    }
}

#[tokio::test]
async fn every_list_gives_all_it_has_page_by_page_in_either_order() {
    let mut house = House::found().await;
    let client = house.client();
    for name in ["a", "b", "c"] {
        let project = house.project(name).await;
        house.key(&project, &["jobs:read"]).await;
        let credits = json!({"amount": "1.000000", "reference": name});
        client.post(&format!("/v1/projects/{project}/credits"), credits).await.is(201);
        client.post("/v1/providers", json!({"name": name})).await.is(201);
        Job::submit(&client, null(1, 0)).await;
    }
    house.agents(3, 1).await;
    let job = Job::submit(&client, null(5, 0)).await;
    job.result(&client).await;
    let end = client.get("/v1/jobs").await.index();
    let lists = [
        ("/v1/jobs".to_owned(), 4),
        (format!("/v1/jobs/{}/shards", job.id), 5),
        (format!("/v1/jobs/{}/shards?state=verified,running", job.id), 5),
        (format!("/v1/jobs/{}/shards?state=queued", job.id), 0),
        (format!("/v1/jobs/{}/events", job.id), 8),
        ("/v1/events?type=project.*,key.*".to_owned(), 8),
        (format!("/v1/log?from=3&to={end}"), end as usize - 2),
        ("/v1/projects".to_owned(), 4),
        ("/v1/projects?name=b".to_owned(), 1),
        ("/v1/keys".to_owned(), 4),
        ("/v1/keys?state=revoked".to_owned(), 0),
        ("/v1/keys?label=test&state=live".to_owned(), 3),
        ("/v1/providers".to_owned(), 4),
        ("/v1/agents".to_owned(), 3),
        ("/v1/agents?region=nowhere".to_owned(), 0),
        ("/v1/ledger/accounts?all=true".to_owned(), 5),
    ];
    for (path, least) in lists {
        let (mut up, down) = (walk(&client, &path, "asc").await, walk(&client, &path, "desc").await);
        assert!(up.len() >= least && (least > 1 || up.len() == least), "{path}: {up:?}");
        assert_eq!(up.iter().collect::<BTreeSet<_>>().len(), up.len(), "{path} gives nothing twice");
        up.reverse();
        assert_eq!(up, down, "{path}");
        let other = client.get(&format!("{path}{}limit=501", if path.contains('?') { '&' } else { '?' })).await;
        assert_eq!(other.is(400).problem(), "invalid-request", "{path}");
    }
}
