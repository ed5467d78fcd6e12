//! An enrolment: one message, one answer.

use super::listener::close;
use crate::handle::Hub;
use forge_event::AgentId;
use forge_projections::{Command, CommandError, Rejection};
use forge_protocol::limits::FRAME_BYTES_MAX;
use forge_protocol::token::agent_token_digest;
use forge_protocol::{AgentToHub, CloseCode, EnrolRefusal, Enrolled, HubToAgent, frame};
use quinn::Connection;
use std::time::Duration;

/// The agent has so long to send its token, and to read the answer.
const EXCHANGE_WAIT: Duration = Duration::from_secs(10);

/// Serves one enrolment; `key` is the one that the connection proved.
pub(super) async fn serve(hub: &Hub, connection: &Connection, key: [u8; 32]) {
    let code = match tokio::time::timeout(EXCHANGE_WAIT, asked(connection)).await {
        Ok(Some((secret, mut send))) => {
            let answer = enrol(hub, &secret, key).await;
            let told = async {
                send.write_all(&frame::encode(&answer)).await.ok()?;
                send.finish().ok()?;
                connection.closed().await;
                Some(())
            };
            let _ = tokio::time::timeout(EXCHANGE_WAIT, told).await;
            CloseCode::Done
        }
        _ => CloseCode::Protocol,
    };
    close(connection, code);
}

async fn asked(connection: &Connection) -> Option<(forge_protocol::message::Secret, quinn::SendStream)> {
    let (send, mut recv) = connection.accept_bi().await.ok()?;
    let bytes = recv.read_to_end(FRAME_BYTES_MAX).await.ok()?;
    match frame::take(&bytes) {
        Ok(Some((AgentToHub::Enrol { secret }, length))) if length == bytes.len() => Some((secret, send)),
        _ => None,
    }
}

async fn enrol(hub: &Hub, secret: &forge_protocol::message::Secret, public_key: [u8; 32]) -> HubToAgent {
    let command = Command::Enrol { token: agent_token_digest(secret), public_key };
    let refusal = match hub.command(command).await {
        Ok(committed) => match enrolled(hub, AgentId::born_at(committed.index), committed.index).await {
            Some(enrolled) => return HubToAgent::Enrolled(enrolled),
            None => EnrolRefusal::Unavailable,
        },
        // Who lost the answer asks again with the same key, and is told the same.
        Err(CommandError::Rejected(Rejection::EnrolmentSpent)) => match already(hub, &public_key).await {
            Some(enrolled) => return HubToAgent::Enrolled(enrolled),
            None => EnrolRefusal::Spent,
        },
        Err(CommandError::Rejected(Rejection::TokenUnknown)) => EnrolRefusal::Unknown,
        Err(CommandError::Rejected(rejection)) => {
            tracing::warn!(%rejection, "an enrolment was rejected");
            EnrolRefusal::KeyInUse
        }
        Err(_) => EnrolRefusal::Unavailable,
    };
    HubToAgent::EnrolRefused(refusal)
}

async fn already(hub: &Hub, public_key: &[u8; 32]) -> Option<Enrolled> {
    let index = hub.barrier().await.ok()?;
    let agent = hub.read(|w| super::agent_of(w, public_key))?;
    enrolled(hub, agent, index).await
}

async fn enrolled(hub: &Hub, agent: AgentId, index: forge_event::EventIndex) -> Option<Enrolled> {
    hub.reached(index, EXCHANGE_WAIT).await;
    hub.read(|w| {
        let provider = w.agents.agents.get(&agent)?.provider;
        Some(Enrolled { agent, provider, cluster: w.genesis, hubs: super::hubs(w) })
    })
}
