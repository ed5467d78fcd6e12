//! KV: what a node remembers for itself, in redb, beside the replicated state: the index of its blobs, and that of history.
//!
//! A cache, never the truth: the files are. A KV that is lost, damaged or of another version begins anew, empty, and costs no
//! more than work done twice. Blocking; callers offload what writes.

use forge_event::{Digest, Timestamp};
use forge_log::SealedSegment;
use redb::{Database, ReadableDatabase, ReadableTableMetadata, TableDefinition};
use std::fs;
use std::io;
use std::path::Path;
use tracing::warn;

/// The file in a node's data folder.
pub const FILE: &str = "kv.redb";
/// redb's page cache. Units: bytes.
const PAGE_CACHE_BYTES: usize = 1 << 20;
/// Bytes, time of change, time of verification; both times in ms.
const BLOBS: TableDefinition<&[u8; 32], (u64, u64, u64)> = TableDefinition::new("blobs 1");
const MARKS: TableDefinition<&str, u64> = TableDefinition::new("marks 1");
/// What stands in which segment of history, told by its first event.
const TERMS: TableDefinition<(&str, u64), ()> = TableDefinition::new("terms 1");
/// First event of a segment whose terms are all noted, and its digest.
const SEGMENTS: TableDefinition<u64, &[u8; 32]> = TableDefinition::new("segments 1");
const PASS_BEGAN: &str = "scrub pass began";

/// A blob's file when it was last read and found to be what its name says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Verified {
    pub bytes: u64,
    /// When the file was last written, as its disk says.
    pub changed: Timestamp,
    pub at: Timestamp,
}

/// A node's KV.
#[derive(Debug)]
pub struct Kv(Database);

impl Kv {
    /// Opens it, or begins a new one where there is none that can be read.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn open(path: &Path) -> io::Result<Kv> {
        if path.exists() {
            match Kv::at(path) {
                Ok(kv) => return Ok(kv),
                Err(error) => warn!(%error, "what this node remembers cannot be read; it begins anew"),
            }
            fs::remove_file(path)?;
        }
        Kv::at(path)
    }

    fn at(path: &Path) -> io::Result<Kv> {
        let kv = Kv(Database::builder().set_cache_size(PAGE_CACHE_BYTES).create(path).map_err(io::Error::other)?);
        kv.change(|change| {
            change.open_table(BLOBS).map_err(io::Error::other)?;
            change.open_table(TERMS).map_err(io::Error::other)?;
            change.open_table(SEGMENTS).map_err(io::Error::other)?;
            change.open_table(MARKS).map_err(io::Error::other).map(drop)
        })?;
        Ok(kv)
    }

    fn change(&self, write: impl FnOnce(&redb::WriteTransaction) -> io::Result<()>) -> io::Result<()> {
        let change = self.0.begin_write().map_err(io::Error::other)?;
        write(&change)?;
        change.commit().map_err(io::Error::other)
    }

    /// What is known of a blob's file; `None` if nothing.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn verified(&self, digest: &Digest) -> io::Result<Option<Verified>> {
        let view = self.0.begin_read().map_err(io::Error::other)?;
        let blobs = view.open_table(BLOBS).map_err(io::Error::other)?;
        let known = blobs.get(&digest.0).map_err(io::Error::other)?.map(|found| found.value());
        let times = |(bytes, changed, at)| Verified { bytes, changed: Timestamp(changed), at: Timestamp(at) };
        Ok(known.map(times))
    }

    /// Notes what was verified; `None` forgets. One fsync.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn note(&self, seen: &[(Digest, Option<Verified>)]) -> io::Result<()> {
        self.change(|change| {
            let mut blobs = change.open_table(BLOBS).map_err(io::Error::other)?;
            for (digest, verified) in seen {
                let noted = match verified {
                    Some(v) => blobs.insert(&digest.0, (v.bytes, v.changed.0, v.at.0)),
                    None => blobs.remove(&digest.0),
                };
                noted.map_err(io::Error::other)?;
            }
            Ok(())
        })
    }

    /// Blobs in the index.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn blob_count(&self) -> io::Result<u64> {
        let view = self.0.begin_read().map_err(io::Error::other)?;
        view.open_table(BLOBS).map_err(io::Error::other)?.len().map_err(io::Error::other)
    }

    /// When the scrub's pass that is under way began; `None` between passes.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn pass(&self) -> io::Result<Option<Timestamp>> {
        let view = self.0.begin_read().map_err(io::Error::other)?;
        let marks = view.open_table(MARKS).map_err(io::Error::other)?;
        let began = marks.get(PASS_BEGAN).map_err(io::Error::other)?;
        Ok(began.map(|at| Timestamp(at.value())))
    }

    /// A pass begins now.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn begin_pass(&self, now: Timestamp) -> io::Result<()> {
        self.change(|change| {
            let mut marks = change.open_table(MARKS).map_err(io::Error::other)?;
            marks.insert(PASS_BEGAN, now.0).map_err(io::Error::other).map(drop)
        })
    }

    /// The pass is over: what it did not see is not here any more.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn end_pass(&self, began: Timestamp) -> io::Result<()> {
        self.change(|change| {
            let mut blobs = change.open_table(BLOBS).map_err(io::Error::other)?;
            blobs.retain(|_, (_, _, at)| at >= began.0).map_err(io::Error::other)?;
            let mut marks = change.open_table(MARKS).map_err(io::Error::other)?;
            marks.remove(PASS_BEGAN).map_err(io::Error::other).map(drop)
        })
    }

    /// Notes all that a segment's events speak of. One fsync.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn index(&self, segment: &SealedSegment, terms: impl Iterator<Item = String>) -> io::Result<()> {
        self.change(|change| {
            let mut noted = change.open_table(TERMS).map_err(io::Error::other)?;
            for term in terms {
                noted.insert((term.as_str(), segment.first.0), ()).map_err(io::Error::other)?;
            }
            let mut segments = change.open_table(SEGMENTS).map_err(io::Error::other)?;
            segments.insert(segment.first.0, &segment.digest.0).map_err(io::Error::other).map(drop)
        })
    }

    /// Whether all that a segment's events speak of is noted.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn is_indexed(&self, segment: &SealedSegment) -> io::Result<bool> {
        let view = self.0.begin_read().map_err(io::Error::other)?;
        is_indexed(&view, segment)
    }

    /// Whether a segment may hold, of each group, one term at least. One that is not indexed may hold anything.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn mentions(&self, segment: &SealedSegment, groups: &[Vec<String>]) -> io::Result<bool> {
        let view = self.0.begin_read().map_err(io::Error::other)?;
        if !is_indexed(&view, segment)? {
            return Ok(true);
        }
        let terms = view.open_table(TERMS).map_err(io::Error::other)?;
        for group in groups {
            let mut held = false;
            for term in group {
                held |= terms.get((term.as_str(), segment.first.0)).map_err(io::Error::other)?.is_some();
            }
            if !held {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Segments in the index.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn segment_count(&self) -> io::Result<u64> {
        let view = self.0.begin_read().map_err(io::Error::other)?;
        view.open_table(SEGMENTS).map_err(io::Error::other)?.len().map_err(io::Error::other)
    }
}

/// The digest tells it from a segment of another log that lay here before.
fn is_indexed(view: &redb::ReadTransaction, segment: &SealedSegment) -> io::Result<bool> {
    let segments = view.open_table(SEGMENTS).map_err(io::Error::other)?;
    let known = segments.get(segment.first.0).map_err(io::Error::other)?;
    Ok(known.is_some_and(|digest| *digest.value() == segment.digest.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use forge_event::{EventIndex, Head};

    fn segment(first: u64, bytes: &[u8]) -> SealedSegment {
        let (last, digest) = (EventIndex(first + 9), Digest::of(bytes));
        SealedSegment { first: EventIndex(first), last, digest, bytes: 1, head: Head::default(), raft_index: 1 }
    }

    #[test]
    fn a_segment_may_hold_anything_until_it_is_indexed() {
        let folder = tempfile::tempdir().expect("a folder");
        let kv = Kv::open(&folder.path().join(FILE)).expect("a disk");
        let (one, two) = (segment(1, b"one"), segment(11, b"two"));
        let holds = |segment: &SealedSegment, groups: &[&[&str]]| {
            let groups: Vec<Vec<String>> = groups.iter().map(|g| g.iter().map(|t| t.to_string()).collect()).collect();
            kv.mentions(segment, &groups).expect("a disk")
        };
        assert!(holds(&one, &[&["job j1"]]));
        kv.index(&one, ["job j1", "type job.submitted"].map(String::from).into_iter()).expect("a disk");
        assert!(holds(&one, &[]) && holds(&one, &[&["job j1"], &["type agent.lost", "type job.submitted"]]));
        assert!(
            !holds(&one, &[&["job j1"], &["type agent.lost"]]) && !holds(&one, &[&["job j2"]]) && !holds(&one, &[&[]])
        );
        assert!(holds(&two, &[&["job j2"]]), "not indexed");
        assert!(holds(&segment(1, b"of another log"), &[&["job j2"]]));
        assert_eq!((kv.is_indexed(&one).expect("a disk"), kv.segment_count().expect("a disk")), (true, 1));
    }
}
