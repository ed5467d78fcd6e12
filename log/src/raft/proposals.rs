//! Turns on their way into Raft: proposed one by one, in the order of the calls.

use crate::apply::Applier;
use crate::log::{Appended, Refusal};
use crate::types::{Answer, Payload, Reply, Types};
use bytes::Bytes;
use forge_event::{NodeId, Term};
use openraft::Raft;
use openraft::errors::{ClientWriteError, ForwardReason, ForwardToLeader};
use openraft::raft::ClientWriteResult;
use tokio::sync::{mpsc, oneshot};

/// Turns that may wait to be proposed; the sequencer has at most four in flight.
pub const PROPOSALS_MAX: usize = 64;

pub struct Proposal {
    pub term: Term,
    pub frame: Bytes,
    pub done: oneshot::Sender<Appended>,
}

/// Proposes until the queue ends.
pub async fn run(raft: Raft<Types, Applier>, mut queue: mpsc::Receiver<Proposal>) {
    while let Some(Proposal { term, frame, done }) = queue.recv().await {
        let reply = Reply::new(move |result| {
            // The proposer may not wait for the answer any more.
            let _ = done.send(outcome(result));
        });
        // The fence: a leader of another term refuses it. On a fatal error the reply is dropped: unknown.
        if let Err(fatal) = raft.write(Payload(frame)).with_leader(term).responder(reply).await {
            tracing::debug!(%fatal, "a turn could not be proposed");
        }
    }
}

/// Architecture §2, "Append has three outcomes".
fn outcome(result: ClientWriteResult<Types>) -> Appended {
    match result {
        Ok(written) => match written.data {
            Answer::Accepted(head) => Appended::Committed { head, raft_index: written.log_id.index() },
            Answer::Ignored(head) => Appended::Refused(Refusal::Ignored { head }),
            Answer::Nothing => Appended::Unknown,
        },
        Err(ClientWriteError::ForwardToLeader(forward)) => Appended::Refused(refusal(&forward)),
        // It was in the local log and another leader's log took its place: it may still be committed elsewhere.
        Err(ClientWriteError::LogEntryDiscarded(_)) => Appended::Unknown,
        Err(ClientWriteError::ChangeMembershipError(_) | ClientWriteError::PreconditionFailed(_)) => Appended::Unknown,
    }
}

fn refusal(forward: &ForwardToLeader<Types>) -> Refusal {
    match forward.reason {
        ForwardReason::NotLeader => Refusal::NotLeader { leader: forward.leader_id.map(NodeId) },
        ForwardReason::LeaseExpired | ForwardReason::LeadershipTransfer => Refusal::RetryHere,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::log_id;
    use forge_event::Head;
    use openraft::errors::ForwardToLeader;
    use openraft::raft::ClientWriteResponse;

    fn forward(reason: ForwardReason) -> ForwardToLeader<Types> {
        ForwardToLeader { leader_id: Some(2), leader_node: None, reason }
    }

    fn written(data: Answer) -> ClientWriteResult<Types> {
        Ok(ClientWriteResponse { log_id: log_id(1, 7), data, membership: None })
    }

    #[test]
    fn each_answer_of_raft_is_one_of_three_outcomes() {
        let head = Head { turns: 1, events: 2, ..Head::default() };
        assert_eq!(outcome(written(Answer::Accepted(head))), Appended::Committed { head, raft_index: 7 });
        assert_eq!(outcome(written(Answer::Ignored(head))), Appended::Refused(Refusal::Ignored { head }));
        let refused = |reason| outcome(Err(ClientWriteError::ForwardToLeader(forward(reason))));
        let elsewhere = Refusal::NotLeader { leader: Some(NodeId(2)) };
        assert_eq!(refused(ForwardReason::NotLeader), Appended::Refused(elsewhere));
        assert_eq!(refused(ForwardReason::LeaseExpired), Appended::Refused(Refusal::RetryHere));
        assert_eq!(refused(ForwardReason::LeadershipTransfer), Appended::Refused(Refusal::RetryHere));
        let discarded = ClientWriteError::LogEntryDiscarded(forward(ForwardReason::NotLeader));
        assert_eq!(outcome(Err(discarded)), Appended::Unknown);
    }
}
