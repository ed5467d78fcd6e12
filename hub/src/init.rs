//! Makes a node's data folder: the first of a new cluster, or one that joins.

use crate::clock::Clock;
use crate::committed::CommittedWorld;
use crate::config::{ConfigError, Listen, NodeFile, Seed, write_private};
use crate::genesis::{self, FoundError, Genesis};
use crate::join::{self, JoinError};
use crate::node::{IDENTITY_FILE, LOG_FOLDER};
use crate::rest::{RestCa, TlsError};
use forge_adapters::Registry;
use forge_api::key;
use forge_event::digest::hex;
use forge_event::{Digest, NodeId};
use forge_log::network::identity::{Identity, IdentityError, PublicKey};
use forge_log::network::quic::{Directory, QuicTransport};
use forge_log::network::{Lane, Link, Transport};
use forge_log::{Log, Options};
use forge_log::{OpenError, RaftLog};
use forge_protocol::token::{Token, TokenKind};
use futures::future::BoxFuture;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The first API key's file in a data folder.
pub const ADMIN_KEY_FILE: &str = "admin.key";
/// Start of the node's secret chain.
const CHAIN_FILE: &str = "chain.key";

/// What a new folder is made for.
#[derive(Clone, Debug)]
pub struct Settings {
    pub listen: Listen,
    pub advertise: Option<String>,
    pub plain_rest: bool,
}

/// A new cluster.
#[derive(Clone, Debug)]
pub struct Founded {
    pub cluster: Digest,
    pub node: NodeId,
    pub admin_key: String,
    pub ca_pem: String,
}

/// A folder was not made.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    #[error("{0} holds a node already; choose an empty folder")]
    Taken(PathBuf),
    #[error("{path}")]
    File { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("the node's identity")]
    Identity(#[from] IdentityError),
    #[error("the REST CA")]
    Tls(#[from] TlsError),
    #[error("the new log")]
    Log(#[from] OpenError),
    #[error("founding the cluster")]
    Found(#[from] FoundError),
    #[error("a token of `forge cluster add` is needed; this one is for an agent")]
    WrongToken,
    #[error("no node of the token answers: {0}")]
    Unreachable(io::Error),
    #[error("joining the cluster")]
    Join(#[from] JoinError),
}

/// Nobody: a cluster is founded alone.
struct Alone;

impl Transport for Alone {
    fn open(&self, _: NodeId, _: Lane) -> BoxFuture<'static, io::Result<Link>> {
        Box::pin(async { Err(io::ErrorKind::NotConnected.into()) })
    }
}

impl Directory for Alone {
    fn pin(&self, _: NodeId) -> Option<PublicKey> {
        None
    }

    fn address(&self, _: NodeId) -> Option<String> {
        None
    }

    fn node_of(&self, _: &PublicKey) -> Option<NodeId> {
        None
    }
}

/// Makes the first node of a new cluster.
///
/// # Errors
/// [`InitError`].
pub async fn found(folder: &Path, cluster_name: &str, settings: Settings) -> Result<Founded, InitError> {
    let scaffold = Scaffold::new(folder)?;
    let (identity, clock) = (prepare(folder)?, Clock::system());
    let file = NodeFile {
        node: NodeId(1).to_string(),
        cluster_name: cluster_name.to_owned(),
        listen: fix_ports(settings.listen),
        advertise: settings.advertise,
        plain_rest: settings.plain_rest,
        seeds: Vec::new(),
        blobs: None,
    };
    let ca = RestCa::generate()?;
    ca.save(folder)?;
    let secret: [u8; key::SECRET_BYTES] = clock.random();
    let committed = Arc::new(CommittedWorld::default());
    let (_links, inbox) = tokio::sync::mpsc::channel(1);
    let options = Options::production(NodeId(1), folder.join(LOG_FOLDER));
    let (log, _) = RaftLog::start(options, committed.clone(), Arc::new(Alone), inbox).await?;
    let genesis = Genesis {
        addresses: file.addresses(),
        public_key: identity.public_key(),
        tip: chain(folder, &clock)?,
        admin_key: key::digest(&secret),
    };
    let log: Arc<dyn Log> = log;
    let id = genesis::found(&log, &committed, &genesis, &clock, &Registry).await?;
    log.shutdown().await;
    let admin_key = key::compose("admin", id, &secret);
    private(&folder.join(ADMIN_KEY_FILE), format!("{admin_key}\n").as_bytes())?;
    file.save(folder)?;
    scaffold.keep();
    let cluster = committed.read(|w| w.genesis);
    Ok(Founded { cluster, node: NodeId(1), admin_key, ca_pem: ca.certificate_pem().to_owned() })
}

/// Makes a node that joins the cluster which gave `token`; gives its id.
///
/// # Errors
/// [`InitError`].
pub async fn join(folder: &Path, token: &Token, settings: Settings) -> Result<NodeId, InitError> {
    if token.kind != TokenKind::Node {
        return Err(InitError::WrongToken);
    }
    let scaffold = Scaffold::new(folder)?;
    let (identity, clock) = (Arc::new(prepare(folder)?), Clock::system());
    let mut file = NodeFile {
        node: String::new(),
        cluster_name: String::new(),
        listen: fix_ports(settings.listen),
        advertise: settings.advertise,
        plain_rest: settings.plain_rest,
        seeds: Vec::new(),
        blobs: None,
    };
    let local = SocketAddr::new(file.listen.peers.ip(), 0);
    let bound = QuicTransport::bind(identity, local, Arc::new(Alone));
    let (transport, _inbox) = bound.map_err(InitError::Unreachable)?;
    let tip = chain(folder, &clock)?;
    let mut last: InitError = InitError::Unreachable(io::ErrorKind::NotConnected.into());
    for hub in &token.hubs {
        let link = match transport.join(&hub.address, hub.public_key).await {
            Ok(link) => link,
            Err(error) => {
                last = InitError::Unreachable(error);
                continue;
            }
        };
        let ask = join::Ask { secret: token.secret, addresses: file.addresses(), tip };
        match join::ask(link, ask).await {
            Ok(welcome) => {
                file.node = welcome.node.to_string();
                file.cluster_name = welcome.cluster_name;
                file.seeds = welcome.members.iter().filter(|m| m.node != welcome.node).map(seed).collect();
                RestCa::from_pem(welcome.ca_pem, welcome.ca_key_pem).save(folder)?;
                file.save(folder)?;
                scaffold.keep();
                transport.close();
                return Ok(welcome.node);
            }
            Err(error @ (JoinError::Spent | JoinError::Unknown | JoinError::Refused(_))) => return Err(error.into()),
            Err(error) => last = error.into(),
        }
    }
    Err(last)
}

fn seed(member: &join::Member) -> Seed {
    Seed { node: member.node.to_string(), peers: member.peers.clone(), public_key: hex(&member.public_key) }
}

/// A folder in the making: what was put there goes again, unless it is kept.
struct Scaffold {
    folder: PathBuf,
    /// What lay there before.
    before: BTreeSet<OsString>,
    /// Folders that are new, deepest first.
    made: Vec<PathBuf>,
    keep: bool,
}

impl Scaffold {
    /// # Errors
    /// If the folder holds a node, or cannot be looked at.
    fn new(folder: &Path) -> Result<Scaffold, InitError> {
        if NodeFile::path(folder).exists() || folder.join(LOG_FOLDER).exists() {
            return Err(InitError::Taken(folder.to_owned()));
        }
        let missing = |f: &&Path| !f.as_os_str().is_empty() && !f.exists();
        let made = folder.ancestors().take_while(missing).map(Path::to_owned).collect();
        let before = match std::fs::read_dir(folder) {
            Ok(entries) => entries.flatten().map(|entry| entry.file_name()).collect(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeSet::new(),
            Err(source) => return Err(InitError::File { path: folder.to_owned(), source }),
        };
        Ok(Scaffold { folder: folder.to_owned(), before, made, keep: false })
    }

    fn keep(mut self) {
        self.keep = true;
    }
}

impl Drop for Scaffold {
    fn drop(&mut self) {
        if self.keep {
            return;
        }
        let entries = std::fs::read_dir(&self.folder).into_iter().flatten().flatten();
        for entry in entries.filter(|entry| !self.before.contains(&entry.file_name())) {
            let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
            let _ = if is_folder { std::fs::remove_dir_all(entry.path()) } else { std::fs::remove_file(entry.path()) };
        }
        for folder in &self.made {
            let _ = std::fs::remove_dir(folder);
        }
    }
}

/// An empty folder with an identity in it.
fn prepare(folder: &Path) -> Result<Identity, InitError> {
    let log = folder.join(LOG_FOLDER);
    std::fs::create_dir_all(&log).map_err(|source| InitError::File { path: log, source })?;
    let identity = Identity::generate()?;
    identity.save(&folder.join(IDENTITY_FILE))?;
    Ok(identity)
}

/// Draws the start of the node's secret chain and keeps it; gives the chain's end.
fn chain(folder: &Path, clock: &Clock) -> Result<Digest, InitError> {
    let start: [u8; 32] = clock.random();
    private(&folder.join(CHAIN_FILE), hex(&start).as_bytes())?;
    Ok(genesis::chain_tip(&start))
}

fn private(path: &Path, bytes: &[u8]) -> Result<(), InitError> {
    write_private(path, bytes).map_err(|source| InitError::File { path: path.to_owned(), source })
}

/// Replaces ports of 0 by free ones, so that the folder keeps its addresses.
fn fix_ports(listen: Listen) -> Listen {
    let tcp = |at: SocketAddr| TcpListener::bind(at).and_then(|s| s.local_addr()).unwrap_or(at);
    let udp = |at: SocketAddr| UdpSocket::bind(at).and_then(|s| s.local_addr()).unwrap_or(at);
    let free = |at: SocketAddr, find: fn(SocketAddr) -> SocketAddr| if at.port() == 0 { find(at) } else { at };
    Listen { rest: free(listen.rest, tcp), agents: free(listen.agents, udp), peers: free(listen.peers, udp) }
}
