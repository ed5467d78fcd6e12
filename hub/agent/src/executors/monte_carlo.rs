//! `monte_carlo`: drives the family's kernel, which lives beside its checks in `forge-adapters`.

use super::ExecError;
use forge_adapters::host::Host;
use forge_adapters::monte_carlo::kernel;

/// Runs a shard; says how far it is about every two milliseconds of work.
///
/// # Errors
/// [`ExecError`]: the payload does not read, a blob cannot be had, or the host said to stop.
pub fn run(payload: &[u8], host: &mut dyn Host) -> Result<Vec<u8>, ExecError> {
    kernel::run_hosted(payload, host).map_err(|stop| ExecError::of("monte_carlo", stop))
}

#[cfg(test)]
mod tests {
    use super::*;
    use forge_adapters::Registry;
    use forge_adapters::host::{Bare, Stop};
    use forge_event::Digest;
    use forge_projections::family::{Families, NoBlobs, Past, PlanHints};

    fn payload(samples: u64) -> Vec<u8> {
        let family = Registry.newest("monte_carlo").expect("the family is built in");
        let spec = serde_json::json!({"model": "pi", "samples": samples, "seed": 1});
        let spec = family.check_spec(&spec, None).expect("the spec has no fault").spec;
        let plan = family
            .plan(&Past::new(&spec), PlanHints { shard_cells: Some(samples), slots: 1 }, &NoBlobs)
            .expect("this family plans without blobs");
        family.payload(&spec, &plan.body, 0)
    }

    /// Remembers what was said; stops after so many times.
    struct Watch {
        seen: Vec<u64>,
        most: usize,
    }

    impl Host for Watch {
        fn progress(&mut self, cells_done: u64) -> Result<(), Stop> {
            self.seen.push(cells_done);
            if self.seen.len() > self.most { Err(Stop::Cancelled) } else { Ok(()) }
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

    #[test]
    fn progress_rises_to_the_whole() {
        let mut watch = Watch { seen: vec![], most: usize::MAX };
        let result = run(&payload(400_000), &mut watch);
        assert!(result.is_ok() && watch.seen.is_sorted() && watch.seen.len() > 1);
        assert_eq!(watch.seen.last(), Some(&400_000));
    }

    #[test]
    fn a_run_stops_when_told() {
        let error = run(&payload(1 << 40), &mut Watch { seen: vec![], most: 0 }).expect_err("it was stopped");
        assert_eq!(error.code, ExecError::CANCELLED);
    }

    #[test]
    fn other_bytes_are_no_payload() {
        assert_eq!(run(b"what", &mut Bare).expect_err("not a payload").code, ExecError::BAD_PAYLOAD);
    }
}
