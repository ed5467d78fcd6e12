//! How a node joins: it proves its one-time token to a node it has the pin of, and is told the rest.

use crate::handle::Hub;
use bytes::Bytes;
use forge_event::{Addresses, Digest, NodeId};
use forge_log::network::{Incoming, Link, Peer};
use forge_projections::{Command, CommandError, Rejection};
use forge_protocol::message::Secret;
use forge_protocol::token::node_token_digest;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A join takes no longer.
const JOIN_WAIT: Duration = Duration::from_secs(15);

/// The joiner's wish. Its key is the one its link proved.
#[derive(Serialize, Deserialize, Debug)]
pub struct Ask {
    pub secret: Secret,
    pub addresses: Addresses,
    pub tip: Digest,
}

/// A node the joiner is told of.
#[derive(Serialize, Deserialize, Debug, Clone)]
pub struct Member {
    pub node: NodeId,
    pub peers: String,
    pub public_key: [u8; 32],
}

/// What a joiner needs to start.
#[derive(Serialize, Deserialize, Debug)]
pub struct Welcome {
    pub node: NodeId,
    pub cluster: Digest,
    pub cluster_name: String,
    pub members: Vec<Member>,
    /// The REST CA: its certificate and key, PEM. Passed over this authenticated link only.
    pub ca_pem: String,
    pub ca_key_pem: String,
}

/// Why a join did not happen.
#[derive(Debug, Serialize, Deserialize, thiserror::Error)]
pub enum JoinError {
    #[error("the token was used before; ask for a new one with `forge cluster add`")]
    Spent,
    #[error("the token is expired or unknown; ask for a new one with `forge cluster add`")]
    Unknown,
    #[error("the cluster refused: {0}")]
    Refused(String),
    #[error("the cluster has no leader now; try again")]
    NoLeader,
    #[error("the link to the inviting node broke: {0}")]
    Link(String),
}

/// What the node that serves a join has to give besides the state.
#[derive(Clone, Debug)]
pub struct House {
    pub cluster_name: String,
    pub ca_pem: String,
    pub ca_key_pem: String,
}

/// Asks to join over a link whose other end is pinned by the token.
///
/// # Errors
/// [`JoinError`].
pub async fn ask(mut link: Link, ask: Ask) -> Result<Welcome, JoinError> {
    let broken = |e: &dyn std::fmt::Display| JoinError::Link(e.to_string());
    let frame = postcard::to_stdvec(&ask).map_err(|e| broken(&e))?;
    let talk = async {
        link.send(Bytes::from(frame)).await.map_err(|e| broken(&e))?;
        link.recv().await.map_err(|e| broken(&e))?.ok_or_else(|| broken(&"closed without an answer"))
    };
    let frame = tokio::time::timeout(JOIN_WAIT, talk).await.map_err(|_| broken(&"no answer in time"))??;
    postcard::from_bytes::<Result<Welcome, JoinError>>(&frame).map_err(|e| broken(&e))?
}

/// Serves one joiner.
pub async fn serve(hub: Hub, house: House, incoming: Incoming) {
    let Peer::Stranger(public_key) = incoming.from else { return };
    let mut link = incoming.link;
    let Ok(Ok(Some(frame))) = tokio::time::timeout(JOIN_WAIT, link.recv()).await else { return };
    let Ok(ask) = postcard::from_bytes::<Ask>(&frame) else { return };
    let answer = admit(&hub, house, ask, public_key).await;
    if let Ok(frame) = postcard::to_stdvec(&answer) {
        let sent = tokio::time::timeout(JOIN_WAIT, async {
            link.send(Bytes::from(frame)).await?;
            // The joiner closes once it has the answer.
            link.recv().await.map(drop)
        });
        let _ = sent.await;
    }
}

async fn admit(hub: &Hub, house: House, ask: Ask, public_key: [u8; 32]) -> Result<Welcome, JoinError> {
    let token = node_token_digest(&ask.secret);
    let command = Command::AdmitNode { token, addresses: ask.addresses, public_key, tip: ask.tip };
    let committed = hub.command(command).await.map_err(|error| match error {
        CommandError::Rejected(Rejection::EnrolmentSpent) => JoinError::Spent,
        CommandError::Rejected(Rejection::TokenUnknown) => JoinError::Unknown,
        CommandError::Rejected(other) => JoinError::Refused(other.to_string()),
        _ => JoinError::NoLeader,
    })?;
    hub.reached(committed.index, JOIN_WAIT).await;
    let (node, members) = hub.read(|w| {
        let members: Vec<Member> = w
            .cluster
            .members()
            .map(|(node, n)| Member { node, peers: n.addresses.peers.clone(), public_key: n.public_key })
            .collect();
        let node = members.iter().find(|m| m.public_key == public_key).map(|m| m.node);
        (node, members)
    });
    let node = node.ok_or(JoinError::NoLeader)?;
    let House { cluster_name, ca_pem, ca_key_pem } = house;
    Ok(Welcome { node, cluster: hub.cluster(), cluster_name, members, ca_pem, ca_key_pem })
}
