//! Jobs: submit, list, show, cancel.

use super::answer::{self, Answered};
use super::call::Call;
use super::list::Cut;
use super::plan::{check_inputs, planned};
use super::wait::Wait;
use axum::body::Body;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::Response;
use forge_api::job::{Job, JobSummary};
use forge_api::problem::ProblemBody;
use forge_api::requests::{self, ReasonRequest};
use forge_api::submit::{self, JobRequest};
use forge_api::{Code, Problem, page::Page, text};
use forge_event::*;
use forge_projections::jobs::{Job as Known, JobState};
use forge_projections::{Families, Rejection, World};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// How long a cancelled job may take to show it.
const CANCEL_WAIT: Duration = Duration::from_secs(8);

/// The job, if the caller may see it.
pub fn seen<'w>(world: &'w World, call: &Call, id: &str) -> Result<(JobId, &'w Known), Problem> {
    let missing = || Problem::not_found(format!("job {id}"));
    let number: JobId = id.parse().map_err(|_| missing())?;
    let job = world.jobs.jobs.get(&number).ok_or_else(missing)?;
    if call.may_see(world, job.project()) { Ok((number, job)) } else { Err(missing()) }
}

/// Submits a job.
#[utoipa::path(post, path = "/v1/jobs", operation_id = "submitJob", tag = "jobs", request_body = JobRequest,
    responses((status = 201, body = Job), (status = "4XX", body = ProblemBody), (status = "5XX", body = ProblemBody)),
    security(("key" = ["jobs:write"])))]
pub async fn submit(call: Call, body: Body) -> Answered {
    call.need(&[Scope::JobsWrite])?;
    let project = call.project()?;
    let body = call.body(body).await?;
    let wait = Wait::of(&call)?;
    let submission = submit::read(&body, project, call.rest.hub().families())?;
    if call.replayed(&body)?.is_none() {
        check_inputs(&call, &submission).await?;
    }
    if let Some(expected) = &submission.expect_plan
        && call.replayed(&body)?.is_none()
    {
        let digest = Digest::of(&planned(&call, &submission).await?.body).to_string();
        if !digest.trim_start_matches("blake3:").starts_with(expected.as_str()) {
            let detail = format!("expected the plan blake3:{expected}, it is now {digest}");
            let problem = Problem::new(Code::PlanChanged, detail);
            return Err(problem.with("expected", format!("blake3:{expected}")).with("actual", digest).into());
        }
    }
    let committed = call.commit(&body, submission.fact.clone()).await?;
    let id = JobId::born_at(committed.index);
    let born = Job::at_birth(id, &submission.fact, committed.at);
    let location = Some(format!("/v1/jobs/{id}"));
    let Some(wait) = wait else {
        let born = match committed.replayed {
            // The first submission's own words: defaults may have changed since.
            true => {
                call.rest.hub().read(|w| w.jobs.jobs.get(&id).map(|j| Job::at_birth(id, &j.submitted, j.created_at)))
            }
            false => None,
        }
        .unwrap_or(born);
        return Ok(call.created(&committed, location, &born));
    };
    let in_time = wait.until(&call, |w| is_final(w, id)).await;
    let families = call.rest.hub().families();
    let body = call.rest.hub().read(|w| w.jobs.jobs.get(&id).map(|j| Job::of(id, j, w, families))).unwrap_or(born);
    let mut response = call.created(&committed, location, &with_meta(&body, in_time));
    answer::set(response.headers_mut(), answer::PREFERENCE_APPLIED, &wait.applied());
    Ok(response)
}

fn is_final(world: &World, id: JobId) -> bool {
    world.jobs.jobs.get(&id).is_some_and(|j| j.state.is_final())
}

fn with_meta(job: &Job, in_time: bool) -> Value {
    let mut body = json!(job);
    body["meta"] = json!({"timed_out": !in_time});
    body
}

/// What a list of jobs is filtered by.
struct Filter {
    states: Option<Vec<String>>,
    kind: Option<String>,
    name: Option<String>,
    labels: Vec<(String, String)>,
    created: (Option<Timestamp>, Option<Timestamp>),
}

/// Parameters that page tokens are bound to.
const FILTERS: [&str; 5] = ["state", "kind", "name", "created_after", "created_before"];

impl Filter {
    fn of(call: &Call) -> Result<Filter, super::answer::Refused> {
        let states = call.query("state").map(|s| s.split(',').map(|s| s.trim().to_string()).collect());
        let labels = call.query_under("label.").map(|(k, v)| (k.to_string(), v.to_string())).collect();
        let created = (call.parsed("created_after", text::time)?, call.parsed("created_before", text::time)?);
        let (kind, name) = (call.query("kind").map(String::from), call.query("name").map(String::from));
        Ok(Filter { states, kind, name, labels, created })
    }

    fn takes(&self, job: &Known) -> bool {
        let fact = &job.submitted;
        let state = self.states.as_ref().is_none_or(|s| s.iter().any(|s| s == job.state.name()));
        let kind = self.kind.as_ref().is_none_or(|k| *k == fact.kind);
        let name = self.name.as_ref().is_none_or(|n| fact.name.as_ref() == Some(n));
        let labels = self.labels.iter().all(|label| fact.labels.contains(label));
        let after = self.created.0.is_none_or(|t| job.created_at > t);
        let before = self.created.1.is_none_or(|t| job.created_at < t);
        state && kind && name && labels && after && before
    }
}

/// Lists jobs, newest first.
#[utoipa::path(get, path = "/v1/jobs", operation_id = "listJobs", tag = "jobs",
    params(("state" = Option<String>, Query, description = "States, separated by commas"), ("kind" = Option<String>, Query),
        ("name" = Option<String>, Query), ("created_after" = Option<String>, Query), ("created_before" = Option<String>, Query),
        ("limit" = Option<u32>, Query), ("page_token" = Option<String>, Query), ("order" = Option<String>, Query)),
    responses((status = 200, body = Page<Job>), (status = "4XX", body = ProblemBody), (status = "5XX", body = ProblemBody)),
    security(("key" = ["jobs:read"])))]
pub async fn list(call: Call) -> Answered {
    call.need(&[Scope::JobsRead])?;
    let project = call.project()?;
    let (cut, filter) = (Cut::of(&call, &FILTERS, true)?, Filter::of(&call)?);
    let families = call.rest.hub().families();
    call.show(|world| {
        let found = |id: &JobId| world.jobs.jobs.get(id).filter(|j| filter.takes(j));
        let job = |id: &JobId| found(id).map(|j| (id.0, Job::of(*id, j, world, families)));
        let known = &world.jobs.by_project;
        let page = if cut.descending {
            let below = cut.after.unwrap_or(u64::MAX);
            let ids = known.iter().rev().map(|(k, ())| k).skip_while(|(p, j)| (*p, j.0) >= (project, below));
            cut.page(ids.take_while(|(p, _)| *p == project).filter_map(|(_, j)| job(j)), world.head.events)
        } else {
            let from = (project, JobId(cut.after.map_or(0, |a| a.saturating_add(1))));
            let ids = known.range_from(&from).map(|(k, ())| k).take_while(|(p, _)| *p == project);
            cut.page(ids.filter_map(|(_, j)| job(j)), world.head.events)
        };
        Ok(page)
    })
    .await
}

/// Counts jobs by state and kind.
#[utoipa::path(get, path = "/v1/jobs/summary", operation_id = "summarizeJobs", tag = "jobs",
    responses((status = 200, body = JobSummary), (status = "4XX", body = ProblemBody), (status = "5XX", body = ProblemBody)),
    security(("key" = ["jobs:read"])))]
pub async fn summary(call: Call) -> Answered {
    call.need(&[Scope::JobsRead])?;
    let project = call.project()?;
    call.show(|world| {
        let (mut states, mut kinds, mut total) = (BTreeMap::new(), BTreeMap::new(), 0u64);
        let from = (project, JobId(0));
        for (_, id) in world.jobs.by_project.range_from(&from).map(|(k, ())| k).take_while(|(p, _)| *p == project) {
            let Some(job) = world.jobs.jobs.get(id) else { continue };
            total += 1;
            *states.entry(job.state.name()).or_insert(0u64) += 1;
            *kinds.entry(job.submitted.kind.as_str()).or_insert(0u64) += 1;
        }
        let counts = |m: BTreeMap<&str, u64>| m.into_iter().map(|(k, n)| (k.into(), n.into())).collect::<Map<_, _>>();
        let (by_state, by_kind) = (counts(states), counts(kinds));
        Ok(JobSummary { total, by_state, by_kind, as_of_index: world.head.events })
    })
    .await
}

/// Shows a job; may wait until it changed or ended.
#[utoipa::path(get, path = "/v1/jobs/{id}", operation_id = "getJob", tag = "jobs",
    params(("id" = String, Path), ("wait" = Option<String>, Query, description = "At most 60s"),
        ("until" = Option<String>, Query, description = "terminal"), ("since" = Option<u64>, Query)),
    responses((status = 200, body = Job), (status = 304, description = "Not modified"),
        (status = "4XX", body = ProblemBody), (status = "5XX", body = ProblemBody)),
    security(("key" = ["jobs:read"])))]
pub async fn show(call: Call, Path(id): Path<String>) -> Answered {
    call.need(&[Scope::JobsRead])?;
    let wait = Wait::of(&call)?;
    let fresh = call.settle().await?;
    let number = call.rest.hub().read(|w| seen(w, &call, &id).map(|(id, _)| id))?;
    let mut in_time = true;
    if let Some(wait) = wait {
        let changed = |w: &World| match wait.since {
            Some(since) => w.jobs.jobs.get(&number).is_some_and(|j| j.updated.0 > since),
            None => is_final(w, number),
        };
        in_time = wait.until(&call, changed).await;
        call.still_allowed()?;
    }
    let families = call.rest.hub().families();
    let shown = |n: JobId, j: &Known, w: &World| explained(n, j, w, families).with_metadata(j, families);
    let read = |w: &World| seen(w, &call, &id).map(|(n, j)| (w.head.events, Job::etag(n, j), shown(n, j, w)));
    let (index, etag, job) = call.rest.hub().read(read)?;
    let body = || match wait {
        Some(_) => answer::json(StatusCode::OK, &with_meta(&job, in_time)),
        None => answer::json(StatusCode::OK, &job),
    };
    let mut response = answer::unless_matching(&call.headers, &etag, body);
    if let Some(wait) = wait {
        answer::set(response.headers_mut(), answer::PREFERENCE_APPLIED, &wait.applied());
    }
    Ok(fresh.mark(answer::at(response, EventIndex(index))))
}

/// A job, with its waiting reason from the decider's own search.
fn explained(id: JobId, known: &Known, world: &World, families: &dyn Families) -> Job {
    let mut job = Job::of(id, known, world, families);
    if let (Some(reason), Some(why)) = (&mut job.waiting_reason, world.explain_job(id, false)) {
        if let Ok(Value::String(code)) = serde_json::to_value(why.decisive.code) {
            reason.code = code;
        }
        reason.text = why.headline;
    }
    job
}

/// Cancels a job; 200 means that the cancellation is committed.
#[utoipa::path(post, path = "/v1/jobs/{id}/cancel", operation_id = "cancelJob", tag = "jobs",
    params(("id" = String, Path)), request_body = ReasonRequest,
    responses((status = 200, body = Job), (status = "4XX", body = ProblemBody), (status = "5XX", body = ProblemBody)),
    security(("key" = ["jobs:write"])))]
pub async fn cancel(call: Call, Path(id): Path<String>, body: Body) -> Answered {
    call.need(&[Scope::JobsWrite])?;
    let body = call.body_or_empty(body).await?;
    let reason = requests::reason(&body)?;
    call.settle().await?;
    let read = |w: &World| seen(w, &call, &id).map(|(n, j)| (n, j.state, Job::etag(n, j)));
    let (job, state, etag) = call.rest.hub().read(read)?;
    let mut replayed = call.replayed(&body)?.is_some();
    if !replayed {
        call.if_match(&etag)?;
    }
    if !state.is_final() {
        match call.commit(&body, JobCancelRequested { job, reason }).await {
            Ok(committed) => replayed = committed.replayed,
            // It ended while we asked; what it became decides.
            Err(refused) if refused.0.code == Code::InvalidTransition => {
                call.rest.hub().barrier().await?;
            }
            Err(refused) => return Err(refused),
        }
        let wait = Wait { span: DurationMs(CANCEL_WAIT.as_millis() as u64), since: None };
        if !wait.until(&call, |w| is_final(w, job)).await {
            return Err(Problem::new(Code::OutcomeUnknown, "the job was asked to stop and has not stopped yet").into());
        }
    }
    let mut response = cancelled(&call, job)?;
    if replayed {
        answer::set(response.headers_mut(), answer::REPLAYED, "true");
    }
    Ok(response)
}

fn cancelled(call: &Call, id: JobId) -> Answered {
    let families = call.rest.hub().families();
    let shown = |j: &Known, w: &World| (w.head.events, j.state, j.ended, Job::of(id, j, w, families));
    let read = |w: &World| w.jobs.jobs.get(&id).map(|j| shown(j, w));
    let Some((index, state, ended, job)) = call.rest.hub().read(read) else {
        return Err(Problem::not_found(format!("job {id}")).into());
    };
    if state == JobState::Cancelled {
        let response: Response = answer::json(StatusCode::OK, &job);
        return Ok(answer::at(response, EventIndex(index)));
    }
    let reason = match ended {
        Some(ended) => format!("job already {} at index {ended}", state.name()),
        None => format!("job is {}", state.name()),
    };
    Err(Rejection::InvalidTransition { asked: "cancel".into(), reason }.into())
}
