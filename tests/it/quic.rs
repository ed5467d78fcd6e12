//! The agents' door: enrolment, pinned keys, and what becomes of leases when someone dies.

use forge_agent::{AgentConfig, AgentHandle, AgentKey, Context, ExecError, Executor, Registry, Stopped, Stored};
use forge_benches::lossy::Lossy;
use forge_protocol::message::Secret;
use forge_protocol::{Fate, HubToAgent, Token};
use forge_tests::*;
use serde_json::{Value, json};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

#[tokio::test]
async fn a_token_makes_one_agent() {
    let mut house = House::found().await;
    let provider = house.provider().await;
    let token = house.agent_token(&provider).await;
    let (code, agent, _) = house.enrol(&token).await;
    assert_eq!((code, agent["provider"].as_str()), (0, Some(&*provider)));
    let (code, refused, place) = house.enrol(&token).await;
    assert_eq!((code, refused["code"].as_str()), (6, Some("enrolment-spent")));
    assert!(!Path::new(&place).exists(), "a refused enrolment leaves nothing");
    let shown = house.client().get("/v1/agents").await.is(200).json();
    assert_eq!(shown["data"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn an_unknown_token_makes_no_agent() {
    let mut house = House::found().await;
    let provider = house.provider().await;
    let real: Token = house.agent_token(&provider).await.parse().expect("a token");
    let forged = Token { secret: Secret([7; 32]), ..real };
    let (code, refused, _) = house.enrol(&forged.encode()).await;
    assert_eq!((code, refused["code"].as_str()), (6, Some("token-unknown")));
    assert_eq!(house.client().get("/v1/agents").await.json()["data"], json!([]));
}

#[tokio::test]
async fn a_hub_that_proves_another_key_than_the_pinned_one_is_not_talked_to() {
    let mut house = House::found().await;
    let provider = house.provider().await;
    let mut token: Token = house.agent_token(&provider).await.parse().expect("a token");
    token.hubs.iter_mut().for_each(|hub| hub.public_key = AgentKey::generate().public_key());
    let place = house.place();
    let enrolled = forge_agent::enrol(&token.encode(), Path::new(&place)).await;
    assert!(matches!(enrolled, Err(forge_agent::EnrolError::Unreachable(_))), "{enrolled:?}");
    assert!(!Path::new(&place).exists(), "nobody was asked, so nothing is kept");
    assert_eq!(house.client().get("/v1/agents").await.json()["data"], json!([]));
}

#[tokio::test]
async fn an_agent_that_proves_another_key_than_the_pinned_one_is_sent_away() {
    let mut house = House::found().await;
    let provider = house.provider().await;
    let token = house.agent_token(&provider).await;
    let (_, _, place) = house.enrol(&token).await;
    let thief = AgentKey::generate();
    std::fs::remove_file(Path::new(&place).join("agent.key")).expect("the key is a file");
    thief.save(&Path::new(&place).join("agent.key")).expect("a key can be saved");
    let handle = forge_agent::Agent::start(AgentConfig::new(&place)).await.expect("it dials");
    assert_eq!(handle.ended().await, Stopped::Unknown);
    let agent = house.client().get("/v1/agents").await.json()["data"][0].clone();
    assert_eq!((agent["state"].as_str(), agent["epoch"].as_u64()), (Some("offline"), Some(0)));
}

#[tokio::test]
async fn a_second_process_of_an_agent_takes_over_and_the_first_ends() {
    let mut house = House::found().await;
    let (place, _) = enrolled(&mut house).await;
    let first = forge_agent::Agent::start(AgentConfig::new(&place)).await.expect("it starts");
    first.ready().await.expect("its session is up");
    let second = forge_agent::Agent::start(AgentConfig::new(&place)).await.expect("it starts");
    second.ready().await.expect("its session is up");
    assert_eq!(first.ended().await, Stopped::Superseded);
    let job = Job::submit(&house.client(), null(50, 0)).await;
    job.result(&house.client()).await;
    second.stop();
}

#[tokio::test]
async fn a_draining_agent_finishes_what_it_holds_and_gets_no_more() {
    let mut house = House::found().await;
    let leaver = house.agents(1, 2).await.remove(0);
    let client = house.client();
    let job = Job::submit(&client, null(200, 5000)).await;
    until("work has begun", async || (job.verified(&client).await > 0).then_some(())).await;
    house.drain_agent(&leaver).await;
    house.agents(1, 2).await;
    job.result(&client).await;
    let log = assignments(&client, &job).await;
    assert_eq!(log.lost, 0, "nothing that the leaver held was computed again");
    let shown = client.get(&format!("/v1/agents/{leaver}")).await.json();
    assert_eq!((shown["state"].as_str(), shown["leases"].as_u64()), (Some("offline"), Some(0)));
    assert_eq!(shown["position"], shown["sealed"], "it sealed everything before it left");
}

/// A `null` executor that counts its runs.
struct Counting(Arc<AtomicU64>);

impl Executor for Counting {
    fn kind(&self) -> &str {
        "null"
    }

    fn version(&self) -> u16 {
        1
    }

    fn run(&self, payload: &[u8], context: &mut Context) -> Result<Vec<u8>, ExecError> {
        self.0.fetch_add(1, Ordering::Relaxed);
        forge_agent::executors::run("null", 1, payload, context)
    }
}

/// An enrolled agent's folder and what it knows.
async fn enrolled(house: &mut House) -> (String, Stored) {
    let provider = house.provider().await;
    let token = house.agent_token(&provider).await;
    let (code, said, place) = house.enrol(&token).await;
    assert_eq!(code, 0, "{said}");
    let stored = Stored::load(Path::new(&place)).expect("enrolment left a folder");
    (place, stored)
}

async fn counting_agent(house: &mut House, runs: &Arc<AtomicU64>) -> AgentHandle {
    let (place, stored) = enrolled(house).await;
    assert_eq!(stored.hubs.len(), house.running().len(), "it knows every node");
    let registry = Registry::empty().with(Counting(runs.clone()));
    let agent = forge_agent::Agent::start(AgentConfig { slots: 2, registry, ..AgentConfig::new(&place) }).await;
    let agent = agent.expect("it starts");
    agent.ready().await.expect("its session is up");
    agent
}

/// What the log says of a job's leases.
struct Leases {
    /// Shards that were assigned, attempts counted.
    assigned: u64,
    /// Leases that expired or were revoked.
    lost: usize,
}

async fn assignments(client: &Client, job: &Job) -> Leases {
    let export = client.get("/v1/log/export?format=ndjson").await.is(200);
    let text = String::from_utf8(export.bytes.to_vec()).expect("lines of text");
    let events: Vec<Value> = text.lines().map(|l| serde_json::from_str(l).expect("a line is JSON")).collect();
    let of_job =
        |name: &'static str| events.iter().filter(move |e| e["type"] == name && e["subject"] == job.id.as_str());
    let runs = of_job("shard.assigned").flat_map(|e| e["data"]["shards"].as_array().expect("runs").clone());
    let assigned = runs.map(|r| r[1].as_u64().unwrap_or(0) - r[0].as_u64().unwrap_or(0) + 1).sum();
    let lost = of_job("lease.expired").count() + of_job("lease.revoked").count() + of_job("shard.requeued").count();
    Leases { assigned, lost }
}

#[tokio::test]
async fn agents_of_a_lost_node_resume_their_leases_elsewhere_and_nothing_is_computed_twice() {
    const SHARDS: u64 = 150;
    let mut house = House::of_three().await;
    let runs = Arc::new(AtomicU64::new(0));
    let agents = [counting_agent(&mut house, &runs).await, counting_agent(&mut house, &runs).await];
    let client = house.client();
    let job = Job::submit(&client, null(SHARDS, 100_000)).await;
    until("work has begun", async || (job.verified(&client).await >= 10).then_some(())).await;
    let first = client.get(&format!("/v1/agents/{}", agents[0].agent_id())).await.is(200).json();
    let lost = first["node"].as_str().expect("a live agent has a node").to_owned();
    house.kill(&lost).await;
    house.leader().await;
    let client = house.client();
    assert_eq!(&job.result(&client).await[..], br#"{"kind":"null","format":1,"shards":150}"#);
    let log = assignments(&client, &job).await;
    assert_eq!((log.assigned, log.lost), (SHARDS, 0), "every lease was resumed");
    assert_eq!(runs.load(Ordering::Relaxed), SHARDS, "no shard was computed twice");
    agents.iter().for_each(AgentHandle::stop);
}

#[tokio::test]
async fn results_over_a_path_that_loses_datagrams_all_arrive_and_no_lease_is_lost() {
    const SHARDS: u64 = 150;
    let mut house = House::found().await;
    let provider = house.provider().await;
    let token = house.agent_token(&provider).await;
    let (_, _, place) = house.enrol(&token).await;
    // The agent knows its hub at the path's address.
    let mut stored = Stored::load(Path::new(&place)).expect("enrolment left a folder");
    let door = stored.hubs[0].address.parse().expect("an address");
    let path = Lossy::open(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), door, 11, Duration::ZERO).await.expect("a path");
    stored.hubs[0].address = path.address().to_string();
    stored.save(Path::new(&place)).expect("saved");
    let agent = forge_agent::Agent::start(AgentConfig::new(&place)).await.expect("it starts");
    agent.ready().await.expect("its session is up");
    path.lose(0.02);
    let client = house.client();
    let spec = json!({"shards": SHARDS, "sleep_us": 0, "payload_bytes": 8000});
    let job = Job::submit(&client, json!({"kind": "null", "spec": spec})).await;
    job.result(&client).await;
    let log = assignments(&client, &job).await;
    assert_eq!((log.assigned, log.lost), (SHARDS, 0), "every result came in the first attempt");
    let counts = path.counts();
    assert!(counts.dropped > 0 && counts.overflown == 0, "{counts:?}");
    path.lose(0.0);
    assert_eq!(agent.drain().await, Stopped::Drained);
}

#[tokio::test]
async fn a_stream_that_stalls_delays_no_other() {
    const SHARDS: u64 = 100;
    let mut house = House::found().await;
    let (place, _) = enrolled(&mut house).await;
    let client = house.client();
    let spec = json!({"shards": SHARDS, "sleep_us": 0, "payload_bytes": 60_000});
    let job = Job::submit(&client, json!({"kind": "null", "spec": spec})).await;
    let mut agent = Hand::welcomed(Path::new(&place), 4).await;
    // The first result stops halfway, beyond what one datagram holds.
    let mut stalled = agent.attempt().await;
    let (stalled_digest, result) = stalled.result();
    let (half, rest) = result.split_at(result.len() / 2);
    stalled.write(half).await;
    for _ in 1..SHARDS {
        let mut attempt = agent.attempt().await;
        let (lease, (digest, result)) = (attempt.assign.lease, attempt.result());
        attempt.write(&result).await;
        let answer = attempt.answer().await;
        assert!(matches!(answer, HubToAgent::Ack { fate: Fate::Accepted, .. }), "{answer:?}");
        agent.seal(lease, &digest).await;
    }
    assert_eq!(job.verified(&client).await, SHARDS - 1, "all but the one that stalls");
    let lease = stalled.assign.lease;
    stalled.write(rest).await;
    let answer = stalled.answer().await;
    assert!(matches!(answer, HubToAgent::Ack { fate: Fate::Accepted, .. }), "{answer:?}");
    agent.seal(lease, &stalled_digest).await;
    assert_eq!(job.ended(&client).await["state"], "succeeded");
}
