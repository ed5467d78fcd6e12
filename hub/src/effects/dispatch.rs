//! Dispatch: what an agent is given for a lease, and the edge checks of what it gives back.
//!
//! It has no start record: its record is the committed `shard.assigned`, and it is level-triggered.

use crate::handle::Hub;
use forge_event::*;
use forge_projections::family::Family;
use forge_protocol::Assign;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Jobs that one session remembers; an agent seldom works for more at once.
const JOBS_MAX: usize = 8;

/// A job as dispatch needs it.
#[derive(Clone)]
struct Job {
    submitted: Arc<JobSubmitted>,
    stages: Vec<(Run, Arc<[u8]>)>,
    family: &'static dyn Family,
}

/// The jobs of one session, read from the committed state once each.
#[derive(Default)]
pub struct Dispatcher {
    jobs: BTreeMap<JobId, Job>,
}

impl Dispatcher {
    /// What the agent is given; `None` if the job is gone or of a family that this node does not know.
    pub fn assign(&mut self, hub: &Hub, lease: LeaseId, deadline: Timestamp) -> Option<Assign> {
        let (job, plan) = self.job(hub, lease)?;
        Some(Assign {
            lease,
            kind: job.submitted.kind.clone(),
            family_version: job.submitted.family_version,
            deadline,
            payload: job.family.payload(&job.submitted.spec, plan, lease.shard),
        })
    }

    /// The family's free checks of a result; `None` as [`Dispatcher::assign`].
    pub fn check(&mut self, hub: &Hub, lease: LeaseId, result: &[u8]) -> Option<Checks> {
        let (job, plan) = self.job(hub, lease)?;
        let bits = job.family.check_result(&job.submitted.spec, plan, lease.shard, result);
        Some(Checks { version: job.family.version(), bits })
    }

    fn job(&mut self, hub: &Hub, lease: LeaseId) -> Option<(&Job, &[u8])> {
        let known = self.jobs.get(&lease.job).is_some_and(|j| j.plan_of(lease.shard).is_some());
        if !known {
            let job = Job::read(hub, lease.job)?;
            if self.jobs.len() >= JOBS_MAX {
                self.jobs.pop_first();
            }
            self.jobs.insert(lease.job, job);
        }
        let job = self.jobs.get(&lease.job)?;
        Some((job, job.plan_of(lease.shard)?))
    }
}

impl Job {
    fn read(hub: &Hub, id: JobId) -> Option<Job> {
        hub.read(|world| {
            let job = world.jobs.jobs.get(&id)?;
            let family = hub.families().family(&job.submitted.kind, job.submitted.family_version)?;
            let stages = job.stages.iter().map(|s| (s.shards, s.plan_body.clone())).collect();
            Some(Job { submitted: job.submitted.clone(), stages, family })
        })
    }

    fn plan_of(&self, shard: ShardIndex) -> Option<&[u8]> {
        let stage = self.stages.iter().find(|(run, _)| (run.first..=run.last).contains(&shard));
        stage.map(|(_, plan)| plan.as_ref())
    }
}
