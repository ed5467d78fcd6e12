//! One session against a leader that is only described.

use super::*;
use alloc::vec;

fn lease(shard: ShardIndex) -> LeaseId {
    LeaseId { job: JobId(9), shard, attempt: 1 }
}

fn delivery(shard: ShardIndex) -> Delivery {
    Delivery { lease: lease(shard), digest: Digest::of(&[]), bytes: vec![], checks: Checks::default() }
}

fn accepted(batch: &Submission, first: u64) -> Verdict {
    let Submission::Deliver(batch) = batch else { panic!("a batch") };
    let recorded =
        (first..).zip(batch).map(|(position, d)| Recorded { lease: d.lease, position, fate: Fate::Accepted });
    Verdict::Recorded(recorded.collect())
}

fn actions(session: &mut HubSession) -> Vec<Action> {
    core::iter::from_fn(|| session.poll_action()).collect()
}

fn with_live(shards: &[ShardIndex]) -> HubSession {
    let mut session = HubSession::new();
    session.handle_live(EventIndex(10), shards.iter().map(|s| lease(*s)));
    actions(&mut session);
    session
}

#[test]
fn streams_follow_the_committed_set_of_live_leases() {
    let mut session = HubSession::new();
    session.handle_live(EventIndex(10), [lease(1), lease(2)]);
    assert_eq!(actions(&mut session), [Action::Open(lease(1)), Action::Open(lease(2))]);
    session.handle_live(EventIndex(20), [lease(2), lease(3)]);
    let cancel = Action::Cancel { lease: lease(1), reason: CancelReason::Ended };
    assert_eq!(actions(&mut session), [cancel, Action::Open(lease(3))]);
}

#[test]
fn an_event_older_than_the_state_opens_nothing() {
    let mut session = with_live(&[]);
    session.handle_assigned(EventIndex(10), lease(1));
    assert_eq!(actions(&mut session), []);
    session.handle_assigned(EventIndex(11), lease(1));
    session.handle_assigned(EventIndex(11), lease(1));
    assert_eq!(actions(&mut session), [Action::Open(lease(1))]);
}

#[test]
fn a_result_is_acknowledged_only_after_its_commit() {
    let mut session = with_live(&[1]);
    assert!(session.handle_result(delivery(1)));
    let (id, batch) = session.poll_submission(Now(0)).expect("a batch");
    assert_eq!(actions(&mut session), []);
    session.handle_verdict(id, accepted(&batch, 7), Now(1));
    assert_eq!(actions(&mut session), [Action::Ack { lease: lease(1), position: 7, fate: Fate::Accepted }]);
}

#[test]
fn an_undecided_batch_is_delivered_again_with_what_came_since() {
    let mut session = with_live(&[1, 2]);
    session.handle_result(delivery(1));
    let (id, _) = session.poll_submission(Now(0)).expect("a batch");
    session.handle_verdict(id, Verdict::Again, Now(100));
    session.handle_result(delivery(2));
    assert_eq!(session.poll_submission(Now(100)), None);
    assert_eq!(session.retry_time(), Some(Now(125)));
    let (_, batch) = session.poll_submission(Now(125)).expect("a batch");
    assert_eq!(batch, Submission::Deliver(vec![delivery(1), delivery(2)]));
}

#[test]
fn a_retry_is_waited_for_once() {
    let mut session = with_live(&[1, 2, 3]);
    let mut batch = |shard| {
        session.handle_result(delivery(shard));
        session.poll_submission(Now(0)).expect("a batch").0
    };
    let (first, _) = (batch(1), batch(2));
    session.handle_result(delivery(3));
    session.handle_verdict(first, Verdict::Again, Now(100));
    assert_eq!(session.retry_time(), Some(Now(125)));
    assert!(session.poll_submission(Now(125)).is_some());
    session.handle_draining();
    assert_eq!(session.retry_time(), None, "a timer that fired must not fire again at once");
}

#[test]
fn a_lease_whose_result_was_read_is_not_cancelled() {
    let mut session = with_live(&[1]);
    session.handle_result(delivery(1));
    session.handle_ended(EventIndex(12), lease(1), CancelReason::Expired);
    session.handle_live(EventIndex(13), []);
    assert_eq!(actions(&mut session), []);
}

#[test]
fn a_result_after_the_lease_ended_is_dropped() {
    let mut session = with_live(&[1]);
    session.handle_ended(EventIndex(12), lease(1), CancelReason::Expired);
    assert!(!session.handle_result(delivery(1)));
    assert_eq!(session.poll_submission(Now(0)), None);
}

#[test]
fn at_most_two_batches_are_in_flight() {
    let mut session = with_live(&[1, 2, 3]);
    for shard in 1..=2 {
        session.handle_result(delivery(shard));
        assert!(session.poll_submission(Now(0)).is_some());
    }
    session.handle_result(delivery(3));
    assert_eq!(session.poll_submission(Now(0)), None);
}

#[test]
fn a_batch_stays_below_its_bytes() {
    let mut session = with_live(&[1, 2, 3]);
    for shard in 1..=3 {
        session.handle_result(Delivery { bytes: vec![0; BATCH_BYTES_MAX], ..delivery(shard) });
    }
    let (_, batch) = session.poll_submission(Now(0)).expect("a batch");
    assert!(matches!(batch, Submission::Deliver(batch) if batch.len() == 1));
}

#[test]
fn a_stale_session_closes_to_join_again() {
    let mut session = with_live(&[1]);
    session.handle_result(delivery(1));
    let (id, _) = session.poll_submission(Now(0)).expect("a batch");
    session.handle_verdict(id, Verdict::Stale, Now(1));
    assert_eq!(actions(&mut session), [Action::Close(CloseCode::Rejoin)]);
    assert_eq!(session.poll_submission(Now(9)), None);
}

#[test]
fn an_agent_leaves_after_its_last_seal() {
    let mut session = with_live(&[]);
    session.handle_seal(Seal { upto: 1, head: [1; 32], signature: [[2; 32]; 2] });
    session.handle_leaving();
    let (seal, submission) = session.poll_submission(Now(0)).expect("the seal");
    assert!(matches!(submission, Submission::Seal(_)));
    assert_eq!(session.poll_submission(Now(0)), None);
    session.handle_verdict(seal, Verdict::Committed, Now(1));
    let (lost, submission) = session.poll_submission(Now(1)).expect("the end");
    assert_eq!(submission, Submission::Lost(LostReason::Left));
    session.handle_verdict(lost, Verdict::Committed, Now(2));
    assert_eq!(actions(&mut session), [Action::Close(CloseCode::Done)]);
}

#[test]
fn a_session_that_rested_goes_on_working() {
    let mut session = with_live(&[0]);
    assert!(!session.is_idle(), "a live attempt is work");
    session.handle_result(delivery(0));
    let (id, batch) = session.poll_submission(Now(0)).expect("a batch");
    assert!(!session.is_idle(), "a batch under way is work");
    session.handle_verdict(id, accepted(&batch, 1), Now(1));
    actions(&mut session);
    assert!(session.is_idle());
    session.rest();
    assert!(session.is_idle());
    session.handle_assigned(EventIndex(20), lease(1));
    assert!(matches!(actions(&mut session)[..], [Action::Open(opened)] if opened == lease(1)));
    session.handle_result(delivery(1));
    let (id, batch) = session.poll_submission(Now(2)).expect("a batch");
    session.handle_verdict(id, accepted(&batch, 2), Now(3));
    assert!(matches!(actions(&mut session)[..], [Action::Ack { position: 2, .. }]));
}
