//! The only caller of the system clock and of the system's randomness.

use forge_event::Timestamp;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::time::Instant;

type Now = dyn Fn() -> Timestamp + Send + Sync;
type Fill = dyn Fn(&mut [u8]) + Send + Sync;

/// Wall time and randomness; a simulator supplies its own.
#[derive(Clone)]
pub struct Clock {
    now: Arc<Now>,
    fill: Arc<Fill>,
}

impl std::fmt::Debug for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Clock")
    }
}

impl Clock {
    /// The machine's: wall time read once, then carried on by the monotonic clock, so that it never jumps.
    pub fn system() -> Clock {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64);
        let started = Instant::now();
        let now = move || Timestamp(wall + started.elapsed().as_millis() as u64);
        Clock { now: Arc::new(now), fill: Arc::new(|bytes| rand::Rng::fill_bytes(&mut rand::rng(), bytes)) }
    }

    pub fn supplied(now: Arc<Now>, fill: Arc<Fill>) -> Clock {
        Clock { now, fill }
    }

    pub fn now(&self) -> Timestamp {
        (self.now)()
    }

    pub fn random<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        (self.fill)(&mut bytes);
        bytes
    }
}

/// When a file was changed, by the clock of its disk; the beginning of time where it does not say.
pub fn changed_at(file: &std::fs::Metadata) -> Timestamp {
    let changed = file.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    Timestamp(changed.map_or(0, |at| at.as_millis() as u64))
}
