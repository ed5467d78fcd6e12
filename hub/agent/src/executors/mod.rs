//! What runs shards: one file a family, bytes in, bytes out.
//!
//! An executor is a plain blocking function. It calls `progress(cells done)` every few milliseconds and stops
//! when that says `false`. Shards are short and exact, so none has checkpoints: a shard that is lost runs again.

pub mod monte_carlo;
pub mod null;

use forge_adapters::host::{Host, Stop};

/// What this build runs.
pub const KINDS: [&str; 2] = ["null", "monte_carlo"];

/// Why a shard has no result.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{code}: {detail}")]
pub struct ExecError {
    /// Kebab-case: `cancelled`, `unknown-kind`, `bad-payload`.
    pub code: &'static str,
    /// What happened, for people.
    pub detail: String,
}

impl ExecError {
    /// The caller's `progress` said to stop.
    pub const CANCELLED: &'static str = "cancelled";
    /// No executor of this build runs that kind or version.
    pub const UNKNOWN_KIND: &'static str = "unknown-kind";
    /// The payload is not one that this executor reads.
    pub const BAD_PAYLOAD: &'static str = "bad-payload";

    fn cancelled(cells_done: u64) -> Self {
        ExecError { code: Self::CANCELLED, detail: format!("stopped after {cells_done} cells") }
    }

    /// What became of a kernel of this kind.
    pub fn of(kind: &str, stop: Stop) -> Self {
        match stop {
            Stop::Cancelled => ExecError { code: Self::CANCELLED, detail: "stopped".into() },
            Stop::BadPayload => Self::bad_payload(kind),
            Stop::Failed { code, detail } => ExecError { code, detail },
        }
    }

    fn bad_payload(kind: &str) -> Self {
        ExecError { code: Self::BAD_PAYLOAD, detail: format!("not a payload of {kind} in a version this agent runs") }
    }
}

/// Runs a shard of any kind this build knows.
///
/// # Errors
/// [`ExecError`]: an unknown kind or version, a payload that does not read, or a stop.
pub fn run(kind: &str, version: u16, payload: &[u8], host: &mut dyn Host) -> Result<Vec<u8>, ExecError> {
    match (kind, version) {
        ("null", 1) => null::run(payload, &mut |cells| host.progress(cells).is_ok()),
        ("monte_carlo", 1) => monte_carlo::run(payload, host),
        _ => {
            let detail = format!("no executor for {kind} version {version}");
            Err(ExecError { code: ExecError::UNKNOWN_KIND, detail })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use forge_adapters::host::Bare;

    #[test]
    fn an_unknown_kind_or_version_is_an_error() {
        for (kind, version) in [("blas", 1), ("null", 2)] {
            let error = run(kind, version, b"", &mut Bare).expect_err("nothing runs it");
            assert_eq!(error.code, ExecError::UNKNOWN_KIND);
        }
    }
}
