//! What runs shards: bytes in, bytes out, blobs through the host. Families without a file here have their kernel,
//! pure, beside their checks in `forge-adapters`.
//!
//! An executor is a plain blocking function. It calls [`Host::progress`] every few milliseconds and stops when that
//! fails. Kernels whose family can resume a shard hand over what is done now and then ([`Host::checkpoint`]); a shard
//! of the others that is lost runs again.

pub mod blas;
pub mod ffmpeg;
pub mod null;

use forge_adapters::host::{Host, Stop};

/// What this build runs.
pub const KINDS: [&str; 6] = ["null", "monte_carlo", "blas", "ffmpeg", "climate_pca", "cat_model"];

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

    /// What became of a kernel of this kind.
    pub fn of(kind: &str, stop: Stop) -> Self {
        match stop {
            Stop::Cancelled => ExecError { code: Self::CANCELLED, detail: "stopped".into() },
            Stop::BadPayload => {
                let detail = format!("not a payload of {kind} in a version this agent runs");
                ExecError { code: Self::BAD_PAYLOAD, detail }
            }
            Stop::Failed { code, detail } => ExecError { code, detail },
        }
    }
}

/// Runs a shard of any kind this build knows.
///
/// # Errors
/// [`ExecError`]: an unknown kind or version, a payload that does not read, or a stop.
pub fn run(kind: &str, version: u16, payload: &[u8], host: &mut dyn Host) -> Result<Vec<u8>, ExecError> {
    let run = match (kind, version) {
        ("null", 1) => null::run,
        ("monte_carlo", 1) => forge_adapters::monte_carlo::kernel::run_hosted,
        ("blas", 1) => blas::run,
        ("ffmpeg", 1) => ffmpeg::run,
        ("climate_pca", 1) => forge_adapters::climate_pca::kernel::run,
        ("cat_model", 1) => forge_adapters::cat_model::kernel::run,
        _ => {
            let detail = format!("no executor for {kind} version {version}");
            return Err(ExecError { code: ExecError::UNKNOWN_KIND, detail });
        }
    };
    run(payload, host).map_err(|stop| ExecError::of(kind, stop))
}

#[cfg(test)]
mod tests {
    use super::*;
    use forge_adapters::Registry;
    use forge_adapters::host::Bare;
    use forge_event::Digest;
    use forge_projections::family::{Families, NoBlobs, Past, PlanHints};

    #[test]
    fn an_unknown_kind_or_version_is_an_error() {
        for (kind, version) in [("wasm", 1), ("null", 2)] {
            let error = run(kind, version, b"", &mut Bare).expect_err("nothing runs it");
            assert_eq!(error.code, ExecError::UNKNOWN_KIND);
        }
    }

    /// Says how far it is, and stops at a given point.
    struct Watched {
        seen: Vec<u64>,
        stop_at: usize,
    }

    impl Host for Watched {
        fn progress(&mut self, cells: u64) -> Result<(), Stop> {
            self.seen.push(cells);
            if self.seen.len() > self.stop_at { Err(Stop::Cancelled) } else { Ok(()) }
        }

        fn blob_bytes(&mut self, digest: &Digest) -> Result<u64, Stop> {
            Bare.blob_bytes(digest)
        }

        fn read(&mut self, digest: &Digest, first: u64, buffer: &mut [u8]) -> Result<(), Stop> {
            Bare.read(digest, first, buffer)
        }

        fn put(&mut self, bytes: &[u8]) -> Result<Digest, Stop> {
            Bare.put(bytes)
        }
    }

    fn samples(samples: u64) -> Vec<u8> {
        let family = Registry.newest("monte_carlo").expect("the family is built in");
        let spec = serde_json::json!({"model": "pi", "samples": samples, "seed": 1});
        let spec = family.check_spec(&spec, None).expect("the spec has no fault").spec;
        let hints = PlanHints { shard_cells: Some(samples), slots: 1 };
        let plan = family.plan(&Past::new(&spec), hints, &NoBlobs).expect("this family plans without blobs");
        family.payload(&spec, &plan.body, 0)
    }

    #[test]
    fn progress_rises_to_the_whole() {
        let mut host = Watched { seen: vec![], stop_at: usize::MAX };
        assert!(run("monte_carlo", 1, &samples(400_000), &mut host).is_ok());
        assert!(host.seen.is_sorted() && host.seen.len() > 1);
        assert_eq!(host.seen.last(), Some(&400_000));
    }

    #[test]
    fn a_run_stops_when_told() {
        let mut host = Watched { seen: vec![], stop_at: 2 };
        let error = run("monte_carlo", 1, &samples(1 << 40), &mut host).expect_err("it was stopped");
        assert_eq!(error.code, ExecError::CANCELLED);
    }

    #[test]
    fn other_bytes_are_no_payload() {
        for kind in KINDS {
            let error = run(kind, 1, b"what", &mut Bare).expect_err("not a payload");
            assert_eq!(error.code, ExecError::BAD_PAYLOAD, "{kind}");
        }
    }
}
