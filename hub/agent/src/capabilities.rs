//! What this machine can do.

use forge_event::Capabilities;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// This machine's capabilities, with what only its owner knows.
pub fn detect(region: &str, gpu: Option<String>, software: &[String]) -> Capabilities {
    let mut software = software.to_vec();
    software.extend_from_slice(installed());
    software.sort_unstable();
    software.dedup();
    Capabilities { cpu_class: cpu_class().into(), gpu, mem_bytes: mem_bytes(), region: region.into(), software }
}

#[cfg(target_arch = "x86_64")]
pub(crate) fn cpu_class() -> &'static str {
    if std::is_x86_feature_detected!("avx512f") {
        "avx512"
    } else if std::is_x86_feature_detected!("avx2") {
        "avx2"
    } else {
        "sse2"
    }
}

#[cfg(target_arch = "aarch64")]
pub(crate) fn cpu_class() -> &'static str {
    "neon"
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub(crate) fn cpu_class() -> &'static str {
    "scalar"
}

/// What the built-in workloads can use of what is installed: `ffmpeg` and, say, `ffmpeg-5.1`.
fn installed() -> &'static [String] {
    static FOUND: OnceLock<Vec<String>> = OnceLock::new();
    FOUND.get_or_init(|| {
        let says = |tool: &str| {
            let said = Command::new(tool).arg("-version").stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
            said.status.success().then(|| String::from_utf8_lossy(&said.stdout).into_owned())
        };
        // A film is looked at with one and cut with the other.
        let Some(text) = says("ffprobe").and_then(|_| says("ffmpeg")) else { return Vec::new() };
        let version = version_in(&text).map(|version| format!("ffmpeg-{version}"));
        std::iter::once("ffmpeg".to_string()).chain(version).collect()
    })
}

/// `5.1` of `ffmpeg version 5.1.9-0+deb12u1 Copyright …`.
fn version_in(text: &str) -> Option<String> {
    let word = text.strip_prefix("ffmpeg version ")?.split_whitespace().next()?.trim_start_matches('n');
    let mut numbers = word.split(['.', '-']);
    let (major, minor) = (numbers.next()?.parse::<u32>().ok()?, numbers.next()?.parse::<u32>().ok()?);
    Some(format!("{major}.{minor}"))
}

/// Memory of the machine; 0 where the operating system does not say.
fn mem_bytes() -> u64 {
    std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| mem_total(&text)).unwrap_or(0)
}

fn mem_total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|l| l.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_as_the_kernel_writes_it() {
        assert_eq!(mem_total("MemTotal:       24575652 kB\nMemFree: 1 kB\n"), Some(24_575_652 * 1024));
        assert_eq!(mem_total("nothing"), None);
    }

    #[test]
    fn software_is_ascending_without_repeats() {
        let software = ["b", "a", "b"].map(String::from);
        let mut found = detect("", None, &software).software;
        found.retain(|name| !name.starts_with("ffmpeg"));
        assert_eq!(found, ["a", "b"]);
    }

    #[test]
    fn a_version_is_read_as_builds_write_it() {
        assert_eq!(version_in("ffmpeg version 5.1.9-0+deb12u1 Copyright (c)").as_deref(), Some("5.1"));
        assert_eq!(version_in("ffmpeg version n7.0 Copyright (c)").as_deref(), Some("7.0"));
        assert_eq!(version_in("ffmpeg version N-113 Copyright"), None);
    }
}
