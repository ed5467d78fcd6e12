//! The redb file: the only place that names redb's tables.

use super::batch::{Batch, Step};
use super::device::{HALF_BYTES, HALF_BYTES_SUPPLIED, JournalFile, Supplied, journal_path};
use super::journal::{Device, Journal, Key};
use super::record::{self, ChainDigest, corrupt};
use crate::form::{LogIdForm, VoteForm, decode_entry, from_bytes, to_bytes};
use crate::options::Disk;
use crate::runtime::ForgeRuntime;
use crate::types::Entry;
use bytes::Bytes;
use forge_event::codec::{frame, unframe};
use openraft::AsyncRuntime;
use openraft::entry::RaftEntry;
use rand::Rng;
use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::{PoisonError, RwLock};

const LOG: TableDefinition<u64, &[u8]> = TableDefinition::new("log");
const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");
const META_VERSION: u8 = 1;
/// Of the store as a whole. 2: a journal stands before redb.
const STORE_FORMAT: u8 = 2;
const META_BYTES_MAX: usize = 4096;
/// redb's page cache, half of it at most for what is not written yet. What is read is mostly in memory as entries.
/// Units: bytes.
const PAGE_CACHE_BYTES: usize = 8 << 20;

/// An end of the chain over records: the log id there, and the digest after it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ChainEnd {
    pub log_id: Option<LogIdForm>,
    pub digest: ChainDigest,
}

/// Whose store this is.
#[derive(PartialEq, Eq, Serialize, Deserialize)]
struct Owner {
    format: u8,
    node: u64,
}

/// How redb and the journal belong together.
#[derive(Clone, Copy, Serialize, Deserialize)]
struct Journaled {
    key: Key,
    /// The last batch that redb took over.
    filed: u64,
}

/// What an opened store holds.
#[derive(Default)]
pub struct Recovered {
    pub vote: Option<VoteForm>,
    pub committed: Option<LogIdForm>,
    /// The last purged record.
    pub edge: ChainEnd,
    /// The last record.
    pub tail: ChainEnd,
    /// First index of each run of entries of one term, with the term.
    pub terms: BTreeMap<u64, u64>,
}

/// The open file; `None` once it is closed.
pub struct Table(RwLock<Option<Database>>);

/// One transaction's view of the tables.
pub struct Change<'t> {
    log: redb::Table<'t, u64, &'static [u8]>,
    meta: redb::Table<'t, &'static str, &'static [u8]>,
}

impl Table {
    /// Opens or creates the store, files what its journal holds, and verifies every record in it.
    pub fn open(disk: Disk, node: u64) -> io::Result<(Table, Journal, Recovered)> {
        if let Disk::File(path) = &disk
            && !path.exists()
        {
            create_aside(path, node)?;
        }
        let mut builder = Database::builder();
        builder.set_cache_size(PAGE_CACHE_BYTES);
        let (database, device, half_bytes): (_, io::Result<Box<dyn Device>>, usize) = match disk {
            Disk::File(path) => {
                let journal = JournalFile::open(&journal_path(&path));
                (builder.open(&path), journal.map(|file| Box::new(file) as Box<dyn Device>), HALF_BYTES)
            }
            Disk::Backend(backend) => {
                let supplied = Supplied::open(backend)?;
                (builder.create_with_backend(supplied.clone()), Ok(Box::new(supplied)), HALF_BYTES_SUPPLIED)
            }
        };
        let table = Table(RwLock::new(Some(database.map_err(io::Error::other)?)));
        // A store that is not ours, or of an earlier format, is told as that, whatever its journal.
        let Journaled { key, filed } = table.claim(node)?;
        let (journal, found) = Journal::open(device?, half_bytes, key, filed)?;
        if let Some(last) = found.last() {
            let upto = last.number;
            let batches: Vec<Batch> = found.into_iter().map(|found| found.batch).collect();
            table.file(&batches, upto)?;
        }
        let recovered = table.verify()?;
        Ok((table, journal, recovered))
    }

    /// Makes the store `node`'s if it is new.
    ///
    /// # Errors
    /// `InvalidData` if it is another node's, or of another format.
    fn claim(&self, node: u64) -> io::Result<Journaled> {
        let mut owner = Owner { format: STORE_FORMAT, node };
        let mut journaled = Journaled { key: [0; 32], filed: 0 };
        self.with(|database| {
            let transaction = database.begin_write().map_err(io::Error::other)?;
            {
                transaction.open_table(LOG).map_err(io::Error::other)?;
                let mut meta = transaction.open_table(META).map_err(io::Error::other)?;
                match get_meta(&meta, "owner")? {
                    Some(stored) => {
                        owner = stored;
                        journaled = get_meta(&meta, "journal")?.unwrap_or(journaled);
                    }
                    None => {
                        ForgeRuntime::thread_rng().fill_bytes(&mut journaled.key);
                        write_meta(&mut meta, "owner", &owner)?;
                        write_meta(&mut meta, "journal", &journaled)?;
                    }
                }
            }
            transaction.commit().map_err(io::Error::other)
        })?;
        let bad = |text: String| Err(io::Error::new(io::ErrorKind::InvalidData, text));
        if owner.node != node {
            return bad(format!("the store belongs to node {}, not to {node}", owner.node));
        }
        if owner.format != STORE_FORMAT {
            let found = owner.format;
            let text = "export its log with the program that wrote it, or set it aside and join as a new node";
            return bad(format!("the store is of format {found}, this program has format {STORE_FORMAT}: {text}"));
        }
        Ok(journaled)
    }

    fn with<R>(&self, use_it: impl FnOnce(&Database) -> io::Result<R>) -> io::Result<R> {
        let guard = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let database = guard.as_ref().ok_or_else(|| io::Error::other("the log store is closed"))?;
        use_it(database)
    }

    /// Takes over batches of the journal, the last of which has the number `upto`, all or none: one fsync.
    pub fn file(&self, batches: &[Batch], upto: u64) -> io::Result<()> {
        self.commit(|change| {
            for step in batches.iter().flat_map(Batch::steps) {
                match step? {
                    (Step::Vote(vote), _) => change.set("vote", &vote)?,
                    (Step::Put { index, .. }, record) => change.insert(index, record)?,
                    (Step::Truncate { first }, _) => change.truncate(first)?,
                    (Step::Purge { upto }, _) => change.purge(upto)?,
                    (Step::Ends { edge, tail, committed }, _) => {
                        change.set("edge", &edge)?;
                        change.set("tail", &tail)?;
                        if let Some(committed) = committed {
                            change.set("committed", &committed)?;
                        }
                    }
                }
            }
            let journaled: Option<Journaled> = get_meta(&change.meta, "journal")?;
            let journaled = journaled.ok_or_else(|| io::Error::other("the store does not say which journal is its"))?;
            change.set("journal", &Journaled { filed: upto, ..journaled })
        })
    }

    /// Makes all of `changes` durable at once: one fsync.
    fn commit(&self, changes: impl FnOnce(&mut Change<'_>) -> io::Result<()>) -> io::Result<()> {
        self.with(|database| {
            let mut transaction = database.begin_write().map_err(io::Error::other)?;
            transaction.set_durability(Durability::Immediate).map_err(io::Error::other)?;
            {
                let mut change = Change::new(&transaction)?;
                changes(&mut change)?;
            }
            transaction.commit().map_err(io::Error::other)
        })
    }

    /// Records of `first..end`, verified and linked; stops behind `bytes_max`, but gives at least one.
    ///
    /// Shape: consecutive from `first`; empty only if `first` is missing.
    pub fn read(&self, first: u64, end: u64, bytes_max: usize) -> io::Result<Vec<Entry>> {
        self.with(|database| {
            let transaction = database.begin_read().map_err(io::Error::other)?;
            let log = transaction.open_table(LOG).map_err(io::Error::other)?;
            let mut before = None;
            if let Some(index) = first.checked_sub(1)
                && let Some(bytes) = log.get(index).map_err(io::Error::other)?
            {
                before = Some(record::digests(index, bytes.value())?.after);
            }
            let mut entries = Vec::new();
            let mut bytes = 0;
            for item in log.range(first..end).map_err(io::Error::other)? {
                let (key, value) = item.map_err(io::Error::other)?;
                let index = key.value();
                if index != first + entries.len() as u64 {
                    break;
                }
                let (entry, after) = verified(index, value.value(), before)?;
                before = Some(after);
                bytes += value.value().len();
                entries.push(entry);
                if bytes >= bytes_max {
                    break;
                }
            }
            Ok(entries)
        })
    }

    /// The chain digest after the record at `index`.
    pub fn digest_after(&self, index: u64) -> io::Result<Option<ChainDigest>> {
        self.with(|database| {
            let transaction = database.begin_read().map_err(io::Error::other)?;
            let log = transaction.open_table(LOG).map_err(io::Error::other)?;
            match log.get(index).map_err(io::Error::other)? {
                Some(bytes) => Ok(Some(record::digests(index, bytes.value())?.after)),
                None => Ok(None),
            }
        })
    }

    /// The chain after the record at `index`.
    ///
    /// # Errors
    /// `InvalidData` if it is not there.
    pub fn end_at(&self, index: u64) -> io::Result<ChainEnd> {
        let entries = self.read(index, index + 1, 0)?;
        let entry = entries.first().ok_or_else(|| corrupt(index, "it is missing"))?;
        let digest = self.digest_after(index)?.ok_or_else(|| corrupt(index, "it is missing"))?;
        Ok(ChainEnd { log_id: Some((&entry.log_id()).into()), digest })
    }

    /// Walks all records: each must verify, continue the one before, and the last must be the one noted.
    fn verify(&self) -> io::Result<Recovered> {
        self.with(|database| {
            let transaction = database.begin_read().map_err(io::Error::other)?;
            let meta = transaction.open_table(META).map_err(io::Error::other)?;
            let log = transaction.open_table(LOG).map_err(io::Error::other)?;
            let mut recovered = Recovered {
                vote: get_meta(&meta, "vote")?,
                committed: get_meta(&meta, "committed")?,
                edge: get_meta(&meta, "edge")?.unwrap_or_default(),
                ..Recovered::default()
            };
            let tail: ChainEnd = get_meta(&meta, "tail")?.unwrap_or_default();
            let (mut at, noted) = (recovered.edge, recovered.committed);
            // Noted ahead of the writer: it counts if that very entry is here, or was.
            recovered.committed = noted.filter(|n| at.log_id.is_some_and(|edge| n.index <= edge.index));
            for item in log.range::<u64>(..).map_err(io::Error::other)? {
                let (key, value) = item.map_err(io::Error::other)?;
                let index = key.value();
                if at.log_id.is_some_and(|id| id.index + 1 != index) {
                    return Err(corrupt(index, "records before it are missing"));
                }
                let (entry, digest) = verified(index, value.value(), Some(at.digest))?;
                let log_id = LogIdForm::from(&entry.log_id());
                if recovered.terms.last_key_value().is_none_or(|(_, term)| *term != log_id.term) {
                    recovered.terms.insert(index, log_id.term);
                }
                if noted == Some(log_id) {
                    recovered.committed = noted;
                }
                at = ChainEnd { log_id: Some(log_id), digest };
            }
            if at != tail {
                return Err(corrupt(tail.log_id.map_or(0, |id| id.index), "it is noted as the last and is not"));
            }
            recovered.tail = tail;
            Ok(recovered)
        })
    }

    /// Closes the file; later calls fail.
    pub fn close(&self) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl<'t> Change<'t> {
    fn new(transaction: &'t WriteTransaction) -> io::Result<Self> {
        Ok(Change {
            log: transaction.open_table(LOG).map_err(io::Error::other)?,
            meta: transaction.open_table(META).map_err(io::Error::other)?,
        })
    }

    fn insert(&mut self, index: u64, record: &[u8]) -> io::Result<()> {
        self.log.insert(index, record).map_err(io::Error::other).map(drop)
    }

    /// Removes the records from `first` on.
    fn truncate(&mut self, first: u64) -> io::Result<()> {
        self.log.retain_in(first.., |_, _| false).map_err(io::Error::other)
    }

    /// Removes the records up to `last`.
    fn purge(&mut self, last: u64) -> io::Result<()> {
        self.log.retain_in(..=last, |_, _| false).map_err(io::Error::other)
    }

    fn set<T: Serialize>(&mut self, key: &'static str, value: &T) -> io::Result<()> {
        write_meta(&mut self.meta, key, value)
    }
}

/// Makes a new store whole before it has its name: power may fail while redb lays its file out. A journal without redb's
/// file is none.
fn create_aside(path: &Path, node: u64) -> io::Result<()> {
    let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    fs::create_dir_all(folder)?;
    let aside = path.with_extension("new");
    match fs::remove_file(&aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let table = Table(RwLock::new(Some(Database::create(&aside).map_err(io::Error::other)?)));
    table.claim(node)?;
    table.close();
    JournalFile::create(&journal_path(path))?;
    fs::rename(&aside, path)?;
    File::open(folder)?.sync_all()
}

fn verified(index: u64, bytes: &[u8], before: Option<ChainDigest>) -> io::Result<(Entry, ChainDigest)> {
    let record = record::decode(index, bytes)?;
    if before.is_some_and(|before| before != record.before) {
        return Err(corrupt(index, "it does not continue the record before it"));
    }
    let entry = decode_entry(&Bytes::copy_from_slice(record.entry)).map_err(|e| corrupt(index, &e.to_string()))?;
    if entry.log_id().index() != index {
        return Err(corrupt(index, "it belongs to another index"));
    }
    Ok((entry, record.after))
}

fn write_meta<T: Serialize>(
    meta: &mut redb::Table<'_, &'static str, &'static [u8]>,
    key: &'static str,
    value: &T,
) -> io::Result<()> {
    let bytes = frame(META_VERSION, &to_bytes(value));
    meta.insert(key, bytes.as_slice()).map_err(io::Error::other).map(drop)
}

fn get_meta<T: for<'a> Deserialize<'a>>(
    meta: &impl ReadableTable<&'static str, &'static [u8]>,
    key: &'static str,
) -> io::Result<Option<T>> {
    match meta.get(key).map_err(io::Error::other)? {
        Some(bytes) => read_meta(bytes.value(), key).map(Some),
        None => Ok(None),
    }
}

fn read_meta<T: for<'a> Deserialize<'a>>(bytes: &[u8], key: &'static str) -> io::Result<T> {
    let bad = |why: &str| io::Error::new(io::ErrorKind::InvalidData, format!("log store field {key:?}: {why}"));
    let (version, payload, rest) = unframe(bytes, META_BYTES_MAX).map_err(|error| bad(&error.to_string()))?;
    if version != META_VERSION || !rest.is_empty() {
        return Err(bad("its frame is not one of this format"));
    }
    from_bytes(payload, key).map_err(|error| bad(&error.to_string()))
}
