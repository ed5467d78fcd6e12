//! Keys and scopes.

use forge_tests::{House, PROJECT, Stream, until};
use reqwest::Method;
use serde_json::{Value, json};

/// Everything that needs a key, as the hub itself describes it: method, path, and the scopes of which it wants one.
async fn guarded(house: &House) -> Vec<(Method, String, Vec<String>)> {
    let description = house.client().with_key("").get("/openapi.json").await.is(200).json();
    let mut found = Vec::new();
    for (path, item) in description["paths"].as_object().expect("a description has paths") {
        for (method, operation) in item.as_object().expect("a path has operations") {
            let Ok(method) = method.to_uppercase().parse::<Method>() else { continue };
            let scopes = operation["security"].as_array().into_iter().flatten();
            let scopes = scopes.flat_map(|s| s["key"].as_array().into_iter().flatten());
            let scopes = scopes.filter_map(Value::as_str).map(str::to_owned).collect();
            if path.starts_with("/v1/") {
                found.push((method, path.replace("{id}", "j999999").replace("{index}", "999999"), scopes));
            }
        }
    }
    assert!(found.len() > 30, "the description names the routes");
    found
}

fn body(method: &Method) -> Option<Value> {
    (*method == Method::POST).then(|| json!({}))
}

#[tokio::test]
async fn every_route_refuses_a_caller_without_a_good_key() {
    let house = House::found().await;
    let good = house.key("p4", &["jobs:read"]).await;
    let mut misspelt = good.clone();
    let last = misspelt.pop().expect("a key has characters");
    misspelt.push(if last == 'a' { 'b' } else { 'a' });
    let revoked =
        house.client().post("/v1/keys", json!({"project": "p4", "label": "r", "scopes": ["jobs:read"]})).await;
    let (id, revoked) = (revoked.text("id"), revoked.text("key"));
    house.client().delete(&format!("/v1/keys/{id}")).await.is(200);
    let admin = house.client();
    for (method, path, _) in guarded(&house).await {
        let keys = ["", "fk_nonsense", &misspelt, &revoked];
        let answers = keys.map(|key| {
            let (client, method, path) = (admin.with_key(key), method.clone(), &path);
            async move { client.send(method.clone(), path, &[], body(&method)).await }
        });
        for (key, answer) in keys.iter().zip(futures::future::join_all(answers).await) {
            assert_eq!((answer.status, &*answer.problem()), (401, "unauthenticated"), "{method} {path} with {key:?}");
            assert!(answer.header("www-authenticate").is_some());
        }
    }
}

#[tokio::test]
async fn every_route_names_the_scope_that_a_key_lacks() {
    let house = House::found().await;
    let all = ["jobs:read", "jobs:write", "blobs", "ledger:read", "audit:read", "agents:admin", "cluster:admin"];
    let mut asked = 0;
    for (method, path, wanted) in guarded(&house).await.into_iter().filter(|(_, _, scopes)| !scopes.is_empty()) {
        // Whoever may administer the cluster may see some things by that alone.
        let others: Vec<&str> =
            all.into_iter().filter(|s| !wanted.iter().any(|w| w == s) && *s != "cluster:admin").collect();
        let key = house.key("p4", &others).await;
        let answer = house.client().with_key(&key).send(method.clone(), &path, &[], body(&method)).await;
        if answer.status == 404 && path.starts_with("/v1/projects/") {
            // A project that one may not see is not there, whatever one wants of it.
            continue;
        }
        assert_eq!((answer.status, &*answer.problem()), (403, "forbidden"), "{method} {path} with {others:?}");
        let missing = answer.json()["missing_scope"].as_str().map(str::to_owned).expect("it names the scope");
        assert!(wanted.contains(&missing), "{method} {path} wants {wanted:?}, says {missing}");
        asked += 1;
    }
    assert!(asked > 20);
}

#[tokio::test]
async fn a_secret_is_shown_once_and_a_revoked_key_ends_at_once() {
    let house = House::found().await;
    let client = house.client();
    let body = json!({"project": "p4", "label": "ci", "scopes": ["jobs:read"]});
    let first = client.post_once("/v1/keys", "once", body.clone()).await.is(201);
    let again = client.post_once("/v1/keys", "once", body).await.is(201);
    assert_eq!(first.text("id"), again.text("id"));
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert!(again.json()["key"].is_null(), "a replay does not show the secret");
    let key = client.with_key(&first.text("key"));
    key.get("/v1/jobs").await.is(200);
    let shown = client.get(&format!("/v1/keys/{}", first.text("id"))).await.is(200);
    assert!(!String::from_utf8_lossy(&shown.bytes).contains(&first.text("key")));
    client.delete(&format!("/v1/keys/{}", first.text("id"))).await.is(200);
    assert_eq!(key.get("/v1/jobs").await.is(401).problem(), "unauthenticated");
}

#[tokio::test]
async fn health_and_documents_need_no_key() {
    let house = House::found().await;
    let anyone = house.client().with_key("");
    for path in ["/livez", "/readyz", "/version", "/openapi.json", "/docs/errors", "/docs/errors/not-found"] {
        anyone.get(path).await.is(200);
    }
    let metrics = anyone.get("/metrics").await.is(200);
    let text = String::from_utf8_lossy(&metrics.bytes).into_owned();
    assert!(text.contains("http_server_requests") && text.trim_end().ends_with("# EOF"), "{text}");
    let vmem = ["forge_vmem_bytes 0", "forge_vmem_charged_bytes 0", "forge_vmem_project_budget_bytes 268435456"];
    assert!(vmem.iter().chain(&["forge_kv_blobs 0"]).all(|line| text.contains(line)), "{text}");
    assert_eq!(anyone.get("/nothing/here").await.is(404).problem(), "not-found");
}

#[tokio::test]
async fn no_secret_is_in_the_log_nor_in_a_nodes_files_nor_in_its_metrics() {
    let mut house = House::found().await;
    let key = house.key("p4", &["jobs:read"]).await;
    let provider = house.provider().await;
    let token = house.agent_token(&provider).await;
    let invite = house.client().post("/v1/cluster/members", json!({})).await.is(201).text("token");
    house.enrol(&token).await;
    let secret = |key: &str| forge_api::key::parse(key).expect("a key").secret;
    let parsed = |token: &str| token.parse::<forge_protocol::Token>().expect("a token").secret.0;
    let secrets = [secret(&key), secret(&house.admin_key), parsed(&token), parsed(&invite)];
    let texts = [key.as_bytes(), house.admin_key.as_bytes(), token.as_bytes(), invite.as_bytes()];
    let canaries: Vec<&[u8]> = secrets.iter().map(|s| &s[..]).chain(texts).collect();

    let mut places = vec![("the export".to_owned(), house.export(&house.client()).await)];
    for path in ["/v1/log/export?format=ndjson", "/metrics", "/v1/keys", "/v1/events"] {
        places.push((path.to_owned(), house.client().get(path).await.is(200).bytes.to_vec()));
    }
    for file in files(std::path::Path::new(house.folder_of("n1"))) {
        // The one place where the first key is meant to lie.
        if !file.ends_with("admin.key") {
            places.push((file.display().to_string(), std::fs::read(&file).expect("a file can be read")));
        }
    }
    assert!(places.len() > 6);
    for (place, bytes) in places {
        let found = canaries.iter().any(|c| bytes.windows(c.len()).any(|w| w == *c));
        assert!(!found, "a secret lies in {place}");
    }
}

fn files(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a folder can be listed");
    let paths = entries.map(|e| e.expect("an entry").path());
    paths.flat_map(|p| if p.is_dir() { files(&p) } else { vec![p] }).collect()
}

#[tokio::test]
async fn a_key_that_expires_in_use_ends_its_streams_and_is_refused() {
    let house = House::found().await;
    let admin = house.client();
    // The hub's own clock says when: the log's time of the last event, and a little.
    let born = admin.get("/v1/log?order=desc&limit=1").await.is(200).json()["data"][0]["at"].clone();
    let born: jiff::Timestamp = born.as_str().expect("a time").parse().expect("RFC 3339");
    let ends = born.checked_add(jiff::SignedDuration::from_secs(3)).expect("a time").to_string();
    let body = json!({"project": PROJECT, "label": "short", "scopes": ["jobs:read"], "expires_at": ends});
    let created = admin.post("/v1/keys", body).await.is(201);
    let client = admin.with_key(&created.text("key"));
    client.get("/v1/jobs").await.is(200);
    let mut stream = Stream::open(&client, "/v1/events", None).await;
    stream.until("bye").await;
    assert_eq!(stream.next().await, None);
    assert_eq!(client.get("/v1/jobs").await.is(401).problem(), "unauthenticated");
    let shown = admin.get(&format!("/v1/keys/{}", created.text("id"))).await.is(200);
    assert_eq!(shown.text("state"), "expired");
}

#[tokio::test]
async fn a_revoked_keys_streams_end() {
    let house = House::found().await;
    let admin = house.client();
    let body = json!({"project": PROJECT, "label": "gone", "scopes": ["jobs:read"]});
    let created = admin.post("/v1/keys", body).await.is(201);
    let mut stream = Stream::open(&admin.with_key(&created.text("key")), "/v1/events", None).await;
    admin.delete(&format!("/v1/keys/{}", created.text("id"))).await.is(200);
    stream.until("bye").await;
    until("the stream is over", async || stream.next().await.is_none().then_some(())).await;
}
