//! Who gets what: weighted fair share between projects, then the best agent with room.

use super::{ASSIGNED_SHARDS_MAX, Deciding, RETRIES_SEEN_MAX};
use crate::agents::Agent;
use crate::jobs::Job;
use crate::projects::Project;
use crate::scheduler::{Class, Rank};
use crate::world::World;
use alloc::vec::Vec;
use forge_event::*;

/// A lease lasts this long while nothing is known of the job's shards.
const LEASE_MS: u64 = 120_000;
/// Bounds of a lease once something is known.
const LEASE_MS_MIN: u64 = 30_000;
const LEASE_MS_MAX: u64 = 3_600_000;
/// A lease lasts this many times what the job's shards took so far.
const LEASE_TIMES: u64 = 16;
/// How long a shard waits for an agent that did not fail at it before, once it may be retried.
pub(crate) const AVOID_MS: u64 = 5_000;

/// Whether an agent of this class may be able to do what is required; memory is settled agent by agent
/// where the class straddles the limit.
pub fn matches(class: &Class, required: &Requirements) -> bool {
    let cpu = required.cpu_class.as_ref().is_none_or(|c| runs_on(c, &class.cpu_class));
    let gpu = required.gpu.as_ref().is_none_or(|g| class.gpu.as_ref() == Some(g));
    let region = required.regions.is_empty() || required.regions.contains(&class.region);
    let software = required.software.iter().all(|s| class.software.contains(s));
    let mem = required.mem_bytes_min == 0 || u32::from(class.mem_log2) >= required.mem_bytes_min.ilog2();
    cpu && gpu && region && software && mem
}

/// Whether this agent can do what is required.
pub(crate) fn suits(world: &World, agent: &Agent, required: &Requirements) -> bool {
    agent.capabilities.mem_bytes >= required.mem_bytes_min
        && world.scheduler.classes.get(agent.class() as usize).is_some_and(|class| matches(class, required))
}

/// x86 classes are ordered; any other class only matches itself.
fn runs_on(required: &str, offered: &str) -> bool {
    const X86: [&str; 3] = ["sse2", "avx2", "avx512"];
    let level = |name: &str| X86.iter().position(|c| *c == name);
    match (level(required), level(offered)) {
        (Some(required), Some(offered)) => required <= offered,
        _ => required == offered,
    }
}

impl World {
    /// The agents with a session whose class matches.
    pub fn agents_for<'w>(&'w self, required: &'w Requirements) -> impl Iterator<Item = &'w Agent> + 'w {
        let fits = |class: u32| self.scheduler.classes.get(class as usize).is_some_and(|c| matches(c, required));
        let live = self.agents.sessions.iter().filter_map(|((_, agent), ())| self.agents.agents.get(agent));
        live.map(|agent| &**agent).filter(move |agent| fits(agent.class()))
    }

    /// Their slots: what a planner is told.
    pub fn slots_for(&self, required: &Requirements) -> u32 {
        self.agents_for(required).filter_map(|a| a.session).fold(0, |sum, s| sum.saturating_add(s.slots))
    }

    /// Classes that match a shape, and whether their agents' memory must be looked at.
    fn classes_for(&self, shape: u32) -> impl Iterator<Item = u32> + '_ {
        let required = &self.scheduler.shapes[shape as usize];
        let classes = self.scheduler.classes.iter().enumerate();
        classes.filter(move |(_, c)| matches(c, required)).map(|(number, _)| number as u32)
    }

    /// The best agent with room for a shape that `fits`.
    fn best_agent(&self, shape: u32, fits: impl Fn(AgentId, &Agent) -> bool) -> Option<AgentId> {
        let required = &self.scheduler.shapes[shape as usize];
        let mut best: Option<Rank> = None;
        for class in self.classes_for(shape) {
            if self.scheduler.ready_counts[class as usize] == 0 {
                continue;
            }
            let ready = self.scheduler.ready.range_from(&(class, (0, 0, AgentId(0))));
            for ((_, rank), ()) in ready.take_while(|((c, _), ())| *c == class) {
                if best.is_some_and(|b| b <= *rank) {
                    break;
                }
                let agent = self.agent(rank.2);
                if agent.capabilities.mem_bytes >= required.mem_bytes_min && fits(rank.2, agent) {
                    best = Some(*rank);
                    break;
                }
            }
        }
        best.map(|(_, _, agent)| agent)
    }

    /// Agents with room in the classes of a shape.
    fn ready_count(&self, shape: u32) -> u64 {
        self.classes_for(shape).map(|c| u64::from(self.scheduler.ready_counts[c as usize])).sum()
    }

    /// When a requeued shard next becomes ready, or stops avoiding agents; `None` if neither lies ahead.
    pub(super) fn next_retry_time(&self) -> Option<Timestamp> {
        let after = |at: Timestamp| (at.after(DurationMs(1)), JobId(0), 0);
        let next = |from: Timestamp| self.scheduler.backoff.range_from(&after(from)).next().map(|((at, ..), ())| *at);
        let avoided = Timestamp(self.at.0.saturating_sub(AVOID_MS));
        let free = next(avoided).map(|at| at.after(DurationMs(AVOID_MS)));
        next(self.at).into_iter().chain(free).min()
    }
}

impl Job {
    /// How long a lease of this job lasts.
    fn lease(&self) -> DurationMs {
        let seen = self.residence_16ms / 16;
        match self.accepted_count {
            0 => DurationMs(LEASE_MS),
            _ => DurationMs((seen * LEASE_TIMES).clamp(LEASE_MS_MIN, LEASE_MS_MAX)),
        }
    }
}

impl Deciding<'_> {
    /// Assigns pending shards while there is room, requeued ones first.
    pub(super) fn assignments(&mut self) {
        if self.world.scheduler.ready.is_empty() {
            return;
        }
        let mut left = ASSIGNED_SHARDS_MAX;
        self.assign_retries(&mut left);
        self.assign_fresh(&mut left);
        self.world.turn.leftover |= left == 0;
    }

    fn assign_retries(&mut self, left: &mut u64) {
        let ready = self.world.scheduler.backoff.iter().take_while(|((at, ..), ())| *at <= self.world.at);
        let ready: Vec<(Timestamp, JobId, ShardIndex)> = ready.map(|(key, ())| *key).take(RETRIES_SEEN_MAX).collect();
        let mut placed = 0;
        let mut at = 0;
        while let Some((ready_at, job, shard)) = ready.get(at).copied() {
            at += 1;
            if *left == 0 || self.is_spent() {
                return;
            }
            let work = self.world.scheduler.work.get(&job).expect("a pending retry belongs to open work");
            let (shape, retry) = (work.shape, work.retries.get(&shard).expect("it is on record"));
            let (attempt, avoid) = (retry.attempt + 1, retry.avoid.clone());
            let free = self.world.at >= ready_at.after(DurationMs(AVOID_MS));
            let Some(agent) = self.world.best_agent(shape, |id, _| free || !avoid.contains(&id)) else { continue };
            let room = u64::from(self.world.agent(agent).room());
            let mut shards = Runs::one(shard);
            // Neighbours of the same history go along.
            while let Some((next_at, next_job, next)) = ready.get(at).copied() {
                let work = self.world.scheduler.work.get(&job).expect("open, as above");
                let like = |r: &crate::scheduler::Retry| r.attempt + 1 == attempt && r.avoid == avoid;
                let same = (next_at, next_job) == (ready_at, job) && work.retries.get(&next).is_some_and(like);
                if !same || shards.count() >= room.min(*left) || shards.0.last().is_some_and(|r| next <= r.last) {
                    break;
                }
                shards.push(next);
                at += 1;
            }
            *left -= shards.count();
            placed += 1;
            self.assign(job, agent, shards, attempt);
        }
        // If nothing could be placed, only new room changes that, and room comes with a fact.
        self.world.turn.leftover |= placed > 0 && ready.len() == RETRIES_SEEN_MAX;
    }

    fn assign_fresh(&mut self, left: &mut u64) {
        let mut blocked: Vec<bool> = alloc::vec![false; self.world.scheduler.shapes.len()];
        while *left > 0 {
            let Some((shape, project)) = self.most_entitled(&blocked) else { return };
            if self.is_spent() {
                return;
            }
            let Some(agent) = self.world.best_agent(shape, |_, _| true) else {
                blocked[shape as usize] = true;
                continue;
            };
            let queue = self.world.scheduler.queue.range_from(&(shape, project, 0, JobId(0))).next();
            let ((_, _, _, job), ()) = queue.expect("a project in the order has a job in the queue");
            let job = *job;
            let work = self.world.scheduler.work.get(&job).expect("a queued job has work");
            let fresh = work.fresh.first().expect("a queued job has fresh work");
            let pending: u64 = work.fresh.iter().map(|f| Run { first: f.next, last: f.last }.count()).sum();
            let here = Run { first: fresh.next, last: fresh.last }.count();
            let fair = pending.div_ceil(self.world.ready_count(shape).max(1));
            let room = u64::from(self.world.agent(agent).room());
            let allowed = self.world.projects.projects.get(&project).map_or(0, Project::shards_left);
            let count = fair.min(room).min(here).min(*left).min(allowed).max(1);
            let shards = Runs::span(fresh.next, fresh.next + (count - 1) as u32);
            *left -= count;
            self.assign(job, agent, shards, 1);
        }
    }

    /// The shape and project that are owed most, among those some agent may have room for.
    fn most_entitled(&self, blocked: &[bool]) -> Option<(u32, ProjectId)> {
        let mut first: Option<(u128, ProjectId, u32)> = None;
        for shape in (0..blocked.len() as u32).filter(|s| !blocked[*s as usize]) {
            let order = self.world.scheduler.order.range_from(&(shape, 0, ProjectId(0))).next();
            if let Some(((s, time, project), ())) = order.filter(|((s, ..), ())| *s == shape) {
                let key = (*time, *project, *s);
                first = Some(first.map_or(key, |f| f.min(key)));
            }
        }
        first.map(|(_, project, shape)| (shape, project))
    }

    fn assign(&mut self, job: JobId, agent: AgentId, shards: Runs, attempt: AttemptNumber) {
        let epoch = self.world.agent(agent).epoch;
        let deadline = self.world.at.after(self.world.job(job).lease());
        self.push(ShardAssigned { job, agent, epoch, shards, attempt, role: Role::Work, deadline });
    }
}
