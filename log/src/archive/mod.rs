//! History as files: segments that never change, and the tail of the Raft log behind them.

mod heads;
mod pull;
mod read;
mod seal;
mod segment;
#[cfg(test)]
mod tests;

use crate::apply::Places;
use crate::files::Files;
use crate::log::{ReadError, SealedSegment};
use crate::network::Transport;
use crate::raft::Metrics;
use crate::store::LogStore;
use forge_event::{EventIndex, Head, NodeId};
pub(crate) use heads::Heads;
use segment::SegmentFile;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// Where the archive ends: the next turn is the first accepted one behind `raft_index`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Place {
    pub head: Head,
    /// The entry of the last turn; `None` before the first.
    pub raft_index: Option<u64>,
}

/// A node's segments.
pub struct Archive {
    files: Arc<dyn Files>,
    store: LogStore,
    segment_leaves: u64,
    heads: Arc<Heads>,
    held: Mutex<Held>,
    count: watch::Sender<u64>,
    incomplete: watch::Sender<bool>,
}

#[derive(Default)]
struct Held {
    /// Ascending, without gaps, from the first event.
    segments: Vec<SegmentFile>,
    /// Turns between the last segment and an installed snapshot, which the Raft log never held here.
    stub: Option<SegmentFile>,
}

/// Seals, and pulls what is missing.
pub(crate) struct ArchiveTask {
    pub archive: Arc<Archive>,
    pub places: Places,
    pub transport: Arc<dyn Transport>,
    pub raft: Metrics,
    pub node: NodeId,
}

impl Archive {
    /// Lists what is on disk; a segment's bytes are verified when they are read.
    pub(crate) fn open(files: Arc<dyn Files>, store: LogStore, places: &Places) -> io::Result<Archive> {
        let (segments, stub) = segment::list(&files)?;
        let archive = Archive {
            files,
            store,
            segment_leaves: places.segment_leaves,
            heads: places.heads.clone(),
            count: watch::Sender::new(segments.len() as u64),
            incomplete: watch::Sender::new(false),
            held: Mutex::new(Held { segments, stub }),
        };
        archive.judge();
        Ok(archive)
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the files end; the Raft log must hold everything behind.
    pub(crate) fn end(&self) -> Place {
        let held = self.held();
        match held.stub.as_ref().or(held.segments.last()) {
            Some(file) => Place { head: file.sealed.head, raft_index: Some(file.sealed.raft_index) },
            None => Place { head: Head::default(), raft_index: None },
        }
    }

    /// Where the sealed segments end.
    fn sealed_end(&self) -> Place {
        match self.held().segments.last() {
            Some(file) => Place { head: file.sealed.head, raft_index: Some(file.sealed.raft_index) },
            None => Place { head: Head::default(), raft_index: None },
        }
    }

    /// Decides whether files and Raft log meet.
    pub(crate) fn judge(&self) -> bool {
        let next = self.end().raft_index.map_or(0, |index| index + 1);
        let incomplete = !self.store.holds_from(next);
        self.incomplete.send_if_modified(|was| std::mem::replace(was, incomplete) != incomplete);
        incomplete
    }

    /// The Raft entry of the last turn of the last segment that ends at or before `archived`.
    pub(crate) fn index_of(&self, archived: EventIndex) -> Option<u64> {
        let held = self.held();
        held.segments.iter().rev().find(|s| s.sealed.last <= archived).map(|s| s.sealed.raft_index)
    }

    pub(crate) fn segments(&self, after: EventIndex) -> Vec<SealedSegment> {
        self.held().segments.iter().map(|s| s.sealed).filter(|s| s.last > after).collect()
    }

    pub(crate) fn count(&self) -> watch::Receiver<u64> {
        self.count.subscribe()
    }

    pub(crate) fn incomplete(&self) -> watch::Receiver<bool> {
        self.incomplete.subscribe()
    }

    /// Takes a segment that continues the last one.
    fn add(&self, segment: SegmentFile) {
        let mut held = self.held();
        let first = held.segments.last().map_or(1, |s| s.sealed.last.0 + 1);
        assert_eq!(segment.sealed.first.0, first, "a segment continues the one before it");
        held.segments.push(segment);
        let count = held.segments.len() as u64;
        drop(held);
        self.count.send_replace(count);
        self.judge();
    }

    /// Takes or drops the stub.
    fn set_stub(&self, stub: Option<SegmentFile>) -> Option<SegmentFile> {
        let before = std::mem::replace(&mut self.held().stub, stub);
        self.judge();
        before
    }
}

fn corrupt(what: impl Into<String>) -> ReadError {
    ReadError::Corrupt { what: what.into() }
}

fn io_error(what: &str, source: io::Error) -> ReadError {
    ReadError::Io { what: what.into(), source: Arc::new(source) }
}
