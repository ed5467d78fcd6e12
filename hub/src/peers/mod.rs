//! Commands on their way from a follower's door to the leader's sequencer.

mod forward;
mod serve;

pub use forward::{Forwarder, forwarder};
pub use serve::serve;

use forge_projections::{Command, CommandError, Committed};
use serde::{Deserialize, Serialize};

/// Commands one node may have under way at another.
pub const FORWARDED_MAX: usize = 4096;

/// Follower to leader.
#[derive(Serialize, Deserialize, Debug)]
struct Asked {
    number: u64,
    command: Command,
}

/// Leader to follower; in the order of commits, not of asking.
#[derive(Serialize, Deserialize, Debug)]
struct Answered {
    number: u64,
    answer: Result<Committed, CommandError>,
}
