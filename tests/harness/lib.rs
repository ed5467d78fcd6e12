//! What the tests through the public doors share: nodes and agents as processes, and a client.
//!
//! A test sees a hub as its users do: through REST, through QUIC, and through the files it leaves.
//! Nothing here looks inside a node.

mod blob;
mod child;
mod client;
mod hand;
pub mod hold;
mod house;
mod job;
mod s3;
mod sse;
mod until;

pub use blob::{npy, put};
pub use child::Child;
pub use client::{Answer, Client};
pub use hand::{Attempt, Hand};
pub use house::{House, PROJECT};
pub use job::{Job, call, null};
pub use s3::S3;
pub use sse::{Frame, Stream};
pub use until::{until, within};

/// Longer variants are asked for with `FORGE_FULL=1`.
pub fn is_full() -> bool {
    std::env::var_os("FORGE_FULL").is_some_and(|v| v == "1")
}
