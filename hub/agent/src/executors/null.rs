//! `null`: sleeps as long as it is told, and answers with zeros.

use forge_adapters::host::{Host, Stop};
use forge_adapters::null::Payload;
use std::time::{Duration, Instant};

/// Longest sleep between two looks at the caller.
const SLICE: Duration = Duration::from_millis(2);

/// Runs a shard; its one cell is done at the end.
///
/// # Errors
/// [`Stop`]: the payload does not read, or the result is not wanted any longer.
pub fn run(payload: &[u8], host: &mut dyn Host) -> Result<Vec<u8>, Stop> {
    let payload = Payload::decode(payload).ok_or(Stop::BadPayload)?;
    if payload.sleep_us > 0 {
        sleep(Duration::from_micros(payload.sleep_us.into()), host)?;
    }
    Ok(vec![0; payload.payload_bytes as usize])
}

fn sleep(whole: Duration, host: &mut dyn Host) -> Result<(), Stop> {
    let start = Instant::now();
    while let Some(left) = whole.checked_sub(start.elapsed()).filter(|left| !left.is_zero()) {
        std::thread::sleep(left.min(SLICE));
        host.progress(0)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use forge_adapters::host::Bare;

    #[test]
    fn the_answer_is_as_many_zeros_as_asked_for() {
        let payload = |sleep_us, payload_bytes| Payload { sleep_us, payload_bytes }.encode();
        assert_eq!(run(&payload(0, 0), &mut Bare), Ok(vec![]));
        assert_eq!(run(&payload(10, 3), &mut Bare), Ok(vec![0; 3]));
    }
}
