//! The hub cluster itself: nodes, invites, the leader, prices, what is archived where.

use crate::cow::{CowMap, digest_of};
use alloc::vec::Vec;
use forge_event::*;
use serde::{Deserialize, Serialize};

/// A hub node.
#[derive(Clone, Serialize, Deserialize, Debug)]
pub struct Node {
    pub admitted: EventIndex,
    pub addresses: Addresses,
    pub public_key: [u8; 32],
    pub tip: Digest,
    /// Asked to vote; Raft membership is a level-triggered effect of this.
    pub voter: bool,
    pub removed: bool,
    /// The `node.lost` that stands, until the node's next session or `leader.started`.
    pub lost: Option<EventIndex>,
    /// Everything up to here is archived and verified there.
    pub archived_upto: EventIndex,
}

/// A one-time token for a node.
#[derive(Clone, Serialize, Deserialize, Debug)]
pub struct Invite {
    pub index: EventIndex,
    pub expires_at: Timestamp,
    pub spent: Option<NodeId>,
}

#[derive(Clone, Serialize, Deserialize, Debug, Default)]
pub struct Cluster {
    pub nodes: CowMap<NodeId, Node>,
    /// By token digest.
    pub invites: CowMap<Digest, Invite>,
    /// Node, term and position of the last `leader.started`.
    pub leader: Option<(NodeId, Term, EventIndex)>,
    /// Sum of all extensions: live deadlines are stored less the sum at their birth. Units: ms.
    pub extension_ms: u64,
    /// Last index that a `state.rooted` covers.
    pub rooted_upto: EventIndex,
    /// By version. Running jobs keep theirs.
    pub prices: CowMap<u32, PolicyChanged>,
}

impl Cluster {
    /// The prices in force.
    pub fn prices(&self) -> Option<&PolicyChanged> {
        self.prices.last().map(|(_, p)| p)
    }

    /// The number the next admitted node gets.
    pub fn next_node(&self) -> NodeId {
        NodeId(self.nodes.last().map_or(0, |(n, _)| n.0) + 1)
    }

    /// Nodes that were not removed.
    pub fn members(&self) -> impl Iterator<Item = (NodeId, &Node)> {
        self.nodes.iter().filter(|(_, n)| !n.removed).map(|(id, n)| (*id, n))
    }

    /// Position up to which a majority of voters archived the log.
    pub fn archived_by_majority(&self) -> EventIndex {
        let mut upto: Vec<EventIndex> = self.members().filter(|(_, n)| n.voter).map(|(_, n)| n.archived_upto).collect();
        upto.sort_unstable_by(|a, b| b.cmp(a));
        upto.get(upto.len() / 2).copied().unwrap_or_default()
    }

    pub(crate) fn root(&mut self) -> Digest {
        let parts = [self.nodes.root(), self.invites.root(), self.prices.root()];
        digest_of(&(parts, &self.leader, self.extension_ms, self.rooted_upto))
    }
}
