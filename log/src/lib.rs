//! The durable, replicated, ordered log: openraft over redb and quinn. Their generics stop here.
//!
//! A caller sees turns go in ([`Log::append`]), turns come out ([`Machine::fold`]), and links to
//! other nodes ([`network::Transport`]). No type of openraft or redb is part of the API, except
//! redb's `StorageBackend`, the seam at which a simulator supplies a disk.

mod apply;
pub mod archive;
pub mod files;
mod form;
pub mod log;
pub mod machine;
pub mod memory;
pub mod network;
mod offload;
pub mod options;
mod raft;
pub mod role;
mod runtime;
mod snapshot;
mod store;
mod types;

/// Where the Raft library's own messages go in `tracing`, for filters.
pub const RAFT_TARGET: &str = "openraft";

pub use crate::log::{Appended, Fault, Log, MembershipError, NotReady, PurgeRefused, ReadError, ReadTurn, Refusal};
pub use crate::log::{SealedSegment, SnapshotError, Ticket};
pub use crate::machine::{CommittedTurn, Machine};
pub use crate::memory::{Injected, MemoryLog};
pub use crate::options::{Disk, Executor, FsyncObserver, Options, Timing};
pub use crate::raft::{OpenError, RaftLog};
pub use crate::role::{PeerStatus, Role, RoleState, Status};
pub use crate::runtime::seed_this_thread;
