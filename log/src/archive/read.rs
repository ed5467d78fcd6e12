//! Archive and tail as one.

use super::segment::{SegmentReader, trailer};
use super::{Archive, corrupt, io_error};
use crate::apply::Applied;
use crate::log::{ReadError, ReadTurn};
use crate::types::{Entry, Payload};
use bytes::Bytes;
use forge_event::archive::{Header, MAGIC, encode_header, encode_trailer};
use forge_event::codec::decode_turn;
use forge_event::{Digest, EventIndex, Head, Turn};
use futures::stream::BoxStream;
use futures::{StreamExt, stream};
use openraft::EntryPayload;
use std::collections::VecDeque;
use std::sync::Arc;

/// Walks accepted turns from one event on, up to where applying stood.
///
/// Invariant: follows the chain; what a purge takes away under it, it finds in the segments.
pub(super) struct History {
    archive: Arc<Archive>,
    from: EventIndex,
    end: Applied,
    /// The head after the last turn given.
    at: Option<Head>,
    source: Option<Source>,
}

enum Source {
    File(Box<SegmentReader>),
    Tail(Tail),
}

/// The Raft log behind the files.
struct Tail {
    next: u64,
    head: Head,
    entries: VecDeque<Entry>,
}

/// A turn at its place in the chain.
pub(super) struct Link {
    pub before: Head,
    pub frame: Bytes,
    pub head: Head,
    /// Unless its head was known, so that nobody had to decode it yet.
    turn: Option<Turn>,
}

/// A turn, and its Raft entry if it came from the Raft log.
pub(super) type Step = (Link, Option<u64>);

impl Link {
    fn of(ReadTurn { turn, frame, head }: ReadTurn) -> Link {
        Link { before: turn.expected, frame, head, turn: Some(turn) }
    }

    fn decoded(self) -> Result<ReadTurn, ReadError> {
        let decode = || decode_turn(&self.frame).map(|(turn, _)| turn);
        let turn = self.turn.map_or_else(decode, Ok).map_err(|_| corrupt(format!("turn {}", self.head.turns)))?;
        Ok(ReadTurn { turn, frame: self.frame, head: self.head })
    }
}

impl History {
    pub fn new(archive: Arc<Archive>, from: EventIndex, end: Applied) -> Self {
        History { archive, from: EventIndex(from.0.max(1)), end, at: None, source: None }
    }

    /// The next turn; `None` at the end.
    pub fn next(&mut self) -> Result<Option<Step>, ReadError> {
        let mut sought = false;
        loop {
            if self.at == Some(self.end.head) || self.from.0 > self.end.head.events {
                return Ok(None);
            }
            if self.source.is_none() {
                self.source = Some(self.seek()?);
            }
            let step = match self.source.as_mut() {
                Some(Source::File(reader)) => reader.next()?.map(|turn| (Link::of(turn), None)),
                Some(Source::Tail(tail)) => match tail.next(&self.archive, self.end)? {
                    TailStep::Turn(turn, index) => Some((*turn, Some(index))),
                    TailStep::Gone if !sought => {
                        sought = true;
                        self.source = None;
                        continue;
                    }
                    TailStep::Gone => return Err(ReadError::Incomplete { from: self.from }),
                },
                None => None,
            };
            let Some((turn, index)) = step else {
                self.source = None;
                continue;
            };
            let behind = self.at.is_some_and(|at| turn.head.turns <= at.turns);
            if behind || turn.head.events < self.from.0 {
                continue;
            }
            if self.at.is_some_and(|at| at != turn.before) {
                return Err(corrupt(format!("the chain behind turn {}", turn.before.turns)));
            }
            self.at = Some(turn.head);
            return Ok(Some((turn, index)));
        }
    }

    /// The source that holds the next turn.
    fn seek(&self) -> Result<Source, ReadError> {
        let next = self.at.map_or(self.from.0, |at| at.events + 1);
        let held = self.archive.held();
        let file = held.segments.iter().chain(&held.stub).find(|f| f.sealed.first.0 <= next && next <= f.sealed.last.0);
        if let Some(file) = file {
            let reader = SegmentReader::open(self.archive.files.clone(), file)?;
            return Ok(Source::File(Box::new(reader)));
        }
        drop(held);
        let end = self.archive.end();
        Ok(Source::Tail(Tail {
            next: end.raft_index.map_or(0, |index| index + 1),
            head: end.head,
            entries: VecDeque::new(),
        }))
    }
}

enum TailStep {
    Turn(Box<Link>, u64),
    /// The entries were purged meanwhile, or never were here.
    Gone,
}

impl Tail {
    fn next(&mut self, archive: &Archive, end: Applied) -> Result<TailStep, ReadError> {
        let last = end.log_id.map_or(0, |id| id.index);
        loop {
            if self.entries.is_empty() {
                if self.next > last {
                    return Err(corrupt("the chain between the archive and the head"));
                }
                let slice = archive.store.slice(self.next, last + 1).map_err(|e| io_error("the Raft log", e))?;
                if slice.first().is_none_or(|entry| entry.log_id.index() != self.next) {
                    return Ok(TailStep::Gone);
                }
                self.entries = slice.into();
            }
            while let Some(entry) = self.entries.pop_front() {
                let index = entry.log_id.index();
                self.next = index + 1;
                let EntryPayload::Normal(Payload(frame)) = entry.payload else { continue };
                let before = self.head;
                let mut decoded = None;
                self.head = match archive.heads.after(index, &before) {
                    Some(head) => head,
                    None => {
                        let (turn, _) =
                            decode_turn(&frame).map_err(|_| corrupt(format!("the turn of entry {index}")))?;
                        if turn.expected != before {
                            continue;
                        }
                        let count = turn.len();
                        decoded = Some(turn);
                        before.after(&frame, count)
                    }
                };
                let link = Link { before, head: self.head, frame, turn: decoded };
                return Ok(TailStep::Turn(Box::new(link), index));
            }
        }
    }
}

impl Archive {
    /// See `Log::read`.
    pub(crate) fn read(
        self: Arc<Self>,
        from: EventIndex,
        end: Applied,
    ) -> BoxStream<'static, Result<ReadTurn, ReadError>> {
        if from.0 > end.head.events + 1 {
            let error = ReadError::BeyondEnd { asked: from, last: EventIndex(end.head.events) };
            return stream::iter([Err(error)]).boxed();
        }
        let history = History::new(self, from, end);
        stream::unfold(Some(history), |history| async move {
            let mut history = history?;
            // Reading blocks for a moment each time: let others run between the turns.
            tokio::task::yield_now().await;
            match history.next() {
                Ok(None) => None,
                Ok(Some((turn, _))) => Some((turn.decoded(), Some(history))),
                Err(error) => Some((Err(error), None)),
            }
        })
        .boxed()
    }

    /// See `Log::export`.
    pub(crate) fn export(
        self: Arc<Self>,
        from: EventIndex,
        to: EventIndex,
        end: Applied,
    ) -> BoxStream<'static, Result<Bytes, ReadError>> {
        let last = EventIndex(end.head.events);
        if to > last {
            return stream::iter([Err(ReadError::BeyondEnd { asked: to, last })]).boxed();
        }
        let start = Export::Header { archive: self, from, to, end };
        stream::unfold(Some(start), |state| async move {
            tokio::task::yield_now().await;
            match state?.step() {
                Ok((bytes, next)) => Some((Ok(bytes), next)),
                Err(error) => Some((Err(error), None)),
            }
        })
        .boxed()
    }

    /// BLAKE3 of the genesis turn's frame; zeros while there is none.
    pub(super) fn cluster(self: &Arc<Self>, end: Applied) -> Result<Digest, ReadError> {
        let held = self.held();
        if let Some(file) = held.segments.first().or(held.stub.as_ref()) {
            return Ok(file.cluster);
        }
        drop(held);
        let genesis = History::new(self.clone(), EventIndex(1), end).next()?;
        Ok(genesis.map_or(Digest::default(), |(turn, _)| Digest::of(&turn.frame)))
    }
}

/// Where an export stands.
enum Export {
    Header { archive: Arc<Archive>, from: EventIndex, to: EventIndex, end: Applied },
    Turn { turn: Box<Link>, rest: Box<History>, before: Head, to: EventIndex },
    Next { rest: Box<History>, before: Head, head: Head, to: EventIndex },
}

impl Export {
    fn step(self) -> Result<(Bytes, Option<Export>), ReadError> {
        match self {
            Export::Header { archive, from, to, end } => {
                let cluster = archive.cluster(end)?;
                let mut rest = Box::new(History::new(archive, from, end));
                let first = if from > to { None } else { rest.next()? };
                let before = first.as_ref().map_or(end.head, |(turn, _)| turn.before);
                let header = encode_header(&Header { magic: MAGIC, cluster, before });
                let next = match first {
                    Some((turn, _)) => Export::Turn { turn: Box::new(turn), rest, before, to },
                    None => Export::Next { rest, before, head: before, to: EventIndex(0) },
                };
                Ok((header.into(), Some(next)))
            }
            Export::Turn { turn, rest, before, to } => {
                Ok((turn.frame, Some(Export::Next { rest, before, head: turn.head, to })))
            }
            Export::Next { mut rest, before, head, to } => {
                let next = if head.events >= to.0 { None } else { rest.next()? };
                match next {
                    Some((turn, _)) => Ok((turn.frame, Some(Export::Next { rest, before, head: turn.head, to }))),
                    None => Ok((encode_trailer(&trailer(before, head)).into(), None)),
                }
            }
        }
    }
}
