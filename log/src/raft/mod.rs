//! The log that Raft replicates.

mod handle;
mod members;
mod proposals;
mod roles;

pub(crate) use roles::Metrics;

use crate::apply::{Applier, Places};
use crate::archive::{Archive, ArchiveTask};
use crate::log::Fault;
use crate::machine::Machine;
use crate::network::client::Network;
use crate::network::server::Server;
use crate::network::{INBOX_LINKS_MAX, Inbox, Transport};
use crate::options::{Executor, Options, Timing};
use crate::role::{Role, RoleState};
use crate::store::{LogStore, Space, StoreOptions};
use crate::types::Types;
use forge_event::NodeId;
use openraft::{Config, Raft, SnapshotPolicy};
use proposals::{PROPOSALS_MAX, Proposal};
use std::future::Future;
use std::io;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

/// Entries of one append to a peer; its bytes are bounded by the reader.
const APPEND_ENTRIES_MAX: u64 = 512;
/// A peer that is this many entries behind gets a snapshot instead.
const SNAPSHOT_LAG_ENTRIES: u64 = 20_000;
/// The disk's free space is looked at so often even when nothing is written.
const SPACE_CHECK: Duration = Duration::from_secs(1);

/// A node's log could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("cannot open the log store")]
    Store(#[source] io::Error),
    #[error("cannot open the archive")]
    Archive(#[source] io::Error),
    #[error("cannot start the thread of the log")]
    Thread(#[source] io::Error),
    #[error("raft did not start: {why}")]
    Raft { why: String },
}

/// The log of one node of a cluster.
pub struct RaftLog {
    core: Arc<Core>,
}

struct Core {
    node: NodeId,
    raft: Raft<Types, Applier>,
    store: LogStore,
    space: Arc<Space>,
    archive: Arc<Archive>,
    transport: Arc<dyn Transport>,
    proposals: mpsc::Sender<Proposal>,
    role: watch::Sender<Role>,
    places: Places,
    fault: watch::Sender<Option<Fault>>,
    stopped: watch::Sender<bool>,
    tasks: Mutex<JoinSet<()>>,
    timing: Timing,
    purge_keep_entries: u64,
}

impl RaftLog {
    /// Opens a node's log on a thread and runtime of its own; the returned inbox has the hub's links.
    ///
    /// # Errors
    /// [`OpenError`]; after a store error the node must not vote again with this store.
    pub async fn start(
        options: Options,
        machine: Arc<dyn Machine>,
        transport: Arc<dyn Transport>,
        inbox: Inbox,
    ) -> Result<(Arc<RaftLog>, Inbox), OpenError> {
        let (ready, opened) = oneshot::channel();
        let run = move || {
            let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(error) => return drop(ready.send(Err(OpenError::Thread(error)))),
            };
            runtime.block_on(async move {
                let started = RaftLog::start_here(options, machine, transport, inbox).await;
                let stopped = started.as_ref().ok().map(|(log, _)| log.core.stopped.subscribe());
                let wanted = ready.send(started).is_ok();
                if let Some(mut stopped) = stopped
                    && wanted
                {
                    // An error says that the log was dropped without being shut down.
                    let _ = stopped.wait_for(|stopped| *stopped).await;
                }
            });
        };
        std::thread::Builder::new().name("forge-raft".into()).spawn(run).map_err(OpenError::Thread)?;
        opened.await.unwrap_or_else(|_| Err(OpenError::Raft { why: "its thread panicked".into() }))
    }

    /// Opens a node's log on the caller's runtime; for simulators and tests.
    ///
    /// # Errors
    /// As [`RaftLog::start`].
    pub async fn start_here(
        options: Options,
        machine: Arc<dyn Machine>,
        transport: Arc<dyn Transport>,
        inbox: Inbox,
    ) -> Result<(Arc<RaftLog>, Inbox), OpenError> {
        let Options { node, disk, files, executor, timing, .. } = options;
        let Options { on_fsync, reserve_bytes, segment_leaves, purge_keep_entries, .. } = options;
        for leftover in files.list("received").map_err(OpenError::Store)? {
            files.remove(&format!("received/{leftover}")).map_err(OpenError::Store)?;
        }
        let fault = watch::Sender::new(None);
        let store = LogStore::open(StoreOptions {
            node: node.0,
            disk,
            files: files.clone(),
            executor: executor.clone(),
            on_fsync,
            reserve_bytes,
            fault: fault.clone(),
        })
        .map_err(OpenError::Store)?;
        let places = Places::new(segment_leaves);
        let archive = Archive::open(files.clone(), store.clone(), &places).map_err(OpenError::Archive)?;
        let archive = Arc::new(archive);
        let applier =
            Applier::new(machine, store.clone(), files.clone(), executor.clone(), places.clone(), fault.clone());
        let config = Arc::new(config(&timing)?);
        let network = Network { transport: transport.clone() };
        let raft = Raft::new(node.0, config, network, store.clone(), applier)
            .await
            .map_err(|error| OpenError::Raft { why: error.to_string() })?;

        let space = store.space();
        let mut tasks = JoinSet::new();
        let (hub, hub_inbox) = mpsc::channel(INBOX_LINKS_MAX);
        let server = Server {
            raft: raft.clone(),
            files,
            executor: executor.clone(),
            space: space.clone(),
            archive: archive.clone(),
            applied: places.applied.clone(),
            receiving: Arc::new(AtomicU64::new(0)),
        };
        tasks.spawn(server.run(inbox, hub));
        let (proposals, queue) = mpsc::channel(PROPOSALS_MAX);
        tasks.spawn(proposals::run(raft.clone(), queue));
        let role = watch::Sender::new(Role { term: 0, leader: None, state: RoleState::Learner });
        tasks.spawn(roles::run(raft.metrics(), role.clone(), fault.clone()));
        tasks.spawn(watch_space(space.clone()));
        let stopped = watch::Sender::new(false);
        let archiving = ArchiveTask {
            archive: archive.clone(),
            places: places.clone(),
            transport: transport.clone(),
            raft: raft.metrics(),
            node,
        };
        start_archive(&executor, archiving, &mut tasks, stopped.subscribe())?;

        let core = Core {
            node,
            raft,
            store,
            space,
            archive,
            transport,
            proposals,
            role,
            places,
            fault,
            stopped,
            tasks: Mutex::new(tasks),
            timing,
            purge_keep_entries,
        };
        Ok((Arc::new(RaftLog { core: Arc::new(core) }), hub_inbox))
    }
}

impl Core {
    async fn stop(self: Arc<Self>) {
        // Its core may have panicked: there is nothing left to stop then.
        let _ = self.raft.shutdown().await;
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
        self.store.close().await;
        self.role.send_modify(|role| role.state = RoleState::Stopped);
        self.stopped.send_replace(true);
    }
}

fn config(timing: &Timing) -> Result<Config, OpenError> {
    let config = Config {
        cluster_name: "forge".into(),
        heartbeat_interval: timing.heartbeat_ms,
        election_timeout_min: timing.election_ms_min,
        election_timeout_max: timing.election_ms_max,
        install_snapshot_timeout: timing.snapshot_ms_max,
        max_payload_entries: APPEND_ENTRIES_MAX,
        replication_lag_threshold: SNAPSHOT_LAG_ENTRIES,
        // Snapshots and purges are ours: openraft knows nothing of the archive.
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: u64::MAX,
        enable_pre_vote: Some(true),
        // A restarted leader must not resume its term over its own uncommitted tail.
        enable_leader_restore: Some(false),
        ..Config::default()
    };
    config.validate().map_err(|error| OpenError::Raft { why: error.to_string() })
}

async fn watch_space(space: Arc<Space>) {
    loop {
        tokio::time::sleep(SPACE_CHECK).await;
        space.check();
    }
}

/// Runs the archive beside Raft: it reads and writes files.
fn start_archive(
    executor: &Executor,
    task: ArchiveTask,
    tasks: &mut JoinSet<()>,
    mut stopped: watch::Receiver<bool>,
) -> Result<(), OpenError> {
    if matches!(executor, Executor::Inline { .. }) {
        tasks.spawn(task.run());
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(OpenError::Thread)?;
    let run = move || {
        runtime.block_on(async move {
            tokio::select! {
                biased;
                _ = stopped.wait_for(|stopped| *stopped) => {}
                () = task.run() => {}
            }
        });
    };
    std::thread::Builder::new().name("forge-archive".into()).spawn(run).map(drop).map_err(OpenError::Thread)
}

/// `work` under a deadline; `late` if it passes.
async fn within<T, E>(deadline: Duration, late: E, work: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    tokio::time::timeout(deadline, work).await.unwrap_or(Err(late))
}
