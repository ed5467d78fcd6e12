//! What the doors may do with the hub.

use crate::blobs::{Bucket, Folder};
use crate::clock::Clock;
use crate::committed::CommittedWorld;
use crate::core::Offload;
use crate::kv::Kv;
use crate::metrics::Metrics;
use crate::peers::{self, Acquaintances, Card, Forwarder, Question, TransferError};
use crate::sequencer::{Answer, Numbered, Reply, Request};
use forge_event::{Digest, EventIndex, NodeId, Term};
use forge_log::files::{Files, RealFiles};
use forge_log::network::Transport;
use forge_log::network::identity::Identity;
use forge_log::{CommittedTurn, Log, NotReady};
use forge_projections::{Command, CommandError, Committed, Families, World};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::time::{Instant, timeout_at};

/// A command is answered within this time, if only by "unknown".
pub const COMMAND_WAIT: Duration = Duration::from_secs(10);
/// A linearizable read waits this long for its barrier.
pub const BARRIER_WAIT: Duration = Duration::from_secs(5);
/// Asking for a transfer waits this long for a leader.
const TRANSFER_ASK: Duration = Duration::from_secs(3);
/// Between two tries to find a leader.
const LEADER_RETRY: Duration = Duration::from_millis(25);

/// How REST is reached, on every node alike.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RestDoor {
    /// The certificate that verifies each node's; `None` without TLS.
    pub ca_pem: Option<String>,
}

/// A node's core, shared by its doors. Cheap to clone.
#[derive(Clone)]
pub struct Hub(Arc<Inner>);

pub(crate) struct Inner {
    pub node: NodeId,
    pub identity: Arc<Identity>,
    pub log: Arc<dyn Log>,
    pub committed: Arc<CommittedWorld>,
    pub clock: Clock,
    pub metrics: Arc<Metrics>,
    pub families: &'static dyn Families,
    pub requests: mpsc::Sender<Request>,
    pub forwarder: Forwarder,
    pub transport: Arc<dyn Transport>,
    pub acquaintances: Acquaintances,
    /// Where the log lies, if on a disk.
    pub folder: OnceLock<PathBuf>,
    pub blobs: OnceLock<Arc<Folder>>,
    /// The object store behind them, if there is one.
    pub bucket: OnceLock<Bucket>,
    /// What this node remembers for itself, if it could be opened.
    pub kv: OnceLock<Arc<Kv>>,
    /// How REST is reached, once it is.
    pub rest: OnceLock<RestDoor>,
    pub offload: Offload,
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Hub({})", self.0.node)
    }
}

impl Hub {
    pub(crate) fn new(inner: Inner) -> Hub {
        Hub(Arc::new(inner))
    }

    /// Sends a command to the leader's sequencer, wherever it is, and waits for its commit.
    ///
    /// # Errors
    /// [`CommandError`]; `Unknown` also when the answer did not come in time.
    pub async fn command(&self, command: Command) -> Result<Committed, CommandError> {
        let deadline = Instant::now() + COMMAND_WAIT;
        loop {
            let answer = match timeout_at(deadline, self.command_once(command.clone())).await {
                Ok(answer) => answer,
                Err(_) => return Err(CommandError::Unknown),
            };
            // Not applied, for sure: wait for a leader and try again, as long as there is time.
            if answer != Err(CommandError::NoLeader) || Instant::now() + LEADER_RETRY >= deadline {
                return answer;
            }
            tokio::time::sleep(LEADER_RETRY).await;
        }
    }

    async fn command_once(&self, command: Command) -> Result<Committed, CommandError> {
        match self.leader() {
            Some(leader) if leader == self.0.node => self.command_here(command).await,
            Some(leader) => self.0.forwarder.forward(leader, command).await,
            None => Err(CommandError::NoLeader),
        }
    }

    /// Sends a command to this node's own sequencer.
    pub(crate) async fn command_here(&self, command: Command) -> Result<Committed, CommandError> {
        let (answer, answered) = oneshot::channel();
        let request = Request { command, reply: Reply::To(answer) };
        self.0.requests.try_send(request).map_err(|_| CommandError::Overloaded)?;
        answered.await.unwrap_or(Err(CommandError::Unknown))
    }

    /// The same for a link that numbers its commands; an error is the answer.
    pub(crate) fn command_numbered(&self, command: Command, number: u64, answers: &mpsc::Sender<(u64, Answer)>) {
        let reply = Reply::Numbered(Numbered::new(number, answers.clone()));
        let refused = self.0.requests.try_send(Request { command, reply });
        if let Err(TrySendError::Full(request) | TrySendError::Closed(request)) = refused {
            request.reply.send(Err(CommandError::Overloaded));
        }
    }

    /// Hands leadership to a voter, whoever leads now; `Ok` once the leader was asked to.
    ///
    /// # Errors
    /// [`TransferError`].
    pub async fn transfer(&self, to: NodeId) -> Result<(), TransferError> {
        let deadline = Instant::now() + TRANSFER_ASK;
        loop {
            let asked = self.transfer_once(to).await;
            if asked != Err(TransferError::NoLeader) || Instant::now() + LEADER_RETRY >= deadline {
                return asked;
            }
            tokio::time::sleep(LEADER_RETRY).await;
        }
    }

    async fn transfer_once(&self, to: NodeId) -> Result<(), TransferError> {
        match self.leader() {
            Some(leader) if leader == self.0.node => self.transfer_here(to).await,
            Some(leader) => match peers::ask(&self.0.transport, leader, Question::Transfer { to }).await {
                Ok((peers::Reply::Transfer(answer), _)) => answer,
                Ok(_) => Err(TransferError::Unknown),
                Err(silence) if silence.asked => Err(TransferError::Unknown),
                Err(_) => Err(TransferError::NoLeader),
            },
            None => Err(TransferError::NoLeader),
        }
    }

    /// The same, where this node leads.
    pub(crate) async fn transfer_here(&self, to: NodeId) -> Result<(), TransferError> {
        self.0.log.transfer(to).await.map_err(TransferError::from)
    }

    /// What this node says of itself.
    pub fn card(&self) -> Card {
        let disk = self.0.folder.get().map(|folder| RealFiles::new(folder.clone()));
        Card {
            version: env!("CARGO_PKG_VERSION").into(),
            disk_free_bytes: disk.and_then(|disk| disk.free_bytes().ok()),
            wall: self.0.clock.now(),
        }
    }

    /// Says where this node's log lies.
    pub(crate) fn lies_in(&self, folder: PathBuf) {
        // A node has one folder for its life.
        let _ = self.0.folder.set(folder);
    }

    /// Says where this node's blobs lie.
    pub fn keep_blobs(&self, folder: Folder) {
        // A node has one folder for its life.
        let _ = self.0.blobs.set(Arc::new(folder));
    }

    /// Says what this node remembers for itself.
    pub fn remembers_in(&self, kv: Kv) {
        // A node has one KV for its life.
        let _ = self.0.kv.set(Arc::new(kv));
    }

    pub(crate) fn kv(&self) -> Option<&Arc<Kv>> {
        self.0.kv.get()
    }

    /// Says how REST is reached here.
    pub(crate) fn opens_rest(&self, door: RestDoor) {
        // A node has one door for its life.
        let _ = self.0.rest.set(door);
    }

    /// Whether REST is served over TLS.
    pub fn serves_tls(&self) -> bool {
        self.0.rest.get().is_some_and(|door| door.ca_pem.is_some())
    }

    /// How agents reach REST; `None` where there is none.
    pub fn rest_door(&self) -> Option<&RestDoor> {
        self.0.rest.get()
    }

    /// Says in which object store the cluster's blobs lie.
    pub fn keep_blobs_in(&self, bucket: Bucket) {
        // A node has one store for its life.
        let _ = self.0.bucket.set(bucket);
    }

    pub(crate) fn blob_bucket(&self) -> Option<&Bucket> {
        self.0.bucket.get()
    }

    pub(crate) fn blob_folder(&self) -> Option<&Arc<Folder>> {
        self.0.blobs.get()
    }

    pub(crate) fn transport(&self) -> &Arc<dyn Transport> {
        &self.0.transport
    }

    /// What this node knows of the others.
    pub fn acquaintances(&self) -> &Acquaintances {
        &self.0.acquaintances
    }

    /// Runs a short query on this node's committed state.
    pub fn read<R>(&self, query: impl FnOnce(&World) -> R) -> R {
        self.0.committed.read(query)
    }

    /// After it, [`Hub::read`] shows everything that was acknowledged before the call, on any node.
    ///
    /// # Errors
    /// `NoLeader` if no quorum answers in time.
    pub async fn barrier(&self) -> Result<EventIndex, CommandError> {
        match self.0.log.read_barrier(BARRIER_WAIT).await {
            Ok(()) => Ok(self.read(|w| EventIndex(w.head.events))),
            Err(NotReady::NoLeader | NotReady::Deadline | NotReady::Stopped) => Err(CommandError::NoLeader),
        }
    }

    /// Waits until this node folded `index`; false at the deadline.
    pub async fn reached(&self, index: EventIndex, within: Duration) -> bool {
        let mut applied = self.applied();
        let reached = tokio::time::timeout(within, applied.wait_for(|at| *at >= index)).await;
        matches!(reached, Ok(Ok(_)))
    }

    /// Position of the last folded event, as it grows.
    pub fn applied(&self) -> watch::Receiver<EventIndex> {
        self.0.committed.applied()
    }

    /// Committed turns from here on; who lags must resync from [`Hub::read`].
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<CommittedTurn>> {
        self.0.committed.subscribe()
    }

    pub fn families(&self) -> &'static dyn Families {
        self.0.families
    }

    pub fn node(&self) -> NodeId {
        self.0.node
    }

    /// The cluster's id: digest of its genesis turn.
    pub fn cluster(&self) -> Digest {
        self.read(|w| w.genesis)
    }

    pub fn leader(&self) -> Option<NodeId> {
        self.0.log.role().borrow().leader
    }

    pub fn term(&self) -> Term {
        self.0.log.role().borrow().term
    }

    pub fn is_leader(&self) -> bool {
        self.0.log.role().borrow().leads().is_some()
    }

    pub fn clock(&self) -> &Clock {
        &self.0.clock
    }

    pub fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    pub fn log(&self) -> &Arc<dyn Log> {
        &self.0.log
    }

    pub(crate) fn offload(&self) -> Offload {
        self.0.offload
    }

    pub fn identity(&self) -> &Identity {
        &self.0.identity
    }
}
