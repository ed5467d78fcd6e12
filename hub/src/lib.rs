//! The impure shell of Forge Hub: sequences, reacts, serves; never computes.

pub mod agents;
pub mod blobs;
pub mod clock;
pub mod committed;
pub mod config;
pub mod core;
mod directory;
pub mod effects;
pub mod genesis;
pub mod handle;
pub mod history;
pub mod init;
pub mod join;
pub mod kv;
pub mod lane;
pub mod metrics;
pub mod node;
pub mod peers;
pub mod reactor;
pub mod rest;
pub mod sequencer;
pub mod upkeep;

pub use clock::Clock;
pub use handle::Hub;
pub use metrics::Metrics;
pub use node::{Node, NodeError};
