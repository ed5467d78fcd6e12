//! Shards of a job.

use super::answer::Answered;
use super::call::Call;
use super::jobs::seen;
use super::list::Cut;
use axum::extract::Path;
use forge_api::problem::ProblemBody;
use forge_api::shard::Shard;
use forge_api::{Problem, page::Page};
use forge_event::{Scope, ShardId};

/// Lists the shards of a job, as many as are planned.
#[utoipa::path(get, path = "/v1/jobs/{id}/shards", operation_id = "listShards", tag = "jobs",
    params(("id" = String, Path), ("state" = Option<String>, Query), ("limit" = Option<u32>, Query), ("page_token" = Option<String>, Query)),
    responses((status = 200, body = Page<Shard>), (status = "4XX", body = ProblemBody), (status = "5XX", body = ProblemBody)),
    security(("key" = ["jobs:read"])))]
pub async fn list(call: Call, Path(id): Path<String>) -> Answered {
    call.need(&[Scope::JobsRead])?;
    let cut = Cut::of(&call, &["state"], false)?;
    let state = call.query("state").map(String::from);
    call.show(|world| {
        let (job, known) = seen(world, &call, &id)?;
        // A filter over 10⁸ shards must not hold the state for long: a page looks at so many at the most.
        let first = cut.after.map_or(0, |a| a.saturating_add(1));
        let end = known.shard_count.min(first.saturating_add(SCAN_MAX));
        let shards = (first..end).filter_map(|n| {
            let shard = Shard::of(ShardId { job, shard: u32::try_from(n).ok()? }, known, world)?;
            state.as_ref().is_none_or(|s| *s == shard.state).then_some((n, shard))
        });
        let mut page = cut.page(shards, world.head.events);
        if page.next_page_token.is_none() && end < known.shard_count {
            page.next_page_token = Some(cut.token(end - 1));
        }
        Ok(page)
    })
    .await
}

/// Shards that one page looks at.
const SCAN_MAX: u64 = 20_000;

/// Shows a shard with its live attempts.
#[utoipa::path(get, path = "/v1/shards/{id}", operation_id = "getShard", tag = "jobs", params(("id" = String, Path)),
    responses((status = 200, body = Shard), (status = "4XX", body = ProblemBody), (status = "5XX", body = ProblemBody)),
    security(("key" = ["jobs:read"])))]
pub async fn show(call: Call, Path(id): Path<String>) -> Answered {
    call.need(&[Scope::JobsRead])?;
    let missing = || Problem::not_found(format!("shard {id}"));
    let shard: ShardId = id.parse().map_err(|_| missing())?;
    call.show(|world| {
        let (_, job) = seen(world, &call, &shard.job.to_string()).map_err(|_| missing())?;
        Shard::of(shard, job, world).ok_or_else(missing)
    })
    .await
}
