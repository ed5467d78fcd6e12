//! Why a job is where it is.

use super::{Change, Explanation, Reason, Why};
use crate::jobs::{Job, JobState};
use crate::world::World;
use alloc::format;
use alloc::string::String;
use forge_event::*;

impl World {
    /// Why a job waits, runs or is over; `None` if there is no such job.
    ///
    /// `names`: other agents may be named.
    pub fn explain_job(&self, id: JobId, names: bool) -> Option<Explanation> {
        let job = self.jobs.jobs.get(&id)?;
        Some(self.explanation(id, job.state.name(), self.why_job(id, job, names)))
    }

    pub(super) fn why_job(&self, id: JobId, job: &Job, names: bool) -> Why {
        if let Some(ended) = job.ended {
            return Why::new(Reason::JobOver, ended, over(job));
        }
        if job.stages.is_empty() || (job.is_complete() && job.goes_on()) {
            let since = if job.stages.is_empty() { EventIndex(id.0) } else { job.updated };
            let since = job.running.map_or(since, |r| r.started);
            let what = match job.stages.len() {
                0 => String::new(),
                done => format!("Stage {done} is done; the next is "),
            };
            let headline = match job.running {
                Some(running) => {
                    format!("{what}being cut into shards on {}, start {}", running.node, running.try_number)
                }
                None => format!("{what}waiting to be cut into shards"),
            };
            return Why::new(Reason::Planning, since, capitalised(headline));
        }
        if self.jobs.waiting_for_credits.contains(&(job.project(), id)) {
            return self.why_unpaid(id, job);
        }
        if job.is_complete() {
            let since = job.running.map(|r| r.started);
            return Why::new(Reason::Reducing, since, "All results are in; the result document is being made");
        }
        self.why_open(id, job, names)
    }

    fn why_unpaid(&self, id: JobId, job: &Job) -> Why {
        let since = job.stages.last().map(|stage| stage.planned);
        let first = self.first_waiting(job.project());
        match self.cost(id) {
            Err(failure) => {
                let mut why = Why::new(Reason::WaitingForCredits, since, format!("Waiting: {}", failure.detail));
                let missing = self.missing_credits(id, job);
                why.would_help
                    .extend(missing.map(|m| Change { change: format!("credits += {m}"), ..Change::default() }));
                why
            }
            Ok(_) if first != Some(id) => {
                let first = first.map_or(String::new(), |job| format!(" {job}"));
                Why::new(
                    Reason::WaitingForCredits,
                    since,
                    format!("Waiting: job{first} of the project is paid for first"),
                )
            }
            Ok(cost) => Why::new(Reason::NextTurn, since, format!("{cost} credits are held for it in the next turn")),
        }
    }

    fn missing_credits(&self, id: JobId, job: &Job) -> Option<Credits> {
        let (_, rate) = self.price_of(id)?;
        let available = self.accounting.balance(crate::accounting::Account::ProjectAvailable(job.project()));
        let missing = rate
            .of(u128::from(job.stages.last()?.shards.count()))
            .saturating_sub(u128::try_from(available).unwrap_or(0));
        (missing > 0).then_some(Credits(missing))
    }

    /// An admitted job speaks for the shard of it that waits first, or runs.
    fn why_open(&self, id: JobId, job: &Job, names: bool) -> Why {
        let work = self.scheduler.work.get(&id).expect("an admitted, open job has work");
        let pending = work.retries.iter().find(|(_, r)| r.pending).map(|(shard, _)| *shard);
        let pending = pending.or(work.fresh.first().map(|f| f.next));
        let flying = job.in_flight_count;
        if let Some(shard) = pending {
            let mut why = self.why_pending(ShardId { job: id, shard }, job, work, names);
            if flying > 0 {
                why.headline = format!("{flying} shards are leased; {id}.{shard} is next. {}", why.headline);
            }
            return why;
        }
        if flying > 0 {
            let since = self.scheduler.leases.of_job(id).next().map(|(_, grant)| grant.assigned);
            return Why::new(Reason::Leased, since, format!("No shard waits; {flying} are leased to agents"));
        }
        let left = job.shard_count - job.closed_count;
        Why::new(
            Reason::WaitsForSeal,
            None,
            format!("All results are accepted; agents have to sign for {left} of them"),
        )
    }
}

/// How an ended job ended.
fn over(job: &Job) -> String {
    let (code, detail) = job.error.as_ref().map_or(("", ""), |e| (e.code.as_str(), e.detail.as_str()));
    match job.state {
        JobState::Cancelled if detail.is_empty() => "The job was cancelled".into(),
        JobState::Cancelled => format!("The job was cancelled: {detail}"),
        JobState::Failed => format!("The job failed, {code}: {detail}"),
        _ => "The job succeeded".into(),
    }
}

/// The text with a capital in front.
fn capitalised(text: String) -> String {
    let mut letters = text.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
}
