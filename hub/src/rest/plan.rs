//! Plans: what a submission would become, by the very planner that will cut it.

use super::answer::{Answered, Refused};
use super::call::Call;
use super::explain::sees_names;
use crate::blobs::{NoKeeping, UNREADABLE, View};
use crate::handle::Hub;
use axum::body::Body;
use forge_api::plan::{Capacity, Plan, PlannedCredits, PlannedShards, RejectedAgent, Replication, Seconds, Spans};
use forge_api::problem::ProblemBody;
use forge_api::submit::{self, JobRequest, Submission};
use forge_api::{Code, Problem, text};
use forge_event::*;
use forge_projections::FieldFault;
use forge_projections::World;
use forge_projections::accounting::Account;
use forge_projections::agents::Agent;
use forge_projections::decide::matches;
use forge_projections::family::{Past, Plan as FirstStage, PlanHints};

/// Agents that a plan lists as rejected.
const REJECTED_MAX: usize = 100;
/// Planning, admission, the seals' wait and reduction, beside the shards. Units: ms.
const AROUND_MS: u64 = 500;
/// The 95th percentile is taken to be so many times the median: slower machines, some retries.
const P95_TIMES: u64 = 2;

/// What a submission would become; nothing is committed.
#[utoipa::path(post, path = "/v1/plans", operation_id = "planJob", tag = "jobs", request_body = JobRequest,
    responses((status = 200, body = Plan), (status = "4XX", body = ProblemBody), (status = "5XX", body = ProblemBody)),
    security(("key" = ["jobs:read"]), ("key" = ["jobs:write"])))]
pub async fn plan(call: Call, body: Body) -> Answered {
    call.need(&[Scope::JobsRead, Scope::JobsWrite])?;
    let project = call.project()?;
    let body = call.body(body).await?;
    let submission = submit::read(&body, project, call.rest.hub().families())?;
    check_inputs(&call, &submission).await?;
    let first = planned(&call, &submission).await?;
    call.show(|world| described(&call, world, &submission, &first)).await
}

/// The first stage of a submission, as things stand; its inputs are looked into.
///
/// # Errors
/// What is wrong with the inputs, or with what they hold.
pub async fn planned(call: &Call, submission: &Submission) -> Result<FirstStage, Refused> {
    let hub = call.rest.hub().clone();
    let fact = submission.fact.clone();
    let slots = hub.read(|w| w.slots_for(&fact.requirements));
    let runtime = tokio::runtime::Handle::current();
    let work = move || {
        let family = hub.families().family(&fact.kind, fact.family_version);
        let family = family.ok_or_else(|| Problem::new(Code::Internal, "the family is gone"))?;
        let view = View { hub: &hub, runtime, keep: NoKeeping };
        let hints = PlanHints { shard_cells: fact.shard_cells, slots };
        family.plan(&Past::new(&fact.spec), hints, &view).map_err(|fault| {
            if let Some(problem) = unreadable(&hub, fault.code, &fault.detail) {
                return problem;
            }
            let pointer = "/spec".to_string();
            let fix = Some("change the spec, or the inputs that it names".to_string());
            Problem::fields(vec![FieldFault { pointer, code: fault.code.into(), detail: fault.detail, fix }])
        })
    };
    let planned = tokio::task::spawn_blocking(work).await;
    Ok(planned.map_err(|_| Problem::new(Code::Internal, "the planner ran into a bug"))??)
}

/// Looks into the blobs that a submission names, before anything is committed for it.
///
/// # Errors
/// Every fault, at the field that names the blob.
pub async fn check_inputs(call: &Call, submission: &Submission) -> Result<(), Refused> {
    let fact = &submission.fact;
    if fact.inputs.is_empty() {
        return Ok(());
    }
    call.rest.hub().barrier().await?;
    let hub = call.rest.hub().clone();
    hub.read(|w| w.inputs_known(fact))?;
    let fact = fact.clone();
    let runtime = tokio::runtime::Handle::current();
    let work = move || {
        let family = hub.families().family(&fact.kind, fact.family_version);
        let family = family.ok_or_else(|| Problem::new(Code::Internal, "the family is gone"))?;
        let view = View { hub: &hub, runtime, keep: NoKeeping };
        let faults = family.check_inputs(&fact.spec, &view).err().unwrap_or_default();
        if faults.is_empty() {
            return Ok(());
        }
        if let Some(problem) = faults.iter().find_map(|fault| unreadable(&hub, fault.code, &fault.detail)) {
            return Err(problem);
        }
        Err(Problem::fields(faults.into_iter().map(FieldFault::from).collect()))
    };
    let checked = tokio::task::spawn_blocking(work).await;
    Ok(checked.map_err(|_| Problem::new(Code::Internal, "reading the inputs ran into a bug"))??)
}

/// The problem where inputs cannot be read because the object store is away: that is no fault of the submission.
fn unreadable(hub: &Hub, code: &str, detail: &str) -> Option<Problem> {
    let away = code == UNREADABLE && hub.bucket().is_some();
    away.then(|| Problem::new(Code::BlobStoreUnavailable, detail))
}

/// The plan of a submission, as the API shows it.
fn described(call: &Call, world: &World, submission: &Submission, plan: &FirstStage) -> Result<Plan, Problem> {
    let fact = &submission.fact;
    let family = call.rest.hub().families().family(&fact.kind, fact.family_version);
    let family = family.ok_or_else(|| Problem::new(Code::Internal, "the family is gone"))?;
    let matching: Vec<_> = world.agents_for(&fact.requirements).collect();
    let slots = world.slots_for(&fact.requirements);
    let units = family.shard_cost_ns(&fact.spec, plan);
    let learnt = world.learnt_ns(&fact.kind, fact.family_version, &fact.requirements, units);
    let shard_ns = learnt.unwrap_or(units);
    let rate = world.cluster.prices().and_then(|p| p.prices.iter().find(|(k, _)| *k == fact.kind).map(|(_, r)| *r));
    let cost = rate.map_or(0, |rate| rate.of(u128::from(plan.shard_count)));
    let available = world.accounting.balance(Account::ProjectAvailable(fact.project));
    let mut warnings = Vec::new();
    if matching.is_empty() {
        warnings.push("no connected agent matches the requirements".to_string());
    }
    if !plan.last {
        warnings
            .push("further stages follow from what this one finds; shards, credits and times are of the first".into());
    }
    if available < cost as i128 {
        let available = text::micro(available);
        warnings.push(format!("the job needs {} credits; the project has {available} available", text::credits(cost)));
    }
    Ok(Plan {
        digest: Digest::of(&plan.body).to_string(),
        kind: fact.kind.clone(),
        shards: PlannedShards {
            count: plan.shard_count,
            est_seconds: seconds(shard_ns),
            est_basis: if learnt.is_some() { "learnt" } else { "model" }.into(),
        },
        // Policy 1 checks results for free and runs nothing twice.
        replication: Replication { floor: 0.0, expected_overhead: 0.0 },
        credits: PlannedCredits { low: text::credits(cost), high: text::credits(cost) },
        eta: eta(plan.shard_count, slots, shard_ns),
        capacity: Capacity {
            matching_agents: matching.len() as u64,
            idle: matching.iter().filter(|a| a.leases == 0).count() as u64,
        },
        rejected_agents: rejected(world, &fact.requirements, sees_names(call)),
        warnings,
        as_of_index: world.head.events,
    })
}

fn seconds(ns: u64) -> Seconds {
    Seconds { p50: ns as f64 / 1e9, p95: ns.saturating_mul(P95_TIMES) as f64 / 1e9 }
}

/// Every slot works on one shard at a time.
fn eta(shards: u64, slots: u32, shard_ns: u64) -> Option<Spans> {
    let rounds = shards.div_ceil(u64::from(Some(slots).filter(|slots| *slots > 0)?));
    let median = (u128::from(rounds) * u128::from(shard_ns)).div_ceil(1_000_000);
    let median = u64::try_from(median).unwrap_or(u64::MAX / 4).min(u64::MAX / 4);
    let span = |ms: u64| text::show_duration(DurationMs(ms + AROUND_MS));
    Some(Spans { p50: span(median), p95: span(median * P95_TIMES) })
}

fn rejected(world: &World, required: &Requirements, names: bool) -> Vec<RejectedAgent> {
    let refused = world.agents.agents.iter().filter_map(|(id, agent)| Some((id, refusal(world, agent, required)?)));
    let named =
        |(id, code): (&AgentId, &str)| RejectedAgent { agent: names.then(|| id.to_string()), code: code.into() };
    refused.take(REJECTED_MAX).map(named).collect()
}

/// The first thing that keeps an agent from the job's shards.
fn refusal(world: &World, agent: &Agent, required: &Requirements) -> Option<&'static str> {
    let Some(session) = &agent.session else { return Some("offline") };
    if session.draining {
        return Some("draining");
    }
    let class = world.scheduler.classes.get(agent.class() as usize)?;
    let lacks = |part: Requirements| !matches(class, &part);
    let none = Requirements::default;
    if lacks(Requirements { cpu_class: required.cpu_class.clone(), ..none() }) {
        Some("cpu-class")
    } else if lacks(Requirements { gpu: required.gpu.clone(), ..none() }) {
        Some("gpu")
    } else if agent.capabilities.mem_bytes < required.mem_bytes_min {
        Some("memory")
    } else if lacks(Requirements { regions: required.regions.clone(), ..none() }) {
        Some("region")
    } else if lacks(Requirements { software: required.software.clone(), ..none() }) {
        Some("software")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_as_many_rounds_away_as_the_slots_need() {
        let spans = eta(9, 4, 1_000_000_000).expect("there are slots");
        assert_eq!((spans.p50.as_str(), spans.p95.as_str()), ("3500ms", "6500ms"));
        assert_eq!(eta(9, 0, 1), None);
        assert!(eta(u64::MAX, 1, u64::MAX).is_some());
    }
}
