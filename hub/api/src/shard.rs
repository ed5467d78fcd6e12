//! Shards of a job.

use forge_event::*;
use forge_projections::World;
use forge_projections::jobs::{Job, JobState};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Where the time of an attempt went, as far as the log tells. Null: it does not, or not yet.
#[derive(Clone, PartialEq, Default, Debug, Serialize, Deserialize, ToSchema)]
pub struct AttemptSeconds {
    /// Pending, until an agent was chosen.
    pub queue: Option<f64>,
    /// Inputs on their way; this version has none.
    pub r#in: Option<f64>,
    /// From assignment to the end, ways included.
    pub run: Option<f64>,
    /// Results on their way, where they go to the blob service; this version has none.
    pub out: Option<f64>,
    /// From the result's arrival to the verdict.
    pub verify: Option<f64>,
}

/// One attempt at a shard. Times are the log's.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Attempt {
    #[schema(example = "j1842.17.1")]
    pub id: String,
    pub n: u16,
    pub role: String,
    pub agent: String,
    /// When the shard became pending; null for an attempt beside a live one.
    pub queued: Option<String>,
    /// When its inputs were there; null while no job has inputs.
    pub staged: Option<String>,
    /// When it was assigned.
    pub started: String,
    /// Null while it is live.
    pub finished: Option<String>,
    /// accepted, voided, refused, failed, expired or revoked; null while it is live; more may come.
    pub outcome: Option<String>,
    /// Why it was refused, failed or revoked.
    pub reason: Option<String>,
    pub seconds: AttemptSeconds,
    pub assigned_index: u64,
}

/// A shard.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Shard {
    #[schema(example = "j1842.17")]
    pub id: String,
    pub stage: u16,
    /// queued, backoff, running, verified or closed (its job ended without it); more may come.
    pub state: String,
    /// Whose result counts, or who works on it now.
    pub agent: Option<String>,
    /// Every attempt, oldest first.
    pub attempts: Vec<Attempt>,
    /// False if attempts of long ago were left out: the log since the job's birth is too long to look through.
    pub attempts_complete: bool,
    /// Attempts that ended badly so far, if any; their agents are avoided.
    pub failed_attempts: u16,
}

impl Shard {
    /// The shard as it is in `world`, with its attempts; `None` if the job has no such shard (yet).
    pub fn of(id: ShardId, job: &Job, world: &World, attempts: Vec<Attempt>, attempts_complete: bool) -> Option<Shard> {
        let in_stage = |s: &forge_projections::jobs::Stage| s.shards.first <= id.shard && id.shard <= s.shards.last;
        let stage = job.stages.iter().position(in_stage)?;
        let work = world.scheduler.work.get(&id.job);
        let retry = work.and_then(|w| w.retries.get(&id.shard));
        let done = work.is_some_and(|w| w.done.contains(id.shard));
        let outcome_is = |a: &&Attempt, outcome: Option<&str>| a.outcome.as_deref() == outcome;
        let accepted = attempts.iter().rev().find(|a| outcome_is(a, Some("accepted")));
        let live = attempts.iter().rev().find(|a| outcome_is(a, None));
        let state = match () {
            () if done || job.state == JobState::Succeeded => "verified",
            () if job.state.is_final() => "closed",
            // An accepted result counts once a seal covers it.
            () if live.is_some() || accepted.is_some() => "running",
            () if retry.is_some_and(|r| r.pending && r.ready_at > world.at) => "backoff",
            () => "queued",
        };
        let agent = accepted.or(live).map(|a| a.agent.clone());
        let failed_attempts = retry.map_or(0, |r| r.attempt);
        let (id, stage, state) = (id.to_string(), stage as u16, state.into());
        Some(Shard { id, stage, state, agent, attempts, attempts_complete, failed_attempts })
    }
}
