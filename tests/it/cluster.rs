//! Clusters: growing, handing over, losing and replacing nodes.

use forge_tests::*;
use futures::StreamExt;
use serde_json::json;

/// The state of a node at or behind an index: (index, digest).
async fn digest(house: &House, node: &str, index: u64) -> (u64, String) {
    let headers = [("forge-min-index", &*index.to_string())];
    let answer = house.client_of(node).send(reqwest::Method::GET, "/v1/state/digest", &headers, None).await.is(200);
    assert_eq!(answer.header("forge-node"), Some(node), "answered by the node asked");
    (answer.json()["index"].as_u64().expect("an index"), answer.text("digest"))
}

/// All running nodes have the same state and give the same export.
async fn agree(house: &House) {
    // Nodes may fold on between two questions: ask until all were caught at one index.
    until("all nodes were seen at one index", async || {
        let index = house.client().get("/v1/jobs").await.index();
        let mut seen = Vec::new();
        for node in house.running() {
            seen.push(digest(house, &node, index).await);
        }
        let level = seen.iter().all(|(i, _)| *i == seen[0].0);
        level.then(|| assert!(seen.iter().all(|(_, d)| *d == seen[0].1), "{seen:?}"))
    })
    .await;
    let to = house.client().get("/v1/jobs").await.index();
    let path = format!("/v1/log/export?to={to}");
    let headers = [("forge-min-index", &*to.to_string())];
    let mut exports = Vec::new();
    for node in house.running() {
        let answer = house.client_of(&node).send(reqwest::Method::GET, &path, &headers, None).await;
        exports.push(answer.is(200).bytes);
    }
    assert!(exports.iter().all(|e| *e == exports[0] && e.len() > 500), "exports are equal for equal bounds");
}

#[tokio::test]
async fn one_node_grows_to_three_and_keeps_its_log() {
    let mut house = House::found().await;
    let before = Job::submit(&house.client(), null(3, 0)).await;
    let log = house.export(&house.client()).await;
    house.grow().await;
    house.grow().await;
    assert_eq!(house.running(), ["n1", "n2", "n3"]);
    let grown = house.export(&house.client_of("n3")).await;
    // All but the trailer, which counts.
    let kept = log.len() - 128;
    assert_eq!(grown[..kept], log[..kept]);
    house.agents(2, 2).await;
    before.result(&house.client_of("n2")).await;
    let cluster = house.client_of("n3").get("/v1/cluster").await.is(200).json();
    assert_eq!((cluster["quorum"]["size"].as_u64(), cluster["members"].as_array().map(Vec::len)), (Some(2), Some(3)));
    agree(&house).await;
}

#[tokio::test]
async fn a_used_node_token_admits_nobody_else() {
    let mut house = House::found().await;
    let token = house.client().post("/v1/cluster/members", json!({})).await.is(201).text("token");
    house.join(&token).await;
    let place = house.place();
    let (code, _) = Child::run(&["join", &place, &token]).await;
    assert_ne!(code, 0);
    assert!(!std::path::Path::new(&place).exists(), "a refused join leaves nothing");
    let members = house.client().get("/v1/cluster").await.is(200).json()["members"].clone();
    assert_eq!(members.as_array().map(Vec::len), Some(2));
}

#[tokio::test]
async fn any_node_takes_any_call() {
    let mut house = House::of_three().await;
    let follower = house.follower().await;
    let client = house.client_of(&follower);
    house.agents(1, 2).await;
    let created = client.post("/v1/jobs", null(5, 0)).await.is(201);
    assert_eq!(created.header("forge-node"), Some(&*follower));
    let job = Job { id: created.text("id") };
    // Read your writes, on the same node and on the others.
    let index = created.index().to_string();
    for node in house.running() {
        let path = format!("/v1/jobs/{}?consistency=local", job.id);
        let there = house.client_of(&node);
        there.send(reqwest::Method::GET, &path, &[("forge-min-index", &index)], None).await.is(200);
        there.get(&format!("/v1/jobs/{}", job.id)).await.is(200);
    }
    job.result(&client).await;
    let project = client.post("/v1/projects", json!({"name": "x"})).await.is(201).text("id");
    house.client().get(&format!("/v1/projects/{project}")).await.is(200);
    agree(&house).await;
}

#[tokio::test]
async fn leadership_is_handed_over_and_work_goes_on() {
    let mut house = House::of_three().await;
    house.agents(2, 2).await;
    let job = Job::submit(&house.client(), null(400, 2000)).await;
    for round in 0..3 {
        let (leader, next) = (house.leader().await, house.follower().await);
        // Whoever is asked: the one that hands over, the one that takes over, the third.
        let third = house.running().into_iter().find(|n| *n != leader && *n != next).expect("there are three");
        let asked = [&leader, &next, &third][round];
        let term = house.client().get("/v1/cluster").await.json()["term"].as_u64();
        let body = json!({"node": next});
        let handed = house.client_of(asked).post("/v1/cluster/leader/transfer", body).await.is(200);
        assert_eq!((handed.text("leader"), handed.header("forge-node")), (next.clone(), Some(&**asked)));
        let cluster = house.client_of(&next).get("/v1/cluster").await.is(200).json();
        assert_eq!(cluster["leader"], next.as_str());
        assert!(cluster["term"].as_u64() > term);
    }
    job.result(&house.client()).await;
    agree(&house).await;
}

#[tokio::test]
async fn a_killed_leader_is_replaced_and_returns_with_what_it_knew() {
    let mut house = House::of_three().await;
    house.agents(2, 2).await;
    let job = Job::submit(&house.client(), null(600, 2000)).await;
    let acknowledged = house.client().post_once("/v1/projects", "kept", json!({"name": "kept"})).await.is(201);
    let leader = house.leader().await;
    house.kill(&leader).await;
    let again = house.client().post_until_answered("/v1/projects", "kept", json!({"name": "kept"})).await.is(201);
    assert_eq!((again.bytes.clone(), again.header("idempotency-replayed")), (acknowledged.bytes, Some("true")));
    house.restart(&leader).await;
    job.result(&house.client()).await;
    agree(&house).await;
}

#[tokio::test]
async fn a_lost_node_is_replaced_and_the_cluster_bears_the_next_loss() {
    let mut house = House::of_three().await;
    let lost = house.follower().await;
    house.kill(&lost).await;
    let two = house.running();
    let risky = house.client_of(&two[0]).delete(&format!("/v1/cluster/members/{}", two[1])).await;
    assert_eq!(risky.is(409).problem(), "quorum-at-risk", "one of the two that are left would be alone");
    house.client().delete(&format!("/v1/cluster/members/{lost}")).await.is(200);
    let new = house.grow().await;
    assert_ne!(new, lost, "a node's id is not used twice");
    until("the lost node is no member any longer", async || {
        let members = house.client().get("/v1/cluster").await.json()["members"].clone();
        members.as_array()?.iter().all(|m| m["id"] != lost.as_str()).then_some(())
    })
    .await;
    agree(&house).await;
    let next = house.leader().await;
    house.kill(&next).await;
    house.leader().await;
    house.client().post_until_answered("/v1/projects", "after", json!({"name": "x"})).await.is(201);
}

#[tokio::test]
async fn without_a_majority_writes_are_refused_and_local_reads_go_on() {
    let mut house = House::of_three().await;
    let written = house.client().post("/v1/projects", json!({"name": "x"})).await.is(201);
    let last = house.follower().await;
    for node in house.running().into_iter().filter(|n| *n != last) {
        house.kill(&node).await;
    }
    let client = house.client_of(&last);
    let index = written.index().to_string();
    let path = format!("/v1/projects/{}?consistency=local", written.text("id"));
    client.send(reqwest::Method::GET, &path, &[("forge-min-index", &index)], None).await.is(200);
    client.get("/v1/state/digest").await.is(200);
    client.get("/v1/log/export").await.is(200);
    client.get("/v1/cluster?consistency=local").await.is(200);
    let (refused, unread) = tokio::join!(client.post("/v1/projects", json!({"name": "y"})), client.get("/v1/projects"));
    assert!(matches!((refused.status, refused.problem().as_str()), (503, "no-leader") | (504, "outcome-unknown")));
    assert_eq!(unread.is(503).problem(), "no-leader");
}

#[tokio::test]
async fn a_write_that_loses_its_majority_on_the_way_is_unknown_and_is_settled_by_its_key() {
    let mut house = House::of_three().await;
    let leader = house.leader().await;
    let client = house.client_of(&leader);
    let others: Vec<String> = house.running().into_iter().filter(|n| *n != leader).collect();
    let post = async |at: usize| {
        let (path, key) = ("/v1/projects", format!("write-{at}"));
        (at, client.post_once(path, &key, json!({"name": format!("x{at}")})).await)
    };
    // One after the other, so that some are under way when the majority goes.
    let writes = async {
        let mut under_way = futures::stream::iter(0..).map(post).buffer_unordered(8);
        while let Some((at, answer)) = under_way.next().await {
            match answer.status {
                201 => {}
                503 => assert_eq!(answer.problem(), "no-leader"),
                _ => return (at, answer),
            }
        }
        unreachable!("writes are endless")
    };
    let killed = async {
        for node in &others {
            house.kill(node).await;
        }
    };
    let ((at, unknown), ()) = tokio::join!(writes, killed);
    assert_eq!(unknown.clone().is(504).problem(), "outcome-unknown");
    assert_eq!(unknown.json()["outcome"], "unknown");
    for node in &others {
        house.restart(node).await;
    }
    house.leader().await;
    let (path, key) = ("/v1/projects", format!("write-{at}"));
    house.client().post_until_answered(path, &key, json!({"name": format!("x{at}")})).await.is(201);
    let page = house.client().get(&format!("/v1/projects?name=x{at}")).await.is(200).json();
    assert_eq!(page["data"].as_array().map(Vec::len), Some(1), "applied once, whatever became of the first try");
}

#[tokio::test]
async fn all_nodes_lose_power_and_nothing_acknowledged_is_lost() {
    let mut house = House::of_three().await;
    let mut kept = Vec::new();
    for at in 0..10 {
        kept.push(house.client().post("/v1/projects", json!({"name": format!("x{at}")})).await.is(201).text("id"));
    }
    let nodes = house.running();
    for node in &nodes {
        house.kill(node).await;
    }
    for node in &nodes {
        house.restart(node).await;
    }
    house.leader().await;
    for project in kept {
        house.client().get(&format!("/v1/projects/{project}")).await.is(200);
    }
    agree(&house).await;
}

#[tokio::test]
async fn submissions_retried_across_leader_kills_make_one_job_each() {
    let (kills, submissions) = if is_full() { (20, 1000) } else { (2, 40) };
    let mut house = House::of_three().await;
    for round in 0..kills {
        let leader = house.leader().await;
        let clients: Vec<Client> = house.running().iter().map(|n| house.client_of(n)).collect();
        let share = round * submissions / kills..(round + 1) * submissions / kills;
        let retried = futures::future::join_all(share.map(|at| submit_until_answered(clients.clone(), at)));
        let (_, ()) = tokio::join!(retried, house.kill(&leader));
        house.restart(&leader).await;
    }
    house.leader().await;
    let mut jobs = 0;
    let mut path = "/v1/jobs?limit=500".to_owned();
    loop {
        let page = house.client().get(&path).await.is(200).json();
        jobs += page["data"].as_array().map_or(0, Vec::len);
        let Some(token) = page["next_page_token"].as_str() else { break };
        path = format!("/v1/jobs?limit=500&page_token={token}");
    }
    assert_eq!(jobs, submissions);
}

/// Sends a submission to one node after the other until some node says 201, always with its one key.
async fn submit_until_answered(clients: Vec<Client>, at: usize) {
    let key = format!("submission-{at}");
    let body = null(1, 0).to_string().into_bytes();
    let mut next = at;
    until(&format!("{key} is answered"), async || {
        next += 1;
        let client = &clients[next % clients.len()];
        let headers = [("idempotency-key", &*key)];
        let answer = client.try_send(reqwest::Method::POST, "/v1/jobs", &headers, Some(body.clone())).await.ok()?;
        assert!(matches!(answer.status, 201 | 409 | 429 | 500 | 503 | 504), "{answer:?}");
        (answer.status == 201).then_some(())
    })
    .await;
}

#[tokio::test]
async fn agents_that_died_with_their_leader_are_missed() {
    let mut house = House::of_three().await;
    let leader = house.leader().await;
    let mut there = Vec::new();
    // Which node an agent goes to is chance.
    while there.is_empty() {
        house.agents(1, 1).await;
        let agents = house.client().get("/v1/agents").await.is(200).json();
        let on_leader = agents["data"].as_array().expect("a list").iter().filter(|agent| agent["node"] == *leader);
        there.extend(on_leader.filter_map(|agent| agent["id"].as_str().map(str::to_owned)));
    }
    house.kill(&leader).await;
    for agent in there {
        house.kill_agent(&agent).await;
    }
    house.leader().await;
    let client = house.client();
    until("the new leader misses the node", async || {
        let events = client.get("/v1/events?type=node.lost").await.is(200).json();
        events["data"].as_array().is_some_and(|found| !found.is_empty()).then_some(())
    })
    .await;
}
