//! A shard whose attempt was cut off is taken up behind its checkpoint.

use crate::rig::Hub;
use crate::rig::fake::{self, FAMILIES};
use forge_event::*;
use forge_projections::replay::{Options, Verifier};

/// A job of one shard of 16 cells, at the first of two agents; its agents.
fn resumable() -> (Hub, JobId, [AgentId; 2]) {
    let (mut hub, project, first) = Hub::staffed();
    let provider = hub.provider();
    let agents = [first, hub.agent(provider)];
    let mut submission = Hub::submission(project, 1);
    submission.spec = b"{\"shards\":1,\"resumable\":true}".to_vec();
    let fact = hub.asked(submission);
    let job = JobId::born_at(hub.turn(vec![fact]).unwrap());
    hub.run_effect(job).unwrap();
    for agent in agents {
        let joined = hub.joined(agent, NodeId(1), 1, Hub::capabilities());
        hub.turn(vec![joined]).unwrap();
    }
    assert_eq!(hub.leases(agents[0]).len(), 1, "the first to join has it");
    (hub, job, agents)
}

fn checkpoint(hub: &mut Hub, agent: AgentId, cells: u64) -> Result<EventIndex, forge_projections::Rejection> {
    let fact = hub.checkpoint(agent, hub.leases(agent)[0], cells, fake::part(1, cells));
    hub.turn(vec![fact])
}

#[test]
fn a_lost_attempt_is_taken_up_behind_its_checkpoint() {
    let (mut hub, job, [first, second]) = resumable();
    checkpoint(&mut hub, first, 4).unwrap();
    checkpoint(&mut hub, first, 10).unwrap();
    for wrong in [10, 16, 17] {
        checkpoint(&mut hub, first, wrong).expect_err("it says nothing new, or is the end, or beyond");
    }
    assert_eq!(hub.leader.resumes_from(job, 0), 0, "while it lives nobody needs it");
    let epoch = hub.epoch(first);
    hub.turn(vec![AgentLost { agent: first, epoch, reason: LostReason::Left }.into()]).unwrap();
    assert_eq!(hub.leader.resumes_from(job, 0), 10);
    assert_eq!(hub.leases(second).len(), 1);

    // The next one is lost too; what it did counts from where it began.
    checkpoint(&mut hub, second, 3).unwrap();
    hub.pass(1, |_| {});
    let epoch = hub.epoch(second);
    hub.turn(vec![AgentLost { agent: second, epoch, reason: LostReason::Left }.into()]).unwrap();
    assert_eq!(hub.leader.resumes_from(job, 0), 13);
    let joined = hub.joined(first, NodeId(1), 1, Hub::capabilities());
    hub.turn(vec![joined]).unwrap();
    hub.pass(10_000, |_| {});

    // A result of the whole shard is not what this attempt was asked for.
    let lease = hub.leases(first)[0];
    assert_eq!(lease.attempt, 3);
    let whole = hub.received(first, job, 3, Runs::one(0), fake::part(1, 16));
    let Event::ResultReceived(received) = &whole.event else { unreachable!("it is a delivery") };
    assert_ne!(received.checks.bits, 0);
    let rest = hub.received(first, job, 3, Runs::one(0), fake::part(1, 3));
    hub.turn(vec![rest]).unwrap();
    let seal = hub.sealed(first, 1);
    hub.turn(vec![seal]).unwrap();
    let mid = hub.leader.aggregator.vmem.get(job, 0).unwrap().encode();
    assert_eq!(mid[..8], 16u64.to_le_bytes(), "each cell is folded once");
    hub.run_effect(job).unwrap();
    let ended = hub.leader.jobs.jobs.get(&job).unwrap();
    assert_eq!(ended.state.name(), "succeeded");
    assert_eq!(ended.charged, ended.hold.unwrap().rate.of(1), "one shard is paid once, to who ended it");

    // The second comes back with its result, of the rest that it was given: too late, and nothing to hold against it.
    let joined = hub.joined(second, NodeId(1), 1, Hub::capabilities());
    hub.turn(vec![joined]).unwrap();
    let mut late = hub.received(second, job, 2, Runs::one(0), fake::part(1, 6));
    let Event::ResultReceived(received) = &mut late.event else { unreachable!("it is a delivery") };
    received.checks.bits = 0;
    hub.turn(vec![late]).unwrap();
    let report = Verifier::new(&hub.archive(), &FAMILIES, Options { recheck: true, ..Options::default() }).finish();
    assert_eq!((report.fault, report.rechecked), (None, 4));
}

#[test]
fn an_attempt_that_was_wrong_leaves_nothing() {
    let (mut hub, job, [first, _]) = resumable();
    checkpoint(&mut hub, first, 10).unwrap();
    let (epoch, code, shards) = (hub.epoch(first), "crashed".into(), Runs::one(0));
    hub.turn(vec![ShardReportedFailed { job, agent: first, epoch, attempt: 1, shards, code }.into()]).unwrap();
    assert_eq!(hub.leader.resumes_from(job, 0), 0);
    assert_eq!(hub.leader.begun(job, 0), None);
}

#[test]
fn a_checkpoint_that_its_checks_convict_is_noticed() {
    let (mut hub, _, [first, _]) = resumable();
    let mut fact = hub.checkpoint(first, hub.leases(first)[0], 10, fake::part(1, 11));
    let Event::CheckpointReceived(e) = &mut fact.event else { unreachable!("it is a checkpoint") };
    assert_ne!(e.checks.bits, 0);
    hub.turn(vec![fact.clone()]).expect_err("it fails its checks");
    let Event::CheckpointReceived(e) = &mut fact.event else { unreachable!("it is a checkpoint") };
    e.checks.bits = 0;
    hub.turn(vec![fact]).expect("a node that lies about it");
    let report = Verifier::new(&hub.archive(), &FAMILIES, Options { recheck: true, ..Options::default() }).finish();
    assert_eq!(report.fault.expect("replay checks again").code.name(), "result-differs");
}
