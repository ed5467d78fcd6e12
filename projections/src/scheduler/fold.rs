//! What events do to pending work and leases.

use super::{Grant, Retry};
use crate::agents::Agent;
use crate::jobs::JobState;
use crate::projects::Project;
use crate::scratch::Limbo;
use crate::world::{Meta, World};
use alloc::vec::Vec;
use forge_event::*;

/// Back-off after the first failed attempt; doubles with each further one.
const BACKOFF_MS: u64 = 250;
/// Back-off never passes this.
const BACKOFF_MS_MAX: u64 = 30_000;
/// Agents remembered as having failed at a shard.
const AVOID_COUNT_MAX: usize = 4;
/// One unit of work costs this much virtual time at weight 1.
const STRIDE: u128 = 1 << 32;

impl World {
    /// The number of a requirement shape.
    pub(crate) fn shape_of(&mut self, requirements: &Requirements) -> u32 {
        let shapes = &mut self.scheduler.shapes;
        let number = shapes.iter().position(|s| s == requirements).unwrap_or_else(|| {
            shapes.push(requirements.clone());
            shapes.len() - 1
        });
        number as u32
    }

    /// Puts a job with fresh work into its queue, and its project into the fair share.
    pub(crate) fn enqueue(&mut self, job: JobId) {
        let Some(work) = self.scheduler.work.get(&job).filter(|w| !w.fresh.is_empty()) else { return };
        let (shape, project, priority) = (work.shape, work.project, work.priority);
        if !self.has_queue(shape, project) {
            // Who was idle starts with those who wait, not with the credit of its absence.
            let floor = self.scheduler.order.range_from(&(shape, 0, ProjectId(0))).next();
            let floor =
                floor.filter(|((s, ..), ())| *s == shape).map_or(self.scheduler.clock, |((_, time, _), ())| *time);
            let now = self.share(project);
            self.set_share(project, now.max(floor));
            if !self.is_capped(project) {
                let now = self.share(project);
                self.scheduler.order.insert((shape, now, project), ());
            }
        }
        self.scheduler.queue.insert((shape, project, 9 - priority.min(9), job), ());
    }

    /// Whether a project has as many shards under way as it may have.
    pub(crate) fn is_capped(&self, project: ProjectId) -> bool {
        self.projects.projects.get(&project).is_some_and(|project| project.shards_left() == 0)
    }

    /// Changes what tells whether a project is at its limit: only one below it stands in the fair share's order.
    pub(crate) fn in_order(&mut self, id: ProjectId, change: impl FnOnce(&mut Project)) {
        let project = self.projects.projects.get_mut(&id).expect("a job's project exists");
        let was = project.shards_left() == 0;
        change(project);
        let is = project.shards_left() == 0;
        if was == is {
            return;
        }
        let now = self.share(id);
        for shape in 0..self.scheduler.shapes.len() as u32 {
            if is {
                self.scheduler.order.remove(&(shape, now, id));
            } else if self.has_queue(shape, id) {
                self.scheduler.order.insert((shape, now, id), ());
            }
        }
    }

    fn has_queue(&self, shape: u32, project: ProjectId) -> bool {
        let first = self.scheduler.queue.range_from(&(shape, project, 0, JobId(0))).next();
        first.is_some_and(|((s, p, ..), ())| (*s, *p) == (shape, project))
    }

    fn dequeue(&mut self, shape: u32, project: ProjectId, priority: u8, job: JobId) {
        self.scheduler.queue.remove(&(shape, project, 9 - priority.min(9), job));
        if !self.has_queue(shape, project) {
            let now = self.share(project);
            self.scheduler.order.remove(&(shape, now, project));
        }
    }

    fn share(&self, project: ProjectId) -> u128 {
        self.scheduler.shares.get(&project).map_or(0, |s| s.virtual_time)
    }

    /// Moves a project's virtual time in every shape's order.
    fn set_share(&mut self, project: ProjectId, to: u128) {
        let from = self.share(project);
        if from == to {
            return;
        }
        for shape in 0..self.scheduler.shapes.len() as u32 {
            self.scheduler.order.rekey(&(shape, from, project), (shape, to, project));
        }
        self.scheduler.shares.insert(project, super::Share { virtual_time: to });
    }

    /// Forgets a job's pending work.
    pub(crate) fn drop_work(&mut self, job: JobId) {
        let Some(work) = self.scheduler.work.remove(&job) else { return };
        if !work.fresh.is_empty() {
            self.dequeue(work.shape, work.project, work.priority, job);
        }
        for (shard, retry) in work.retries.iter().filter(|(_, r)| r.pending) {
            self.scheduler.backoff.remove(&(retry.ready_at, job, *shard));
        }
    }

    pub(crate) fn shard_assigned(&mut self, index: EventIndex, e: &ShardAssigned) -> Meta {
        let count = e.shards.count();
        // A shard that is tried again has been under way all the while.
        let begun = if e.attempt == 1 { count } else { 0 };
        let job = self.touched(e.job, index);
        job.in_flight_count += count;
        job.begun_count += begun;
        if job.state == JobState::Queued {
            job.state = JobState::Running;
        }
        let rate = job.hold.map_or(1, |h| (h.rate.num / h.rate.den.max(1)).max(1));
        let project = job.project();
        let mut meta = Meta::of(project);
        let Agent { room, leases, .. } = *self.agent(e.agent);
        for run in &e.shards.0 {
            self.take_pending(e, *run, |origin| meta.add_cause(origin.max(room)));
        }
        // That an attempt gives birth to one lease follows: it was pending, and is not any more.
        let grant = Grant {
            assigned: index,
            assigned_at: self.at,
            job: e.job,
            attempt: e.attempt,
            role: e.role,
            held: leases.saturating_add(count as u32),
            deadline_base: self.base_of(e.deadline),
            shards: e.shards.clone(),
        };
        self.scheduler.leases.add(e.agent, grant);
        if begun > 0 {
            self.in_order(project, |project| project.begun_count += begun);
        }
        self.ranked(e.agent, |agent| agent.leases += count as u32);
        let weight = self.projects.projects.get(&project).map_or(1, |p| p.weight.max(1));
        let cost = u128::from(count) * u128::from(rate) * STRIDE / u128::from(weight);
        let share = self.share(project);
        self.scheduler.clock = self.scheduler.clock.max(share);
        self.set_share(project, share + cost);
        meta
    }

    /// Takes the shards of a run out of what is pending, telling what had made each part pending.
    fn take_pending(&mut self, e: &ShardAssigned, run: Run, mut tell: impl FnMut(EventIndex)) {
        let work = self.scheduler.work.get_mut(&e.job).expect("only admitted work is assigned");
        if e.attempt == 1 {
            let fresh = work.fresh.first_mut().expect("a first attempt comes from fresh work");
            assert!(fresh.next == run.first && run.last <= fresh.last, "fresh work is taken from its front");
            tell(fresh.origin);
            if run.last < fresh.last {
                fresh.next = run.last + 1;
                return;
            }
            work.fresh.remove(0);
            if work.fresh.is_empty() {
                let (shape, project, priority) = (work.shape, work.project, work.priority);
                self.dequeue(shape, project, priority, e.job);
            }
            return;
        }
        for shard in run.first..=run.last {
            let retry = work.retries.get_mut(&shard).expect("a later attempt comes from a requeued shard");
            assert!(retry.pending && retry.attempt + 1 == e.attempt, "attempts are numbered without gap");
            retry.pending = false;
            tell(retry.origin);
            self.scheduler.backoff.remove(&(retry.ready_at, e.job, shard));
        }
    }

    /// Counts `count` ended leases of one job and agent, and notes that the agent has room again, which learns from it.
    pub(crate) fn count_ended(
        &mut self,
        job: JobId,
        agent: AgentId,
        count: u64,
        index: EventIndex,
        learn: impl FnOnce(&mut Agent),
    ) {
        let job_state = self.job_mut(job);
        job_state.in_flight_count -= count;
        if job_state.in_flight_count == 0 && job_state.ended.is_some() {
            self.scheduler.closing.remove(&job);
        }
        self.make_room(agent, count, index, |agent, _| learn(agent));
    }

    /// The agent's part of it. `learn` is told whether the agent was full.
    pub(crate) fn make_room(
        &mut self,
        agent: AgentId,
        count: u64,
        index: EventIndex,
        learn: impl FnOnce(&mut Agent, bool),
    ) {
        let idle_since = self.ranked(agent, |agent| {
            let was_full = agent.room() == 0;
            agent.leases -= count as u32;
            agent.room = index;
            learn(agent, was_full);
            agent.lost.filter(|_| agent.leases == 0)
        });
        if let Some(lost) = idle_since {
            self.scheduler.graces.remove(&(lost.grace_base, agent));
            self.scheduler.leavers.remove(&agent);
        }
    }

    /// Ends leases without a result and leaves their shards to be requeued.
    fn lapse(
        &mut self,
        index: EventIndex,
        (job, agent, attempt, shards): (JobId, AgentId, AttemptNumber, &Runs),
        reason: RequeueReason,
        learn: impl FnOnce(&mut Agent, u64),
    ) -> Vec<EventIndex> {
        let mut assigned = Vec::new();
        let mut count = 0;
        self.scheduler.leases.end(agent, (job, attempt), shards, |grant, ended| {
            count += ended;
            assigned.push(grant.assigned);
        });
        self.count_ended(job, agent, count, index, |agent| learn(agent, count));
        if self.job(job).ended.is_none() {
            self.job_mut(job).failed_attempt_count += count;
            let shards = shards.clone();
            self.turn.limbo.push_back(Limbo { job, agent, attempt, shards, reason, code: None, ended: index });
        }
        assigned
    }

    pub(crate) fn lease_expired(&mut self, index: EventIndex, e: &LeaseExpired) -> Meta {
        let project = self.touch(e.job, index);
        let what = (e.job, e.agent, e.attempt, &e.shards);
        let assigned = self.lapse(index, what, RequeueReason::Expired, Agent::learn_failure);
        let mut meta = Meta::of(project);
        assigned.into_iter().for_each(|cause| meta.add_cause(cause));
        meta
    }

    pub(crate) fn lease_revoked(&mut self, index: EventIndex, e: &LeaseRevoked) -> Meta {
        let project = self.touch(e.job, index);
        let cause = match e.reason {
            RevokeReason::Cancelled => self.job(e.job).ended,
            _ => self.agent(e.agent).lost.map(|l| l.index),
        };
        self.lapse(index, (e.job, e.agent, e.attempt, &e.shards), RequeueReason::Revoked, |agent, count| {
            if e.reason == RevokeReason::Lost {
                agent.learn_failure(count);
            }
        });
        Meta::of(project).because(cause.expect("a revoked lease has its reason in the state"))
    }

    pub(crate) fn shard_reported_failed(&mut self, index: EventIndex, e: &ShardReportedFailed) -> Meta {
        let project = self.touch(e.job, index);
        self.lapse(index, (e.job, e.agent, e.attempt, &e.shards), RequeueReason::Failed, Agent::learn_failure);
        if let Some(limbo) = self.turn.limbo.back_mut().filter(|limbo| limbo.ended == index) {
            limbo.code = Some(e.code.clone());
        }
        Meta::of(project)
    }

    pub(crate) fn shard_requeued(&mut self, index: EventIndex, e: &ShardRequeued) -> Meta {
        let project = self.touch(e.job, index);
        let mut meta = Meta::of(project);
        let agent = if e.reason == RequeueReason::Voided {
            self.add_evidence(e.job);
            let (agent, received) = self.unaccept(index, e);
            received.into_iter().for_each(|cause| meta.add_cause(cause));
            agent
        } else {
            let same =
                |l: &Limbo| l.job == e.job && l.attempt == e.attempt && l.reason == e.reason && l.shards == e.shards;
            let at = self.turn.limbo.iter().position(same);
            let limbo = at.and_then(|at| self.turn.limbo.remove(at)).expect("only what fell into limbo is requeued");
            meta.add_cause(limbo.ended);
            limbo.agent
        };
        self.turn.requeued = meta.cause.map(|ended| (e.job, ended));
        if !e.reason.leaves_checkpoints() {
            self.forget_checkpoints(e.job, &e.shards);
        }
        let wait = match e.reason {
            // The agent is to blame, not the shard: another one may start at once.
            RequeueReason::Revoked | RequeueReason::Voided => 0,
            _ => (BACKOFF_MS << u64::from(e.attempt.saturating_sub(1)).min(16)).min(BACKOFF_MS_MAX),
        };
        let ready_at = self.at.after(DurationMs(wait));
        let work = self.scheduler.work.get_mut(&e.job).expect("only an open job's shards are requeued");
        for shard in e.shards.iter() {
            let mut avoid = work.retries.get(&shard).map(|r| r.avoid.clone()).unwrap_or_default();
            avoid.retain(|a| *a != agent);
            avoid.insert(0, agent);
            avoid.truncate(AVOID_COUNT_MAX);
            let retry = Retry { attempt: e.attempt, ready_at, avoid, origin: index, pending: true };
            work.retries.insert(shard, retry);
            self.scheduler.backoff.insert((ready_at, e.job, shard), ());
        }
        meta
    }
}
