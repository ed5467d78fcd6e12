//! How a node's log is opened.

use crate::files::Files;
use forge_event::NodeId;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Entries kept behind a snapshot when purging: peers catch up from them, and openraft's purge keeps clear of its apply.
pub const PURGE_KEEP_ENTRIES: u64 = 10_000;

/// Where the Raft log lives.
pub enum Disk {
    /// A file of the file system.
    File(PathBuf),
    /// A disk that the caller supplies.
    Backend(Box<dyn redb::StorageBackend>),
}

/// Who runs what may block.
#[derive(Clone)]
pub enum Executor {
    /// Threads of our own: the log's writer, snapshots, the archive.
    Threads,
    /// Tasks of the caller's runtime; a commit takes as long as `commit_latency` says, in virtual time.
    Inline { commit_latency: Arc<dyn Fn() -> Duration + Send + Sync> },
}

/// Told after each fsync of the log: how long it took, and how many entries it made durable.
pub type FsyncObserver = Arc<dyn Fn(Duration, usize) + Send + Sync>;

/// Raft's clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    pub heartbeat_ms: u64,
    pub election_ms_min: u64,
    pub election_ms_max: u64,
    /// Deadline of a snapshot transfer.
    pub snapshot_ms_max: u64,
}

impl Default for Timing {
    fn default() -> Timing {
        Timing { heartbeat_ms: 60, election_ms_min: 200, election_ms_max: 350, snapshot_ms_max: 60_000 }
    }
}

/// Everything that opening a log needs besides the machine and the network.
pub struct Options {
    pub node: NodeId,
    pub disk: Disk,
    /// Snapshots, archive and markers.
    pub files: Arc<dyn Files>,
    pub executor: Executor,
    pub timing: Timing,
    pub on_fsync: Option<FsyncObserver>,
    /// Below this much free space the storage is degraded; also the size of the preallocated reserve. 0 turns both off.
    pub reserve_bytes: u64,
    /// Leaves after which a segment ends with the running turn: `SEGMENT_LEAVES`, except in tests.
    pub segment_leaves: u64,
    /// Entries kept behind a snapshot when purging: [`PURGE_KEEP_ENTRIES`], except in tests.
    pub purge_keep_entries: u64,
}

impl Options {
    /// A node of a real cluster, all its data below `folder`.
    pub fn production(node: NodeId, folder: PathBuf) -> Options {
        Options {
            node,
            disk: Disk::File(folder.join("raft.redb")),
            files: Arc::new(crate::files::RealFiles::new(folder)),
            executor: Executor::Threads,
            timing: Timing::default(),
            on_fsync: None,
            reserve_bytes: 64 << 20,
            segment_leaves: forge_event::limits::SEGMENT_LEAVES,
            purge_keep_entries: PURGE_KEEP_ENTRIES,
        }
    }
}
