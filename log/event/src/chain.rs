//! The hash chain over accepted turns.

use crate::digest::Digest;
use serde::{Deserialize, Serialize};

/// The end of a log prefix.
///
/// Counts accepted turns and their events only: blank, membership and ignored Raft entries leave it unchanged.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug, Default)]
pub struct Head {
    pub turns: u64,
    pub events: u64,
    /// BLAKE3(digest before ‖ frame of the last turn); zeros before the first.
    pub digest: Digest,
}

impl Head {
    /// The head after a turn of `events` events whose frame is `frame`.
    pub fn after(&self, frame: &[u8], events: u64) -> Head {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.digest.0).update(frame);
        // A file may claim any head to start from; counting from it must not panic.
        let (turns, events) = (self.turns.saturating_add(1), self.events.saturating_add(events));
        Head { turns, events, digest: Digest(*hasher.finalize().as_bytes()) }
    }
}
