//! Job.

use crate::text;
use forge_event::*;
use forge_projections::accounting::Account;
use forge_projections::decide::matches;
use forge_projections::jobs::{Job as Known, JobState};
use forge_projections::{Families, World};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// Why a job does not move.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct WaitingReason {
    #[schema(example = "no-free-slot")]
    pub code: String,
    pub text: String,
    pub since: String,
}

/// Counts of shards, over all stages planned so far.
#[derive(Clone, PartialEq, Default, Debug, Serialize, Deserialize, ToSchema)]
pub struct Progress {
    pub planned: u64,
    pub queued: u64,
    pub running: u64,
    pub verified: u64,
    /// Shards that failed for good.
    pub failed: u64,
    /// Attempts that ended badly and were or will be repeated.
    pub failed_attempts: u64,
    /// Of all stages that there will be, each an equal share; rounded down, never falls, and 100 only when the job succeeded.
    pub percent: u64,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct JobCredits {
    #[schema(example = "20.000000")]
    pub escrow: String,
    #[schema(example = "1.400000")]
    pub spent: String,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Verification {
    pub audited: u64,
    pub credible: u64,
    pub structural: u64,
    pub recomputed: u64,
}

/// What a succeeded job has.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct JobResult {
    pub digest: String,
    pub version: u32,
    pub bytes: u64,
    pub assurance: String,
    pub error_bound: String,
    pub verification: Verification,
}

/// What a failed job has.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct JobError {
    pub code: String,
    pub detail: String,
}

/// A job.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Job {
    #[schema(example = "j1842")]
    pub id: String,
    pub project: String,
    pub kind: String,
    pub name: Option<String>,
    /// planning, queued, running, verifying, reducing, paused, succeeded, failed or cancelled; more may come.
    pub state: String,
    pub waiting_reason: Option<WaitingReason>,
    pub progress: Progress,
    pub credits: JobCredits,
    /// Of the first stage's plan: what POST /v1/plans gave and `expect_plan` takes. It does not change as further stages follow.
    pub plan_digest: Option<String>,
    pub result: Option<JobResult>,
    pub error: Option<JobError>,
    pub created_index: u64,
    pub updated_index: u64,
    pub created_at: String,
    pub updated_at: String,
    pub priority: u8,
    #[schema(value_type = Object)]
    pub labels: Map<String, Value>,
    /// What its family knows of it, from the spec and the stages planned so far; only where one job is shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>, example = json!({"model": "european", "samples": 1000000, "shard_cells": 250000}))]
    pub metadata: Option<Map<String, Value>>,
}

impl Job {
    /// A job as its submission left it; what `POST /v1/jobs` answers, first and replayed alike.
    pub fn at_birth(id: JobId, submitted: &JobSubmitted, at: Timestamp) -> Job {
        Job {
            id: id.to_string(),
            project: submitted.project.to_string(),
            kind: submitted.kind.clone(),
            name: submitted.name.clone(),
            state: JobState::Planning.name().into(),
            waiting_reason: None,
            progress: Progress::default(),
            credits: JobCredits { escrow: text::credits(0), spent: text::credits(0) },
            plan_digest: None,
            result: None,
            error: None,
            created_index: id.0,
            updated_index: id.0,
            created_at: at.to_string(),
            updated_at: at.to_string(),
            priority: submitted.priority,
            labels: submitted.labels.iter().map(|(k, v)| (k.clone(), Value::from(v.as_str()))).collect(),
            metadata: None,
        }
    }

    /// A job as it is in `world`.
    pub fn of(id: JobId, job: &Known, world: &World, families: &dyn Families) -> Job {
        let birth = Job::at_birth(id, &job.submitted, job.created_at);
        let escrow = world.accounting.balance(Account::JobEscrow(id));
        Job {
            state: job.state.name().into(),
            waiting_reason: waiting_reason(id, job, world),
            progress: progress(job, families),
            credits: JobCredits { escrow: text::micro(escrow), spent: text::credits(job.charged) },
            plan_digest: job.stages.first().map(|first| Digest::of(&first.plan_body).to_string()),
            result: result(job),
            error: job.error.as_ref().map(|e| JobError { code: e.code.clone(), detail: e.detail.clone() }),
            updated_index: job.updated.0,
            updated_at: job.updated_at.to_string(),
            ..birth
        }
    }

    /// The same, with what its family knows of it.
    pub fn with_metadata(mut self, job: &Known, families: &dyn Families) -> Job {
        let family = families.family(&job.submitted.kind, job.submitted.family_version);
        let plans: Vec<&[u8]> = job.stages.iter().map(|stage| &*stage.plan_body).collect();
        self.metadata = family.map(|family| family.metadata(&job.submitted.spec, &plans));
        self
    }

    /// Strong validator: changes whenever the job does.
    pub fn etag(id: JobId, job: &Known) -> String {
        format!("\"{id}@{}\"", job.updated)
    }
}

fn progress(job: &Known, families: &dyn Families) -> Progress {
    let verified = job.accepted_count.min(job.shard_count);
    let running = job.in_flight_count;
    let failed = job.state == JobState::Failed && job.error.as_ref().is_some_and(|e| e.code == "attempts-exhausted");
    let waits = !job.state.is_final();
    Progress {
        planned: job.shard_count,
        queued: if waits { job.shard_count.saturating_sub(verified).saturating_sub(running) } else { 0 },
        running,
        verified,
        failed: u64::from(failed),
        failed_attempts: job.failed_attempt_count,
        percent: percent(job, verified, families),
    }
}

/// How far the job is, of the stages that its family says there will be.
fn percent(job: &Known, verified: u64, families: &dyn Families) -> u64 {
    if job.state == JobState::Succeeded {
        return 100;
    }
    let Some((last, done)) = job.stages.split_last() else { return 0 };
    let family = families.family(&job.submitted.kind, job.submitted.family_version);
    let expected = family
        .filter(|_| !last.last)
        .map_or(1, |family| family.stage_count(&job.submitted.spec, &job.stages[0].plan_body));
    let (done, planned) = (done.len() as u64, job.stages.len() as u64);
    // Planning goes on behind a stage that is not the last, whatever was expected.
    let stages = if last.last { planned } else { u64::from(expected).max(planned + 1) };
    let before: u64 = job.shard_count - last.shards.count();
    let now = verified.saturating_sub(before).min(last.shards.count());
    let share = u128::from(now) * 100 / u128::from(last.shards.count().max(1));
    let percent = (u128::from(done) * 100 + share) / u128::from(stages);
    u64::try_from(percent).unwrap_or(99).min(99)
}

fn result(job: &Known) -> Option<JobResult> {
    let result = job.result.as_ref().filter(|_| job.state == JobState::Succeeded)?;
    // Policy 1 promises nothing about lies: every shard counts on its free checks alone.
    let verification = Verification { audited: 0, credible: 0, structural: job.shard_count, recomputed: 0 };
    Some(JobResult {
        digest: result.digest.to_string(),
        version: result.version,
        bytes: result.bytes,
        assurance: "none".into(),
        error_bound: "1".into(),
        verification,
    })
}

/// The reason as far as it can be told at a glance; the code names are those of `explain`.
fn waiting_reason(id: JobId, job: &Known, world: &World) -> Option<WaitingReason> {
    let since = job.updated_at.to_string();
    let reason = |code: &str, text: &str| WaitingReason { code: code.into(), text: text.into(), since };
    if world.jobs.waiting_for_credits.contains(&(job.project(), id)) {
        let text = "waiting for credits: the project's available credits do not cover the job";
        return Some(reason("waiting-for-credits", text));
    }
    if job.state != JobState::Queued {
        return None;
    }
    let required = &job.submitted.requirements;
    Some(if world.agents.sessions.is_empty() {
        reason("no-agents", "no agent is connected")
    } else if !world.scheduler.classes.iter().any(|class| matches(class, required)) {
        reason("no-matching-agent", "no agent meets the requirements; explain says which one excludes them")
    } else {
        reason("no-free-slot", "waiting for a matching agent with room; explain says for which")
    })
}

/// `GET /v1/jobs/summary`: counts.
#[derive(Clone, PartialEq, Default, Debug, Serialize, Deserialize, ToSchema)]
pub struct JobSummary {
    pub total: u64,
    #[schema(value_type = Object)]
    pub by_state: Map<String, Value>,
    #[schema(value_type = Object)]
    pub by_kind: Map<String, Value>,
    pub as_of_index: u64,
}
