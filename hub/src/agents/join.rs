//! How a connection becomes a session: hello, `agent.joined`, welcome.

use super::presented::judge;
use super::router::{Registered, Sessions};
use super::streams::Control;
use crate::handle::Hub;
use forge_event::*;
use forge_projections::{Command, CommandError, Rejection};
use forge_protocol::limits::PRESENTED_MAX;
use forge_protocol::{AgentToHub, CloseCode, Hello, HubToAgent, PROTOCOL_VERSION, Welcome, frame};
use quinn::{Connection, SendStream};
use std::time::Duration;

/// The agent has so long to say hello, and to take the welcome.
const HELLO_WAIT: Duration = Duration::from_secs(10);
/// This node has so long to fold what the leader committed.
const FOLD_WAIT: Duration = Duration::from_secs(5);

/// A session that is up.
pub(super) struct Joined {
    pub agent: AgentId,
    pub epoch: Epoch,
    /// Its `agent.joined`.
    pub index: EventIndex,
    pub control: Control,
    pub send: SendStream,
    pub registered: Registered,
    /// Position of the last result in the agent's chain.
    pub position: u64,
}

/// Makes a session of a connection whose client proved `key`.
///
/// # Errors
/// The code to close the connection with.
pub(super) async fn join(
    hub: &Hub,
    sessions: &Sessions,
    connection: &Connection,
    key: &[u8; 32],
) -> Result<Joined, CloseCode> {
    let agent = known(hub, key).await?;
    let hello = async {
        let (send, recv) = connection.accept_bi().await.map_err(|_| CloseCode::Done)?;
        let mut control = Control::new(recv);
        match control.next().await {
            Ok(AgentToHub::Hello(hello)) => Ok((send, control, hello)),
            _ => Err(CloseCode::Protocol),
        }
    };
    let (mut send, control, hello) =
        tokio::time::timeout(HELLO_WAIT, hello).await.unwrap_or(Err(CloseCode::Protocol))?;
    let fits = hello.protocol == PROTOCOL_VERSION
        && hello.agent == agent
        && hello.held.len() + hello.unacknowledged.len() <= PRESENTED_MAX;
    if !fits {
        return Err(CloseCode::Protocol);
    }
    let (slots, capabilities) = (hello.slots, hello.capabilities.clone());
    let committed = hub.command(Command::Join { agent, node: hub.node(), slots, capabilities }).await;
    let index = match committed {
        Ok(committed) => committed.index,
        Err(CommandError::Rejected(Rejection::AgentUnknown)) => return Err(CloseCode::Unknown),
        Err(CommandError::Rejected(Rejection::Invalid(_))) => return Err(CloseCode::Protocol),
        // Its joining may be committed all the same: the next one ends it.
        Err(_) => return Err(CloseCode::Unavailable),
    };
    if !hub.reached(index, FOLD_WAIT).await {
        return Err(CloseCode::Unavailable);
    }
    // In the table first: nothing that is folded behind the state read below is missed.
    let registered = sessions.register(agent, connection.clone());
    let welcome = welcome(hub, agent, index, &hello).ok_or(CloseCode::Rejoin)?;
    let (epoch, position) = (welcome.epoch, welcome.position);
    let bytes = frame::encode(&HubToAgent::Welcome(welcome));
    match tokio::time::timeout(HELLO_WAIT, send.write_all(&bytes)).await {
        Ok(Ok(())) => Ok(Joined { agent, epoch, index, control, send, registered, position }),
        // The session is in the log: whoever takes it over ends it there.
        _ => Ok(Joined { agent, epoch, index, control, send, registered, position }),
    }
}

/// Whose key it is; asks the leader before it says that it is nobody's.
async fn known(hub: &Hub, key: &[u8; 32]) -> Result<AgentId, CloseCode> {
    let look = || hub.read(|w| super::agent_of(w, key));
    if let Some(agent) = look() {
        return Ok(agent);
    }
    hub.barrier().await.map_err(|_| CloseCode::Unavailable)?;
    look().ok_or(CloseCode::Unknown)
}

/// `None`: a later session took over already.
fn welcome(hub: &Hub, agent: AgentId, index: EventIndex, hello: &Hello) -> Option<Welcome> {
    hub.read(|world| {
        let known = world.agents.agents.get(&agent)?;
        known.session.filter(|s| s.joined == index && s.node == hub.node())?;
        Some(Welcome {
            epoch: known.epoch,
            position: known.position,
            chain: known.chain,
            sealed: known.sealed,
            fates: judge(world, agent, known, hello),
            hubs: super::hubs(world),
        })
    })
}
