//! The agent: an SDK for whoever computes, and the reference agent that runs the built-in workloads.
//!
//! Compute lives here and nowhere else. The agent only dials out; everything it knows about leases,
//! results and its chain is in `forge_protocol::AgentSession`, and this crate moves bytes and threads.

mod agent;
pub mod blobs;
pub mod capabilities;
mod config;
mod congestion;
mod end;
mod enrol;
pub mod executor;
pub mod executors;
mod fleet;
mod identity;
mod pool;
mod session;
mod started;
mod store;
mod streams;
mod tls;
mod work;

pub use agent::{AgentHandle, Stopped};
pub use config::AgentConfig;
pub use enrol::{EnrolError, Enrolled, enrol};
pub use executor::{Context, Executor, Registry};
pub use executors::ExecError;
pub use fleet::{Agent, DialError, Fleet, StartError};
pub use identity::{AgentKey, KeyError};
pub use store::{StoreError, Stored};
