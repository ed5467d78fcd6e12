//! `forge demo`: the main job, which checks itself.
//!
//! Three hub processes and four agent processes, a job, a SIGKILL for the leader midway; then the
//! same job from nothing on a single node, and the log replayed offline. With `--kind all` also a small job of each
//! other family, on both.

mod checks;
mod house;
mod kinds;
mod run;

pub use run::run;

use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// What to spoil, to see it caught.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Break {
    /// Flip one byte of the exported log
    Flip,
    /// Change one credit in the log and recompute every hash
    Credit,
    /// Change the result that is compared
    Result,
    /// Change the digest that is compared
    Digest,
}

#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:\n  forge demo\n  forge demo --kind all\n  forge demo --break credit")]
pub struct DemoOptions {
    /// Which jobs: monte_carlo, or one of every family
    #[arg(long, default_value = "monte_carlo", value_parser = ["monte_carlo", "all"])]
    pub kind: String,
    /// Keep logs and exports here; a new folder, removed on success, without it
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Paths to simulate
    #[arg(long, default_value_t = 120_000_000)]
    pub samples: u64,
    /// Spoil one thing, which must be caught
    #[arg(long = "break", value_enum)]
    pub spoil: Option<Break>,
}
