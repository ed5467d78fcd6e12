//! Commands straight into the leader's sequencer, over the lane on which nodes forward to it.
//!
//! The client proves the key of one of the nodes, as that node does when it forwards; REST and its JSON are
//! therefore not in the figures, TLS and the network are.

use crate::house::House;
use anyhow::{Context, Result, anyhow};
use forge_event::{By, Credits, CreditsIssued, Digest, Fact, KeyId, NodeId, ProjectId, codec};
use forge_hub::node::IDENTITY_FILE;
use forge_hub::peers::{Forwarder, forwarder};
use forge_log::network::Transport;
use forge_log::network::identity::{Identity, PublicKey};
use forge_log::network::quic::{Directory, QuicTransport};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

/// Where each node listens, and its key.
struct Known(BTreeMap<NodeId, (String, PublicKey)>);

impl Directory for Known {
    fn pin(&self, node: NodeId) -> Option<PublicKey> {
        self.0.get(&node).map(|(_, key)| *key)
    }

    fn address(&self, node: NodeId) -> Option<String> {
        self.0.get(&node).map(|(address, _)| address.clone())
    }

    fn node_of(&self, _: &PublicKey) -> Option<NodeId> {
        None
    }
}

/// Links to every node.
pub struct Lanes {
    transport: Arc<QuicTransport>,
    links: BTreeMap<NodeId, Vec<Forwarder>>,
}

impl Lanes {
    /// Prepares `links` links to each node; they open when they are used.
    ///
    /// # Errors
    /// If a node's key cannot be read.
    pub fn new(house: &House, links: usize) -> Result<Lanes> {
        let mut known = BTreeMap::new();
        let mut own = None;
        for hub in &house.hubs {
            let identity = Identity::load(&hub.data.join(IDENTITY_FILE)).context("reading a node's key")?;
            known.insert(hub.node, (hub.peers.clone(), identity.public_key()));
            own = Some(identity);
        }
        let own = own.ok_or_else(|| anyhow!("there is no node"))?;
        let nodes: Vec<NodeId> = known.keys().copied().collect();
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        // Nobody dials this client, so nobody reads its inbox.
        let (transport, _) = QuicTransport::bind(Arc::new(own), listen, Arc::new(Known(known)))?;
        let open = |_: &NodeId| {
            let one = |_| {
                let (forwarder, running) = forwarder(transport.clone() as Arc<dyn Transport>);
                tokio::spawn(running);
                forwarder
            };
            (0..links).map(one).collect()
        };
        let links = nodes.iter().map(|node| (*node, open(node))).collect();
        Ok(Lanes { transport, links })
    }

    /// One of the links to a node.
    pub fn link(&self, node: NodeId, number: usize) -> Option<&Forwarder> {
        let links = self.links.get(&node)?;
        links.get(number % links.len())
    }
}

impl Drop for Lanes {
    fn drop(&mut self) {
        self.transport.close();
    }
}

/// Credits whose facts take the same number of bytes of a turn each.
#[derive(Clone, Copy, Debug)]
pub struct Credited {
    project: ProjectId,
    key: KeyId,
    idempotent: bool,
    /// Of the reference.
    width: usize,
}

impl Credited {
    /// # Panics
    /// If no reference makes a fact `bytes` bytes long.
    pub fn new(project: ProjectId, key: KeyId, bytes: usize, idempotent: bool) -> Credited {
        // Long enough that its length takes two bytes, as that of the padded one does.
        let short = Credited { project, key, idempotent, width: 128 };
        let missing = bytes.checked_sub(codec::encoded_len(&short.fact(0)));
        Credited { width: short.width + missing.expect("the fact is shorter with a short reference"), ..short }
    }

    /// Credits with a reference that is `number`, padded.
    pub fn fact(&self, number: u64) -> Fact {
        let Credited { project, key, idempotent, width } = *self;
        let idempotency = idempotent.then(|| Digest::of(&number.to_le_bytes()));
        Fact {
            by: Some(By { key: Some(key), idempotency, request: idempotency }),
            event: CreditsIssued { project, amount: Credits(1), reference: padded(number, width) }.into(),
        }
    }
}

/// `number` with zeros before it; faster than the formatter's own filling.
fn padded(number: u64, width: usize) -> String {
    let digits = number.to_string();
    let mut text = "0".repeat(width.saturating_sub(digits.len()));
    text.push_str(&digits);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_padded_fact_takes_256_bytes_of_a_turn() {
        for (number, key) in [(0, 5), (u64::MAX, 5), (77, 300)] {
            let fact = Credited::new(ProjectId(4), KeyId(key), 256, false).fact(number);
            assert_eq!(codec::encoded_len(&fact), 256);
        }
    }
}
