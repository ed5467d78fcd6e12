//! What Raft's metrics say of the node's role, and of its death.

use crate::log::Fault;
use crate::role::{Role, RoleState};
use crate::types::Types;
use forge_event::NodeId;
use openraft::alias::WatchReceiverOf;
use openraft::async_runtime::WatchReceiver;
use openraft::errors::Fatal;
use openraft::{RaftMetrics, ServerState};
use tokio::sync::watch;
use tokio::time::Instant;

pub type Metrics = WatchReceiverOf<Types, RaftMetrics<Types>>;

/// Publishes roles and faults until Raft stops.
pub async fn run(mut metrics: Metrics, role: watch::Sender<Role>, fault: watch::Sender<Option<Fault>>) {
    loop {
        let stopped = look(&metrics, &role, &fault);
        if stopped || metrics.changed().await.is_err() {
            role.send_modify(|role| role.state = RoleState::Stopped);
            return;
        }
    }
}

/// Publishes what the metrics say; true if Raft has stopped. They change with every entry: nothing is copied.
fn look(metrics: &Metrics, role: &watch::Sender<Role>, fault: &watch::Sender<Option<Fault>>) -> bool {
    let seen = metrics.borrow_watched();
    role.send_if_modified(|role| {
        let next = next_role(role, &seen);
        std::mem::replace(role, next) != next
    });
    match &seen.running_state {
        Ok(()) => return false,
        Err(Fatal::Stopped) => {}
        Err(fatal) => {
            fault.send_if_modified(|fault| {
                let first = fault.is_none();
                fault.get_or_insert_with(|| Fault { what: fatal.to_string() });
                first
            });
        }
    }
    true
}

fn next_role(role: &Role, metrics: &RaftMetrics<Types>) -> Role {
    let term = metrics.current_term;
    let state = match metrics.state {
        _ if metrics.running_state.is_err() => RoleState::Stopped,
        ServerState::Leader => match role.state {
            RoleState::Leader { .. } if role.term == term => role.state,
            // Nothing is proposed in a term before its leader is published here: this is at least the last index at election.
            _ => {
                RoleState::Leader { last_index_at_election: metrics.last_log_index.unwrap_or(0), since: Instant::now() }
            }
        },
        ServerState::Follower => RoleState::Follower,
        ServerState::Learner => RoleState::Learner,
        ServerState::Candidate => RoleState::Candidate,
        ServerState::Shutdown => RoleState::Stopped,
    };
    Role { term, leader: metrics.current_leader.map(NodeId), state }
}
