//! What a body may hold, and what a problem says.

use forge_tests::*;
use reqwest::Method;
use serde_json::json;

#[tokio::test]
async fn every_post_refuses_a_field_it_does_not_know_and_points_at_it() {
    let mut house = House::found().await;
    house.agents(1, 1).await;
    let client = house.client();
    let agent = client.get("/v1/agents").await.json()["data"][0]["id"].as_str().expect("an agent").to_owned();
    let job = Job::submit(&client, null(1, 0)).await.id;
    let posts = [
        ("/v1/projects".to_owned(), json!({"name": "x"})),
        (format!("/v1/projects/{PROJECT}/credits"), json!({"amount": "1.000000"})),
        ("/v1/keys".to_owned(), json!({"label": "x", "scopes": ["jobs:read"]})),
        ("/v1/providers".to_owned(), json!({"name": "x"})),
        ("/v1/agents/enrolments".to_owned(), json!({"provider": "v12"})),
        ("/v1/cluster/members".to_owned(), json!({})),
        ("/v1/cluster/leader/transfer".to_owned(), json!({"node": "n1"})),
        ("/v1/jobs".to_owned(), null(1, 0)),
        ("/v1/plans".to_owned(), null(1, 0)),
        (format!("/v1/jobs/{job}/cancel"), json!({})),
        (format!("/v1/agents/{agent}/drain"), json!({})),
    ];
    for (path, good) in posts {
        let mut bad = good;
        bad["surprise"] = json!(1);
        let answer = client.post(&path, bad).await.is(422);
        assert_eq!(answer.problem(), "unknown-field", "{path}");
        let errors = answer.json()["errors"].clone();
        assert_eq!(
            (errors[0]["pointer"].as_str(), errors[0]["code"].as_str()),
            (Some("#/surprise"), Some("unknown-field"))
        );
    }
}

#[tokio::test]
async fn a_fault_in_the_spec_is_pointed_at_and_a_spelling_is_suggested() {
    let house = House::found().await;
    let client = house.client();
    let mut body = call(1000, json!(null));
    body["spec"]["sample"] = json!(5);
    body["priority"] = json!(11);
    let answer = client.post("/v1/jobs", body).await.is(422);
    answer.problem();
    let problem = answer.json();
    let pointers: Vec<&str> =
        problem["errors"].as_array().expect("a list").iter().filter_map(|e| e["pointer"].as_str()).collect();
    assert!(pointers.contains(&"#/spec/sample") && pointers.contains(&"#/priority"), "every fault at once: {problem}");
    assert!(problem["fix"].to_string().contains("samples"), "{problem}");
    let calro = client.post("/v1/jobs", json!({"kind": "monte_calro", "spec": {}})).await.is(422);
    assert_eq!(calro.problem(), "unknown-kind");
    let mut wasm = call(1000, json!(null));
    wasm["spec"]["model"] = json!("wasm");
    assert_eq!(client.post("/v1/jobs", wasm).await.is(422).problem(), "unknown-model");
    let mut cells = null(5, 0);
    cells["shard_cells"] = json!(2);
    client.post("/v1/jobs", cells).await.is(422).problem();
    let mut float = call(1000, json!(null));
    float["spec"]["samples"] = json!(1e8);
    client.post("/v1/jobs", float).await.is(422).problem();
}

#[tokio::test]
async fn what_is_not_json_is_400_what_is_too_large_413_what_is_another_type_415() {
    let house = House::found().await;
    let client = house.client();
    let send = async |kind: &str, body: Vec<u8>| {
        let headers = [("content-type", kind)];
        let answer = client.try_send(Method::POST, "/v1/jobs", &headers, Some(body)).await;
        answer.expect("the door answers")
    };
    assert_eq!(send("application/json", b"{".to_vec()).await.is(400).problem(), "invalid-request");
    assert_eq!(send("application/json", Vec::new()).await.is(400).problem(), "invalid-request");
    let twice = br#"{"kind":"null","kind":"null","spec":{"shards":1}}"#.to_vec();
    assert_eq!(send("application/json", twice).await.is(400).problem(), "invalid-request");
    // Whoever still sends when it is too much reads the answer all the same.
    assert_eq!(send("application/json", vec![b'x'; 8 << 20]).await.is(413).problem(), "payload-too-large");
    let large = format!("{{\"kind\":\"{}\"}}", "x".repeat(1 << 20));
    assert_eq!(send("application/json", large.into_bytes()).await.is(413).problem(), "payload-too-large");
    assert_eq!(client.send(Method::PUT, "/v1/jobs", &[], None).await.is(405).problem(), "method-not-allowed");
    let wrong_method = client.delete("/v1/jobs").await;
    assert!(wrong_method.header("allow").is_some_and(|a| a.contains("GET") && a.contains("POST")));
    for path in ["/v1/jobs?limit=0", "/v1/jobs?limit=501", "/v1/jobs?order=up", "/v1/jobs?consistency=maybe"] {
        assert_eq!(client.get(path).await.is(400).problem(), "invalid-request", "{path}");
    }
}

#[tokio::test]
async fn every_code_has_its_page_and_every_answer_its_headers() {
    let house = House::found().await;
    let client = house.client();
    let list = client.get("/docs/errors").await.is(200);
    let text = String::from_utf8_lossy(&list.bytes).into_owned();
    for code in ["quota-exceeded", "outcome-unknown", "enrolment-spent", "not-finished"] {
        assert!(text.contains(code));
        let page = client.get(&format!("/docs/errors/{code}")).await.is(200);
        assert!(String::from_utf8_lossy(&page.bytes).contains(code));
    }
    for path in ["/v1/jobs", "/v1/jobs/j77", "/nowhere", "/livez"] {
        let headers = [("x-request-id", "mine-7")];
        let answer = client.send(Method::GET, path, &headers, None).await;
        assert_eq!(answer.header("forge-request-id"), Some("mine-7"), "{path}");
        assert_eq!(answer.header("forge-node"), Some("n1"), "{path}");
        let told = ["forge-log-index", "forge-term", "forge-version"].iter().all(|h| answer.header(h).is_some());
        assert!(told, "{path}: {:?}", answer.headers);
    }
}
