//! `monte_carlo`: drives the family's kernel, which lives beside its checks in `forge-adapters`.

use super::ExecError;
use forge_adapters::monte_carlo::kernel::ShardRun;

/// Runs a shard; calls `progress` about every two milliseconds of work.
///
/// # Errors
/// [`ExecError`]: the payload does not read, or `progress` said to stop.
pub fn run(payload: &[u8], progress: &mut dyn FnMut(u64) -> bool) -> Result<Vec<u8>, ExecError> {
    let mut run = ShardRun::new(payload).ok_or_else(|| ExecError::bad_payload("monte_carlo"))?;
    loop {
        let more = run.advance();
        if !progress(run.cells_done()) {
            return Err(ExecError::cancelled(run.cells_done()));
        }
        if !more {
            return Ok(run.finish());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use forge_adapters::Registry;
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

    #[test]
    fn progress_rises_to_the_whole() {
        let mut seen = vec![];
        let result = run(&payload(400_000), &mut |cells| {
            seen.push(cells);
            true
        });
        assert!(result.is_ok() && seen.is_sorted() && seen.len() > 1);
        assert_eq!(seen.last(), Some(&400_000));
    }

    #[test]
    fn a_run_stops_when_told() {
        let error = run(&payload(1 << 40), &mut |_| false).expect_err("it was stopped");
        assert_eq!(error.code, ExecError::CANCELLED);
    }

    #[test]
    fn other_bytes_are_no_payload() {
        assert_eq!(run(b"what", &mut |_| true).expect_err("not a payload").code, ExecError::BAD_PAYLOAD);
    }
}
