//! Why something waits: the projections' own pure query, as JSON.

use super::answer::Answered;
use super::call::Call;
use super::jobs::seen;
use axum::extract::Path;
use forge_api::Problem;
use forge_api::problem::ProblemBody;
use forge_event::*;

/// Whether other agents may be named to this caller: a client must not learn who holds a copy of what is open.
pub fn sees_names(call: &Call) -> bool {
    [Scope::ClusterAdmin, Scope::AuditRead, Scope::AgentsAdmin].into_iter().any(|scope| call.has(scope))
}

/// Explains what a job waits for.
#[utoipa::path(get, path = "/v1/jobs/{id}/explain", operation_id = "explainJob", tag = "explain", params(("id" = String, Path)),
    responses((status = 200, description = "Headline, decisive reason, funnel"), (status = "4XX", body = ProblemBody),
        (status = "5XX", body = ProblemBody)),
    security(("key" = ["jobs:read"])))]
pub async fn job(call: Call, Path(id): Path<String>) -> Answered {
    call.need(&[Scope::JobsRead])?;
    call.show(|world| {
        let (job, _) = seen(world, &call, &id)?;
        world.explain_job(job, sees_names(&call)).ok_or_else(|| Problem::not_found(format!("job {id}")))
    })
    .await
}

/// Explains why a shard is not running.
#[utoipa::path(get, path = "/v1/shards/{id}/explain", operation_id = "explainShard", tag = "explain", params(("id" = String, Path)),
    responses((status = 200, description = "Headline, decisive reason, funnel"), (status = "4XX", body = ProblemBody),
        (status = "5XX", body = ProblemBody)),
    security(("key" = ["jobs:read"])))]
pub async fn shard(call: Call, Path(id): Path<String>) -> Answered {
    call.need(&[Scope::JobsRead])?;
    let missing = || Problem::not_found(format!("shard {id}"));
    let shard: ShardId = id.parse().map_err(|_| missing())?;
    call.show(|world| {
        seen(world, &call, &shard.job.to_string()).map_err(|_| missing())?;
        world.explain_shard(shard, sees_names(&call)).ok_or_else(missing)
    })
    .await
}

/// Explains why an agent has no work.
#[utoipa::path(get, path = "/v1/agents/{id}/explain", operation_id = "explainAgent", tag = "explain", params(("id" = String, Path)),
    responses((status = 200, description = "Headline, decisive reason, funnel"), (status = "4XX", body = ProblemBody),
        (status = "5XX", body = ProblemBody)),
    security(("key" = ["agents:admin"])))]
pub async fn agent(call: Call, Path(id): Path<String>) -> Answered {
    call.need(&[Scope::AgentsAdmin, Scope::ClusterAdmin])?;
    let missing = || Problem::not_found(format!("agent {id}"));
    let agent: AgentId = id.parse().map_err(|_| missing())?;
    call.show(|world| world.explain_agent(agent, true).ok_or_else(missing)).await
}
