//! What events do to results: received, accepted or refused, sealed, folded.

use super::{Outcome, Pending, Window};
use crate::agents::SEAL_WAIT;
use crate::family::Families;
use crate::jobs::JobState;
use crate::scratch::{Limbo, Unpaid, Unvoided};
use crate::world::{Meta, World};
use alloc::sync::Arc;
use alloc::vec::Vec;
use forge_event::*;

impl World {
    pub(crate) fn result_received(&mut self, index: EventIndex, e: &ResultReceived) -> Meta {
        let project = self.touch(e.job, index);
        let mut position = e.position;
        let mut chain = self.agent(e.agent).chain;
        let wait_base = self.base_of(self.at.after(SEAL_WAIT));
        let mut shards = e.shards.iter();
        let window = self.aggregator.pending.open(e.agent, position);
        for run in &e.results {
            let inline: Option<Arc<[u8]>> = run.inline.as_deref().map(Into::into);
            let root = run.root.unwrap_or_else(|| seal::single_root(&run.digest));
            for shard in shards.by_ref().take(run.count as usize) {
                let lease = LeaseId { job: e.job, shard, attempt: e.attempt };
                chain = seal::extend(&chain, lease, &run.digest, &root);
                let pending = Pending {
                    lease,
                    digest: run.digest,
                    root: run.root,
                    bytes: run.bytes,
                    inline: inline.clone(),
                    checks: e.checks,
                    received: index,
                    received_at: self.at,
                    wait_base,
                    chain,
                    outcome: Outcome::Undecided,
                    accrual: None,
                };
                window.push(pending);
                self.turn.undecided.push_back((e.agent, position));
                position += 1;
            }
        }
        let agent = self.agent_mut(e.agent);
        agent.chain = chain;
        agent.position = position - 1;
        Meta::of(project)
    }

    /// Sets the outcome of the undecided deliveries of one agent that `shards` names; gives what received them,
    /// and the end of the first one's wait for a seal.
    fn settle(
        &mut self,
        agent: AgentId,
        job: JobId,
        attempt: AttemptNumber,
        shards: &Runs,
        outcome: Outcome,
    ) -> (EventIndex, Timestamp) {
        let (mut received, mut wait_base) = (EventIndex(0), None);
        let named = |lease: &LeaseId| lease.job == job && lease.attempt == attempt && shards.contains(lease.shard);
        let window = self.aggregator.pending.of_mut(agent).expect("undecided deliveries are pending");
        // A decision settles deliveries in the order they came, so they stand at the front.
        for _ in 0..shards.count() {
            let (from, position) = self.turn.undecided.pop_front().expect("only deliveries of this turn are settled");
            let pending = window.get_mut(position).expect("undecided deliveries are pending");
            assert!(from == agent && named(&pending.lease), "deliveries are settled in order");
            pending.outcome = outcome;
            received = received.max(pending.received);
            wait_base.get_or_insert(pending.wait_base);
        }
        (received, wait_base.unwrap_or_default())
    }

    pub(crate) fn result_accepted(&mut self, index: EventIndex, e: &ResultAccepted) -> Meta {
        let (received, wait_base) = self.settle(e.agent, e.job, e.attempt, &e.shards, Outcome::Accepted);
        let mut finished = None;
        let work = self.scheduler.work.get_mut(&e.job).expect("only an open job's results are accepted");
        for shard in e.shards.iter() {
            assert!(work.done.insert(shard), "a shard is accepted once");
            if let Some(retry) = work.retries.remove(&shard) {
                assert!(!retry.pending, "a pending shard has no live lease");
            }
            if !work.half_done.is_empty() {
                drop(work.half_done.forget(shard));
            }
        }
        let (count, mut ended, mut assigned_at) = (e.shards.count(), 0, Timestamp(0));
        self.scheduler.leases.end(e.agent, (e.job, e.attempt), &e.shards, |grant, count| {
            ended += count;
            assigned_at = assigned_at.max(grant.assigned_at);
            if grant.shards.is_empty() {
                finished = Some((grant.assigned_at, grant.held));
            }
        });
        assert!(ended == count, "only a live lease is accepted");
        if let Some(finished) = finished {
            self.learn_pace(e, finished);
        }
        let residence_ms = self.at.since(assigned_at).0;
        let mut waits = false;
        self.make_room(e.agent, count, received, |agent, was_full| {
            agent.learn(residence_ms, count, was_full);
            waits = agent.unsealed_base.is_none();
            agent.unsealed_base.get_or_insert(wait_base);
        });
        if waits {
            self.scheduler.seal_waits.insert((wait_base, e.agent), ());
        }
        let evidence = self.job(e.job).evidence;
        let evidence = self.turn.digest_after(&evidence);
        let job = self.touched(e.job, index);
        job.evidence = evidence;
        job.in_flight_count -= count;
        job.accepted_count += count;
        job.begun_count -= count;
        job.residence_16ms = match job.residence_16ms {
            0 => residence_ms * 16 + 1,
            old => old - old / 8 + residence_ms * 2,
        };
        let project = job.project();
        self.in_order(project, |project| project.begun_count -= count);
        self.turn.unpaid.push_back(Unpaid {
            accepted: index,
            job: e.job,
            agent: e.agent,
            attempt: e.attempt,
            shards: e.shards.clone(),
        });
        Meta::of(project).because(received)
    }

    pub(crate) fn result_refused(&mut self, index: EventIndex, e: &ResultRefused) -> Meta {
        let project = self.touch(e.job, index);
        let (received, _) = self.settle(e.agent, e.job, e.attempt, &e.shards, Outcome::Refused(e.code));
        if e.code == RefusalCode::BadResult {
            let mut count = 0;
            self.scheduler.leases.end(e.agent, (e.job, e.attempt), &e.shards, |_, ended| count += ended);
            self.count_ended(e.job, e.agent, count, received, |agent| agent.learn_failure(count));
            self.job_mut(e.job).failed_attempt_count += count;
            self.turn.limbo.push_back(Limbo {
                job: e.job,
                agent: e.agent,
                attempt: e.attempt,
                shards: e.shards.clone(),
                reason: RequeueReason::Refused,
                code: None,
                ended: index,
            });
        }
        Meta::of(project).because(received)
    }

    /// Adds the event that is being folded to the job's evidence.
    pub(crate) fn add_evidence(&mut self, job: JobId) {
        let job = self.jobs.jobs.get_mut(&job).expect("admission and policy name only jobs that exist");
        job.evidence = self.turn.digest_after(&job.evidence);
    }

    /// Takes voided results' shards back out of what is done; gives their agent and what had received them.
    pub(crate) fn unaccept(&mut self, index: EventIndex, e: &ShardRequeued) -> (AgentId, Vec<EventIndex>) {
        let (agent, positions) = self.overdue(e).expect("only results that waited too long for their seal are voided");
        let mut received = Vec::new();
        for (position, lease) in positions {
            received.push(self.void_pending(agent, position));
            self.turn.unvoided.push_back(Unvoided { cause: index, agent, lease });
            let work = self.scheduler.work.get_mut(&lease.job).expect("only an open job's shards are requeued");
            work.done.remove(lease.shard);
        }
        received.dedup();
        let (count, job) = (e.shards.count(), self.job_mut(e.job));
        job.accepted_count -= count;
        job.begun_count += count;
        let project = job.project();
        self.in_order(project, |project| project.begun_count += count);
        (agent, received)
    }

    /// The accepted, unsealed results of some leases, among the agents whose seal is overdue.
    fn overdue(&self, e: &ShardRequeued) -> Option<(AgentId, Vec<(u64, LeaseId)>)> {
        let due = self.base_of(self.at);
        let agents = self.scheduler.seal_waits.iter().take_while(|((base, _), ())| *base <= due);
        agents.map(|((_, agent), ())| *agent).find_map(|agent| {
            let named = |l: &LeaseId| (l.job, l.attempt) == (e.job, e.attempt) && e.shards.contains(l.shard);
            let found = self.unsealed_of(agent).filter(|(_, p)| p.outcome == Outcome::Accepted && named(&p.lease));
            let found: Vec<(u64, LeaseId)> = found.map(|(position, p)| (position, p.lease)).collect();
            (found.len() as u64 == e.shards.count()).then_some((agent, found))
        })
    }

    /// Position of an agent's accepted, unsealed result of a lease.
    pub(crate) fn unsealed_position(&self, agent: AgentId, lease: LeaseId) -> Option<u64> {
        let unsealed = self.unsealed_of(agent).find(|(_, p)| p.lease == lease && p.outcome == Outcome::Accepted);
        unsealed.map(|(position, _)| position)
    }

    /// Everything of an agent that no seal covers, by position.
    pub fn unsealed_of(&self, agent: AgentId) -> impl Iterator<Item = (u64, &Pending)> {
        self.aggregator.pending.of(agent).into_iter().flat_map(Window::iter)
    }

    /// Marks a result as void; gives what had received it.
    pub(crate) fn void_pending(&mut self, agent: AgentId, position: u64) -> EventIndex {
        let window = self.aggregator.pending.of_mut(agent);
        let pending = window.and_then(|w| w.get_mut(position)).expect("found just now");
        pending.outcome = Outcome::Voided;
        // The void takes it out of its accrual; a late seal must not do so again.
        pending.accrual = None;
        pending.received
    }

    /// A seal closes every result it covers: accepted ones are folded, all leave the window.
    pub(crate) fn results_sealed(&mut self, _index: EventIndex, e: &ResultsSealed, families: &dyn Families) -> Meta {
        let agent = self.agent_mut(e.agent);
        let count = e.upto - core::mem::replace(&mut agent.sealed, e.upto);
        let mut closed: Vec<(LeaseId, Option<Arc<[u8]>>)> = Vec::new();
        let accounting = &mut self.accounting;
        let sealed = self.aggregator.pending.close(e.agent, e.upto, |pending| {
            if let Some(accrual) = pending.accrual {
                accounting.seal_accrued(accrual);
            }
            if pending.outcome == Outcome::Accepted {
                closed.push((pending.lease, pending.inline));
            }
        });
        assert!(sealed == count, "a seal covers what was received and not sealed");
        self.close_results(&closed, families);
        self.renew_seal_wait(e.agent);
        Meta::default()
    }

    /// Waits for the seal of the agent's now oldest accepted result.
    pub(crate) fn renew_seal_wait(&mut self, id: AgentId) {
        let base = self.unsealed_of(id).find(|(_, p)| p.outcome == Outcome::Accepted).map(|(_, p)| p.wait_base);
        if let Some(old) = core::mem::replace(&mut self.agent_mut(id).unsealed_base, base) {
            self.scheduler.seal_waits.remove(&(old, id));
        }
        if let Some(base) = base {
            self.scheduler.seal_waits.insert((base, id), ());
        }
    }

    /// Folds results into their jobs' mid-states, consecutive ones of a job together.
    fn close_results(&mut self, closed: &[(LeaseId, Option<Arc<[u8]>>)], families: &dyn Families) {
        for group in closed.chunk_by(|a, b| a.0.job == b.0.job && a.1.as_deref() == b.1.as_deref()) {
            let (lease, inline) = &group[0];
            if self.job(lease.job).ended.is_some() {
                continue;
            }
            let mut shards = group.iter().map(|(lease, _)| lease.shard);
            self.fold_results(lease.job, &mut shards, inline.as_deref().unwrap_or_default(), families);
            self.end_begun(lease.job, group.iter().map(|(lease, _)| lease.shard));
            let job = self.job_mut(lease.job);
            job.closed_count += group.len() as u64;
            if job.is_complete() {
                if job.stages.last().is_some_and(|stage| stage.last) {
                    job.state = JobState::Reducing;
                }
                self.jobs.effects_due.insert(lease.job, ());
            }
        }
    }

    /// Folds equal results of an open job's running stage into its mid-state.
    pub(crate) fn fold_results(
        &mut self,
        id: JobId,
        shards: &mut dyn Iterator<Item = ShardIndex>,
        result: &[u8],
        families: &dyn Families,
    ) {
        let job = self.jobs.jobs.get(&id).expect("only an open job's results are folded");
        let submitted = &job.submitted;
        // Stages follow one another: what is folded now belongs to the last one.
        let number = job.stages.len() - 1;
        let stage = &job.stages[number];
        let family = families.family(&submitted.kind, submitted.family_version).expect("admitted under this family");
        let mid = self.aggregator.vmem.get_mut(id, number as u16).expect("an open job has a mid-state");
        let mid = mid.live_mut(|bytes| family.thaw(&submitted.spec, &stage.plan_body, bytes));
        mid.fold_many(&mut shards.map(|shard| stage.local(shard)), result);
    }
}
