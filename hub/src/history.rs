//! History as one looks for something in it: segments that hold nothing of it are passed over.
//!
//! A sealed segment never changes, so each is read once more and what its events speak of noted in the KV: a read model, made
//! of the log alone. Without it, or where it does not know a segment, everything is read.

use crate::handle::Hub;
use crate::kv::Kv;
use forge_event::*;
use forge_log::{Log, ReadError, ReadTurn, SealedSegment};
use forge_projections::export::{job_of, project_of, subject_of};
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::io;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::warn;

/// Indexing takes this part of a core's time at the most: it can wait, and the log cannot.
const SHARE: u32 = 32;
/// Work between two rests.
const WORK: Duration = Duration::from_millis(2);

/// What an event speaks of.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Term {
    Job(JobId),
    Project(ProjectId),
    /// Its subject, where that is no job.
    Subject(String),
    Type(&'static str),
}

/// As the KV has it.
impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Term::Job(job) => write!(f, "job {job}"),
            Term::Project(project) => write!(f, "project {project}"),
            Term::Subject(subject) => write!(f, "subject {subject}"),
            Term::Type(name) => write!(f, "type {name}"),
        }
    }
}

/// What one looks for: of each group, one term at least has to stand in a segment.
#[derive(Clone, Debug, Default)]
pub struct Search(Vec<Vec<String>>);

impl Search {
    /// One of these, too.
    pub fn and(mut self, terms: impl IntoIterator<Item = Term>) -> Search {
        self.0.push(terms.into_iter().map(|term| term.to_string()).collect());
        self
    }
}

impl Hub {
    /// Turns from the one that holds the event behind `after` on, to the head; where nothing of `search` stands, none.
    pub fn history(&self, after: EventIndex, search: Search) -> BoxStream<'static, Result<ReadTurn, ReadError>> {
        let walk = Walk { log: self.log().clone(), stretches: self.stretches(after, search), reading: None };
        stream::unfold(Some(walk), |walk| async move {
            let mut walk = walk?;
            let read = walk.next().await?;
            let goes_on = read.is_ok();
            Some((read, goes_on.then_some(walk)))
        })
        .boxed()
    }

    /// The stretches of history behind `after` where something of `search` may stand.
    pub fn stretches(&self, after: EventIndex, search: Search) -> Stretches {
        let segments: VecDeque<SealedSegment> = self.log().segments(after).into();
        let tail = segments.back().map_or(after, |segment| segment.last.max(after));
        Stretches { kv: self.kv().cloned(), search, after, segments, tail: Some(tail) }
    }
}

/// Stretches of history, each from an event to another; the last one has no end.
#[derive(Debug)]
pub struct Stretches {
    kv: Option<Arc<Kv>>,
    search: Search,
    after: EventIndex,
    /// Those not looked at yet.
    segments: VecDeque<SealedSegment>,
    /// Behind it no segment is sealed.
    tail: Option<EventIndex>,
}

impl Stretches {
    fn stretch(&self, segment: &SealedSegment) -> Option<RangeInclusive<u64>> {
        let mentions = self.kv.as_ref().map_or(Ok(true), |kv| kv.mentions(segment, &self.search.0));
        let mentions = mentions.unwrap_or_else(|error| {
            warn!(%error, "the index of history cannot be read");
            true
        });
        mentions.then_some(segment.first.0.max(self.after.0 + 1)..=segment.last.0)
    }

    fn tail(&mut self) -> Option<RangeInclusive<u64>> {
        self.tail.take().map(|tail| tail.0 + 1..=u64::MAX)
    }
}

impl Iterator for Stretches {
    type Item = RangeInclusive<u64>;

    fn next(&mut self) -> Option<Self::Item> {
        while let Some(segment) = self.segments.pop_front() {
            if let Some(stretch) = self.stretch(&segment) {
                return Some(stretch);
            }
        }
        self.tail()
    }
}

impl DoubleEndedIterator for Stretches {
    fn next_back(&mut self) -> Option<Self::Item> {
        if let Some(tail) = self.tail() {
            return Some(tail);
        }
        while let Some(segment) = self.segments.pop_back() {
            if let Some(stretch) = self.stretch(&segment) {
                return Some(stretch);
            }
        }
        None
    }
}

/// Where a look through history stands.
struct Walk {
    log: Arc<dyn Log>,
    stretches: Stretches,
    /// What is read now, and its last event.
    reading: Option<(BoxStream<'static, Result<ReadTurn, ReadError>>, u64)>,
}

impl Walk {
    async fn next(&mut self) -> Option<Result<ReadTurn, ReadError>> {
        loop {
            if let Some((turns, last)) = &mut self.reading {
                let read = turns.next().await;
                if !matches!(&read, Some(Ok(read)) if read.head.events < *last) {
                    self.reading = None;
                }
                if read.is_some() {
                    return read;
                }
            }
            let stretch = self.stretches.next()?;
            self.reading = Some((self.log.read(EventIndex(*stretch.start())), *stretch.end()));
        }
    }
}

/// Notes what the sealed segments speak of, until `stop`.
pub async fn index(hub: Hub, stop: CancellationToken) {
    let Some(kv) = hub.kv().cloned() else { return };
    let mut count = hub.log().segment_count();
    let mut upto = EventIndex(0);
    loop {
        count.mark_unchanged();
        for segment in hub.log().segments(upto) {
            match index_segment(&hub, &kv, segment, &stop).await {
                Ok(()) if stop.is_cancelled() => return,
                Ok(()) => upto = segment.last,
                Err(error) => {
                    warn!(%error, first = %segment.first, "a segment could not be indexed: it is read whenever history is");
                    break;
                }
            }
        }
        hub.metrics().kv_segments.set(kv.segment_count().unwrap_or(0).cast_signed());
        tokio::select! { biased;
            () = stop.cancelled() => return,
            changed = count.changed() => if changed.is_err() { return },
        }
    }
}

async fn index_segment(hub: &Hub, kv: &Arc<Kv>, segment: SealedSegment, stop: &CancellationToken) -> io::Result<()> {
    if kv.is_indexed(&segment)? {
        return Ok(());
    }
    let mut terms = BTreeSet::new();
    let mut turns = hub.log().read(segment.first);
    let mut began = Instant::now();
    while let Some(read) = turns.next().await {
        let read = read.map_err(io::Error::other)?;
        hub.read(|world| read.turn.events().for_each(|(index, event)| speaks_of(index, event, world, &mut terms)));
        if read.head.events >= segment.last.0 {
            break;
        }
        if stop.is_cancelled() {
            return Ok(());
        }
        let worked = began.elapsed();
        if worked >= WORK {
            tokio::time::sleep(worked * (SHARE - 1)).await;
            began = Instant::now();
        }
    }
    let kv = kv.clone();
    let noted = tokio::task::spawn_blocking(move || kv.index(&segment, terms.iter().map(Term::to_string)));
    noted.await.map_err(io::Error::other)?
}

fn speaks_of(index: EventIndex, event: &Event, world: &forge_projections::World, terms: &mut BTreeSet<Term>) {
    terms.insert(Term::Type(event.name()));
    match job_of(index, event) {
        Some(job) => terms.insert(Term::Job(job)),
        None => subject_of(index, event).is_some_and(|subject| terms.insert(Term::Subject(subject))),
    };
    terms.extend(project_of(index, event, world).map(Term::Project));
}
