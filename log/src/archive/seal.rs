//! Seals segments as turns are applied: all nodes cut alike.

use super::read::History;
use super::segment::{SegmentWriter, segment_name};
use super::{Archive, ArchiveTask, corrupt, io_error};
use crate::apply::Applied;
use crate::log::ReadError;
use forge_event::EventIndex;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// The archive looks at itself so often even when nothing is applied.
const RECHECK: Duration = Duration::from_secs(1);
/// Turns between two chances for others to run.
const TURNS_PER_SLICE: usize = 64;

impl ArchiveTask {
    /// Runs until the log is shut down, or a file cannot be written: that is fatal.
    pub(crate) async fn run(mut self) {
        let mut due = self.places.due.subscribe();
        loop {
            due.mark_unchanged();
            if self.archive.judge() {
                self.pull().await;
            }
            let applied = *self.places.applied.borrow();
            while !self.archive.judge() && self.archive.due(&applied) {
                match self.archive.seal(applied).await {
                    Ok(()) => continue,
                    // A snapshot took the place of the log meanwhile.
                    Err(ReadError::Incomplete { .. }) => break,
                    Err(error) => self.archive.store.fail(&format!("cannot seal a segment: {error}")),
                }
                return;
            }
            if let Ok(Err(_)) = timeout(RECHECK, due.changed()).await {
                return;
            }
        }
    }
}

impl Archive {
    /// Whether a segment's last turn is applied.
    fn due(&self, applied: &Applied) -> bool {
        applied.head.events / self.segment_leaves > self.sealed_end().head.events / self.segment_leaves
    }

    /// Writes the next segment: up to the turn that reaches the next multiple of the segment's leaves.
    async fn seal(self: &Arc<Self>, applied: Applied) -> Result<(), ReadError> {
        let before = self.sealed_end().head;
        let name = segment_name(EventIndex(before.events + 1));
        let write_error = |error| io_error(&name, error);
        let cluster = self.cluster(applied)?;
        let mut writer = SegmentWriter::create(&self.files, name.clone(), cluster, before).map_err(write_error)?;
        let mut history = History::new(self.clone(), EventIndex(before.events + 1), applied);
        let mut turns = 0;
        let raft_index = loop {
            let (turn, index) = history.next()?.ok_or_else(|| corrupt("the log before its own head"))?;
            writer.push(turn.before, &turn.frame, turn.head).map_err(write_error)?;
            if turn.head.events / self.segment_leaves > before.events / self.segment_leaves {
                break index.ok_or_else(|| corrupt("the stub: it reaches the end of a segment"))?;
            }
            turns += 1;
            if turns % TURNS_PER_SLICE == 0 {
                tokio::task::yield_now().await;
            }
        };
        let segment = writer.finish(&self.files, raft_index)?;
        segment.keep(&self.files).map_err(write_error)?;
        self.add(segment);
        self.heads.forget(raft_index);
        if let Some(stub) = self.set_stub(None) {
            stub.discard(&self.files).map_err(|error| io_error(&stub.name, error))?;
        }
        Ok(())
    }
}
