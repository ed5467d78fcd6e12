//! What a node knows of the others: their cards, asked for every second.

use super::question::{Seen, card_of};
use crate::handle::Hub;
use forge_event::NodeId;
use futures::future::join_all;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Between two rounds.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// An older card says nothing of the present.
const FRESH: Duration = Duration::from_secs(5);

/// The latest card of every other member.
#[derive(Debug, Default)]
pub struct Acquaintances(Mutex<BTreeMap<NodeId, Seen>>);

impl Acquaintances {
    /// A node's card, if it is fresh.
    pub fn of(&self, node: NodeId) -> Option<Seen> {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&node).cloned();
        seen.filter(|seen| seen.at.elapsed() <= FRESH)
    }

    fn keep(&self, cards: Vec<(NodeId, Seen)>, members: &[NodeId]) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|node, _| members.contains(node));
        known.extend(cards);
    }
}

/// Asks round after round, until `stop`.
pub async fn run(hub: Hub, stop: CancellationToken) {
    loop {
        let members: Vec<NodeId> = hub.read(|w| w.cluster.members().map(|(node, _)| node).collect());
        let others = members.iter().filter(|node| **node != hub.node());
        let asked =
            others.map(async |node| card_of(hub.transport(), hub.clock(), *node).await.ok().map(|seen| (*node, seen)));
        let round = async {
            let cards = join_all(asked).await.into_iter().flatten().collect();
            hub.acquaintances().keep(cards, &members);
            tokio::time::sleep(ASK_EVERY).await;
        };
        tokio::select! { biased;
            () = stop.cancelled() => return,
            () = round => {}
        }
    }
}
