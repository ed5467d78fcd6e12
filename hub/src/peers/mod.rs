//! Commands on their way from a follower's door to the leader's sequencer, and questions between nodes.

mod acquaintance;
mod forward;
mod question;
mod serve;

pub use acquaintance::{Acquaintances, run as acquaint};
pub use forward::{Forwarder, forwarder};
pub use question::{Card, Question, Reply, Seen, Silence, TransferError, ask, card_of};
pub use serve::serve;

use bytes::Bytes;
use forge_projections::{Command, CommandError, Committed};
use serde::{Deserialize, Serialize};

/// Commands one node may have under way at another.
pub const FORWARDED_MAX: usize = 4096;

/// Commands of one frame.
const FRAME_COMMANDS_MAX: usize = 256;
/// A frame is closed once it is this long. Units: bytes.
const FRAME_BYTES: usize = 128 * 1024;

/// What a link is opened for: its first frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Purpose {
    /// Commands, as long as the link lives.
    Commands,
    /// One question.
    Question,
}

impl Purpose {
    fn frame(self) -> Bytes {
        Bytes::from_static(match self {
            Purpose::Commands => &[1],
            Purpose::Question => &[2],
        })
    }

    fn of(frame: &[u8]) -> Option<Purpose> {
        match frame {
            [1] => Some(Purpose::Commands),
            [2] => Some(Purpose::Question),
            _ => None,
        }
    }
}

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
