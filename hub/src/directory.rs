//! Which key and address each node has: from the committed state, from the invitation before that.

use crate::committed::CommittedWorld;
use forge_event::NodeId;
use forge_log::Log;
use forge_log::network::quic::Directory;
use forge_projections::cluster::Node;
use std::sync::{Arc, OnceLock, Weak};

/// A node this one was told of before it had any state.
#[derive(Clone, Debug)]
pub struct Told {
    pub node: NodeId,
    pub peers: String,
    pub public_key: [u8; 32],
}

/// Pins and addresses of the cluster's nodes.
///
/// Invariant: a removed node is known for as long as Raft counts it, which needs its vote to let it go.
pub struct Nodes {
    pub committed: Arc<CommittedWorld>,
    pub told: Vec<Told>,
    /// The log that speaks over these links; empty until it runs.
    log: OnceLock<Weak<dyn Log>>,
}

impl std::fmt::Debug for Nodes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Nodes").field("told", &self.told).finish_non_exhaustive()
    }
}

impl Nodes {
    pub fn new(committed: Arc<CommittedWorld>, told: Vec<Told>) -> Nodes {
        Nodes { committed, told, log: OnceLock::new() }
    }

    /// Says which log these links carry.
    pub fn carry(&self, log: &Arc<dyn Log>) {
        // A node has one log for its life.
        let _ = self.log.set(Arc::downgrade(log));
    }

    /// Raft has not let it go yet.
    fn counts(&self, node: NodeId) -> bool {
        let log = self.log.get().and_then(Weak::upgrade);
        log.is_some_and(|log| log.status().members.iter().any(|m| m.node == node))
    }

    fn find<R>(&self, node: NodeId, known: impl Fn(&Node) -> R, told: impl Fn(&Told) -> R) -> Option<R> {
        let state = self.committed.read(|w| w.cluster.nodes.get(&node).map(|n| (n.removed, known(n))));
        match state {
            Some((removed, answer)) => (!removed || self.counts(node)).then_some(answer),
            None => self.told.iter().find(|t| t.node == node).map(told),
        }
    }
}

impl Directory for Nodes {
    fn pin(&self, node: NodeId) -> Option<[u8; 32]> {
        self.find(node, |n| n.public_key, |t| t.public_key)
    }

    fn address(&self, node: NodeId) -> Option<String> {
        self.find(node, |n| n.addresses.peers.clone(), |t| t.peers.clone())
    }

    fn node_of(&self, public_key: &[u8; 32]) -> Option<NodeId> {
        let state = self.committed.read(|w| {
            let found = w.cluster.nodes.iter().find(|(_, n)| n.public_key == *public_key);
            found.map(|(id, n)| (*id, n.removed))
        });
        let state = state.filter(|(node, removed)| !removed || self.counts(*node)).map(|(node, _)| node);
        state.or_else(|| {
            let told = self.told.iter().find(|t| t.public_key == *public_key)?;
            // Whom the state removed is not let in by an old invitation.
            self.pin(told.node).map(|_| told.node)
        })
    }
}
