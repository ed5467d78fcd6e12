//! Attempts at shards, read back from the log: the state keeps only what is live.

use super::answer::Refused;
use super::state::Rest;
use super::stream::unreadable;
use crate::history::{Search, Term};
use forge_api::shard::{Attempt, AttemptSeconds};
use forge_event::*;
use futures::StreamExt;
use std::collections::BTreeMap;

/// Events that one look reads; older ones of a longer job are left out.
const EVENTS_MAX: u64 = 4_000_000;
/// Behind a job's end its leases are still revoked: so far is looked at.
const AFTER_END_MAX: u64 = 100_000;

/// An attempt as it is known so far.
struct Known {
    n: AttemptNumber,
    agent: AgentId,
    role: Role,
    queued: Option<Timestamp>,
    assigned: EventIndex,
    started: Timestamp,
    end: Option<End>,
}

struct End {
    at: Timestamp,
    outcome: &'static str,
    reason: Option<String>,
}

/// The attempts at the shards `first..=last` of a job.
pub struct Attempts {
    job: JobId,
    window: Run,
    /// When each stage's shards became pending.
    pending_since: Vec<(Run, Timestamp)>,
    planned: Option<Run>,
    requeued: BTreeMap<ShardIndex, Timestamp>,
    known: BTreeMap<ShardIndex, Vec<Known>>,
    /// Nothing was left out.
    pub complete: bool,
}

impl Attempts {
    /// Looks through the log from the job's birth to `upto`.
    ///
    /// # Errors
    /// If history cannot be read.
    pub async fn read(
        rest: &Rest,
        job: JobId,
        window: Run,
        ended: Option<EventIndex>,
        upto: EventIndex,
    ) -> Result<Attempts, Refused> {
        let end = ended.map_or(upto.0, |ended| upto.0.min(ended.0 + AFTER_END_MAX));
        let from = since(rest, job, end);
        let mut attempts = Attempts {
            job,
            window,
            pending_since: Vec::new(),
            planned: None,
            requeued: BTreeMap::new(),
            known: BTreeMap::new(),
            complete: from == job.0,
        };
        // As dear as a pass of the fold: few at once.
        let _permit = rest.refolds().clone().acquire_owned().await.expect("nobody closes it");
        let mut turns = rest.hub().history(EventIndex(from - 1), Search::default().and([Term::Job(job)]));
        while let Some(read) = turns.next().await {
            let turn = read.map_err(|e| unreadable(&e))?.turn;
            if turn.first().0 > end {
                break;
            }
            attempts.take(&turn);
            // Other requests share this thread.
            tokio::task::yield_now().await;
        }
        Ok(attempts)
    }

    fn take(&mut self, turn: &Turn) {
        for (index, event) in turn.events() {
            self.event(index, turn.at, event);
        }
    }

    fn event(&mut self, index: EventIndex, at: Timestamp, event: &Event) {
        let end = |outcome, reason: Option<&str>| End { at, outcome, reason: reason.map(String::from) };
        match event {
            Event::StagePlanned(e) if e.job == self.job => match self.pending_since.is_empty() {
                // The first stage waits for admission.
                true => self.planned = Some(e.shards),
                false => self.pending_since.push((e.shards, at)),
            },
            Event::JobAdmitted(e) if e.job == self.job => {
                self.pending_since.extend(self.planned.take().map(|shards| (shards, at)));
            }
            Event::ShardAssigned(e) if e.job == self.job => {
                for shard in self.within(&e.shards) {
                    let queued = if e.role == Role::Work { self.queued(shard) } else { None };
                    let known = Known {
                        n: e.attempt,
                        agent: e.agent,
                        role: e.role,
                        queued,
                        assigned: index,
                        started: at,
                        end: None,
                    };
                    self.known.entry(shard).or_default().push(known);
                }
            }
            Event::ResultAccepted(e) if e.job == self.job => {
                self.ended(&e.shards, e.attempt, || end("accepted", None));
            }
            Event::ResultRefused(e) if e.job == self.job && e.code == RefusalCode::BadResult => {
                self.ended(&e.shards, e.attempt, || end("refused", Some(e.code.name())));
            }
            Event::ShardReportedFailed(e) if e.job == self.job => {
                self.ended(&e.shards, e.attempt, || end("failed", Some(&e.code)));
            }
            Event::LeaseExpired(e) if e.job == self.job => self.ended(&e.shards, e.attempt, || end("expired", None)),
            Event::LeaseRevoked(e) if e.job == self.job => {
                self.ended(&e.shards, e.attempt, || end("revoked", Some(e.reason.name())));
            }
            Event::ShardRequeued(e) if e.job == self.job => {
                for shard in self.within(&e.shards) {
                    self.requeued.insert(shard, at);
                    let known = self.known.get_mut(&shard).and_then(|k| k.iter_mut().find(|k| k.n == e.attempt));
                    if let (RequeueReason::Voided, Some(end)) = (e.reason, known.and_then(|k| k.end.as_mut())) {
                        end.outcome = "voided";
                    }
                }
            }
            _ => {}
        }
    }

    /// Those of `shards` that were asked for.
    fn within(&self, shards: &Runs) -> Vec<ShardIndex> {
        let cut = |run: &Run| run.first.max(self.window.first)..=run.last.min(self.window.last);
        shards.0.iter().flat_map(cut).collect()
    }

    fn queued(&self, shard: ShardIndex) -> Option<Timestamp> {
        let planned = self.pending_since.iter().find(|(run, _)| run.first <= shard && shard <= run.last);
        self.requeued.get(&shard).copied().or(planned.map(|(_, at)| *at))
    }

    fn ended(&mut self, shards: &Runs, n: AttemptNumber, end: impl Fn() -> End) {
        for shard in self.within(shards) {
            let known = self.known.get_mut(&shard).and_then(|k| k.iter_mut().find(|k| k.n == n));
            if let Some(known) = known.filter(|k| k.end.is_none()) {
                known.end = Some(end());
            }
        }
    }

    /// A shard's attempts, oldest first.
    pub fn of(&self, shard: ShardIndex) -> Vec<Attempt> {
        let known = self.known.get(&shard).map(Vec::as_slice).unwrap_or_default();
        known.iter().map(|k| self.shown(shard, k)).collect()
    }

    fn shown(&self, shard: ShardIndex, known: &Known) -> Attempt {
        let span = |from: Timestamp, to: Timestamp| to.since(from).0 as f64 / 1000.0;
        let finished = known.end.as_ref().map(|end| end.at);
        let judged = known.end.as_ref().filter(|e| matches!(e.outcome, "accepted" | "voided" | "refused"));
        let seconds = AttemptSeconds {
            queue: known.queued.map(|queued| span(queued, known.started)),
            run: finished.map(|finished| span(known.started, finished)),
            // The verdict stands in the turn of the result.
            verify: judged.map(|_| 0.0),
            ..AttemptSeconds::default()
        };
        Attempt {
            id: LeaseId { job: self.job, shard, attempt: known.n }.to_string(),
            n: known.n,
            role: known.role.name().into(),
            agent: known.agent.to_string(),
            queued: known.queued.map(|at| at.to_string()),
            staged: None,
            started: known.started.to_string(),
            finished: finished.map(|at| at.to_string()),
            outcome: known.end.as_ref().map(|end| end.outcome.into()),
            reason: known.end.as_ref().and_then(|end| end.reason.clone()),
            seconds,
            assigned_index: known.assigned.0,
        }
    }
}

/// The first event of a job that one look up to `end` reads.
fn since(rest: &Rest, job: JobId, end: u64) -> u64 {
    let mut left = EVENTS_MAX;
    for stretch in rest.hub().stretches(EventIndex(job.0 - 1), Search::default().and([Term::Job(job)])).rev() {
        let (first, last) = (*stretch.start(), end.min(*stretch.end()));
        match left.checked_sub((last + 1).saturating_sub(first)) {
            Some(rest) => left = rest,
            None => return last + 1 - left,
        }
    }
    job.0
}
