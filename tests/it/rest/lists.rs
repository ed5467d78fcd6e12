//! Pages.

use forge_tests::*;
use serde_json::json;

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
