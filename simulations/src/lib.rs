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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
