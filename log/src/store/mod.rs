//! The Raft log on disk.

mod batch;
mod device;
mod filing;
mod journal;
mod memory;
mod reader;
pub mod record;
mod space;
mod table;
#[cfg(test)]
mod tests;
mod writer;

pub use space::Space;

use crate::files::Files;
use crate::form::{LogIdForm, VoteForm};
use crate::log::Fault;
use crate::options::{Disk, Executor, FsyncObserver};
use crate::types::{Entry, LogId, Types, Vote};
use filing::Filer;
use memory::Memory;
use openraft::EntryPayload;
use openraft::alias::LogIdOf;
use openraft::storage::{IOFlushed, LogState, RaftLogStorage};
use record::ChainDigest;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use table::Table;
use tokio::sync::{mpsc, oneshot, watch};
use writer::{COMMANDS_MAX, Callback, Command, Writer};

/// Its presence says that a storage error stopped this store: it must not be opened again.
pub const POISON_FILE: &str = "poisoned";

/// The store: a cheap handle.
#[derive(Clone)]
pub struct LogStore {
    shared: Arc<Shared>,
    commands: mpsc::Sender<Command>,
}

/// What handles and writer share.
struct Shared {
    table: Table,
    memory: Mutex<State>,
    files: Arc<dyn Files>,
    space: Arc<Space>,
    on_fsync: Option<FsyncObserver>,
    fault: watch::Sender<Option<Fault>>,
}

struct State {
    log: Memory,
    /// Counts appends.
    appends: u64,
    /// Where an installed snapshot says the chain stands.
    base: Option<(LogIdForm, ChainDigest)>,
}

/// Everything that opening a store needs.
pub struct StoreOptions {
    pub node: u64,
    pub disk: Disk,
    pub files: Arc<dyn Files>,
    pub executor: Executor,
    pub on_fsync: Option<FsyncObserver>,
    pub reserve_bytes: u64,
    pub fault: watch::Sender<Option<Fault>>,
}

impl LogStore {
    /// Opens or creates a store, verifies it, and starts its writer.
    ///
    /// # Errors
    /// `InvalidData` if the store is poisoned, another node's, or does not verify.
    pub fn open(options: StoreOptions) -> io::Result<LogStore> {
        match options.files.length(POISON_FILE) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
            Ok(_) => {
                let text = "a storage error stopped this store before; set it aside and join as a new node";
                return Err(io::Error::new(io::ErrorKind::InvalidData, text));
            }
        }
        let (table, journal, recovered) = Table::open(options.disk, options.node)?;
        let mut log = Memory::new(recovered.terms);
        log.vote = recovered.vote.map(Vote::from);
        log.committed = recovered.committed.map(LogId::from);
        log.purged = recovered.edge.log_id.map(LogId::from);
        log.last = recovered.tail.log_id.map(LogId::from);
        let base = recovered.edge.log_id.map(|id| (id, recovered.edge.digest));
        let space = Arc::new(Space::new(options.files.clone(), options.reserve_bytes)?);
        let shared = Arc::new(Shared {
            table,
            memory: Mutex::new(State { log, appends: 0, base }),
            files: options.files,
            space,
            on_fsync: options.on_fsync,
            fault: options.fault,
        });
        let (commands, receiver) = mpsc::channel(COMMANDS_MAX);
        let ends = (recovered.edge, recovered.tail);
        match options.executor {
            Executor::Threads => {
                let writer = Writer::new(shared.clone(), journal, Filer::start(shared.clone())?, ends);
                let thread = std::thread::Builder::new().name("forge-log-writer".into());
                thread.spawn(move || writer.run_on_thread(receiver))?;
            }
            Executor::Inline { commit_latency } => {
                let writer = Writer::new(shared.clone(), journal, Filer::Caller, ends);
                tokio::spawn(writer.run_inline(receiver, commit_latency));
            }
        }
        Ok(LogStore { shared, commands })
    }

    pub fn space(&self) -> Arc<Space> {
        self.shared.space.clone()
    }

    /// The last purged entry, if any.
    pub fn purged(&self) -> Option<LogIdForm> {
        self.shared.state().log.purged.as_ref().map(LogIdForm::from)
    }

    /// Whether the log holds every entry from `index` on that this node has applied or dropped.
    pub fn holds_from(&self, index: u64) -> bool {
        let state = self.shared.state();
        let installed = state.base.map(|(id, _)| id.index);
        let gone = state.log.purged.as_ref().map(|id| id.index()).max(installed);
        gone.is_none_or(|gone| gone < index) || (state.log.first() <= index && index < state.log.end())
    }

    /// The chain digest after an applied entry, once it is on this disk; `None` if it was purged.
    pub async fn digest_after(&self, id: LogIdForm) -> io::Result<Option<ChainDigest>> {
        if let Some((base, digest)) = self.shared.state().base
            && base == id
        {
            return Ok(Some(digest));
        }
        // Applied on the word of a majority, it may not be written here yet; it is queued.
        let (digest, found) = oneshot::channel();
        self.queue(Command::Digest { index: id.index, digest }).await?;
        found.await.unwrap_or_else(|_| Err(io::Error::other("the log store has stopped")))
    }

    /// Notes where an installed snapshot says the chain stands, for the purge that follows.
    pub fn rebase(&self, id: LogIdForm, digest: ChainDigest) {
        self.shared.state().base = Some((id, digest));
    }

    /// Stops the store for good: another part of the log failed.
    pub fn fail(&self, what: &str) {
        self.shared.fail(what);
    }

    /// Closes the file after everything queued is written.
    pub async fn close(&self) {
        let (closed, done) = oneshot::channel();
        if self.commands.send(Command::Close(closed)).await.is_ok() {
            // An error says that the writer stopped before: the file is closed then too.
            let _ = done.await;
        }
    }

    async fn queue(&self, command: Command) -> io::Result<()> {
        self.commands.send(command).await.map_err(|_| io::Error::other("the log store has stopped"))
    }

    async fn change(&self, command: impl FnOnce(Callback) -> Command) -> io::Result<()> {
        let (done, outcome) = oneshot::channel();
        let callback = Box::new(move |result| {
            // Raft may have stopped waiting; the change stands.
            let _ = done.send(result);
        });
        self.queue(command(callback)).await?;
        outcome.await.unwrap_or_else(|_| Err(io::Error::other("the log store has stopped")))
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that the entries of appends up to `append` can be read from redb.
    fn filed(&self, append: u64) {
        self.state().log.filed(append);
    }

    fn observe_fsync(&self, took: Duration, entries: usize) {
        self.space.check();
        if let Some(observe) = &self.on_fsync {
            observe(took, entries);
        }
    }

    /// Fail-stop: says so to everybody, and to the next start.
    fn fail(&self, what: &str) {
        let first = self.fault.send_if_modified(|fault| {
            let first = fault.is_none();
            if first {
                *fault = Some(Fault { what: what.into() });
            }
            first
        });
        if first {
            tracing::error!(what, "the log store failed");
            let marked = self.files.create(POISON_FILE).and_then(|mut file| {
                file.write(what.as_bytes())?;
                file.finish()
            });
            if let Err(error) = marked {
                tracing::error!(%error, "the failed store could not be marked");
            }
        }
    }
}

/// A panic of the storage engine is an error like any other.
fn sound<T>(work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(io::Error::other("the storage engine panicked")))
}

/// What an entry's payload weighs.
fn entry_bytes(entry: &Entry) -> usize {
    match &entry.payload {
        EntryPayload::Normal(payload) => payload.0.len(),
        _ => 64,
    }
}

impl RaftLogStorage<Types> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<Types>> {
        let state = self.shared.state();
        Ok(LogState { last_purged_log_id: state.log.purged, last_log_id: state.log.last })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        let form = VoteForm::from(vote);
        self.change(|done| Command::Vote { vote: form, done }).await?;
        self.shared.state().log.vote = Some(*vote);
        Ok(())
    }

    async fn save_committed(&mut self, committed: Option<LogIdOf<Types>>) -> io::Result<()> {
        self.shared.state().log.committed = committed;
        Ok(())
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogIdOf<Types>>> {
        Ok(self.shared.state().log.committed)
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + Send,
        I::IntoIter: Send,
    {
        let entries: Vec<Entry> = entries.into_iter().collect();
        let append = {
            let mut state = self.shared.state();
            state.appends += 1;
            let append = state.appends;
            for entry in &entries {
                state.log.push(entry.clone(), append);
            }
            append
        };
        let done = Box::new(move |result| callback.io_completed(result));
        self.queue(Command::Append { entries, append, done }).await
    }

    async fn truncate_after(&mut self, last: Option<LogIdOf<Types>>) -> io::Result<()> {
        let first = last.as_ref().map_or(0, |id| id.index() + 1);
        {
            let mut state = self.shared.state();
            if first >= state.log.end() {
                return Ok(());
            }
            state.log.truncate(first);
        }
        self.change(|done| Command::Truncate { first, done }).await
    }

    async fn purge(&mut self, upto: LogIdOf<Types>) -> io::Result<()> {
        let form = LogIdForm::from(&upto);
        let base = {
            let mut state = self.shared.state();
            state.log.purge(upto);
            state.base.filter(|(id, _)| *id == form).map(|(_, digest)| digest)
        };
        self.change(|done| Command::Purge { upto: form, base, done }).await
    }
}
