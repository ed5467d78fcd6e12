//! What a project may use at most, and what happens at the limit.

use crate::rig::Hub;
use crate::rig::fake;
use forge_event::*;
use forge_projections::Rejection;
use forge_projections::explain::Reason;

/// A hub with a project, a job of it of so many shards, and an agent with room for them all.
fn busy(shards: u64) -> (Hub, ProjectId, JobId, AgentId) {
    let (mut hub, project, agent) = Hub::staffed();
    let fact = hub.asked(Hub::submission(project, shards));
    let job = JobId::born_at(hub.turn(vec![fact]).unwrap());
    (hub, project, job, agent)
}

fn limit(hub: &mut Hub, project: ProjectId, quota: Quota) -> EventIndex {
    let fact = hub.asked(QuotaChanged { project, quota, replaces: None });
    hub.turn(vec![fact]).unwrap()
}

fn of_shards(shards: u64) -> Quota {
    Quota { shards: Some(shards), ..Quota::default() }
}

fn deliver(hub: &mut Hub, agent: AgentId, job: JobId, shards: Runs) {
    let fact = hub.received(agent, job, 1, shards, fake::good(1));
    hub.turn(vec![fact]).unwrap();
}

#[test]
fn a_project_has_no_more_shards_under_way_than_it_may() {
    let (mut hub, project, job, agent) = busy(10);
    limit(&mut hub, project, of_shards(3));
    hub.run_effect(job).unwrap();
    let joined = hub.joined(agent, NodeId(1), 16, Hub::capabilities());
    hub.turn(vec![joined]).unwrap();
    assert_eq!(hub.leases(agent).len(), 3);
    let why = hub.leader.explain_shard(ShardId { job, shard: 3 }, false).unwrap();
    assert_eq!((why.decisive.code, &*why.would_help[0].change), (Reason::ProjectLimit, "quota.shards += 1"));

    // What is done makes room at once.
    deliver(&mut hub, agent, job, Runs::span(0, 1));
    assert_eq!(hub.leases(agent).len(), 3);
    // A lower limit takes nothing back.
    limit(&mut hub, project, of_shards(1));
    assert_eq!(hub.leases(agent).len(), 3);
    deliver(&mut hub, agent, job, Runs::span(2, 3));
    assert_eq!(hub.leases(agent).len(), 1);
    limit(&mut hub, project, Quota::default());
    assert_eq!(hub.leases(agent).len(), 6, "all that is left");
}

#[test]
fn a_shard_that_was_begun_keeps_its_place() {
    let (mut hub, project, job, agent) = busy(4);
    limit(&mut hub, project, of_shards(2));
    hub.run_effect(job).unwrap();
    let joined = hub.joined(agent, NodeId(1), 8, Hub::capabilities());
    hub.turn(vec![joined]).unwrap();
    let (epoch, code, shards) = (hub.epoch(agent), "crashed".into(), Runs::span(0, 1));
    hub.turn(vec![ShardReportedFailed { job, agent, epoch, attempt: 1, shards, code }.into()]).unwrap();
    assert!(hub.leases(agent).is_empty(), "both back off, and no other takes their place");
    hub.pass(10_000, |_| {});
    let again: Vec<(ShardIndex, AttemptNumber)> = hub.leases(agent).iter().map(|l| (l.shard, l.attempt)).collect();
    assert_eq!(again, [(0, 2), (1, 2)]);
}

#[test]
fn other_projects_pass_one_at_its_limit() {
    let (mut hub, project, job, agent) = busy(8);
    limit(&mut hub, project, of_shards(1));
    hub.run_effect(job).unwrap();
    let other = hub.project(1, None);
    hub.issue(other, 50_000_000);
    let fact = hub.asked(Hub::submission(other, 8));
    let behind = JobId::born_at(hub.turn(vec![fact]).unwrap());
    hub.run_effect(behind).unwrap();
    let joined = hub.joined(agent, NodeId(1), 8, Hub::capabilities());
    hub.turn(vec![joined]).unwrap();
    let of = |id: JobId| hub.leases(agent).iter().filter(|lease| lease.job == id).count();
    assert_eq!((of(job), of(behind)), (1, 8));
}

#[test]
fn a_quota_that_was_changed_meanwhile_is_not_overwritten() {
    let (mut hub, project, ..) = busy(1);
    let seen = limit(&mut hub, project, of_shards(1));
    let change = |hub: &Hub, seen| hub.asked(QuotaChanged { project, quota: of_shards(9), replaces: Some(seen) });
    let fact = change(&hub, seen);
    hub.turn(vec![fact]).unwrap();
    let current = hub.leader.projects.projects.get(&project).unwrap().quota_set;
    let fact = change(&hub, seen);
    assert_eq!(hub.turn(vec![fact]).unwrap_err(), Rejection::StaleEtag { current });
}

#[test]
fn blobs_and_mid_states_have_their_limits() {
    let (mut hub, project, job, _) = busy(1);
    let quota = Quota { blob_bytes: Some(10), blob_count: Some(2), vmem_bytes: Some(1), ..Quota::default() };
    limit(&mut hub, project, quota);
    let blob =
        |hub: &Hub, name: &[u8], bytes| hub.asked(BlobRecorded { project, digest: Digest::of(name), bytes, job: None });
    let fact = blob(&hub, b"a", 11);
    assert!(matches!(hub.turn(vec![fact]).unwrap_err(), Rejection::QuotaExceeded { .. }));
    for name in [b"a", b"b"] {
        let fact = blob(&hub, name, 5);
        hub.turn(vec![fact]).unwrap();
    }
    let fact = blob(&hub, b"c", 0);
    assert!(matches!(hub.turn(vec![fact]).unwrap_err(), Rejection::QuotaExceeded { .. }));
    hub.run_effect(job).unwrap();
    let error = hub.leader.jobs.jobs.get(&job).unwrap().error.clone().unwrap();
    assert_eq!(error.code, "mid-state-budget-exceeded");
}
