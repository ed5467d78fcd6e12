//! Whole clusters on one thread, from one seed: the real sequencer, projections, session machines
//! and the openraft-and-redb log, under a virtual clock, network and disk.
//!
//! [`run_seed`] plays one seed; the same seed gives the same trace.

#[cfg(not(tokio_unstable))]
compile_error!(
    "the simulator needs `--cfg tokio_unstable`: an environment RUSTFLAGS replaces the one in .cargo/config.toml"
);

pub mod agents;
pub mod clients;
pub mod clock;
pub mod dice;
pub mod disk;
pub mod files;
pub mod invariants;
mod nemesis;
pub mod network;
mod node;
mod oracle;
pub mod plan;
mod report;
pub mod scale;
mod session;
mod setup;
mod storage;
pub mod trace;
mod work;
mod world;

pub use report::{Corpus, Failure, Report};
pub use world::run_seed;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// What a run does besides what its seed says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Keep every step in words.
    pub worded: bool,
    /// No faults, however the dice fall.
    pub calm: bool,
}

/// Every kind of fault that a corpus of some size must have seen fire.
pub const FAULTS: [&str; 30] = [
    "message lost",
    "message delayed",
    "message reordered",
    "message duplicated",
    "message cut by partition",
    "partition, two-way",
    "partition, one-way",
    "crash",
    "crash in a write",
    "crash in an election",
    "leader crashed",
    "leader transferred",
    "power cut of all nodes",
    "sector lost",
    "sector torn",
    "slow disk",
    "clock skewed",
    "snapshot taken",
    "restart from snapshot",
    "purged log seen",
    "stranger's turn ignored",
    "agent left",
    "agent crashed",
    "checkpoint taken",
    "shard resumed",
    "leases resumed",
    "lease stolen",
    "result sent twice",
    "session doubled",
    "client does not know",
];

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
