//! Commands on their way from a follower's door to the leader's sequencer.

mod forward;
mod serve;

pub use forward::{Forwarder, forwarder};
pub use serve::serve;

use forge_projections::{Command, CommandError, Committed};
use serde::{Deserialize, Serialize};

/// Commands one node may have under way at another.
pub const FORWARDED_MAX: usize = 4096;

/// Commands of one frame.
const FRAME_COMMANDS_MAX: usize = 256;
/// A frame is closed once it is this long. Units: bytes.
const FRAME_BYTES: usize = 128 * 1024;

/// Follower to leader; a frame holds some.
#[derive(Serialize, Deserialize, Debug)]
struct Asked {
    number: u64,
    command: Command,
}

/// Leader to follower; a frame holds some, in the order of commits, not of asking.
#[derive(Serialize, Deserialize, Debug)]
struct Answered {
    number: u64,
    answer: Result<Committed, CommandError>,
}

/// Items of a frame, one after the other: each is its own postcard value.
fn items<T: serde::de::DeserializeOwned>(mut frame: &[u8]) -> Result<Vec<T>, postcard::Error> {
    let mut items = Vec::new();
    while !frame.is_empty() {
        let (item, rest) = postcard::take_from_bytes(frame)?;
        items.push(item);
        frame = rest;
    }
    Ok(items)
}
