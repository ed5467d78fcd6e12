//! Free space: watched before it runs out, with a reserve for what must still be written.

use crate::files::Files;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// The disk is asked at most this often.
const CHECK_EVERY: Duration = Duration::from_millis(500);

/// Says whether the storage is degraded, and holds the reserve.
pub struct Space {
    files: Arc<dyn Files>,
    reserve_bytes: u64,
    degraded: watch::Sender<bool>,
    checked: Mutex<Option<Instant>>,
}

impl Space {
    /// # Errors
    /// If the disk does not answer; no space for the reserve is no error but a degraded storage.
    pub fn new(files: Arc<dyn Files>, reserve_bytes: u64) -> io::Result<Space> {
        let space = Space { files, reserve_bytes, degraded: watch::Sender::new(false), checked: Mutex::new(None) };
        if reserve_bytes > 0 && space.files.reserve(reserve_bytes).is_err() {
            space.files.reserve(0)?;
            space.degraded.send_replace(true);
        }
        Ok(space)
    }

    pub fn degraded(&self) -> watch::Receiver<bool> {
        self.degraded.subscribe()
    }

    pub fn is_degraded(&self) -> bool {
        *self.degraded.borrow()
    }

    /// Looks at the disk, if the last look is old enough.
    ///
    /// Below the threshold the reserve is given free, for votes and what is in flight; above twice the threshold it is
    /// taken again.
    pub fn check(&self) {
        if self.reserve_bytes == 0 || !self.due() {
            return;
        }
        let Ok(free) = self.files.free_bytes() else { return };
        let degraded = self.is_degraded();
        if !degraded && free < self.reserve_bytes {
            tracing::warn!(free, "disk space is short: appends are refused");
            self.degraded.send_replace(true);
            if let Err(error) = self.files.reserve(0) {
                tracing::warn!(%error, "the reserve could not be given free");
            }
        } else if degraded && free >= 3 * self.reserve_bytes && self.files.reserve(self.reserve_bytes).is_ok() {
            tracing::info!(free, "disk space is enough again");
            self.degraded.send_replace(false);
        }
    }

    fn due(&self) -> bool {
        let now = Instant::now();
        let mut checked = self.checked.lock().unwrap_or_else(PoisonError::into_inner);
        let due = checked.is_none_or(|at| now.duration_since(at) >= CHECK_EVERY);
        if due {
            *checked = Some(now);
        }
        due
    }
}
