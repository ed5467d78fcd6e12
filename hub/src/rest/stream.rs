//! Events straight off the log: archive and tail first, then live, without a gap.

use super::answer::Refused;
use super::call::Call;
use super::refold::{Refold, Upto};
use super::render::{self, Shown};
use super::state::Rest;
use crate::history::{Search, Term};
use axum::response::sse::Event as Frame;
use forge_api::event::type_fits;
use forge_api::{Code, Problem};
use forge_event::*;
use forge_log::{CommittedTurn, ReadError, ReadTurn};
use forge_projections::World;
use forge_projections::export::{Exported, job_of, project_of};
use futures::StreamExt;
use futures::stream::BoxStream;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tokio::time::Instant;

/// How soon a client should come back after an ordinary end, and after `bye`.
const RETRY: Duration = Duration::from_millis(2000);
const RETRY_BYE: Duration = Duration::from_millis(250);

/// Events that a look backwards goes through at once.
const BACK_EVENTS: u64 = 4096;

/// Which events a caller asked for and may see.
#[derive(Clone)]
pub struct Selection {
    pub job: Option<JobId>,
    /// `?type=`.
    pub types: Option<String>,
    /// Only this project's; `None`: everything, for auditors.
    pub project: Option<ProjectId>,
    /// `?subject=` other than a job.
    pub subject: Option<String>,
}

impl Selection {
    /// The events of a turn behind `after` that are selected.
    pub fn of_turn(&self, rest: &Rest, turn: &Turn, after: EventIndex) -> Vec<Shown> {
        let takes = |index: EventIndex, event: &Event| {
            let fits = index > after && self.types.as_ref().is_none_or(|t| type_fits(t, event.name()));
            fits && self.job.is_none_or(|job| job_of(index, event) == Some(job))
        };
        if !turn.events().any(|(index, event)| takes(index, event)) {
            return Vec::new();
        }
        let source = source(rest);
        rest.hub().read(|world| {
            let chosen = turn.events().filter(|(index, event)| takes(*index, event));
            let own = chosen
                .filter(|(index, event)| self.project.is_none_or(|p| project_of(*index, event, world) == Some(p)));
            let shown = own.map(|(index, event)| render::cloud(&source, turn, index, event, world));
            shown.filter(|e| self.subject.as_ref().is_none_or(|s| e.subject.as_ref() == Some(s))).collect()
        })
    }

    /// The same, with what only the fold knows of some (the entries of a void).
    ///
    /// # Errors
    /// If history cannot be read.
    async fn shown(&self, rest: &Rest, turn: &Turn, after: EventIndex) -> Result<Vec<Shown>, Refused> {
        let mut shown = self.of_turn(rest, turn, after);
        let partly = shown.iter().filter(|e| e.partial).map(|e| e.index).min();
        if let Some(first) = partly {
            let source = source(rest);
            let refold = Refold::new(rest, first, Upto::TurnOf(turn.last())).await?;
            let each = |events: Vec<Exported>, _: &Head, _: &Head| {
                for event in events {
                    if let Some(known) = shown.iter_mut().find(|e| e.index == event.place.index) {
                        known.text = event.cloud_event(&source);
                    }
                }
            };
            refold.each(each).await?;
        }
        Ok(shown)
    }

    /// Where its events may stand.
    fn search(&self) -> Search {
        let subject = self.subject.clone().map(Term::Subject);
        let terms = [self.job.map(Term::Job), self.project.map(Term::Project), subject];
        let search = terms.into_iter().flatten().fold(Search::default(), |search, term| search.and([term]));
        match &self.types {
            Some(types) => {
                let named = Event::TYPES.iter().filter(|(name, _)| type_fits(types, name));
                search.and(named.map(|(name, _)| Term::Type(name)))
            }
            None => search,
        }
    }

    fn ends_in(&self, turn: &Turn) -> bool {
        let ends = |(index, event): (EventIndex, &Event)| render::ends_job(event) && job_of(index, event) == self.job;
        self.job.is_some() && turn.events().any(ends)
    }
}

fn source(rest: &Rest) -> String {
    format!("/clusters/{}", rest.hub().cluster().hex())
}

/// Why history cannot be read, as a problem.
pub fn unreadable(error: &ReadError) -> Problem {
    match error {
        ReadError::Incomplete { from } => {
            Problem::new(Code::HistoryArchived, error.to_string()).with("first_index", from.0)
        }
        ReadError::BeyondEnd { .. } => Problem::new(Code::NotFound, error.to_string()),
        ReadError::Corrupt { .. } | ReadError::Io { .. } => {
            tracing::error!(%error, "history cannot be read");
            Problem::new(Code::Internal, Code::Internal.example())
        }
    }
}

/// A page of selected events behind `after`, at most `limit`, and where the next page starts.
///
/// # Errors
/// If history cannot be read.
pub async fn page(
    rest: &Rest,
    selection: &Selection,
    after: EventIndex,
    limit: usize,
) -> Result<(Vec<Shown>, Option<EventIndex>), Refused> {
    let end = *rest.hub().applied().borrow();
    let mut events = Vec::new();
    if after >= end {
        return Ok((events, None));
    }
    let mut turns = rest.hub().history(after, selection.search());
    while let Some(turn) = turns.next().await {
        let ReadTurn { turn, .. } = turn.map_err(|e| unreadable(&e))?;
        events.extend(selection.shown(rest, &turn, after).await?);
        if events.len() > limit {
            events.truncate(limit);
            let last = events.last().map(|e| e.index);
            return Ok((events, last));
        }
        if turn.last() >= end || selection.ends_in(&turn) {
            break;
        }
    }
    Ok((events, None))
}

/// The same from the end backwards: selected events behind `after` and up to `upto`, latest first.
///
/// # Errors
/// If history cannot be read.
pub async fn page_back(
    rest: &Rest,
    selection: &Selection,
    after: EventIndex,
    upto: EventIndex,
    limit: usize,
) -> Result<(Vec<Shown>, Option<EventIndex>), Refused> {
    let mut events = Vec::new();
    for stretch in rest.hub().stretches(after, selection.search()).rev() {
        let (before, mut upto) = (EventIndex(stretch.start() - 1), upto.min(EventIndex(*stretch.end())));
        while upto > before && events.len() <= limit {
            let from = EventIndex(upto.0.saturating_sub(BACK_EVENTS).max(before.0));
            let mut window = Vec::new();
            let mut turns = rest.hub().log().read(EventIndex(from.0 + 1));
            while let Some(turn) = turns.next().await {
                let ReadTurn { turn, .. } = turn.map_err(|e| unreadable(&e))?;
                if turn.first() > upto {
                    break;
                }
                window.extend(selection.shown(rest, &turn, from).await?.into_iter().filter(|e| e.index <= upto));
            }
            events.extend(window.into_iter().rev());
            upto = from;
        }
        if events.len() > limit {
            break;
        }
    }
    let more = events.len() > limit;
    events.truncate(limit);
    let last = events.last().map(|e| e.index).filter(|_| more);
    Ok((events, last))
}

/// One client's stream. Invariant: every selected event behind the start, in order, once.
pub struct Follow {
    rest: Rest,
    selection: Selection,
    /// On whose word it flows: not beyond the key's revocation or end.
    key: KeyId,
    expires_at: Option<Instant>,
    /// Everything up to here was given or passed over.
    cursor: EventIndex,
    until_terminal: bool,
    /// What is caught up on, and to where.
    history: Option<(BoxStream<'static, Result<ReadTurn, ReadError>>, EventIndex)>,
    live: Receiver<Arc<CommittedTurn>>,
    ready: VecDeque<Frame>,
    over: bool,
    _permit: OwnedSemaphorePermit,
}

impl Follow {
    /// Follows the log from behind `after` for a caller.
    ///
    /// # Errors
    /// 429 if too many follow already.
    pub fn new(call: &Call, selection: Selection, after: EventIndex, until_terminal: bool) -> Result<Follow, Refused> {
        let rest = &call.rest;
        let full = |_| Problem::new(Code::RateLimited, "the node serves as many streams as it may; try another node");
        let permit = rest.waiters().clone().try_acquire_owned().map_err(full)?;
        rest.streams().inc();
        Ok(Follow {
            // First subscribed, then read: what commits meanwhile is in both, and the cursor drops the double.
            live: rest.hub().subscribe(),
            rest: rest.clone(),
            selection,
            key: call.key,
            expires_at: call.expires_at(),
            cursor: after,
            until_terminal,
            history: None,
            ready: VecDeque::from([Frame::default().retry(RETRY).comment("forge")]),
            over: false,
            _permit: permit,
        }
        .catching_up())
    }

    fn catching_up(mut self) -> Follow {
        self.catch_up();
        self
    }

    fn catch_up(&mut self) {
        // What is passed over may hold the key's revocation.
        let read =
            |w: &World| (EventIndex(w.head.events), w.projects.keys.get(&self.key).is_none_or(|k| k.revoked.is_some()));
        let (end, revoked) = self.rest.hub().read(read);
        if revoked {
            self.bye();
        } else if self.cursor < end {
            let turns = self.rest.hub().history(self.cursor, self.selection.search());
            self.history = Some((turns, end));
        } else if self.until_terminal && self.has_ended() {
            self.end();
        }
    }

    fn has_ended(&self) -> bool {
        let ended = |job: JobId| self.rest.hub().read(|w| w.jobs.jobs.get(&job).and_then(|j| j.ended));
        self.selection.job.and_then(ended).is_some_and(|ended| ended <= self.cursor)
    }

    /// The stream that axum sends.
    pub fn frames(self) -> impl futures::Stream<Item = Result<Frame, Infallible>> + Send {
        futures::stream::unfold(self, |mut follow| async move { follow.next().await.map(|frame| (Ok(frame), follow)) })
    }

    async fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.ready.pop_front() {
                return Some(frame);
            }
            if self.over {
                return None;
            }
            self.fill().await;
        }
    }

    async fn fill(&mut self) {
        let shutdown = self.rest.shutdown().clone();
        let expires_at = self.expires_at;
        let expired = async {
            match expires_at {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = shutdown.cancelled() => self.bye(),
            () = expired => self.bye(),
            () = self.step() => {}
        }
    }

    async fn step(&mut self) {
        if let Some((history, end)) = &mut self.history {
            match history.next().await {
                Some(Ok(read)) => self.take(&read.turn).await,
                Some(Err(error)) => {
                    tracing::warn!(%error, "an event stream stops: history cannot be read");
                    self.bye();
                }
                None => {
                    self.cursor = self.cursor.max(*end);
                    self.history = None;
                    if self.until_terminal && self.has_ended() {
                        self.end();
                    }
                }
            }
            return;
        }
        match self.live.recv().await {
            Ok(turn) if turn.turn.last() <= self.cursor => {}
            Ok(turn) if turn.turn.first().0 > self.cursor.0 + 1 => self.catch_up(),
            Ok(turn) => self.take(&turn.turn).await,
            Err(RecvError::Lagged(_)) => self.catch_up(),
            Err(RecvError::Closed) => self.bye(),
        }
    }

    async fn take(&mut self, turn: &Turn) {
        match self.selection.shown(&self.rest, turn, self.cursor).await {
            Ok(events) => self.ready.extend(events.iter().map(frame)),
            Err(_) => return self.bye(),
        }
        self.cursor = self.cursor.max(turn.last());
        if turn.events().any(|(_, event)| matches!(event, Event::KeyRevoked(e) if e.key == self.key)) {
            return self.bye();
        }
        if self.until_terminal && self.selection.ends_in(turn) {
            self.end();
        }
    }

    fn end(&mut self) {
        self.ready.push_back(Frame::default().event("end").data(format!("{{\"index\":{}}}", self.cursor)));
        self.over = true;
    }

    fn bye(&mut self) {
        self.ready
            .push_back(Frame::default().event("bye").retry(RETRY_BYE).data(format!("{{\"index\":{}}}", self.cursor)));
        self.over = true;
    }
}

impl Drop for Follow {
    fn drop(&mut self) {
        self.rest.streams().dec();
    }
}

fn frame(event: &Shown) -> Frame {
    Frame::default().id(event.index.to_string()).event(event.name).data(&event.text)
}
