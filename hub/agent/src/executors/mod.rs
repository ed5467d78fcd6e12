//! What runs shards: one file a family, bytes in, bytes out.
//!
//! An executor is a plain blocking function. It calls `progress(cells done)` every few milliseconds and stops
//! when that says `false`. Shards are short and exact, so none has checkpoints: a shard that is lost runs again.

pub mod blas;
pub mod monte_carlo;
pub mod null;

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

    fn bad_payload(kind: &str) -> Self {
        ExecError { code: Self::BAD_PAYLOAD, detail: format!("not a payload of {kind} in a version this agent runs") }
    }
}

/// Runs a shard of any kind this build knows.
///
/// # Errors
/// [`ExecError`]: an unknown kind or version, a payload that does not read, or a stop.
pub fn run(
    kind: &str,
    version: u16,
    payload: &[u8],
    progress: &mut dyn FnMut(u64) -> bool,
) -> Result<Vec<u8>, ExecError> {
    match (kind, version) {
        ("null", 1) => null::run(payload, progress),
        ("monte_carlo", 1) => monte_carlo::run(payload, progress),
        _ => {
            let detail = format!("no executor for {kind} version {version}");
            Err(ExecError { code: ExecError::UNKNOWN_KIND, detail })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_kind_or_version_is_an_error() {
        for (kind, version) in [("blas", 1), ("null", 2)] {
            let error = run(kind, version, b"", &mut |_| true).expect_err("nothing runs it");
            assert_eq!(error.code, ExecError::UNKNOWN_KIND);
        }
    }
}
