//! Raft's state machine: compare-and-append, then the machine's fold.

use crate::archive::Heads;
use crate::files::Files;
use crate::form::{LogIdForm, StoredMembershipForm};
use crate::log::Fault;
use crate::machine::{CommittedTurn, Machine};
use crate::options::Executor;
use crate::snapshot::{self, SnapshotFile, SnapshotHead};
use crate::store::LogStore;
use crate::types::{Answer, LogId, Payload, SnapshotMeta, StoredMembership, Types, term_of};
use bytes::Bytes;
use forge_event::Head;
use forge_event::codec::decode_placed;
use futures::{Stream, StreamExt};
use openraft::EntryPayload;
use openraft::storage::{ApplyResponder, EntryResponder, RaftSnapshotBuilder, RaftStateMachine, Snapshot};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;

/// A slice folds at most this much before others get a turn: a few milliseconds. Units: bytes of frames.
const SLICE_BYTES_MAX: usize = 256 * 1024;
/// Entries of a slice.
const SLICE_ENTRIES_MAX: usize = 512;

type Freeze = Box<dyn FnOnce() -> Vec<u8> + Send>;

/// Where applying stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Applied {
    pub log_id: Option<LogIdForm>,
    pub head: Head,
}

/// Where applying stands, for those who ask and those who wait.
#[derive(Clone)]
pub struct Places {
    /// The whole place.
    pub applied: watch::Sender<Applied>,
    /// The Raft index alone.
    pub index: watch::Sender<u64>,
    /// Changes when a segment became due, or a snapshot was installed: the archive need not wake for each turn.
    pub due: watch::Sender<u64>,
    pub segment_leaves: u64,
    /// Of turns that are not sealed yet.
    pub(crate) heads: Arc<Heads>,
}

impl Places {
    pub fn new(segment_leaves: u64) -> Self {
        let (applied, index) = (watch::Sender::new(Applied::default()), watch::Sender::new(0));
        Places { applied, index, due: watch::Sender::new(0), segment_leaves, heads: Arc::default() }
    }

    fn publish(&self, applied: Applied) {
        let segment = applied.head.events / self.segment_leaves;
        let before = self.applied.send_replace(applied);
        self.index.send_replace(applied.log_id.map_or(0, |id| id.index));
        if before.head.events / self.segment_leaves != segment {
            self.due.send_replace(segment);
        }
    }
}

/// Folds committed entries into the machine.
pub struct Applier {
    pub machine: Arc<dyn Machine>,
    pub store: LogStore,
    pub files: Arc<dyn Files>,
    pub executor: Executor,
    pub places: Places,
    pub fault: watch::Sender<Option<Fault>>,
    last: Option<LogId>,
    members: StoredMembership,
    head: Head,
}

/// Turns and answers of a slice that is not folded yet.
#[derive(Default)]
struct Slice {
    turns: Vec<Arc<CommittedTurn>>,
    answers: Vec<(ApplyResponder<Types>, Answer)>,
    entries: usize,
    bytes: usize,
}

impl Applier {
    pub fn new(
        machine: Arc<dyn Machine>,
        store: LogStore,
        files: Arc<dyn Files>,
        executor: Executor,
        places: Places,
        fault: watch::Sender<Option<Fault>>,
    ) -> Self {
        let head = machine.head();
        let members = StoredMembership::default();
        Applier { machine, store, files, executor, places, fault, last: None, members, head }
    }

    /// Decides what an entry's frame is: accepted turns move the head, all others leave it.
    fn decide(&mut self, id: &LogId, frame: &Bytes, slice: &mut Slice) -> io::Result<Answer> {
        let (turn, places, length) = decode_placed(frame)
            .map_err(|error| self.halt(format!("entry {} holds no turn this program reads: {error}", id.index())))?;
        if length != frame.len() {
            return Err(self.halt(format!("entry {} holds bytes behind its turn", id.index())));
        }
        if turn.expected != self.head {
            return Ok(Answer::Ignored(self.head));
        }
        let before = self.head;
        self.head = before.after(frame, turn.len());
        self.places.heads.note(id.index(), before, self.head);
        slice.bytes += frame.len();
        slice.turns.push(Arc::new(CommittedTurn {
            turn,
            frame: frame.clone(),
            places,
            head: self.head,
            raft_index: id.index(),
            term: term_of(id),
        }));
        Ok(Answer::Accepted(self.head))
    }

    /// Folds a slice, then answers it.
    fn fold(&mut self, slice: &mut Slice) -> io::Result<()> {
        let turns = std::mem::take(&mut slice.turns);
        if !turns.is_empty() {
            let machine = &self.machine;
            catch_unwind(AssertUnwindSafe(|| machine.fold(&turns)))
                .map_err(|_| self.halt("the fold of an accepted turn panicked".into()))?;
            if self.machine.head() != self.head {
                return Err(self.halt("the machine's head is not the head of the turns it folded".into()));
            }
        }
        self.publish();
        for (responder, answer) in slice.answers.drain(..) {
            responder.send(answer);
        }
        (slice.entries, slice.bytes) = (0, 0);
        Ok(())
    }

    fn publish(&self) {
        let log_id = self.last.as_ref().map(LogIdForm::from);
        self.places.publish(Applied { log_id, head: self.head });
    }

    /// Stops the node without marking its store: the bytes on disk are as they should be.
    fn halt(&self, what: String) -> io::Error {
        tracing::error!(what, "apply failed: the node halts");
        self.fault.send_if_modified(|fault| {
            let first = fault.is_none();
            fault.get_or_insert_with(|| Fault { what: what.clone() });
            first
        });
        io::Error::other(what)
    }

    /// Stops the node and marks its store: the disk lied.
    fn distrust(&self, error: io::Error) -> io::Error {
        self.store.fail(&error.to_string());
        error
    }

    fn meta(&self) -> SnapshotMeta {
        SnapshotMeta { last_log_id: self.last, last_membership: self.members.clone() }
    }

    async fn install(&mut self, file: SnapshotFile) -> io::Result<()> {
        let files = self.files.clone();
        let work = move || {
            let (head, state) = file.read()?;
            // A snapshot that came from elsewhere becomes ours here, not before: a restart takes up what is ours.
            let ours = std::ptr::addr_eq(Arc::as_ptr(&file.files), Arc::as_ptr(&files)) && file.is_kept();
            let file = if ours { file } else { SnapshotFile::write(files, &head, &state)? };
            Ok((file, head, state))
        };
        let (file, head, state) =
            self.executor.offload("forge-snapshot-read", work).await.map_err(|error| self.distrust(error))?;
        let machine = &self.machine;
        let restored = catch_unwind(AssertUnwindSafe(|| machine.restore(&state)))
            .unwrap_or_else(|_| Err("restoring it panicked".into()));
        restored.map_err(|why| self.halt(format!("the state of {} cannot be restored: {why}", file.name)))?;
        if self.machine.head() != head.head {
            return Err(self.halt(format!("{} restores to another head than it says", file.name)));
        }
        if let Some(id) = head.log_id {
            self.store.rebase(id, head.chain);
        }
        self.last = head.log_id.map(LogId::from);
        self.members = head.members.try_into().map_err(io::Error::other)?;
        self.head = head.head;
        self.publish();
        self.places.due.send_modify(|_| {});
        snapshot::remove_older(&self.files, &file)
    }
}

impl RaftStateMachine<Types> for Applier {
    type SnapshotData = SnapshotFile;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        Ok((self.last, self.members.clone()))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> io::Result<()>
    where
        Strm: Stream<Item = Result<EntryResponder<Types>, io::Error>> + Unpin + Send,
    {
        let mut slice = Slice::default();
        while let Some(item) = entries.next().await {
            let (entry, responder) = item?;
            let answer = match &entry.payload {
                EntryPayload::Normal(Payload(frame)) => self.decide(&entry.log_id, frame, &mut slice)?,
                EntryPayload::Membership(members) => {
                    self.members = StoredMembership::new(Some(entry.log_id), members.clone());
                    Answer::Nothing
                }
                EntryPayload::Blank => Answer::Nothing,
            };
            self.last = Some(entry.log_id);
            slice.entries += 1;
            slice.answers.extend(responder.map(|r| (r, answer)));
            if slice.bytes >= SLICE_BYTES_MAX || slice.entries >= SLICE_ENTRIES_MAX {
                self.fold(&mut slice)?;
                tokio::task::yield_now().await;
            }
        }
        self.fold(&mut slice)
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        Builder {
            freeze: Mutex::new(Some(self.machine.freeze())),
            meta: self.meta(),
            head: self.head,
            store: self.store.clone(),
            files: self.files.clone(),
            executor: self.executor.clone(),
        }
    }

    async fn install_snapshot(&mut self, _meta: &SnapshotMeta, snapshot: SnapshotFile) -> io::Result<()> {
        self.install(snapshot).await
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<openraft::alias::SnapshotOf<Types, SnapshotFile>>> {
        let Some(file) = snapshot::newest(&self.files)? else { return Ok(None) };
        let head = file.head().map_err(|error| self.distrust(error))?;
        Ok(Some(as_snapshot(file, head)?))
    }
}

/// A snapshot as openraft knows it.
pub fn as_snapshot(
    file: SnapshotFile,
    head: SnapshotHead,
) -> io::Result<openraft::alias::SnapshotOf<Types, SnapshotFile>> {
    let last_membership: StoredMembership = head.members.try_into().map_err(io::Error::other)?;
    let meta = SnapshotMeta { last_log_id: head.log_id.map(LogId::from), last_membership };
    Ok(Snapshot { meta, snapshot: file })
}

/// A view of the state that becomes a snapshot, while applying goes on.
pub struct Builder {
    /// In a mutex only because openraft wants to share the builder.
    freeze: Mutex<Option<Freeze>>,
    meta: SnapshotMeta,
    head: Head,
    store: LogStore,
    files: Arc<dyn Files>,
    executor: Executor,
}

impl RaftSnapshotBuilder<Types> for Builder {
    type SnapshotData = SnapshotFile;

    async fn build_snapshot(&mut self) -> io::Result<openraft::alias::SnapshotOf<Types, SnapshotFile>> {
        let freeze = self.freeze.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        let freeze = freeze.ok_or_else(|| io::Error::other("a snapshot is built once"))?;
        let log_id = self.meta.last_log_id.as_ref().map(LogIdForm::from);
        let chain = match log_id {
            Some(id) => self.store.digest_after(id).await?.unwrap_or_default(),
            None => Default::default(),
        };
        let members = StoredMembershipForm::from(&self.meta.last_membership);
        let (head, files) = (self.head, self.files.clone());
        let work = move || {
            let state = freeze();
            let head = SnapshotHead::new(log_id, members, head, chain, state.len() as u64);
            let file = SnapshotFile::write(files.clone(), &head, &state)?;
            snapshot::remove_older(&files, &file)?;
            Ok(file)
        };
        let file = self.executor.offload("forge-snapshot-write", work).await;
        let snapshot = file.inspect_err(|error| self.store.fail(&format!("cannot write a snapshot: {error}")))?;
        Ok(Snapshot { meta: self.meta.clone(), snapshot })
    }
}
