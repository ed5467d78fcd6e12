//! `null`: sleeps as long as it is told, and answers with zeros.

use super::ExecError;
use forge_adapters::null::Payload;
use std::time::{Duration, Instant};

/// Longest sleep between two looks at the caller.
const SLICE: Duration = Duration::from_millis(2);

/// Runs a shard; its one cell is done at the end.
///
/// # Errors
/// [`ExecError`]: the payload does not read, or `progress` said to stop.
pub fn run(payload: &[u8], progress: &mut dyn FnMut(u64) -> bool) -> Result<Vec<u8>, ExecError> {
    let payload = Payload::decode(payload).ok_or_else(|| ExecError::bad_payload("null"))?;
    if payload.sleep_us > 0 {
        sleep(Duration::from_micros(payload.sleep_us.into()), progress)?;
    }
    Ok(vec![0; payload.payload_bytes as usize])
}

fn sleep(whole: Duration, progress: &mut dyn FnMut(u64) -> bool) -> Result<(), ExecError> {
    let start = Instant::now();
    while let Some(left) = whole.checked_sub(start.elapsed()).filter(|left| !left.is_zero()) {
        std::thread::sleep(left.min(SLICE));
        if !progress(0) {
            return Err(ExecError::cancelled(0));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(sleep_us: u32, payload_bytes: u32) -> [u8; 9] {
        Payload { sleep_us, payload_bytes }.encode()
    }

    #[test]
    fn the_answer_is_as_many_zeros_as_asked_for() {
        assert_eq!(run(&payload(0, 0), &mut |_| true), Ok(vec![]));
        assert_eq!(run(&payload(10, 3), &mut |_| true), Ok(vec![0; 3]));
    }

    #[test]
    fn a_sleep_can_be_stopped() {
        let error = run(&payload(60_000_000, 0), &mut |_| false).expect_err("it was stopped");
        assert_eq!(error.code, ExecError::CANCELLED);
    }

    #[test]
    fn other_bytes_are_no_payload() {
        assert_eq!(run(b"what", &mut |_| true).expect_err("not a payload").code, ExecError::BAD_PAYLOAD);
    }
}
