//! What the operating system says of itself and of processes.

use anyhow::{Context, Result, anyhow};

/// Ticks of a second in `/proc/<pid>/stat`: `USER_HZ`, which is 100 on every Linux this builds for.
const TICKS_PER_SECOND: u64 = 100;

/// Load average over the last minute.
pub fn load() -> f64 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().and_then(|t| t.parse().ok()).unwrap_or(-1.0)
}

/// CPU time that a process used so far, user and system, all its threads. Units: microseconds.
///
/// # Errors
/// If there is no such process, or this is no Linux.
pub fn cpu_us(pid: u32) -> Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).with_context(|| format!("CPU time of {pid}"))?;
    // The name stands in brackets and may hold anything; utime and stime are the 12th and 13th field behind it.
    let rest = text.rsplit(')').next().unwrap_or_default();
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|f| f.parse::<u64>().ok());
    let (user, system) = ticks(11).zip(ticks(12)).ok_or_else(|| anyhow!("/proc/{pid}/stat has another shape"))?;
    Ok((user + system) * (1_000_000 / TICKS_PER_SECOND))
}

/// Resident memory of a process. Units: KiB.
///
/// # Errors
/// If there is no such process, or this is no Linux.
pub fn rss_kib(pid: u32) -> Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).with_context(|| format!("memory of {pid}"))?;
    let line = text.lines().find_map(|l| l.strip_prefix("VmRSS:"));
    let figure = line.and_then(|l| l.split_whitespace().next()).and_then(|f| f.parse().ok());
    figure.ok_or_else(|| anyhow!("/proc/{pid}/status has no VmRSS"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_cpu_time_and_memory() {
        let before = cpu_us(std::process::id()).expect("this process runs");
        let mut digest = [0u8; 32];
        while cpu_us(std::process::id()).expect("this process runs") < before + 20_000 {
            digest = *blake3::hash(&digest).as_bytes();
        }
        assert!(rss_kib(std::process::id()).expect("this process runs") > 100);
        assert!(load() >= 0.0);
    }
}
