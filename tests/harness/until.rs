//! Waiting for a fact that no door announces.

use std::time::Duration;
use tokio::time::Instant;

/// Nothing that a test waits for takes longer on a loaded machine with two cores.
const PATIENCE: Duration = Duration::from_secs(40);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Waits for what a door announces.
///
/// # Panics
/// If it does not come to pass within 40 seconds.
pub async fn within<T>(what: &str, coming: impl Future<Output = T>) -> T {
    let came = tokio::time::timeout(PATIENCE, coming).await;
    came.unwrap_or_else(|_| panic!("in {PATIENCE:?} it did not come to pass that {what}"))
}

/// Looks until there is something to see; `what` is said if there never is.
///
/// # Panics
/// If it does not come to pass within 40 seconds.
pub async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let seen = tokio::time::timeout_at(deadline, look()).await;
        match seen {
            Ok(Some(found)) => return found,
            Ok(None) if Instant::now() < deadline => tokio::time::sleep(LOOK_EVERY).await,
            _ => panic!("in {PATIENCE:?} it did not come to pass that {what}"),
        }
    }
}
