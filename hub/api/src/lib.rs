//! The REST API's bodies: what goes in, what comes out, what can be wrong.
//!
//! Shared by the hub, the CLI and the tests. No socket, no clock, no randomness.

pub mod agent;
pub mod blob;
pub mod cluster;
pub mod code;
pub mod event;
pub mod fields;
pub mod fingerprint;
pub mod job;
pub mod key;
pub mod ledger;
pub mod page;
pub mod plan;
pub mod problem;
pub mod project;
pub mod requests;
pub mod shard;
pub mod strict;
pub mod submit;
pub mod text;

pub use code::Code;
pub use fields::Fields;
pub use problem::Problem;
