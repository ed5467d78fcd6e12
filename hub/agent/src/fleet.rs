//! What agents of one process share: sockets and compute threads.

use crate::agent::{self, AgentHandle};
use crate::config::AgentConfig;
use crate::enrol::{self, EnrolError, Enrolled};
use crate::identity::{AgentKey, KeyError};
use crate::pool::Pool;
use crate::store::{KEY_FILE, StoreError, Stored};
use crate::tls::{Dialer, SERVER_NAME, TlsError};
use forge_protocol::{ALPN_AGENT, HubAddress};
use quinn::{Connection, Endpoint};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A hub that does not answer within this is tried later.
const DIAL_DEADLINE: Duration = Duration::from_secs(5);

/// An agent cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("{agent} knows no hub: enrol it again")]
    NoHubs { agent: forge_event::AgentId },
}

/// A hub could not be reached.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    #[error("cannot open a UDP socket")]
    Socket(#[source] io::Error),
    #[error("cannot find {address}")]
    Resolve { address: String, source: io::Error },
    #[error("{address} did not answer within {DIAL_DEADLINE:?}")]
    Deadline { address: String },
    #[error("cannot connect to {address}")]
    Connect { address: String, source: quinn::ConnectError },
    #[error("the connection to {address} failed")]
    Connection { address: String, source: quinn::ConnectionError },
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// One agent alone in its process.
#[derive(Debug)]
pub struct Agent;

impl Agent {
    /// Starts the agent of `config.data`. It connects, and reconnects, until it is drained or stopped.
    ///
    /// # Errors
    /// [`StartError`], before anything is dialled.
    pub async fn start(config: AgentConfig) -> Result<AgentHandle, StartError> {
        Fleet::new().start(config).await
    }
}

/// Sockets and threads for any number of agents.
#[derive(Clone)]
pub struct Fleet(Arc<Shared>);

struct Shared {
    pool: Pool,
    v4: Mutex<Option<Endpoint>>,
    v6: Mutex<Option<Endpoint>>,
}

impl Default for Fleet {
    fn default() -> Self {
        Fleet::new()
    }
}

impl Fleet {
    /// Nothing is opened or started yet.
    pub fn new() -> Fleet {
        Fleet(Arc::new(Shared { pool: Pool::new(), v4: Mutex::new(None), v6: Mutex::new(None) }))
    }

    /// Starts one more agent.
    ///
    /// # Errors
    /// [`StartError`], before anything is dialled.
    pub async fn start(&self, config: AgentConfig) -> Result<AgentHandle, StartError> {
        let stored = Stored::load(&config.data)?;
        let key = AgentKey::load(&config.data.join(KEY_FILE))?;
        if stored.hubs.is_empty() {
            return Err(StartError::NoHubs { agent: stored.agent });
        }
        let dialer = Dialer::new(&key)?;
        Ok(agent::spawn(self.clone(), dialer, key, stored, config))
    }

    /// Starts many; none is started if one cannot be.
    ///
    /// # Errors
    /// [`StartError`] of the first that cannot.
    pub async fn start_many(&self, configs: Vec<AgentConfig>) -> Result<Vec<AgentHandle>, StartError> {
        let mut handles = Vec::with_capacity(configs.len());
        for config in configs {
            match self.start(config).await {
                Ok(handle) => handles.push(handle),
                Err(error) => {
                    handles.iter().for_each(AgentHandle::stop);
                    return Err(error);
                }
            }
        }
        Ok(handles)
    }

    /// As [`crate::enrol`], over the shared sockets.
    ///
    /// # Errors
    /// [`EnrolError`].
    pub async fn enrol(&self, token: &str, data: &Path) -> Result<Enrolled, EnrolError> {
        enrol::run(self, token, data).await
    }

    /// A connection of an enrolled agent to a hub and to nobody else, for who speaks the protocol itself.
    ///
    /// # Errors
    /// [`DialError`], within five seconds.
    pub async fn connect(&self, key: &AgentKey, hub: &HubAddress) -> Result<Connection, DialError> {
        self.dial(&Dialer::new(key)?, ALPN_AGENT, hub).await
    }

    pub(crate) fn pool(&self) -> Pool {
        self.0.pool.clone()
    }

    /// Connects to a hub and nobody else; tries all its addresses.
    pub(crate) async fn dial(&self, dialer: &Dialer, alpn: &[u8], hub: &HubAddress) -> Result<Connection, DialError> {
        let address = || hub.address.clone();
        let config = dialer.config(alpn, hub.public_key)?;
        let dial = async {
            let found = tokio::net::lookup_host(&hub.address).await;
            let found = found.map_err(|source| DialError::Resolve { address: address(), source })?;
            let nothing = io::Error::from(io::ErrorKind::NotFound);
            let mut last = DialError::Resolve { address: address(), source: nothing };
            for socket in found {
                let endpoint = self.endpoint(socket).map_err(DialError::Socket)?;
                let connecting = endpoint.connect_with(config.clone(), socket, SERVER_NAME);
                match connecting.map_err(|source| DialError::Connect { address: address(), source })?.await {
                    Ok(connection) => return Ok(connection),
                    Err(source) => last = DialError::Connection { address: address(), source },
                }
            }
            Err(last)
        };
        tokio::time::timeout(DIAL_DEADLINE, dial)
            .await
            .unwrap_or_else(|_| Err(DialError::Deadline { address: address() }))
    }

    fn endpoint(&self, to: SocketAddr) -> io::Result<Endpoint> {
        let (slot, any) = match to {
            SocketAddr::V4(_) => (&self.0.v4, SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))),
            SocketAddr::V6(_) => (&self.0.v6, SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0))),
        };
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        match slot.as_ref() {
            Some(endpoint) => Ok(endpoint.clone()),
            None => Ok(slot.insert(Endpoint::client(any)?).clone()),
        }
    }
}

impl std::fmt::Debug for Fleet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Fleet(..)")
    }
}
