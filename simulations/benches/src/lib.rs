//! What the house does in a second, each figure beside the bare limits of the same machine in the same run.
//!
//! Hubs and agents are processes of the same binary, with TLS on loopback; this process is their client.

pub mod agents;
pub mod dispatch;
pub mod failover;
pub mod fleet;
mod house;
pub mod limits;
pub mod log;
pub mod loss;
pub mod lossy;
mod machine;
mod peers;
pub mod replay;
mod report;
mod rest;
pub mod schedule;
pub mod writers;

pub use report::Common;

use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

/// Where a run keeps what it writes: a given folder, or a new one on the disk of the current folder that goes with it.
pub struct Place {
    path: PathBuf,
    _temporary: Option<tempfile::TempDir>,
}

impl Place {
    /// # Errors
    /// If the folder cannot be made.
    pub fn new(given: Option<&Path>) -> Result<Place> {
        if let Some(path) = given {
            std::fs::create_dir_all(path).with_context(|| format!("making {}", path.display()))?;
            return Ok(Place { path: path.to_owned(), _temporary: None });
        }
        // Not the system's folder for temporary files: that is memory on many machines, and fsync is free there.
        let folder = tempfile::Builder::new().prefix(".forge-bench-").tempdir_in(".").context("making a folder")?;
        let path = std::path::absolute(folder.path()).context("finding the new folder")?;
        Ok(Place { path, _temporary: Some(folder) })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}
