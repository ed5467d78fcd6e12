//! Wall clocks of nodes: virtual time, each with its own error.

use crate::dice::Dice;
use crate::lock;
use forge_event::Timestamp;
use forge_hub::Clock;
use std::sync::{Arc, Mutex};
use tokio::time::Instant;

/// Wall time at the start of every run. Units: ms since 1970.
pub const START_MS: u64 = 1_795_000_000_000;

/// How wrong a clock is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Skew {
    /// Units: ms.
    pub offset_ms: i64,
    /// Units: parts per thousand.
    pub drift_permille: i64,
}

/// A node's clock and randomness.
pub fn skewed(started: Instant, skew: Skew, dice: Dice) -> Clock {
    let now = move || {
        let passed = started.elapsed().as_millis() as i64;
        let wrong = skew.offset_ms + passed * skew.drift_permille / 1000;
        Timestamp(START_MS.saturating_add_signed(passed + wrong))
    };
    let dice = Mutex::new(dice);
    Clock::supplied(Arc::new(now), Arc::new(move |bytes| lock(&dice).fill(bytes)))
}
