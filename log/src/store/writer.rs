//! The one writer: everything queued goes into one batch of the journal and one fsync, then the answers go out in order.

use super::batch::{Batch, Step};
use super::filing::{self, Bundle, Filer};
use super::journal::{BLOCK_BYTES, Journal};
use super::record::ChainDigest;
use super::table::ChainEnd;
use super::{Shared, sound};
use crate::form::{LogIdForm, VoteForm, entry_pieces};
use crate::types::Entry;
use openraft::entry::RaftEntry;
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// Commands that may wait for the writer.
pub const COMMANDS_MAX: usize = 4096;
/// Commands of one batch.
const BATCH_COMMANDS_MAX: usize = 1024;
/// A batch takes no further command once its entries have this size. Units: bytes.
const BATCH_BYTES_MAX: usize = 1 << 20;
/// What stands around a command's entries in a batch, about. Units: bytes.
const STEP_BYTES: usize = 256;
/// A half of the journal whose batches have this much in them is handed over as soon as the filer is free: little at a time,
/// so that no flush of redb holds up the journal for long. What pads them does not count: redb never sees it. Units: bytes.
const BUNDLE_BYTES: usize = 1 << 20;

/// Told once the change is durable, or why it is not.
pub type Callback = Box<dyn FnOnce(io::Result<()>) + Send>;

/// A change of the store. Vote and entries share one order.
pub enum Command {
    Append {
        entries: Vec<Entry>,
        append: u64,
        done: Callback,
    },
    Vote {
        vote: VoteForm,
        done: Callback,
    },
    /// Removes the entries from `first` on.
    Truncate {
        first: u64,
        done: Callback,
    },
    /// Removes the entries up to `upto`; `base` is the chain digest there if a snapshot told it.
    Purge {
        upto: LogIdForm,
        base: Option<ChainDigest>,
        done: Callback,
    },
    /// Tells the chain digest after the record at `index`, `None` if it is not there.
    Digest {
        index: u64,
        digest: oneshot::Sender<io::Result<Option<ChainDigest>>>,
    },
    /// Closes the store; all of it is filed then.
    Close(oneshot::Sender<()>),
}

impl Command {
    fn bytes(&self) -> usize {
        match self {
            Command::Append { entries, .. } => entries.iter().map(super::entry_bytes).sum(),
            _ => 0,
        }
    }
}

/// The writer's side of the store.
pub struct Writer {
    shared: Arc<Shared>,
    journal: Journal,
    filer: Filer,
    edge: ChainEnd,
    tail: ChainEnd,
    /// The chain after each record that is not known to be filed, with its batch; consecutive, the last being `tail`.
    unfiled: VecDeque<(u64, ChainEnd)>,
    /// What the journal's running half holds.
    bundle: Bundle,
}

impl Writer {
    /// A writer of a store of which everything is filed.
    pub fn new(shared: Arc<Shared>, journal: Journal, filer: Filer, (edge, tail): (ChainEnd, ChainEnd)) -> Writer {
        Writer { shared, journal, filer, edge, tail, unfiled: VecDeque::new(), bundle: Bundle::default() }
    }

    /// Runs until the store is closed or fails; for a thread of its own.
    pub fn run_on_thread(mut self, mut commands: mpsc::Receiver<Command>) {
        while let Some(first) = commands.blocking_recv() {
            let batch = drain(first, &mut commands);
            if !self.write(batch) {
                break;
            }
        }
    }

    /// Runs until the store is closed or fails; as a task, each commit taking `latency` of virtual time.
    pub async fn run_inline(
        mut self,
        mut commands: mpsc::Receiver<Command>,
        latency: Arc<dyn Fn() -> Duration + Send + Sync>,
    ) {
        while let Some(first) = commands.recv().await {
            let batch = drain(first, &mut commands);
            if !matches!(batch.last(), Some(Command::Close(_))) {
                tokio::time::sleep(latency()).await;
            }
            if !self.write(batch) {
                break;
            }
        }
    }

    /// Makes a batch durable and answers it; false if the store is closed or failed.
    fn write(&mut self, batch: Vec<Command>) -> bool {
        let started = Instant::now();
        let error = match sound(|| self.commit(&batch)) {
            Ok(entries) => {
                if let Some(count) = entries {
                    self.shared.observe_fsync(started.elapsed(), count);
                }
                match sound(|| self.acknowledge(batch)) {
                    Ok(goes_on) => return goes_on,
                    Err(error) => error,
                }
            }
            Err(error) => {
                refuse(batch, &error);
                error
            }
        };
        self.shared.fail(&format!("cannot write the log: {error}"));
        self.shared.table.close();
        false
    }

    /// One batch of the journal for all commands; gives how many entries it made durable, `None` if nothing had to be
    /// written.
    fn commit(&mut self, commands: &[Command]) -> io::Result<Option<usize>> {
        // Entries with what stands around them, and the blocks' padding.
        let bytes: usize = commands.iter().map(|command| command.bytes() + STEP_BYTES).sum();
        let mut batch = Batch::with_capacity(bytes + BLOCK_BYTES);
        let (mut count, mut last_append) = (0, self.bundle.append);
        for command in commands {
            match command {
                Command::Vote { vote, .. } => batch.push(&Step::Vote(*vote)),
                Command::Append { entries, append, .. } => {
                    entries.iter().for_each(|entry| self.put(&mut batch, entry));
                    count += entries.len();
                    last_append = *append;
                }
                Command::Truncate { first, .. } => self.truncate(&mut batch, *first)?,
                Command::Purge { upto, base, .. } => self.purge(&mut batch, *upto, *base)?,
                Command::Digest { .. } | Command::Close(_) => {}
            }
        }
        if batch.is_empty() {
            return Ok(None);
        }
        // Rides along: it is not worth an fsync, losing it only costs a slower start.
        let committed = self.shared.state().log.committed.as_ref().map(LogIdForm::from);
        batch.push(&Step::Ends { edge: self.edge, tail: self.tail, committed });
        self.keep(batch, last_append)?;
        Ok(Some(count))
    }

    /// Makes a batch durable, the last of whose appends is `append`.
    fn keep(&mut self, mut batch: Batch, append: u64) -> io::Result<()> {
        let filed = self.filer.look()?;
        self.filed(filed);
        let is_due = self.bundle.bytes >= BUNDLE_BYTES && !self.filer.is_busy();
        if is_due || !self.journal.has_room(&batch) {
            self.turn_over()?;
        }
        let upto = self.journal.next();
        if self.journal.has_room(&batch) {
            self.journal.write(&mut batch)?;
            self.bundle.bytes += batch.written().len();
            self.bundle.batches.push(batch);
            (self.bundle.upto, self.bundle.append) = (upto, append);
            return Ok(());
        }
        // Larger than a half: straight into redb, behind everything before it.
        let filed = self.filer.wait()?;
        self.filed(filed);
        self.journal.skip();
        (self.bundle.upto, self.bundle.append) = (upto, append);
        let bytes = batch.written().len();
        filing::file(&self.shared, Bundle { batches: vec![batch], bytes, upto, append })?;
        self.filed(Some(upto));
        Ok(())
    }

    /// Hands the running half over to be filed, and goes on in the other one.
    fn turn_over(&mut self) -> io::Result<()> {
        let filed = self.filer.wait()?;
        self.filed(filed);
        let (upto, append) = (self.bundle.upto, self.bundle.append);
        let (batches, bytes) = (std::mem::take(&mut self.bundle.batches), std::mem::take(&mut self.bundle.bytes));
        if !batches.is_empty() {
            let filed = self.filer.hand_over(&self.shared, Bundle { batches, bytes, upto, append })?;
            self.filed(filed);
        }
        self.journal.turn_over();
        Ok(())
    }

    /// Returns once everything is filed.
    fn settle(&mut self) -> io::Result<()> {
        self.turn_over()?;
        let filed = self.filer.wait()?;
        self.filed(filed);
        Ok(())
    }

    fn filed(&mut self, upto: Option<u64>) {
        while let Some((batch, _)) = self.unfiled.front()
            && Some(*batch) <= upto
        {
            self.unfiled.pop_front();
        }
    }

    fn put(&mut self, batch: &mut Batch, entry: &Entry) {
        let (head, rest) = entry_pieces(entry);
        let after = batch.put(entry.index(), &self.tail.digest, (&head, rest));
        self.tail = ChainEnd { log_id: Some((&entry.log_id()).into()), digest: after };
        self.unfiled.push_back((self.journal.next(), self.tail));
    }

    fn truncate(&mut self, batch: &mut Batch, first: u64) -> io::Result<()> {
        if self.tail.log_id.is_none_or(|last| last.index < first) {
            return Ok(());
        }
        batch.push(&Step::Truncate { first });
        let kept = self.first_unfiled().map_or(0, |at| first.saturating_sub(at));
        self.unfiled.truncate(usize::try_from(kept).unwrap_or(usize::MAX));
        let edge = self.edge.log_id.map_or(0, |id| id.index + 1);
        self.tail = match self.unfiled.back() {
            Some((_, end)) => *end,
            None if first <= edge => self.edge,
            None => self.shared.table.end_at(first - 1)?,
        };
        Ok(())
    }

    fn purge(&mut self, batch: &mut Batch, upto: LogIdForm, base: Option<ChainDigest>) -> io::Result<()> {
        let there = self.digest_after(upto.index)?;
        batch.push(&Step::Purge { upto: upto.index });
        self.edge = ChainEnd { log_id: Some(upto), digest: there.or(base).unwrap_or(self.tail.digest) };
        if self.tail.log_id.is_none_or(|last| last.index <= upto.index) {
            self.tail = self.edge;
        }
        while self.first_unfiled().is_some_and(|first| first <= upto.index) {
            self.unfiled.pop_front();
        }
        Ok(())
    }

    fn first_unfiled(&self) -> Option<u64> {
        self.unfiled.front().and_then(|(_, end)| end.log_id).map(|id| id.index)
    }

    /// The chain digest after a record, wherever it is.
    fn digest_after(&self, index: u64) -> io::Result<Option<ChainDigest>> {
        match self.first_unfiled().and_then(|first| index.checked_sub(first)) {
            Some(at) => Ok(self.unfiled.get(at as usize).map(|(_, end)| end.digest)),
            None => self.shared.table.digest_after(index),
        }
    }

    /// Answers in the order of the commands; false if the store is closed.
    fn acknowledge(&mut self, commands: Vec<Command>) -> io::Result<bool> {
        for command in commands {
            match command {
                Command::Append { done, .. }
                | Command::Vote { done, .. }
                | Command::Truncate { done, .. }
                | Command::Purge { done, .. } => done(Ok(())),
                Command::Digest { index, digest } => {
                    // Whoever asked may be gone.
                    let _ = digest.send(Ok(self.digest_after(index)?));
                }
                Command::Close(closed) => {
                    self.settle()?;
                    self.shared.table.close();
                    // Whoever asked may be gone: the store is closed all the same.
                    let _ = closed.send(());
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }
}

/// Takes what is queued, up to a batch's limits; nothing behind a `Close`.
fn drain(first: Command, commands: &mut mpsc::Receiver<Command>) -> Vec<Command> {
    let mut bytes = first.bytes();
    let mut batch = vec![first];
    while batch.len() < BATCH_COMMANDS_MAX
        && bytes < BATCH_BYTES_MAX
        && !matches!(batch.last(), Some(Command::Close(_)))
        && let Ok(next) = commands.try_recv()
    {
        bytes += next.bytes();
        batch.push(next);
    }
    batch
}

fn refuse(batch: Vec<Command>, error: &io::Error) {
    for command in batch {
        match command {
            Command::Append { done, .. }
            | Command::Vote { done, .. }
            | Command::Truncate { done, .. }
            | Command::Purge { done, .. } => done(Err(io::Error::new(error.kind(), error.to_string()))),
            // Dropped: whoever waits learns that the store has stopped.
            Command::Digest { .. } | Command::Close(_) => {}
        }
    }
}
