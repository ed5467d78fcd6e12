//! The one writer: everything queued goes into one transaction and one fsync, then the answers go out in order.

use super::Shared;
use super::record::{self, ChainDigest};
use super::table::{ChainEnd, Change};
use crate::form::{LogIdForm, VoteForm, encode_entry};
use crate::types::Entry;
use openraft::entry::RaftEntry;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// Commands that may wait for the writer.
pub const COMMANDS_MAX: usize = 4096;
/// Commands of one transaction.
const BATCH_COMMANDS_MAX: usize = 1024;
/// Entries of one transaction. Units: bytes.
const BATCH_BYTES_MAX: usize = 16 << 20;

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
    /// Closes the file.
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
    pub shared: Arc<Shared>,
    pub edge: ChainEnd,
    pub tail: ChainEnd,
}

impl Writer {
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
        let committed = catch_unwind(AssertUnwindSafe(|| self.commit(&batch)));
        let committed = committed.unwrap_or_else(|_| Err(io::Error::other("the storage engine panicked")));
        match committed {
            Ok(entries) => {
                if let Some(count) = entries {
                    self.shared.observe_fsync(started.elapsed(), count);
                }
                self.acknowledge(batch)
            }
            Err(error) => {
                self.shared.fail(&format!("cannot write the log: {error}"));
                refuse(batch, &error);
                self.shared.table.close();
                false
            }
        }
    }

    /// One transaction for the whole batch; gives how many entries it made durable, `None` if nothing had to be written.
    fn commit(&mut self, batch: &[Command]) -> io::Result<Option<usize>> {
        if batch.iter().all(|c| matches!(c, Command::Close(_))) {
            return Ok(None);
        }
        let (mut edge, mut tail) = (self.edge, self.tail);
        // Rides along: it is not worth an fsync, losing it only costs a slower start.
        let committed = self.shared.state().log.committed.as_ref().map(LogIdForm::from);
        let mut count = 0;
        self.shared.table.commit(|change| {
            for command in batch {
                match command {
                    Command::Vote { vote, .. } => change.set("vote", vote)?,
                    Command::Append { entries, .. } => {
                        count += entries.len();
                        tail = append(change, entries, tail)?;
                    }
                    Command::Truncate { first, .. } => tail = truncate(change, *first, edge, tail)?,
                    Command::Purge { upto, base, .. } => (edge, tail) = purge(change, *upto, *base, tail)?,
                    Command::Close(_) => {}
                }
            }
            if let Some(committed) = committed {
                change.set("committed", &committed)?;
            }
            change.set("edge", &edge)?;
            change.set("tail", &tail)
        })?;
        (self.edge, self.tail) = (edge, tail);
        Ok(Some(count))
    }

    /// Answers in the order of the commands.
    fn acknowledge(&mut self, batch: Vec<Command>) -> bool {
        for command in batch {
            match command {
                Command::Append { append, done, .. } => {
                    self.shared.flushed(append);
                    done(Ok(()));
                }
                Command::Vote { done, .. } | Command::Truncate { done, .. } | Command::Purge { done, .. } => {
                    done(Ok(()));
                }
                Command::Close(closed) => {
                    self.shared.table.close();
                    // Whoever asked may be gone: the file is closed all the same.
                    let _ = closed.send(());
                    return false;
                }
            }
        }
        true
    }
}

/// Takes what is queued, up to a transaction's limits; nothing behind a `Close`.
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
            Command::Close(_) => {}
        }
    }
}

fn append(change: &mut Change<'_>, entries: &[Entry], mut tail: ChainEnd) -> io::Result<ChainEnd> {
    for entry in entries {
        let bytes = encode_entry(entry, Vec::new());
        let after = record::chain(&tail.digest, &bytes);
        change.insert(entry.index(), &record::encode(&tail.digest, &after, &bytes))?;
        tail = ChainEnd { log_id: Some((&entry.log_id()).into()), digest: after };
    }
    Ok(tail)
}

fn truncate(change: &mut Change<'_>, first: u64, edge: ChainEnd, tail: ChainEnd) -> io::Result<ChainEnd> {
    if tail.log_id.is_none_or(|last| last.index < first) {
        return Ok(tail);
    }
    change.truncate(first, edge)
}

fn purge(
    change: &mut Change<'_>,
    upto: LogIdForm,
    base: Option<ChainDigest>,
    tail: ChainEnd,
) -> io::Result<(ChainEnd, ChainEnd)> {
    let there = change.purge(upto.index)?;
    let edge = ChainEnd { log_id: Some(upto), digest: there.or(base).unwrap_or(tail.digest) };
    let past = tail.log_id.is_none_or(|last| last.index <= upto.index);
    Ok((edge, if past { edge } else { tail }))
}
