//! The reference agent and the hub's door together: enrolment, work, seals, drain, loss.

use super::counted::Counted;
use super::support::Rig;
use forge_agent::{AgentConfig, Registry, Stopped};
use forge_event::*;
use forge_log::memory::Injected;
use serde_json::json;

fn config(folder: &tempfile::TempDir) -> AgentConfig {
    AgentConfig { slots: 2, ..AgentConfig::new(folder.path()) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_enrolled_agent_runs_a_job_to_its_end_and_drains() {
    let mut rig = Rig::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let id = rig.enrol(folder.path()).await;
    let agent = rig.fleet.start(config(&folder)).await.expect("started");
    agent.ready().await.expect("a session");
    assert_eq!(agent.agent_id(), id);
    let job = rig.submit("null", json!({"shards": 3000})).await;
    rig.succeeded(job).await;
    assert_eq!(agent.drain().await, Stopped::Drained);
    rig.until("the agent's leaving", |w| w.agents.agents.get(&id).is_some_and(|a| a.session.is_none())).await;
    let left = |e: &Event| matches!(e, Event::AgentLost(lost) if lost.reason == LostReason::Left);
    assert_eq!((rig.count(left), rig.sessions.count()), (1, 0));
    assert_eq!(rig.count(|e| matches!(e, Event::ResultRefused(_) | Event::LeaseExpired(_))), 0);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_computed_job_and_a_sleeping_one_share_the_slots() {
    let mut rig = Rig::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    rig.enrol(folder.path()).await;
    let agent = rig.fleet.start(config(&folder)).await.expect("started");
    let sleeping = rig.submit("null", json!({"shards": 20, "sleep_us": 2000, "payload_bytes": 30000})).await;
    let pi = rig.submit("monte_carlo", json!({"model": "pi", "samples": 200_000, "seed": 1})).await;
    rig.succeeded(sleeping).await;
    rig.succeeded(pi).await;
    agent.stop();
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn results_are_delivered_again_when_the_leaders_answer_is_lost() {
    let mut rig = Rig::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    rig.enrol(folder.path()).await;
    let agent = rig.fleet.start(config(&folder)).await.expect("started");
    agent.ready().await.expect("a session");
    let job = rig.submit("null", json!({"shards": 5000})).await;
    for injected in [Injected::UnknownButCommitted, Injected::UnknownAndLost, Injected::UnknownButCommitted] {
        rig.until("some progress", |w| w.jobs.jobs.get(&job).is_some_and(|j| j.accepted_count > 0)).await;
        rig.log.inject(injected);
    }
    rig.succeeded(job).await;
    assert_eq!(rig.count(|e| matches!(e, Event::ResultRefused(_))), 0);
    agent.stop();
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_spent_token_gives_the_same_agent_to_its_key_and_nothing_to_another() {
    let mut rig = Rig::start().await;
    let (first, second) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let token = rig.token().await;
    let enrolled = rig.fleet.enrol(&token, first.path()).await.expect("enrolled");
    std::fs::remove_file(first.path().join("agent.toml")).expect("the answer is lost");
    assert_eq!(rig.fleet.enrol(&token, first.path()).await.expect("enrolled"), enrolled);
    let refused = rig.fleet.enrol(&token, second.path()).await.expect_err("spent");
    assert_eq!(refused.code(), Some("enrolment-spent"));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_aborted_agent_is_lost_and_its_successor_takes_over() {
    let mut rig = Rig::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let id = rig.enrol(folder.path()).await;
    let agent = rig.fleet.start(config(&folder)).await.expect("started");
    agent.ready().await.expect("a session");
    let job = rig.submit("null", json!({"shards": 400, "sleep_us": 1000})).await;
    rig.until("leases", |w| w.agents.agents.get(&id).is_some_and(|a| a.leases > 0)).await;
    agent.abort();
    rig.until("the loss", |w| w.agents.agents.get(&id).is_some_and(|a| a.session.is_none())).await;
    let again = rig.fleet.start(config(&folder)).await.expect("started");
    rig.succeeded(job).await;
    assert_eq!(again.drain().await, Stopped::Drained);
    rig.stop().await;
}

/// An agent dies wherever it does in a shard: what runs again is what it had done since its last checkpoint.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_shard_cut_off_at_most_a_fifth_runs_again() {
    const CELLS: u64 = 1_600_000;
    let mut rig = Rig::start().await;
    let counted = Counted::of(CELLS, 1_150_000);
    let folders = [(); 2].map(|()| tempfile::tempdir().expect("a folder"));
    let mut agents = Vec::new();
    for folder in &folders {
        rig.enrol(folder.path()).await;
        let registry = Registry::empty().with(counted.clone());
        let config = AgentConfig { slots: 1, registry, checkpoint_interval: Counted::INTERVAL, ..config(folder) };
        let agent = rig.fleet.start(config).await.expect("started");
        agent.ready().await.expect("a session");
        agents.push(agent);
    }
    let job = rig.submit_cut("monte_carlo", json!({"model": "pi", "samples": CELLS, "seed": 1}), Some(CELLS)).await;
    let kept = |w: &forge_projections::World| w.begun(job, 0)?.checkpoint.clone();
    rig.until("the checkpoint before its death", |w| kept(w).is_some_and(|kept| counted.last() == Some(kept.cells)))
        .await;
    let checkpoint = rig.hub.read(kept).expect("it is there");
    let at = agents.iter().position(|agent| agent.agent_id() == checkpoint.agent).expect("it is one of them");
    let done = counted.run();
    agents.swap_remove(at).abort();
    rig.succeeded(job).await;
    assert_eq!(rig.count(|e| matches!(e, Event::ShardResumed(_))), 1);
    let again = counted.run() - CELLS;
    assert_eq!(again, done - checkpoint.cells, "it goes on behind the checkpoint");
    assert!(again <= CELLS / 5, "{again} of {CELLS} cells ran twice");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_process_of_the_same_agent_takes_the_session_over() {
    let mut rig = Rig::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    rig.enrol(folder.path()).await;
    let first = rig.fleet.start(config(&folder)).await.expect("started");
    first.ready().await.expect("a session");
    let second = rig.fleet.start(config(&folder)).await.expect("started");
    second.ready().await.expect("a session");
    assert_eq!(first.ended().await, Stopped::Superseded);
    let job = rig.submit("null", json!({"shards": 100})).await;
    rig.succeeded(job).await;
    assert_eq!(second.drain().await, Stopped::Drained);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_was_never_enrolled_gets_no_session() {
    let mut rig = Rig::start().await;
    let (folder, stranger) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    rig.enrol(folder.path()).await;
    std::fs::copy(folder.path().join("agent.toml"), stranger.path().join("agent.toml")).expect("copied");
    forge_agent::AgentKey::generate().save(&stranger.path().join("agent.key")).expect("saved");
    let agent = rig.fleet.start(config(&stranger)).await.expect("started");
    assert_eq!(agent.ended().await, Stopped::Unknown);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_result_that_stalls_half_way_delays_no_other_result_and_no_other_agent() {
    const SHARDS: u64 = 40;
    let mut rig = Rig::start().await;
    let folders = [tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder")];
    let mut one = rig.by_hand(folders[0].path()).await;
    let mut other = rig.by_hand(folders[1].path()).await;
    let job = rig.submit("null", json!({"shards": SHARDS, "payload_bytes": 20_000})).await;
    let stalled =
        [(&mut one.stalled).await.expect("half a result"), (&mut other.stalled).await.expect("half a result")];
    rig.until("all other results", |w| w.jobs.jobs.get(&job).is_some_and(|j| j.accepted_count == SHARDS - 2)).await;
    // Each is held by its agent still, on its stream.
    let live: Vec<LeaseId> = rig.hub.read(|w| {
        let grants = [one.agent, other.agent].into_iter().flat_map(|agent| w.scheduler.leases.of(agent).iter());
        grants.flat_map(|grant| grant.leases().collect::<Vec<_>>()).collect()
    });
    assert_eq!(live, stalled);
    assert!(one.is_connected() && other.is_connected());
    for release in [one.release, other.release] {
        release.send(()).expect("it waits");
    }
    rig.succeeded(job).await;
    let harm = |e: &Event| {
        matches!(e, Event::ResultRefused(_) | Event::LeaseExpired(_) | Event::LeaseRevoked(_) | Event::AgentLost(_))
    };
    assert_eq!(rig.count(harm), 0);
    rig.stop().await;
}
