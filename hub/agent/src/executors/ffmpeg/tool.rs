//! A scratch folder, and a tool that runs in it: watched, limited, killed with its whole process group.

use forge_adapters::host::{Host, Stop};
use forge_event::Digest;
use rustix::process::{Pid, Signal, kill_process_group};
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Bytes read from the host at a time.
const COPY_BYTES: usize = 1 << 20;
/// Longest input. Units: bytes.
const INPUT_BYTES_MAX: u64 = 64 << 30;
/// Longest file that a tool may write. Units: bytes.
pub const OUTPUT_BYTES_MAX: u64 = 2 << 30;
/// Most memory of a tool. Units: bytes of address space.
const MEMORY_BYTES_MAX: u64 = 16 << 30;
/// Longest run of a tool.
const TIME_MAX: Duration = Duration::from_secs(2 * 3600);
/// Pause between two looks at the tool and at the host.
const LOOK: Duration = Duration::from_millis(4);
/// What is repeated of a tool's complaints. Units: bytes.
const SAID_BYTES_MAX: u64 = 1200;

/// Demuxers that read one file and nothing else.
pub const DEMUXERS: &str = "mov,matroska,mpegts,mpeg,avi,flv,ogg,nut,mxf,ivf,yuv4mpegpipe";

/// Before every `-i`: one file, no network, no list of files; one thread.
pub const GUARDS: [&str; 6] = ["-protocol_whitelist", "file,pipe", "-format_whitelist", DEMUXERS, "-threads", "1"];
/// At the front of every `ffmpeg`.
pub const QUIET: [&str; 5] = ["-nostdin", "-hide_banner", "-y", "-v", "error"];

/// Name of the source in the scratch folder.
pub const INPUT: &str = "in";

/// A folder of its own, removed when dropped.
pub struct Scratch(PathBuf);

impl Scratch {
    /// # Errors
    /// `scratch-unwritable`.
    pub fn new() -> Result<Scratch, Stop> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let name = format!("forge-ffmpeg-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let folder = std::env::temp_dir().join(name);
        fs::create_dir(&folder).map_err(|e| unwritable(&e))?;
        Ok(Scratch(folder))
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Copies a blob to [`INPUT`].
    ///
    /// # Errors
    /// Those of the host; `input-too-large`, `scratch-unwritable`.
    pub fn fetch(&self, digest: &Digest, host: &mut dyn Host) -> Result<(), Stop> {
        let bytes = host.blob_bytes(digest)?;
        if bytes > INPUT_BYTES_MAX {
            return Err(Stop::failed("input-too-large", format!("{bytes} bytes; at most {INPUT_BYTES_MAX} are taken")));
        }
        let mut file = File::create(self.path(INPUT)).map_err(|e| unwritable(&e))?;
        let mut buffer = vec![0; COPY_BYTES];
        let mut at = 0;
        while at < bytes {
            let part = &mut buffer[..(bytes - at).min(COPY_BYTES as u64) as usize];
            host.read(digest, at, part)?;
            file.write_all(part).map_err(|e| unwritable(&e))?;
            at += part.len() as u64;
            host.progress(0)?;
        }
        Ok(())
    }

    /// A file that a tool wrote.
    ///
    /// # Errors
    /// `scratch-unreadable`, `output-too-large`.
    pub fn read(&self, name: &str) -> Result<Vec<u8>, Stop> {
        let unreadable = |e: io::Error| Stop::failed("scratch-unreadable", format!("{name}: {e}"));
        let path = self.path(name);
        let bytes = fs::metadata(&path).map_err(unreadable)?.len();
        if bytes > OUTPUT_BYTES_MAX {
            return Err(too_large());
        }
        fs::read(&path).map_err(unreadable)
    }

    /// A small text that a tool wrote.
    ///
    /// # Errors
    /// As [`Scratch::read`].
    pub fn text(&self, name: &str) -> Result<String, Stop> {
        Ok(String::from_utf8_lossy(&self.read(name)?).into_owned())
    }

    /// Writes a file for a tool.
    ///
    /// # Errors
    /// `scratch-unwritable`.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<(), Stop> {
        fs::write(self.path(name), bytes).map_err(|e| unwritable(&e))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            tracing::warn!(folder = %self.0.display(), %error, "a scratch folder stays behind");
        }
    }
}

fn unwritable(error: &io::Error) -> Stop {
    Stop::failed("scratch-unwritable", format!("no room to work in: {error}"))
}

fn too_large() -> Stop {
    Stop::failed("output-too-large", format!("a file passes {OUTPUT_BYTES_MAX} bytes"))
}

/// What a tool complained about when it failed.
pub struct Complaint(pub String);

impl Complaint {
    /// The job's failure.
    pub fn stop(self, code: &'static str) -> Stop {
        Stop::failed(code, self.0)
    }
}

/// A child that does not outlive its owner.
struct Owned(Child);

impl Owned {
    fn pid(&self) -> Option<Pid> {
        i32::try_from(self.0.id()).ok().and_then(Pid::from_raw)
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        if let Ok(None) = self.0.try_wait() {
            // Not yet waited for, so the id is still its own; it leads a group, which goes with it.
            if let Some(pid) = self.pid() {
                let _ = kill_process_group(pid, Signal::KILL);
            }
            let _ = self.0.wait();
        }
    }
}

/// Runs `ffmpeg` or `ffprobe` to its end, with its answer in the file `stdout`; `cells_done` is what the host is told.
///
/// # Errors
/// [`Stop`] if the host says so, or a limit is passed; the inner [`Complaint`] if the tool failed.
pub fn run(
    tool: &str,
    args: &[String],
    scratch: &Scratch,
    cells_done: u64,
    host: &mut dyn Host,
) -> Result<Result<(), Complaint>, Stop> {
    let create = |name: &str| File::create(scratch.path(name)).map_err(|e| unwritable(&e));
    let (stdout, log) = (create("stdout")?, create("log")?);
    let mut command = Command::new(tool);
    command.args(args).current_dir(&scratch.0).stdin(Stdio::null()).stdout(stdout).stderr(log).process_group(0);
    command.env_clear().env("LC_ALL", "C").env("AV_LOG_FORCE_NOCOLOR", "1").env("SVT_LOG", "1");
    if let Some(path) = std::env::var_os("PATH") {
        command.env("PATH", path);
    }
    let child = command.spawn().map_err(|e| Stop::failed("ffmpeg-missing", format!("{tool} does not start: {e}")))?;
    let mut child = Owned(child);
    limit(&child);
    let start = Instant::now();
    loop {
        if let Some(status) = child.0.try_wait().map_err(|e| Stop::failed("tool-lost", e.to_string()))? {
            return Ok(if status.success() { Ok(()) } else { Err(complaint(tool, scratch, status)?) });
        }
        host.progress(cells_done)?;
        if start.elapsed() > TIME_MAX {
            return Err(Stop::failed("time-limit", format!("{tool} took longer than {} s", TIME_MAX.as_secs())));
        }
        std::thread::sleep(LOOK);
    }
}

#[cfg(target_os = "linux")]
fn limit(child: &Owned) {
    use rustix::process::{Resource, Rlimit, prlimit};
    let limits = [(Resource::Fsize, OUTPUT_BYTES_MAX), (Resource::As, MEMORY_BYTES_MAX), (Resource::Core, 0)];
    let Some(pid) = child.pid() else { return };
    for (resource, bytes) in limits {
        // One that has already ended needs no limit.
        let _ = prlimit(Some(pid), resource, Rlimit { current: Some(bytes), maximum: Some(bytes) });
    }
}

#[cfg(not(target_os = "linux"))]
fn limit(_: &Owned) {}

fn complaint(tool: &str, scratch: &Scratch, status: std::process::ExitStatus) -> Result<Complaint, Stop> {
    use std::os::unix::process::ExitStatusExt;
    if status.signal() == Some(Signal::XFSZ.as_raw()) {
        return Err(too_large());
    }
    let said = tail(&scratch.path("log")).unwrap_or_default();
    // Paths of this machine say nothing to others.
    let said = said.replace(&*scratch.0.to_string_lossy(), "");
    Ok(Complaint(if said.is_empty() { format!("{tool} ended with {status}") } else { said }))
}

/// The end of a log: the last whole lines.
pub fn tail(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let from = file.metadata()?.len().saturating_sub(SAID_BYTES_MAX);
    file.seek(SeekFrom::Start(from))?;
    let mut said = Vec::new();
    file.take(SAID_BYTES_MAX).read_to_end(&mut said)?;
    Ok(String::from_utf8_lossy(&said).trim().replace('\n', "; "))
}

/// Words of a command line.
pub fn words<'a>(words: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    words.into_iter().map(String::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    /// Says stop at the third look.
    struct Patient(Cell<u32>);

    impl Host for Patient {
        fn progress(&mut self, _: u64) -> Result<(), Stop> {
            self.0.set(self.0.get() + 1);
            if self.0.get() < 3 { Ok(()) } else { Err(Stop::Cancelled) }
        }

        fn blob_bytes(&mut self, _: &Digest) -> Result<u64, Stop> {
            Err(Stop::BadPayload)
        }

        fn read(&mut self, _: &Digest, _: u64, _: &mut [u8]) -> Result<(), Stop> {
            Err(Stop::BadPayload)
        }

        fn put(&mut self, _: &[u8]) -> Result<Digest, Stop> {
            Err(Stop::BadPayload)
        }
    }

    #[test]
    fn a_tool_is_killed_when_told_and_its_folder_goes() {
        let scratch = Scratch::new().expect("a folder");
        let folder = scratch.path("");
        let mut host = Patient(Cell::default());
        // Any tool that would run for ever.
        let ended = run("sleep", &words(["1000000"]), &scratch, 0, &mut host);
        assert!(matches!(ended, Err(Stop::Cancelled)));
        assert!(folder.is_dir());
        drop(scratch);
        assert!(!folder.exists());
    }

    #[test]
    fn a_tool_that_fails_says_why_and_one_that_is_missing_is_told_apart() {
        let scratch = Scratch::new().expect("a folder");
        let mut host = forge_adapters::host::Bare;
        let said = run("ls", &words(["no-such-file"]), &scratch, 0, &mut host).expect("it starts");
        assert!(said.expect_err("it fails").0.contains("no-such-file"));
        let missing = run("no-such-tool", &[], &scratch, 0, &mut host);
        assert!(matches!(missing, Err(Stop::Failed { code: "ffmpeg-missing", .. })));
    }
}
