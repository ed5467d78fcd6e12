//! Reading the log: memory first, then disk, never more than 1 MiB at a time.

use super::record::corrupt;
use super::{LogStore, Shared, sound};
use crate::types::{Entry, LogId, Types, Vote};
use futures::{Stream, StreamExt, stream};
use openraft::alias::LeaderIdOf;
use openraft::errors::LeaderChanged;
use openraft::storage::{LeaderBoundedStreamError, LeaderBoundedStreamResult, RaftLogReader};
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds, RangeInclusive};
use std::sync::Arc;

/// A read stops behind this. Units: bytes.
const SLICE_BYTES_MAX: usize = 1 << 20;

impl LogStore {
    /// Entries of `first..end` that are there, consecutive from the first of them; at least one, at most 1 MiB or so.
    ///
    /// # Errors
    /// If the disk fails or lies. That is fatal: the store stops.
    pub fn slice(&self, first: u64, end: u64) -> io::Result<Vec<Entry>> {
        let read = sound(|| self.shared.slice(first, end));
        read.inspect_err(|error| self.shared.fail(&format!("cannot read the log: {error}")))
    }
}

impl Shared {
    fn slice(&self, first: u64, end: u64) -> io::Result<Vec<Entry>> {
        loop {
            let (first, disk_end) = {
                let state = self.state();
                let (first, end) = (first.max(state.log.first()), end.min(state.log.end()));
                if first >= end {
                    return Ok(Vec::new());
                }
                let cached_from = state.log.cached_from();
                if first >= cached_from {
                    return Ok(state.log.read(first, end, SLICE_BYTES_MAX));
                }
                (first, end.min(cached_from))
            };
            let entries = self.table.read(first, disk_end, SLICE_BYTES_MAX)?;
            if !entries.is_empty() {
                return Ok(entries);
            }
            if self.state().log.first() <= first && first < self.state().log.cached_from() {
                return Err(corrupt(first, "it is missing"));
            }
            // Purged while it was read: look again.
        }
    }
}

fn bounds(range: &impl RangeBounds<u64>) -> (u64, u64) {
    let first = match range.start_bound() {
        Bound::Included(index) => *index,
        Bound::Excluded(index) => index + 1,
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(index) => index + 1,
        Bound::Excluded(index) => *index,
        Bound::Unbounded => u64::MAX,
    };
    (first, end)
}

/// Slices of `first..end`, one after another.
fn slices(store: LogStore, first: u64, end: u64) -> impl Stream<Item = io::Result<Vec<Entry>>> + Send {
    stream::unfold(Some(first), move |at| {
        let store = store.clone();
        async move {
            let at = at?;
            match store.slice(at, end) {
                Err(error) => Some((Err(error), None)),
                Ok(entries) => {
                    let next = entries.last()?.log_id.index() + 1;
                    Some((Ok(entries), Some(next)))
                }
            }
        }
    })
}

impl RaftLogReader<Types> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + Send>(
        &mut self,
        range: RB,
    ) -> io::Result<Vec<Entry>> {
        let (mut at, end) = bounds(&range);
        let mut all = Vec::new();
        loop {
            let entries = self.slice(at, end)?;
            match entries.last() {
                None => return Ok(all),
                Some(last) => at = last.log_id.index() + 1,
            }
            all.extend(entries);
        }
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        Ok(self.shared.state().log.vote)
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        self.slice(start, end)
    }

    async fn entries_stream<RB>(&mut self, range: RB) -> impl Stream<Item = io::Result<Entry>> + Send
    where
        RB: RangeBounds<u64> + Clone + Debug + Send,
    {
        let (first, end) = bounds(&range);
        let entries = slices(self.clone(), first, end).flat_map(|slice| match slice {
            Ok(entries) => stream::iter(entries.into_iter().map(Ok).collect::<Vec<_>>()),
            Err(error) => stream::iter(vec![Err(error)]),
        });
        Box::pin(entries)
    }

    async fn leader_bounded_stream<RB>(
        &mut self,
        leader: LeaderIdOf<Types>,
        range: RB,
    ) -> impl Stream<Item = LeaderBoundedStreamResult<Types>> + Send
    where
        RB: RangeBounds<u64> + Clone + Debug + Send,
    {
        let (first, end) = bounds(&range);
        let shared: Arc<Shared> = self.shared.clone();
        // The vote is looked at before the first slice and after each: a slice counts only if it did not change.
        let opening = changed(&shared, leader).map(Err);
        let entries = slices(self.clone(), first, end).flat_map(move |slice| {
            let items: Vec<LeaderBoundedStreamResult<Types>> = match (slice, changed(&shared, leader)) {
                (Err(error), _) => vec![Err(error.into())],
                (Ok(_), Some(error)) => vec![Err(error)],
                (Ok(entries), None) => entries.into_iter().map(Ok).collect(),
            };
            stream::iter(items)
        });
        let mut broken = false;
        let all = stream::iter(opening).chain(entries).take_while(move |item| {
            let go_on = !broken;
            broken |= item.is_err();
            std::future::ready(go_on)
        });
        Box::pin(all)
    }

    async fn get_key_log_ids(&mut self, range: RangeInclusive<LogId>) -> io::Result<Vec<LogId>> {
        let state = self.shared.state();
        let keys = state.log.key_log_ids(range.start().into(), range.end().into());
        Ok(keys.into_iter().map(LogId::from).collect())
    }
}

/// The error of a stream whose leader is not the one of the stored vote.
fn changed(shared: &Shared, leader: LeaderIdOf<Types>) -> Option<LeaderBoundedStreamError<Types>> {
    let vote = shared.state().log.vote;
    match vote {
        Some(vote) if vote.leader_id == leader && vote.committed => None,
        vote => Some(LeaderChanged::new(leader, vote).into()),
    }
}
