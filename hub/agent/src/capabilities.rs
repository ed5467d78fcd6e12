//! What this machine can do.

use forge_event::Capabilities;

/// This machine's capabilities, with what only its owner knows.
pub fn detect(region: &str, gpu: Option<String>, software: &[String]) -> Capabilities {
    let mut software = software.to_vec();
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
        assert_eq!(detect("", None, &software).software, ["a", "b"]);
    }
}
