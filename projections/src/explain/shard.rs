//! Why a shard is where it is.

use super::{Change, Explanation, Reason, Why, span};
use crate::agents::Agent;
use crate::aggregator::Outcome;
use crate::decide::AVOID_MS;
use crate::jobs::Job;
use crate::scheduler::{Grant, Retry, Work};
use crate::world::World;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use forge_event::*;

impl World {
    /// Why a shard waits, runs or is done; `None` if there is no such shard.
    ///
    /// `names`: other agents may be named.
    pub fn explain_shard(&self, id: ShardId, names: bool) -> Option<Explanation> {
        let job = self.jobs.jobs.get(&id.job)?;
        if u64::from(id.shard) >= job.shard_count {
            return None;
        }
        let (state, why) = self.why_shard(id, job, names);
        Some(self.explanation(id, state, why))
    }

    fn why_shard(&self, id: ShardId, job: &Job, names: bool) -> (&'static str, Why) {
        let Some(work) = self.scheduler.work.get(&id.job) else {
            let why = self.why_job(id.job, job, names);
            return (job.state.name(), why);
        };
        if let Some((agent, grant)) = self.grant_of(id) {
            return ("running", self.why_leased(agent, id.shard, grant, names));
        }
        if work.done.contains(id.shard) {
            return self.why_done(id);
        }
        ("queued", self.why_pending(id, job, work, names))
    }

    /// Who holds a shard, by which grant.
    fn grant_of(&self, id: ShardId) -> Option<(AgentId, &Grant)> {
        self.scheduler.leases.of_job(id.job).find(|(_, grant)| grant.shards.contains(id.shard))
    }

    fn why_leased(&self, agent: AgentId, shard: ShardIndex, held: &Grant, names: bool) -> Why {
        let lease = LeaseId { job: held.job, shard, attempt: held.attempt };
        let who = if names { agent.to_string() } else { "an agent".to_string() };
        let deadline = span(self.at, self.deadline_of(held.deadline_base));
        let lost = self.agents.agents.get(&agent).and_then(|a| a.lost);
        let headline = match lost {
            Some(lost) => format!(
                "Leased to {who}, whose session is over; it may come back for {}",
                span(self.at, self.deadline_of(lost.grace_base))
            ),
            None => format!("Attempt {} is leased to {who} for another {deadline}", held.attempt),
        };
        let mut why = Why::new(Reason::Leased, held.assigned, headline);
        if let Some(known) = self.agents.agents.get(&agent).filter(|_| names) {
            why.agents.push(holder(agent, known, lease, self.deadline_of(held.deadline_base)));
        }
        why
    }

    fn why_done(&self, id: ShardId) -> (&'static str, Why) {
        let waits = self
            .aggregator
            .pending
            .iter()
            .map(|(_, _, p)| p)
            .find(|p| (p.lease.job, p.lease.shard) == (id.job, id.shard) && p.outcome == Outcome::Accepted);
        match waits {
            Some(pending) => {
                let left = span(self.at, self.deadline_of(pending.wait_base));
                let headline = format!("Accepted; its agent has to sign for it within {left}, or it is done again");
                ("accepted", Why::new(Reason::WaitsForSeal, pending.received, headline))
            }
            None => ("done", Why::new(Reason::Done, None, "Accepted, signed for, and folded into the result")),
        }
    }

    /// Why a pending shard has no agent.
    pub(super) fn why_pending(&self, id: ShardId, job: &Job, work: &Work, names: bool) -> Why {
        let retry = work.retries.get(&id.shard).filter(|r| r.pending);
        let fresh = work.fresh.iter().find(|f| f.next <= id.shard && id.shard <= f.last);
        let since = retry.map(|r| r.origin).or(fresh.map(|f| f.origin));
        let done = self.resumes_from(id.job, id.shard);
        let behind = if done > 0 { format!(", behind the {done} cells that are done") } else { String::new() };
        if let Some(retry) = retry.filter(|r| r.ready_at > self.at) {
            let (attempt, left) = (retry.attempt, span(self.at, retry.ready_at));
            let headline =
                format!("Waiting: attempt {attempt} ended without a result; the next one may start in {left}{behind}");
            return Why::new(Reason::BackingOff, since, headline);
        }
        let avoid: &[AgentId] = match retry {
            Some(retry) if self.avoids(retry) => &retry.avoid,
            _ => &[],
        };
        let required = &job.submitted.requirements;
        let funnel = self.funnel(required, avoid, names);
        let matching = funnel.matching;
        let by = funnel.by.clone().unwrap_or_default();
        let (code, headline) = match funnel.stop {
            Some(Reason::NoAgents) => (Reason::NoAgents, "Waiting: no agent is enrolled yet".to_string()),
            Some(Reason::AllAgentsLost) => {
                (Reason::AllAgentsLost, "Waiting: no agent that could do it has a session".to_string())
            }
            Some(Reason::NoMatchingAgent) => {
                (Reason::NoMatchingAgent, format!("Waiting: no agent with a session meets {by}"))
            }
            Some(Reason::AvoidingAgents) => {
                let until = retry.map_or(self.at, |r| r.ready_at.after(DurationMs(AVOID_MS)));
                let left = span(self.at, until);
                (Reason::AvoidingAgents, format!("Waiting up to {left} for an agent that did not fail at it before"))
            }
            Some(Reason::AllAgentsDraining) => {
                (Reason::AllAgentsDraining, format!("Waiting: all {matching} matching agents are draining"))
            }
            // A shard that was begun has its place.
            Some(_) | None if retry.is_none() && self.is_capped(job.project()) => self.why_capped(job.project()),
            Some(_) => self.why_behind(id, job, work, retry.is_some(), matching),
            None => (Reason::NextTurn, format!("One of {matching} matching agents gets it in the next turn{behind}")),
        };
        let mut why = Why::new(code, since, headline);
        why.would_help = self.relaxations(required, &funnel);
        if code == Reason::BehindOtherJobs {
            why.would_help.extend(self.higher_priority(id.job, job, work));
        }
        if code == Reason::ProjectLimit {
            why.would_help.push(Change { change: "quota.shards += 1".into(), ..Change::default() });
        }
        why.funnel = funnel.steps;
        why.agents = funnel.agents;
        why
    }

    fn why_capped(&self, project: ProjectId) -> (Reason, String) {
        let begun = self.projects.projects.get(&project).map_or(0, |project| project.begun_count);
        let headline = format!("Waiting: {begun} shards of {project} are under way, as many as its quota allows");
        (Reason::ProjectLimit, headline)
    }

    fn avoids(&self, retry: &Retry) -> bool {
        self.at < retry.ready_at.after(DurationMs(AVOID_MS))
    }

    /// All that could do it are busy: who is first when one gets room?
    fn why_behind(
        &self,
        id: ShardId,
        job: &Job,
        work: &Work,
        is_retry: bool,
        matching: u64,
    ) -> (Reason, alloc::string::String) {
        let busy = format!("all {matching} matching agents are busy");
        let first = self.scheduler.order.range_from(&(work.shape, 0, ProjectId(0))).next();
        let first = first.filter(|((shape, ..), ())| *shape == work.shape).map(|((_, _, project), ())| *project);
        if is_retry {
            return (Reason::NoFreeSlot, format!("Waiting: {busy}; it is tried again before fresh work"));
        }
        if first.is_some_and(|project| project != job.project()) {
            return (Reason::BehindOtherProjects, format!("Waiting: {busy}, and another project is owed more"));
        }
        let ahead = self.jobs_ahead(id.job, job, work).len();
        if ahead > 0 {
            let headline = format!("Waiting: {busy}, and {ahead} jobs of the project stand before this one");
            return (Reason::BehindOtherJobs, headline);
        }
        let before = work.fresh.first().map_or(0, |f| id.shard.saturating_sub(f.next));
        (Reason::NoFreeSlot, format!("Waiting: {busy}; {before} shards of the job stand before it"))
    }

    /// Jobs of the same project and shape that are served first, with their priority; at most 100.
    fn jobs_ahead(&self, id: JobId, job: &Job, work: &Work) -> Vec<(u8, JobId)> {
        let from = (work.shape, job.project(), 0, JobId(0));
        let queue = self.scheduler.queue.range_from(&from).map(|(key, ())| *key).take(100);
        let ours = queue.take_while(|(shape, project, ..)| (*shape, *project) == (work.shape, job.project()));
        ours.map(|(.., rank, other)| (9 - rank, other)).take_while(|(_, other)| *other != id).collect()
    }

    /// The least priority that lets it pass another job.
    fn higher_priority(&self, id: JobId, job: &Job, work: &Work) -> Option<Change> {
        let ahead = self.jobs_ahead(id, job, work);
        let (next, _) = ahead.last().filter(|(priority, _)| *priority < 9)?;
        let passed = ahead.iter().filter(|(priority, _)| priority == next).map(|(_, other)| other.to_string());
        Some(Change {
            change: format!("priority {} -> {}", job.submitted.priority, next + 1),
            adds: None,
            moves_ahead_of: passed.take(8).collect(),
        })
    }
}

fn holder(id: AgentId, agent: &Agent, lease: LeaseId, deadline: Timestamp) -> super::AgentVerdict {
    super::AgentVerdict {
        id: id.to_string(),
        owner: agent.provider.to_string(),
        verdict: "holds",
        by: None,
        until: Some(deadline.to_string()),
        runs: Some(lease.to_string()),
    }
}
