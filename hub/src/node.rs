//! Wires the rooms together: the only file that names them all.

use crate::blobs::{self, Bucket, Folder, StoreError};
use crate::clock::Clock;
use crate::committed::CommittedWorld;
use crate::config::{BlobStore, ConfigError, Listen, NodeFile};
use crate::core::{self, Offload, Parts};
use crate::directory::{Nodes, Told};
use crate::handle::{Hub, RestDoor};
use crate::history;
use crate::join::{self, House};
use crate::kv::{self, Kv};
use crate::lane::OrderLane;
use crate::metrics::Metrics;
use crate::peers;
use crate::rest::{self, RestCa, ServeError, TlsError};
use forge_event::{Addresses, NodeId, NodeMoved};
use forge_log::network::identity::{Identity, IdentityError};
use forge_log::network::quic::QuicTransport;
use forge_log::{Fault, Log, Options};
use forge_log::{OpenError, RaftLog};
use forge_projections::Command;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

/// The identity's file in a data folder.
pub const IDENTITY_FILE: &str = "node.key";
/// The log's folder in a data folder.
pub const LOG_FOLDER: &str = "log";
/// Exit code of a node whose storage failed.
pub const STORAGE_EXIT: i32 = 74;
/// A draining node hands over and ends its requests within this time.
const DRAIN_WAIT: Duration = Duration::from_secs(15);
/// Blobs on their way to or from other nodes at once.
const BLOB_LINKS_MAX: usize = 32;
/// Between two tries to tell the cluster of a new address.
const TELL_AGAIN: Duration = Duration::from_secs(1);

/// A node did not start.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("the node's identity")]
    Identity(#[from] IdentityError),
    #[error("the log of {folder}")]
    Log { folder: PathBuf, source: OpenError },
    #[error("the thread of what is ordered")]
    Thread(#[source] io::Error),
    #[error("listening for {what} on {address}")]
    Listen { what: &'static str, address: SocketAddr, source: io::Error },
    #[error("TLS of the REST door")]
    Tls(#[from] TlsError),
    #[error("the REST door")]
    Rest(#[from] ServeError),
    #[error("the folder of blobs")]
    Blobs(#[source] io::Error),
    #[error("the object store of the blobs, bucket {bucket}")]
    Store { bucket: String, source: StoreError },
    #[error("the agents' door: {0}")]
    Agents(String),
}

/// A running node.
pub struct Node {
    pub hub: Hub,
    pub name: String,
    /// Where it really listens.
    pub listen: Listen,
    pub plain_rest: bool,
    pub ca_pem: Option<String>,
    stop: CancellationToken,
    doors: CancellationToken,
    tasks: JoinSet<()>,
    transport: Arc<QuicTransport>,
    _lane: OrderLane,
}

impl Node {
    /// Starts the node of a data folder that `init` or `join` made. Must be called in a tokio runtime.
    ///
    /// # Errors
    /// [`NodeError`].
    pub async fn start(folder: &Path, file: NodeFile) -> Result<Node, NodeError> {
        let node = file.node(folder)?;
        // Before anything runs: what is wrong here is for the operator to mend.
        let bucket = match &file.blobs {
            Some(settings) => Some(open_bucket(settings, node).await?),
            None => None,
        };
        let identity = Arc::new(Identity::load(&folder.join(IDENTITY_FILE))?);
        let stop = CancellationToken::new();
        let doors = stop.child_token();
        let lane = OrderLane::start().map_err(NodeError::Thread)?;
        let opening = open(node, folder.to_owned(), file.clone(), identity, stop.clone());
        let (transport, started) = lane.run(opening).await.map_err(NodeError::Thread)??;
        let core::Core { hub, mut tasks, joiners, blob_links } = started;
        hub.lies_in(folder.join(LOG_FOLDER));
        let kept = Folder::open(folder.join(blobs::FOLDER)).map_err(NodeError::Blobs)?;
        hub.keep_blobs(kept);
        if let Some(bucket) = bucket {
            hub.keep_blobs_in(bucket);
        }
        tasks.spawn(serve_blobs(hub.clone(), blob_links));
        open_kv(&hub, folder);
        tasks.spawn(blobs::scrub(hub.clone(), stop.clone()));
        tasks.spawn(history::index(hub.clone(), stop.clone()));
        tasks.spawn(peers::acquaint(hub.clone(), stop.clone()));
        let ca = RestCa::load(folder)?;
        let ca_pem = (!file.plain_rest).then(|| ca.certificate_pem().to_owned());
        hub.opens_rest(RestDoor { ca_pem: ca_pem.clone() });
        tasks.spawn(serve_joiners(hub.clone(), joiners, &file, &ca));
        let mut listen = file.listen;
        listen.peers = transport.local_addr().map_err(|source| NodeError::Listen {
            what: "peers",
            address: file.listen.peers,
            source,
        })?;
        listen.agents = crate::agents::serve(hub.clone(), file.listen.agents, doors.clone(), &mut tasks)
            .map_err(|e| NodeError::Agents(e.to_string()))?;
        listen.rest = serve_rest(&hub, &file, &ca, doors.clone(), &mut tasks)?;
        let addresses = NodeFile { listen, ..file.clone() }.addresses();
        tasks.spawn(tell_addresses(hub.clone(), addresses, stop.clone()));
        let (name, plain_rest) = (file.cluster_name, file.plain_rest);
        Ok(Node { hub, name, listen, plain_rest, ca_pem, stop, doors, tasks, transport, _lane: lane })
    }

    /// Where REST is reached.
    pub fn url(&self) -> String {
        let scheme = if self.plain_rest { "http" } else { "https" };
        format!("{scheme}://{}", self.listen.rest)
    }

    /// Resolves if the log fails for good: the process must exit with [`STORAGE_EXIT`] at once.
    pub async fn fatal(&self) -> Fault {
        self.hub.log().fatal().await
    }

    /// Hands leadership over, closes the doors, and stops.
    pub async fn drain(mut self) {
        self.doors.cancel();
        if self.hub.is_leader() {
            hand_over(&self.hub).await;
        }
        let doors_closed = tokio::time::timeout(DRAIN_WAIT, async {
            // The core's tasks end with `stop`, the doors' tasks on their own.
            tokio::time::sleep(Duration::from_millis(50)).await;
            self.stop.cancel();
            while self.tasks.join_next().await.is_some() {}
        });
        if doors_closed.await.is_err() {
            warn!("some requests did not end in time");
        }
        self.hub.log().shutdown().await;
        self.transport.close();
    }
}

/// Opens the object store and tries it. One that cannot be reached just now keeps no node from voting.
async fn open_bucket(settings: &BlobStore, node: NodeId) -> Result<Bucket, NodeError> {
    let wrong = |source| NodeError::Store { bucket: settings.bucket.clone(), source };
    let bucket = Bucket::open(settings).map_err(wrong)?;
    match bucket.check(&node.to_string()).await {
        Ok(()) => info!(?bucket, "blobs lie in an object store"),
        Err(error) if error.may_pass() => {
            let why = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
            warn!(?bucket, %error, why, "blobs cannot be read or written for now");
        }
        Err(error) => return Err(wrong(error)),
    }
    Ok(bucket)
}

/// Opens the node's KV; a node does without one if it must.
fn open_kv(hub: &Hub, folder: &Path) {
    match Kv::open(&folder.join(kv::FILE)) {
        Ok(kv) => hub.remembers_in(kv),
        Err(error) => warn!(%error, "this node does without what it remembers of blobs and of history"),
    }
}

/// Opens the links between nodes and the log, and starts what is ordered; for the lane's own thread.
async fn open(
    node: NodeId,
    folder: PathBuf,
    file: NodeFile,
    identity: Arc<Identity>,
    stop: CancellationToken,
) -> Result<(Arc<QuicTransport>, core::Core), NodeError> {
    let committed = Arc::new(CommittedWorld::default());
    let directory = Arc::new(Nodes::new(committed.clone(), told(&file)));
    let bad = |source| NodeError::Listen { what: "peers", address: file.listen.peers, source };
    let (transport, inbox) =
        QuicTransport::bind(identity.clone(), file.listen.peers, directory.clone()).map_err(bad)?;
    let metrics = Arc::new(Metrics::default());
    let mut options = Options::production(node, folder.join(LOG_FOLDER));
    options.on_fsync = Some({
        let metrics = metrics.clone();
        Arc::new(move |took, _| {
            metrics.fsyncs.inc();
            metrics.fsync.record(took);
        })
    });
    let opened = RaftLog::start_here(options, committed.clone(), transport.clone(), inbox).await;
    let (log, inbox) = opened.map_err(|source| NodeError::Log { folder, source })?;
    let log: Arc<dyn Log> = log;
    directory.carry(&log);
    let parts = Parts {
        node,
        identity,
        log,
        committed,
        clock: Clock::system(),
        metrics,
        transport: transport.clone(),
        inbox,
        offload: Offload::Threads,
        stop,
    };
    Ok((transport, core::start(parts)))
}

/// Gives leadership to the voter that is furthest on.
async fn hand_over(hub: &Hub) {
    let status = hub.log().status();
    let others = status.members.iter().filter(|m| m.voter && m.node != hub.node());
    let Some(next) = others.max_by_key(|m| m.matched) else { return };
    if let Err(error) = hub.log().transfer(next.node).await {
        warn!(%error, "leadership was not handed over");
        return;
    }
    let mut role = hub.log().role();
    let _ = tokio::time::timeout(Duration::from_secs(2), role.wait_for(|r| r.leads().is_none())).await;
}

fn told(file: &NodeFile) -> Vec<Told> {
    let known = file.seeds.iter().filter_map(|seed| {
        let public_key = forge_event::digest::unhex(&seed.public_key)?;
        Some(Told { node: seed.node.parse().ok()?, peers: seed.peers.clone(), public_key })
    });
    known.collect()
}

fn serve_joiners(
    hub: Hub,
    mut joiners: tokio::sync::mpsc::Receiver<forge_log::network::Incoming>,
    file: &NodeFile,
    ca: &RestCa,
) -> impl Future<Output = ()> + Send + use<> {
    let house = House {
        cluster_name: file.cluster_name.clone(),
        ca_pem: ca.certificate_pem().to_owned(),
        ca_key_pem: ca.key_pem().to_owned(),
    };
    async move {
        while let Some(incoming) = joiners.recv().await {
            join::serve(hub.clone(), house.clone(), incoming).await;
        }
    }
}

/// Serves the blob links of other nodes, away from what is ordered.
async fn serve_blobs(hub: Hub, mut links: tokio::sync::mpsc::Receiver<forge_log::network::Incoming>) {
    let mut served = JoinSet::new();
    loop {
        tokio::select! { biased;
            Some(_) = served.join_next() => {}
            incoming = links.recv(), if served.len() < BLOB_LINKS_MAX => {
                let Some(incoming) = incoming else { return };
                served.spawn(blobs::serve(hub.clone(), incoming.link));
            }
        }
    }
}

fn serve_rest(
    hub: &Hub,
    file: &NodeFile,
    ca: &RestCa,
    shutdown: CancellationToken,
    tasks: &mut JoinSet<()>,
) -> Result<SocketAddr, NodeError> {
    let address = file.listen.rest;
    let bad = |source| NodeError::Listen { what: "REST", address, source };
    let listener = TcpListener::bind(address).map_err(bad)?;
    listener.set_nonblocking(true).map_err(bad)?;
    let bound = listener.local_addr().map_err(bad)?;
    if file.plain_rest && !bound.ip().is_loopback() {
        return Err(ServeError::PlainBeyondLoopback { address: bound }.into());
    }
    let tls = if file.plain_rest {
        None
    } else {
        let mut hosts = vec![bound.ip().to_string(), "localhost".to_owned(), "127.0.0.1".to_owned()];
        hosts.extend(file.advertise.clone());
        hosts.dedup();
        Some(ca.issue(&hosts)?)
    };
    let hub = hub.clone();
    tasks.spawn(async move {
        if let Err(error) = rest::serve(hub, listener, tls, shutdown).await {
            error!(%error, "the REST door broke");
        }
    });
    Ok(bound)
}

/// Tells the cluster where this node listens, if that is not what the state says.
async fn tell_addresses(hub: Hub, addresses: Addresses, stop: CancellationToken) {
    let node: NodeId = hub.node();
    loop {
        let known = hub.read(|w| w.cluster.nodes.get(&node).map(|n| n.addresses.clone()));
        match known {
            Some(known) if known == addresses => return,
            Some(_) => {
                let fact = NodeMoved { node, addresses: addresses.clone() };
                if hub.command(Command::Fact(fact.into())).await.is_ok() {
                    info!(%node, "the cluster knows the new addresses");
                    return;
                }
            }
            None => {}
        }
        tokio::select! { biased;
            () = stop.cancelled() => return,
            () = tokio::time::sleep(TELL_AGAIN) => {}
        }
    }
}
