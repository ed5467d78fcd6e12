//! Long polls: `Prefer: wait=30` or `?wait=30s`, until an object changed or ended.

use super::answer::Refused;
use super::call::Call;
use forge_api::{Problem, text};
use forge_event::DurationMs;
use forge_projections::World;
use std::time::Duration;
use tokio::time::Instant;

/// The longest wait.
const WAIT_MAX: DurationMs = DurationMs(60_000);
/// Between two looks at a busy log.
const LOOK_EVERY: Duration = Duration::from_millis(25);

/// How long the caller would wait, and for what.
#[derive(Clone, Copy)]
pub struct Wait {
    pub span: DurationMs,
    /// For a change behind this index; `None`: until the object is final.
    pub since: Option<u64>,
}

impl Wait {
    /// Reads the caller's wish.
    ///
    /// # Errors
    /// 400 if it cannot be read.
    pub fn of(call: &Call) -> Result<Option<Wait>, Refused> {
        let asked = call.parsed("wait", |t| {
            text::duration(t).or_else(|e| t.parse().map(|s: u64| DurationMs(s * 1000)).map_err(|_| e))
        })?;
        let preferred = call.headers.get_all("prefer").iter().filter_map(|v| v.to_str().ok());
        let preferred = preferred.flat_map(|v| v.split([',', ';'])).find_map(|p| p.trim().strip_prefix("wait="));
        let preferred = preferred.and_then(|s| s.trim().parse().ok()).map(|s: u64| DurationMs(s.saturating_mul(1000)));
        let since = call.parsed("since", str::parse::<u64>)?;
        match call.query("until") {
            None | Some("terminal") => {}
            Some(_) => return Err(Problem::bad_parameter("until", "it is terminal").into()),
        }
        let until_terminal = call.query("until").is_some();
        let span = asked.or(preferred);
        Ok(span.map(|span| Wait { span: span.min(WAIT_MAX), since: since.filter(|_| !until_terminal) }))
    }

    /// The value of `Preference-Applied`.
    pub fn applied(&self) -> String {
        format!("wait={}", self.span.0 / 1000)
    }

    /// Waits until `done` holds of this node's state; false if the time passed or the node drains.
    pub async fn until(&self, call: &Call, mut done: impl FnMut(&World) -> bool) -> bool {
        let deadline = Instant::now() + Duration::from_millis(self.span.0);
        let mut applied = call.rest.hub().applied();
        loop {
            applied.borrow_and_update();
            if call.rest.hub().read(&mut done) {
                return true;
            }
            tokio::select! {
                biased;
                () = call.rest.shutdown().cancelled() => return false,
                () = tokio::time::sleep_until(deadline) => return false,
                changed = applied.changed() => if changed.is_err() { return false },
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}
