//! What nodes ask each other besides commands: one question a link, answered by the node asked alone.

use super::Purpose;
use crate::clock::Clock;
use crate::handle::Hub;
use bytes::Bytes;
use forge_event::{NodeId, Timestamp};
use forge_log::MembershipError;
use forge_log::network::{Lane, Link, Transport};
use serde::{Deserialize, Serialize};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// A question is asked and answered within this time.
pub const QUESTION_WAIT: Duration = Duration::from_secs(2);

/// A question.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub enum Question {
    /// Who are you?
    Card,
    /// Hand leadership to this node.
    Transfer { to: NodeId },
}

/// The answer to a question, in its order.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub enum Reply {
    Card(Card),
    Transfer(Result<(), TransferError>),
}

/// What a node says of itself.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Card {
    /// Of the program.
    pub version: String,
    /// Free space where its log lies; `None` where it has no disk. Units: bytes.
    pub disk_free_bytes: Option<u64>,
    /// Its clock when it answered.
    pub wall: Timestamp,
}

/// A card and how it came.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Seen {
    pub card: Card,
    pub rtt: Duration,
    /// How far its clock is ahead of this node's, half the way taken off. Units: ms.
    pub ahead_ms: i64,
    pub at: Instant,
}

/// Leadership was not handed over, or it is not known.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub enum TransferError {
    /// Nobody who was asked leads.
    NoLeader,
    /// The node does not vote.
    NotAVoter,
    /// The leader's log refused.
    Refused { why: String },
    /// The leader was asked, and nobody knows what came of it.
    Unknown,
}

impl From<MembershipError> for TransferError {
    fn from(error: MembershipError) -> TransferError {
        match error {
            MembershipError::NotLeader { .. } => TransferError::NoLeader,
            MembershipError::UnknownNode { .. } => TransferError::NotAVoter,
            MembershipError::Deadline | MembershipError::Stopped => TransferError::Unknown,
            other => TransferError::Refused { why: other.to_string() },
        }
    }
}

/// Asks another node, and says how long the way took.
///
/// # Errors
/// If it does not answer in time. `asked` then tells whether the question may have arrived.
pub async fn ask(transport: &Arc<dyn Transport>, to: NodeId, question: Question) -> Result<(Reply, Duration), Silence> {
    let opened = tokio::time::timeout(QUESTION_WAIT, transport.open(to, Lane::Forward)).await;
    let Ok(Ok(link)) = opened else { return Err(Silence { asked: false }) };
    let since = Instant::now();
    match tokio::time::timeout(QUESTION_WAIT, exchange(link, question)).await {
        Ok(Ok(reply)) => Ok((reply, since.elapsed())),
        _ => Err(Silence { asked: true }),
    }
}

/// A node did not answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Silence {
    /// The question may have arrived.
    pub asked: bool,
}

async fn exchange(mut link: Link, question: Question) -> io::Result<Reply> {
    let bad = |e: postcard::Error| io::Error::new(io::ErrorKind::InvalidData, e);
    link.send(Purpose::Question.frame()).await?;
    link.send(Bytes::from(postcard::to_stdvec(&question).map_err(bad)?)).await?;
    let frame = link.recv().await?.ok_or(io::ErrorKind::UnexpectedEof)?;
    postcard::from_bytes(&frame).map_err(bad)
}

/// Asks a node for its card.
///
/// # Errors
/// If it does not answer in time.
pub async fn card_of(transport: &Arc<dyn Transport>, clock: &Clock, node: NodeId) -> Result<Seen, Silence> {
    let sent = clock.now();
    let (reply, rtt) = ask(transport, node, Question::Card).await?;
    let Reply::Card(card) = reply else { return Err(Silence { asked: true }) };
    let here = sent.0.saturating_add(rtt.as_millis() as u64 / 2);
    let ahead_ms = i64::try_from(card.wall.0).unwrap_or(i64::MAX).saturating_sub_unsigned(here);
    Ok(Seen { card, rtt, ahead_ms, at: Instant::now() })
}

/// Answers the one question of a link.
pub(super) async fn serve(hub: &Hub, mut link: Link) {
    let Ok(Ok(Some(frame))) = tokio::time::timeout(QUESTION_WAIT, link.recv()).await else { return };
    let reply = match postcard::from_bytes(&frame) {
        Ok(Question::Card) => Reply::Card(hub.card()),
        Ok(Question::Transfer { to }) => Reply::Transfer(hub.transfer_here(to).await),
        Err(_) => return,
    };
    if let Ok(frame) = postcard::to_stdvec(&reply) {
        let told = async {
            link.send(Bytes::from(frame)).await?;
            // Whoever asked closes once it has the answer.
            link.recv().await.map(drop)
        };
        let _ = tokio::time::timeout(QUESTION_WAIT, told).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_whether_something_may_have_happened() {
        let node = NodeId(2);
        assert_eq!(TransferError::from(MembershipError::NotLeader { leader: None }), TransferError::NoLeader);
        assert_eq!(TransferError::from(MembershipError::UnknownNode { node }), TransferError::NotAVoter);
        assert_eq!(TransferError::from(MembershipError::Deadline), TransferError::Unknown);
    }
}
