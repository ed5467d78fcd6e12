//! Which key and address each node has: from the committed state, from the invitation before that.

use crate::committed::CommittedWorld;
use forge_event::NodeId;
use forge_log::network::quic::Directory;
use std::sync::Arc;

/// A node this one was told of before it had any state.
#[derive(Clone, Debug)]
pub struct Told {
    pub node: NodeId,
    pub peers: String,
    pub public_key: [u8; 32],
}

/// Pins and addresses of the cluster's nodes.
#[derive(Debug)]
pub struct Nodes {
    pub committed: Arc<CommittedWorld>,
    pub told: Vec<Told>,
}

impl Nodes {
    fn find<R>(
        &self,
        node: NodeId,
        known: impl Fn(&forge_projections::cluster::Node) -> R,
        told: impl Fn(&Told) -> R,
    ) -> Option<R> {
        let state = self.committed.read(|w| w.cluster.nodes.get(&node).map(|n| (!n.removed).then(|| known(n))));
        match state {
            Some(answer) => answer,
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
        let state =
            self.committed.read(|w| w.cluster.members().find(|(_, n)| n.public_key == *public_key).map(|(id, _)| id));
        state.or_else(|| {
            let told = self.told.iter().find(|t| t.public_key == *public_key)?;
            // Whom the state removed is not let in by an old invitation.
            self.pin(told.node).map(|_| told.node)
        })
    }
}
