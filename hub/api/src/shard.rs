//! Shards of a job.

use forge_event::*;
use forge_projections::World;
use forge_projections::jobs::Job;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// An attempt that is known to the present state: the live one. Ended attempts are in the job's events.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Attempt {
    #[schema(example = "j1842.17.1")]
    pub id: String,
    pub n: u16,
    pub role: String,
    pub agent: String,
    pub assigned_index: u64,
    pub assigned_at: String,
}

/// A shard.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Shard {
    #[schema(example = "j1842.17")]
    pub id: String,
    pub stage: u16,
    /// queued, backoff, running, verified or closed (its job ended without it); more may come.
    pub state: String,
    /// Live attempts.
    pub attempts: Vec<Attempt>,
    /// Attempts that ended badly so far, if any; their agents are avoided.
    pub failed_attempts: u16,
}

impl Shard {
    /// The shard as it is in `world`; `None` if the job has no such shard (yet).
    pub fn of(id: ShardId, job: &Job, world: &World) -> Option<Shard> {
        let in_stage = |s: &forge_projections::jobs::Stage| s.shards.first <= id.shard && id.shard <= s.shards.last;
        let stage = job.stages.iter().position(in_stage)?;
        let grants = world.scheduler.leases.of_job(id.job).filter(|(_, grant)| grant.shards.contains(id.shard));
        let attempts: Vec<Attempt> = grants
            .map(|(agent, grant)| Attempt {
                id: LeaseId { job: id.job, shard: id.shard, attempt: grant.attempt }.to_string(),
                n: grant.attempt,
                role: grant.role.name().into(),
                agent: agent.to_string(),
                assigned_index: grant.assigned.0,
                assigned_at: grant.assigned_at.to_string(),
            })
            .collect();
        let work = world.scheduler.work.get(&id.job);
        let retry = work.and_then(|w| w.retries.get(&id.shard));
        let done = work.is_some_and(|w| w.done.contains(id.shard));
        let state = match () {
            () if done || job.state == forge_projections::jobs::JobState::Succeeded => "verified",
            () if !attempts.is_empty() => "running",
            () if job.state.is_final() => "closed",
            () if retry.is_some_and(|r| r.pending && r.ready_at > world.at) => "backoff",
            () => "queued",
        };
        let failed_attempts = retry.map_or(0, |r| r.attempt);
        Some(Shard { id: id.to_string(), stage: stage as u16, state: state.into(), attempts, failed_attempts })
    }
}
