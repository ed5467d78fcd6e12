//! Level-triggered housekeeping: Raft members follow node events, lost nodes are told, segments are
//! reported, snapshots taken, the log purged below what a majority archived.

use crate::handle::Hub;
use forge_event::*;
use forge_log::{Log, Status};
use forge_projections::Command;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

/// Between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// A node that was not heard for this long has lost its sessions. Units: ms.
const NODE_LOST_MS: u64 = 3_000;
/// A learner this close to the end of the log becomes a voter. Units: entries.
const LAG_MAX: u64 = 64;
/// Entries applied since the last snapshot after which the next is taken.
const SNAPSHOT_ENTRIES: u64 = 50_000;

/// Runs until `stop`.
pub async fn run(hub: Hub, stop: CancellationToken) {
    // What a restart folds again is not counted again.
    let mut counted = hub.read(|w| w.head);
    loop {
        tokio::select! { biased;
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK_AGAIN) => {}
        }
        let status = hub.log().status();
        measure(&hub, &mut counted);
        report_segments(&hub).await;
        snapshot_and_purge(&hub, &status).await;
        if hub.is_leader() {
            settle_members(&hub, &status).await;
            tell_lost_nodes(&hub, &status).await;
        }
    }
}

fn measure(hub: &Hub, counted: &mut Head) {
    let (head, sum) = hub.read(|w| (w.head, w.accounting.sum()));
    let events = head.events;
    hub.metrics().turns.inc_by(head.turns - counted.turns);
    hub.metrics().events.inc_by(events - counted.events);
    *counted = head;
    hub.metrics().applied_index.set(events as i64);
    hub.metrics().ledger_sum.set(sum as i64);
}

/// Makes Raft's members what the node events say.
async fn settle_members(hub: &Hub, status: &Status) {
    let log: &Arc<dyn Log> = hub.log();
    let wanted: Vec<(NodeId, String, bool)> =
        hub.read(|w| w.cluster.members().map(|(id, n)| (id, n.addresses.peers.clone(), n.voter)).collect());
    if status.changing {
        // Changes are awaited below, so this one was begun by an earlier leader, or is known to nobody any more.
        let votes = |node: NodeId| status.members.iter().any(|m| m.node == node && m.voter);
        let stays = wanted.iter().map(|(node, ..)| *node).find(|node| votes(*node));
        if let Some(node) = stays
            && let Err(error) = log.promote(node).await
        {
            debug!(%node, %error, "a change of the log's members did not end yet");
        }
        return;
    }
    for (node, address, voter) in &wanted {
        let member = status.members.iter().find(|m| m.node == *node);
        let changed = match member {
            None => log.add_learner(*node, address.clone()).await,
            Some(m) if m.address != *address => log.add_learner(*node, address.clone()).await,
            Some(m) if *voter && !m.voter && m.lag.is_some_and(|lag| lag <= LAG_MAX) => log.promote(*node).await,
            Some(_) => continue,
        };
        match changed {
            Ok(()) => info!(%node, "the members of the log changed"),
            Err(error) => debug!(%node, %error, "the members of the log did not change yet"),
        }
        return;
    }
    let gone = status.members.iter().find(|m| !wanted.iter().any(|(n, ..)| *n == m.node));
    if let Some(gone) = gone
        && let Err(error) = log.remove(gone.node).await
    {
        debug!(node = %gone.node, %error, "a removed node is still a member of the log");
    }
}

/// Starts the grace of sessions on nodes that are not heard any more, or never were since this one leads.
async fn tell_lost_nodes(hub: &Hub, status: &Status) {
    let silent = |m: &&forge_log::role::PeerStatus| {
        m.node != hub.node() && m.silent_ms(&status.role).is_some_and(|ms| ms > NODE_LOST_MS)
    };
    for member in status.members.iter().filter(silent) {
        let node = member.node;
        let holds_sessions = hub.read(|w| {
            let first = w.agents.sessions.range_from(&(node, AgentId(0))).next();
            first.is_some_and(|((n, _), ())| *n == node)
        });
        if holds_sessions {
            warn!(%node, "a node that holds sessions is not heard any more");
            let fact = NodeLost { node, term: status.role.term };
            if let Err(error) = hub.command_here(Command::Fact(fact.into())).await {
                debug!(%node, ?error, "the loss of a node was not taken");
            }
        }
    }
}

/// Reports the next segment that this node archived.
async fn report_segments(hub: &Hub) {
    if *hub.log().incomplete().borrow() {
        return;
    }
    let node = hub.node();
    let Some(upto) = hub.read(|w| w.cluster.nodes.get(&node).filter(|n| !n.removed).map(|n| n.archived_upto)) else {
        return;
    };
    if let Some(segment) = hub.log().segments(upto).first() {
        let fact = SegmentArchived { node, first: segment.first, last: segment.last, digest: segment.digest };
        if let Err(error) = hub.command(Command::Fact(fact.into())).await {
            debug!(?error, "a segment was not reported yet");
        }
    }
}

async fn snapshot_and_purge(hub: &Hub, status: &Status) {
    let since = status.applied.unwrap_or(0).saturating_sub(status.snapshot.unwrap_or(0));
    if since >= SNAPSHOT_ENTRIES
        && let Err(error) = hub.log().snapshot().await
    {
        debug!(%error, "no snapshot was taken");
    }
    let archived = hub.read(|w| w.cluster.archived_by_majority());
    if let Some(upto) = hub.log().purgeable(archived).filter(|upto| Some(*upto) > status.purged)
        && let Err(error) = hub.log().purge_upto(upto, archived).await
    {
        debug!(%error, "the log was not purged");
    }
}
