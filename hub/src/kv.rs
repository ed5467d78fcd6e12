//! KV: what a node remembers for itself, in redb, beside the replicated state: the index of its blobs.
//!
//! A cache, never the truth: the files are. A KV that is lost, damaged or of another version begins anew, empty, and costs no
//! more than work done twice. Blocking; callers offload.

use forge_event::{Digest, Timestamp};
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
                Err(error) => warn!(%error, "the index of this node's blobs cannot be read; it begins anew"),
            }
            fs::remove_file(path)?;
        }
        Kv::at(path)
    }

    fn at(path: &Path) -> io::Result<Kv> {
        let kv = Kv(Database::builder().set_cache_size(PAGE_CACHE_BYTES).create(path).map_err(io::Error::other)?);
        kv.change(|change| {
            change.open_table(BLOBS).map_err(io::Error::other)?;
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
}
