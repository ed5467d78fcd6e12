//! Changes of members, and the view of them.

use super::Core;
use super::roles::Metrics;
use crate::apply::Applier;
use crate::log::MembershipError;
use crate::role::{PeerStatus, Status};
use crate::types::Types;
use forge_event::NodeId;
use openraft::async_runtime::WatchReceiver;
use openraft::errors::{ChangeMembershipError, ClientWriteError, InitializeError, RaftError};
use openraft::raft::ClientWriteResponse;
use openraft::{BasicNode, ChangeMembers, Instant as _, Raft, RaftMetrics, ServerState};
use std::collections::{BTreeMap, BTreeSet};

type Change = ChangeMembers<u64, BasicNode>;

/// Forms a cluster of one node.
pub async fn bootstrap(raft: Raft<Types, Applier>, node: NodeId, address: String) -> Result<(), MembershipError> {
    let members = BTreeMap::from([(node.0, BasicNode::new(address))]);
    raft.initialize(members).await.map_err(|error| match error {
        RaftError::APIError(InitializeError::NotAllowed(_)) => MembershipError::Formed,
        RaftError::APIError(other) => MembershipError::Refused { why: other.to_string() },
        RaftError::Fatal(_) => MembershipError::Stopped,
    })
}

/// Adds a learner, or gives a member another address.
pub async fn add_learner(raft: Raft<Types, Applier>, node: NodeId, address: String) -> Result<(), MembershipError> {
    let known = member(&raft.metrics(), node);
    let nodes = BTreeMap::from([(node.0, BasicNode::new(address.clone()))]);
    let change = match known {
        Some((known, _)) if known == address => return Ok(()),
        // openraft warns of SetNodes where an address can lead to another node; here the pinned key decides who answers.
        Some(_) => Change::SetNodes(nodes),
        None => Change::AddNodes(nodes),
    };
    done(node, raft.change_membership(change, true).await)
}

/// Makes a learner a voter; for a voter, ends a change that an earlier leader began and did not end.
pub async fn promote(raft: Raft<Types, Applier>, node: NodeId) -> Result<(), MembershipError> {
    match member(&raft.metrics(), node) {
        None => return Err(not_leading(&raft).unwrap_or(MembershipError::UnknownNode { node })),
        Some((_, true)) if !is_joint(&raft.metrics()) => return Ok(()),
        Some(_) => {}
    }
    done(node, raft.change_membership(Change::AddVoterIds(BTreeSet::from([node.0])), true).await)
}

/// Removes a member.
pub async fn remove(raft: Raft<Types, Applier>, node: NodeId) -> Result<(), MembershipError> {
    let change = match member(&raft.metrics(), node) {
        None => return not_leading(&raft).map_or(Ok(()), Err),
        Some((_, true)) => Change::RemoveVoters(BTreeSet::from([node.0])),
        Some((_, false)) => Change::RemoveNodes(BTreeSet::from([node.0])),
    };
    done(node, raft.change_membership(change, false).await)
}

/// Hands leadership over.
pub async fn transfer(raft: Raft<Types, Applier>, node: NodeId) -> Result<(), MembershipError> {
    if let Some(error) = not_leading(&raft) {
        return Err(error);
    }
    match member(&raft.metrics(), node) {
        Some((_, true)) => raft.trigger().transfer_leader(node.0).await.map_err(|_| MembershipError::Stopped),
        _ => Err(MembershipError::UnknownNode { node }),
    }
}

/// Between the two steps of a change of voters.
fn is_joint(metrics: &Metrics) -> bool {
    metrics.borrow_watched().membership_config.membership().get_joint_config().len() > 1
}

/// A member's address, and whether it votes.
fn member(metrics: &Metrics, node: NodeId) -> Option<(String, bool)> {
    let metrics = metrics.borrow_watched();
    let members = metrics.membership_config.membership();
    let address = members.get_node(&node.0)?.addr.clone();
    Some((address, members.voter_ids().any(|id| id == node.0)))
}

fn not_leading(raft: &Raft<Types, Applier>) -> Option<MembershipError> {
    let metrics = raft.metrics();
    let metrics = metrics.borrow_watched();
    let leads = metrics.state == ServerState::Leader;
    (!leads).then(|| MembershipError::NotLeader { leader: metrics.current_leader.map(NodeId) })
}

type Changed = Result<ClientWriteResponse<Types>, RaftError<Types, ClientWriteError<Types>>>;

fn done(node: NodeId, changed: Changed) -> Result<(), MembershipError> {
    match changed {
        Ok(_) => Ok(()),
        Err(RaftError::Fatal(_)) => Err(MembershipError::Stopped),
        Err(RaftError::APIError(ClientWriteError::ForwardToLeader(forward))) => {
            Err(MembershipError::NotLeader { leader: forward.leader_id.map(NodeId) })
        }
        Err(RaftError::APIError(ClientWriteError::ChangeMembershipError(error))) => Err(match error {
            ChangeMembershipError::InProgress(_) | ChangeMembershipError::UncommittedLeaderLog(_) => {
                MembershipError::Busy
            }
            ChangeMembershipError::LearnerNotFound(_) => MembershipError::UnknownNode { node },
            other => MembershipError::Refused { why: other.to_string() },
        }),
        Err(RaftError::APIError(other)) => Err(MembershipError::Refused { why: other.to_string() }),
    }
}

impl Core {
    pub(super) fn view(&self) -> Status {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let members = metrics.membership_config.membership();
        Status {
            node: self.node,
            role: *self.role.borrow(),
            last_log: metrics.last_log_index,
            committed: metrics.local_committed.as_ref().map(|id| id.index()),
            applied: metrics.last_applied.as_ref().map(|id| id.index()),
            snapshot: metrics.snapshot.as_ref().map(|id| id.index()),
            purged: metrics.purged.as_ref().map(|id| id.index()),
            members: members.nodes().map(|(id, node)| peer(&metrics, *id, node)).collect(),
            changing: members.get_joint_config().len() > 1,
            incomplete: *self.archive.incomplete().borrow(),
            storage_degraded: self.space.is_degraded(),
        }
    }
}

fn peer(metrics: &RaftMetrics<Types>, id: u64, node: &BasicNode) -> PeerStatus {
    let voter = metrics.membership_config.membership().voter_ids().any(|voter| voter == id);
    let matched = metrics.replication.as_ref().and_then(|peers| peers.get(&id)).cloned().flatten().map(|id| id.index());
    let matched =
        if metrics.state == ServerState::Leader && id == metrics.id { metrics.last_log_index } else { matched };
    let end = |index: Option<u64>| index.map_or(0, |index| index + 1);
    let leads = metrics.replication.is_some();
    let heard = metrics.heartbeat.as_ref().and_then(|peers| peers.get(&id)).cloned().flatten();
    PeerStatus {
        node: NodeId(id),
        address: node.addr.clone(),
        voter,
        matched,
        lag: leads.then(|| end(metrics.last_log_index).saturating_sub(end(matched))),
        heard_ms: heard.map(|at| u64::try_from(at.elapsed().as_millis()).unwrap_or(u64::MAX)),
    }
}
