//! A pass of the scrub: every file of the folder is read and hashed, and removed if it is not what its name says.
//!
//! The node's KV keeps which files this pass has verified, so that a restart in the middle goes on instead of beginning
//! again: a folder of terabytes takes longer than nodes sometimes live. A file that was written since is read again.

use super::Folder;
use crate::clock::{Clock, changed_at};
use crate::kv::{Kv, Verified};
use forge_event::{Digest, Timestamp};
use std::fs;
use std::io;
use tracing::warn;

/// Files verified, and bytes of them, before the index hears of them: what a restart reads twice at the most.
const NOTED_COUNT_MAX: usize = 256;
const NOTED_BYTES_MAX: u64 = 1 << 30;

/// What a pass did, or a part of one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Passed {
    pub verified: u64,
    /// Verified earlier in this pass, before a restart.
    pub skipped: u64,
    pub damaged: u64,
}

/// Runs a pass to its end, or until `stop` says so.
///
/// # Errors
/// If the folder's disk fails. A failing index costs only the memory of what was done.
pub fn pass(folder: &Folder, kv: Option<&Kv>, clock: &Clock, stop: impl Fn() -> bool) -> io::Result<Passed> {
    let mut index = Index { kv, began: clock.now(), noted: Vec::new(), noted_bytes: 0 };
    index.begin();
    let mut passed = Passed::default();
    for (digest, _) in folder.list(clock.now())? {
        if stop() {
            index.flush();
            return Ok(passed);
        }
        let Some((bytes, changed)) = stat(folder, &digest)? else { continue };
        if index.has(&digest, bytes, changed, clock.now()) {
            passed.skipped += 1;
            continue;
        }
        match folder.is_whole(&digest)? {
            Some(true) => {
                index.note(digest, Some(Verified { bytes, changed, at: clock.now() }));
                passed.verified += 1;
            }
            Some(false) => {
                warn!(%digest, "a blob is not what its name says; it is fetched anew");
                folder.remove(&digest)?;
                index.note(digest, None);
                passed.damaged += 1;
            }
            None => {}
        }
    }
    index.end();
    Ok(passed)
}

/// Length and time of change of a blob's file; `None` if it is not here any more.
fn stat(folder: &Folder, digest: &Digest) -> io::Result<Option<(u64, Timestamp)>> {
    match fs::metadata(folder.path(digest)) {
        Ok(meta) => Ok(Some((meta.len(), changed_at(&meta)))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The KV as a pass uses it; dropped for the rest of the pass when it fails.
struct Index<'k> {
    kv: Option<&'k Kv>,
    began: Timestamp,
    noted: Vec<(Digest, Option<Verified>)>,
    noted_bytes: u64,
}

impl Index<'_> {
    fn ask<T>(&mut self, ask: impl FnOnce(&Kv) -> io::Result<T>) -> Option<T> {
        match ask(self.kv?) {
            Ok(answer) => Some(answer),
            Err(error) => {
                warn!(%error, "the index of this node's blobs failed; the scrub goes on without it");
                self.kv = None;
                None
            }
        }
    }

    /// Goes on with the pass that was cut, or begins one.
    fn begin(&mut self) {
        let now = self.began;
        match self.ask(Kv::pass).flatten() {
            Some(began) if began <= now => self.began = began,
            _ => drop(self.ask(|kv| kv.begin_pass(now))),
        }
    }

    /// Whether this pass verified the file as it now is.
    fn has(&mut self, digest: &Digest, bytes: u64, changed: Timestamp, now: Timestamp) -> bool {
        let known = self.ask(|kv| kv.verified(digest)).flatten();
        known.is_some_and(|v| (v.bytes, v.changed) == (bytes, changed) && v.at >= self.began && v.at <= now)
    }

    fn note(&mut self, digest: Digest, verified: Option<Verified>) {
        self.noted_bytes += verified.map_or(0, |v| v.bytes);
        self.noted.push((digest, verified));
        if self.noted.len() >= NOTED_COUNT_MAX || self.noted_bytes >= NOTED_BYTES_MAX {
            self.flush();
        }
    }

    fn flush(&mut self) {
        let noted = std::mem::take(&mut self.noted);
        self.noted_bytes = 0;
        if !noted.is_empty() {
            self.ask(|kv| kv.note(&noted));
        }
    }

    fn end(&mut self) {
        self.flush();
        let began = self.began;
        self.ask(|kv| kv.end_pass(began));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::path::PathBuf;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::{Duration, SystemTime};

    /// Each look is a millisecond later.
    fn clock() -> Clock {
        let now = AtomicU64::new(1_000_000);
        Clock::supplied(Arc::new(move || Timestamp(now.fetch_add(1, Ordering::Relaxed))), Arc::new(|_| {}))
    }

    fn three_blobs(name: &str) -> (PathBuf, Folder, Vec<Digest>) {
        let root = std::env::temp_dir().join(format!("forge-pass-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        let folder = Folder::open(root.join("blobs")).expect("a temporary folder");
        let keep = |n: u8| folder.keep(&mut [Ok::<_, io::Error>(vec![n; 1000])].into_iter()).expect("it is kept").0;
        let digests = (0..3).map(keep).collect();
        (root, folder, digests)
    }

    fn write(folder: &Folder, digest: &Digest, bytes: &[u8]) {
        fs::write(folder.path(digest), bytes).expect("a disk");
        let file = fs::File::options().write(true).open(folder.path(digest)).expect("a disk");
        file.set_modified(SystemTime::now() + Duration::from_secs(1)).expect("a disk");
    }

    #[test]
    fn a_pass_that_was_cut_goes_on_where_it_was() {
        let (root, folder, digests) = three_blobs("cut");
        let (path, clock) = (root.join("kv.redb"), clock());
        let looks = Cell::new(0);
        let stop = || looks.replace(looks.get() + 1) >= 2;
        let kv = Kv::open(&path).expect("a disk");
        let first = pass(&folder, Some(&kv), &clock, stop).expect("a disk");
        assert_eq!(first, Passed { verified: 2, ..Passed::default() });
        drop(kv);
        let kv = Kv::open(&path).expect("a disk");
        let second = pass(&folder, Some(&kv), &clock, || false).expect("a disk");
        assert_eq!(second, Passed { verified: 1, skipped: 2, damaged: 0 });
        assert_eq!((kv.blob_count().expect("a disk"), kv.pass().expect("a disk")), (3, None));
        // The next pass reads everything again, and forgets what is gone.
        folder.remove(&digests[0]).expect("a disk");
        let third = pass(&folder, Some(&kv), &clock, || false).expect("a disk");
        assert_eq!((third, kv.blob_count().expect("a disk")), (Passed { verified: 2, ..Passed::default() }, 2));
        let _ = fs::remove_dir_all(&root);
    }

    #[test]
    fn a_file_written_since_is_read_again_and_removed_if_it_is_damaged() {
        let (root, folder, digests) = three_blobs("flip");
        let (kv, clock) = (Kv::open(&root.join("kv.redb")).expect("a disk"), clock());
        let looks = Cell::new(0);
        pass(&folder, Some(&kv), &clock, || looks.replace(looks.get() + 1) >= 2).expect("a disk");
        let verified = |d: &&Digest| kv.verified(d).expect("a disk").is_some();
        let seen: Vec<&Digest> = digests.iter().filter(verified).collect();
        assert_eq!(seen.len(), 2, "the pass was cut behind two files");
        write(&folder, seen[0], &[77; 1000]);
        let rest = pass(&folder, Some(&kv), &clock, || false).expect("a disk");
        assert_eq!(rest, Passed { verified: 1, skipped: 1, damaged: 1 });
        assert_eq!((folder.bytes(seen[0]).expect("a disk"), kv.verified(seen[0]).expect("a disk")), (None, None));
        let _ = fs::remove_dir_all(&root);
    }

    #[test]
    fn a_lost_or_damaged_index_begins_anew() {
        let (root, folder, _) = three_blobs("anew");
        let (path, clock) = (root.join("kv.redb"), clock());
        fs::write(&path, b"no database at all").expect("a disk");
        let kv = Kv::open(&path).expect("it is replaced");
        let passed = pass(&folder, Some(&kv), &clock, || false).expect("a disk");
        assert_eq!(passed, Passed { verified: 3, ..Passed::default() });
        assert_eq!(pass(&folder, None, &clock, || false).expect("a disk"), passed, "without an index as well");
        let _ = fs::remove_dir_all(&root);
    }
}
