//! What an agent is started with.

use crate::executor::Registry;
use std::path::PathBuf;
use std::time::Duration;

/// One agent's configuration.
#[derive(Clone, Debug)]
pub struct AgentConfig {
    /// Folder that [`crate::enrol`] filled.
    pub data: PathBuf,
    /// Shards computed at once; at least 1.
    pub slots: u32,
    /// Where it stands, as jobs may require it; empty: nowhere in particular.
    pub region: String,
    pub gpu: Option<String>,
    /// What is installed, e.g. `ffmpeg-5.1`.
    pub software: Vec<String>,
    pub registry: Registry,
    /// How often a long shard hands over what it has done; another agent goes on from there if this one is lost.
    pub checkpoint_interval: Duration,
}

const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(1);

impl AgentConfig {
    /// The built-in executors, a slot a core.
    pub fn new(data: impl Into<PathBuf>) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        AgentConfig {
            data: data.into(),
            slots: cores as u32,
            region: String::new(),
            gpu: None,
            software: Vec::new(),
            registry: Registry::standard(),
            checkpoint_interval: CHECKPOINT_INTERVAL,
        }
    }
}
