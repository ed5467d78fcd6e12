//! Agents' side of the node: their QUIC door, one session a connection, and the way of events to sessions.
//!
//! What decides anything is in `forge_protocol::HubSession`; here bytes and events are moved.

pub mod checkpoint;
mod enrol;
mod inbox;
mod join;
mod listener;
mod observe;
pub mod orphans;
pub mod presented;
mod router;
mod session;
mod streams;
pub mod submit;
mod work;

pub use listener::{Door, DoorError};
pub use router::Sessions;

use crate::handle::Hub;
use forge_event::AgentId;
use forge_projections::World;
use forge_protocol::HubAddress;
use forge_protocol::limits::HUB_ADDRESSES_MAX;
use std::net::SocketAddr;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Opens the agents' door on `listen` and serves it as one of `tasks`, until `stop`; gives where it listens.
///
/// # Errors
/// [`DoorError`].
pub fn serve(
    hub: Hub,
    listen: SocketAddr,
    stop: CancellationToken,
    tasks: &mut JoinSet<()>,
) -> Result<SocketAddr, DoorError> {
    let door = Door::bind(hub.identity(), listen)?;
    let address = door.address();
    tasks.spawn(door.run(hub, stop));
    Ok(address)
}

/// Every node's door for agents, with the key that it proves.
pub fn hubs(world: &World) -> Vec<HubAddress> {
    let known = world.cluster.members().filter(|(_, n)| !n.addresses.agents.is_empty());
    let hubs = known.map(|(_, n)| HubAddress { address: n.addresses.agents.clone(), public_key: n.public_key });
    hubs.take(HUB_ADDRESSES_MAX).collect()
}

/// The agent that a proven key belongs to.
fn agent_of(world: &World, key: &[u8; 32]) -> Option<AgentId> {
    world.agents.by_key.get(key).copied()
}
