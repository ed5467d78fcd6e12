//! What the store knows without its disk: the log's ends, the vote, and a tail of entries.

use crate::form::LogIdForm;
use crate::types::{Entry, LogId, Vote, term_of};
use openraft::EntryPayload;
use openraft::entry::RaftEntry;
use std::collections::{BTreeMap, VecDeque};

/// Filed entries stay readable in memory up to this. Units: bytes.
const CACHE_BYTES_MAX: usize = 32 << 20;
/// What an entry costs besides its payload. Units: bytes.
const ENTRY_BYTES: usize = 128;

/// Invariant: an entry that redb did not take over yet is in `cache`, whatever its size.
#[derive(Default)]
pub struct Memory {
    pub vote: Option<Vote>,
    pub committed: Option<LogId>,
    pub purged: Option<LogId>,
    pub last: Option<LogId>,
    /// First index of each run of entries of one term, with the term.
    terms: BTreeMap<u64, u64>,
    /// Consecutive, the last one being `last`.
    cache: VecDeque<Cached>,
    cache_bytes: usize,
}

struct Cached {
    entry: Entry,
    bytes: usize,
    /// The append that brought it; filed when the filer reports that append.
    append: u64,
}

impl Memory {
    pub fn new(terms: BTreeMap<u64, u64>) -> Self {
        Memory { terms, ..Memory::default() }
    }

    /// The first index that is there; the one behind the last if none is.
    pub fn first(&self) -> u64 {
        let behind_purged = self.purged.as_ref().map_or(0, |id| id.index() + 1);
        self.terms.first_key_value().map_or(self.end(), |(first, _)| *first).max(behind_purged)
    }

    /// The index behind the last.
    pub fn end(&self) -> u64 {
        self.last.as_ref().map_or(0, |id| id.index() + 1)
    }

    /// The first index that is read from memory.
    pub fn cached_from(&self) -> u64 {
        self.cache.front().map_or(self.end(), |c| c.entry.index())
    }

    pub fn push(&mut self, entry: Entry, append: u64) {
        let id = entry.log_id();
        if self.terms.last_key_value().is_none_or(|(_, term)| *term != term_of(&id)) {
            self.terms.insert(id.index(), term_of(&id));
        }
        if self.cache.back().is_some_and(|c| c.entry.index() + 1 != id.index()) {
            self.cache.clear();
            self.cache_bytes = 0;
        }
        let bytes = ENTRY_BYTES + if let EntryPayload::Normal(p) = &entry.payload { p.0.len() } else { 0 };
        self.cache_bytes += bytes;
        self.last = Some(id);
        self.cache.push_back(Cached { entry, bytes, append });
    }

    /// Drops old entries from memory; only those that append `filed` or an earlier one brought.
    pub fn filed(&mut self, filed: u64) {
        while self.cache_bytes > CACHE_BYTES_MAX
            && let Some(front) = self.cache.front()
            && front.append <= filed
        {
            self.cache_bytes -= front.bytes;
            self.cache.pop_front();
        }
    }

    /// Entries of `first..end` that are in memory, up to `bytes_max` but at least one; `first` must be cached.
    pub fn read(&self, first: u64, end: u64, bytes_max: usize) -> Vec<Entry> {
        let from = self.cached_from();
        assert!(first >= from, "only entries from {from} on are in memory, not {first}");
        let mut bytes = 0;
        let mut entries = Vec::new();
        for cached in self.cache.iter().skip((first - from) as usize).take_while(|c| c.entry.index() < end) {
            bytes += cached.bytes;
            entries.push(cached.entry.clone());
            if bytes >= bytes_max {
                break;
            }
        }
        entries
    }

    /// Forgets the entries from `first` on.
    pub fn truncate(&mut self, first: u64) {
        while self.cache.back().is_some_and(|c| c.entry.index() >= first) {
            self.cache_bytes -= self.cache.pop_back().map_or(0, |c| c.bytes);
        }
        self.terms.split_off(&first);
        let last = first.checked_sub(1).filter(|index| *index >= self.first());
        self.last = match last.and_then(|index| self.term_at(index).map(|term| (term, index))) {
            Some((term, index)) => Some(crate::types::log_id(term, index)),
            None => self.purged,
        };
    }

    /// Forgets the entries up to `upto`.
    pub fn purge(&mut self, upto: LogId) {
        let first = upto.index() + 1;
        while self.cache.front().is_some_and(|c| c.entry.index() < first) {
            self.cache_bytes -= self.cache.pop_front().map_or(0, |c| c.bytes);
        }
        let kept = self.terms.split_off(&first);
        let running = self.terms.last_key_value().map(|(_, term)| *term);
        self.terms = kept;
        if let Some(term) = running
            && first < self.end()
        {
            self.terms.entry(first).or_insert(term);
        }
        if self.end() <= first {
            self.last = Some(upto);
            self.terms.clear();
        }
        self.purged = Some(upto);
    }

    fn term_at(&self, index: u64) -> Option<u64> {
        self.terms.range(..=index).next_back().map(|(_, term)| *term)
    }

    /// The last log id of each term in `first..=last`.
    pub fn key_log_ids(&self, first: LogIdForm, last: LogIdForm) -> Vec<LogIdForm> {
        let mut keys = Vec::new();
        let mut term = first.term;
        for (start, next) in self.terms.range(first.index + 1..=last.index.max(first.index + 1)) {
            if *start <= last.index && *next != term {
                keys.push(LogIdForm { term, index: start - 1 });
                term = *next;
            }
        }
        keys.push(last);
        keys
    }
}
