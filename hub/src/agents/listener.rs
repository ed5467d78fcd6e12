//! The UDP door: TLS 1.3 with a proven client key, bounded handshakes, then a session or an enrolment.

use super::router::{Sessions, route};
use super::{enrol, observe, orphans, session};
use crate::handle::Hub;
use forge_log::network::identity::{Identity, IdentityError, peer_key};
use forge_protocol::limits::{CONTROL_STREAMS_MAX, IDLE_TIMEOUT_MS};
use forge_protocol::{ALPN_AGENT, ALPN_ENROL, CloseCode};
use quinn::crypto::rustls::HandshakeData;
use quinn::{Connection, Endpoint, Incoming, ServerConfig, TransportConfig, VarInt};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Connections of one node, sessions and handshakes together.
const CONNECTIONS_MAX: usize = 65_536;
/// Handshakes under way above which an address has to prove itself by a Retry first.
const RETRY_ABOVE: usize = 256;
/// Handshakes under way; further ones are refused, and come back after their own pause.
const HANDSHAKES_MAX: usize = 4096;
/// Initial packets that may wait for the listener.
const INCOMING_MAX: usize = 4096;
/// A handshake takes no longer.
const HANDSHAKE_WAIT: Duration = Duration::from_secs(10);
/// Unread bytes of one stream: a whole inline result, and its frame.
const STREAM_WINDOW_BYTES: u32 = 96 * 1024;
/// Unread bytes of one connection, and unacknowledged ones towards it.
const CONNECTION_WINDOW_BYTES: u32 = 1 << 20;
/// Between two counts of connections.
const COUNT_EVERY: Duration = Duration::from_secs(1);
/// Sessions have so long to tell their agents that the node goes away.
const STOP_WAIT: Duration = Duration::from_secs(2);

/// The door cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum DoorError {
    #[error("cannot set up TLS for agents")]
    Tls(#[from] IdentityError),
    #[error("cannot listen for agents at {address}")]
    Socket { address: SocketAddr, source: io::Error },
}

/// The agents' address, bound.
#[derive(Debug)]
pub struct Door {
    endpoint: Endpoint,
    address: SocketAddr,
    sessions: Sessions,
}

impl Door {
    /// Binds the agents' address; nobody is served before [`Door::run`]. Needs a tokio runtime.
    ///
    /// # Errors
    /// [`DoorError`].
    pub fn bind(identity: &Identity, listen: SocketAddr) -> Result<Door, DoorError> {
        let at = |source| DoorError::Socket { address: listen, source };
        let endpoint = Endpoint::server(server_config(identity)?, listen).map_err(at)?;
        let address = endpoint.local_addr().map_err(at)?;
        Ok(Door { endpoint, address, sessions: Sessions::default() })
    }

    /// Where it listens, the port chosen.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The live sessions of this node.
    pub fn sessions(&self) -> Sessions {
        self.sessions.clone()
    }

    /// Serves agents until `stop`; then tells them to go elsewhere.
    pub async fn run(self, hub: Hub, stop: CancellationToken) {
        let Door { endpoint, sessions, .. } = self;
        let mut tasks = JoinSet::new();
        tasks.spawn(route(hub.clone(), sessions.clone(), stop.clone()));
        tasks.spawn(observe::run(hub.clone(), sessions.clone(), stop.clone()));
        tasks.spawn(orphans::run(hub.clone(), sessions.clone(), stop.clone()));
        let handshakes = Arc::new(());
        let mut count = tokio::time::interval(COUNT_EVERY);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                incoming = endpoint.accept() => {
                    let Some(incoming) = incoming else { break };
                    let under_way = Arc::strong_count(&handshakes) - 1;
                    if endpoint.open_connections() >= CONNECTIONS_MAX || under_way >= HANDSHAKES_MAX {
                        incoming.refuse();
                    } else if under_way >= RETRY_ABOVE && incoming.may_retry() {
                        // It fails only for an address that is validated already.
                        let _ = incoming.retry();
                    } else {
                        let counted = Arc::clone(&handshakes);
                        let incoming = Box::new(incoming);
                        tasks.spawn(welcome(hub.clone(), sessions.clone(), incoming, counted, stop.clone()));
                    }
                }
                _ = count.tick() => {
                    hub.metrics().connections.set(endpoint.open_connections() as i64);
                }
                Some(ended) = tasks.join_next() => {
                    if let Err(error) = ended && error.is_panic() {
                        tracing::error!(%error, "a task of the agents' door panicked");
                    }
                }
            }
        }
        let finish = async { while tasks.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(STOP_WAIT, finish).await;
        endpoint.close(CloseCode::GoingAway.number().into(), CloseCode::GoingAway.phrase().as_bytes());
        let _ = tokio::time::timeout(STOP_WAIT, endpoint.wait_idle()).await;
    }
}

/// Takes a connection from its first packet to its end.
///
/// Every stage is boxed: the many idle sessions should not have room for a handshake or an enrolment.
async fn welcome(hub: Hub, sessions: Sessions, incoming: Box<Incoming>, counted: Arc<()>, stop: CancellationToken) {
    let from = incoming.remote_address();
    let handshake = async { incoming.accept()?.await };
    let connection = match Box::pin(tokio::time::timeout(HANDSHAKE_WAIT, handshake)).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => return tracing::debug!(%from, %error, "an agent's handshake failed"),
        Err(_) => return tracing::debug!(%from, "an agent's handshake took too long"),
    };
    drop(counted);
    let Some(key) = peer_key(&connection) else {
        return close(&connection, CloseCode::Protocol);
    };
    if protocol(&connection).as_deref() == Some(ALPN_ENROL) {
        Box::pin(enrol::serve(&hub, &connection, key)).await;
    } else {
        Box::pin(session::serve(hub, sessions, connection, key, stop)).await;
    }
}

fn protocol(connection: &Connection) -> Option<Vec<u8>> {
    connection.handshake_data()?.downcast::<HandshakeData>().ok()?.protocol
}

pub(super) fn close(connection: &Connection, code: CloseCode) {
    connection.close(code.number().into(), code.phrase().as_bytes());
}

fn server_config(identity: &Identity) -> Result<ServerConfig, IdentityError> {
    // Any key may prove itself: whose it is, is looked up in the state behind the handshake.
    let mut config = identity.server_config_of(&[ALPN_AGENT, ALPN_ENROL], Arc::new(|_| true))?;
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(CONTROL_STREAMS_MAX))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW_BYTES))
        .receive_window(VarInt::from_u32(CONNECTION_WINDOW_BYTES))
        .send_window(u64::from(CONNECTION_WINDOW_BYTES))
        .datagram_receive_buffer_size(None)
        .keep_alive_interval(None)
        .max_idle_timeout(Some(VarInt::from_u32(IDLE_TIMEOUT_MS as u32).into()));
    config.transport_config(Arc::new(transport)).max_incoming(INCOMING_MAX);
    Ok(config)
}
