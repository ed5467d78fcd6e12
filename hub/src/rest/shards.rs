//! Shards of a job.

use super::answer::{self, Answered};
use super::attempts::Attempts;
use super::call::Call;
use super::jobs::seen;
use super::list::Cut;
use axum::extract::Path;
use axum::http::StatusCode;
use forge_api::problem::ProblemBody;
use forge_api::shard::Shard;
use forge_api::{Problem, page::Page};
use forge_event::{EventIndex, Run, Scope, ShardId};

/// Shards that one page looks at: a filter over 10⁸ of them must not hold a request for long.
const SCAN_MAX: u64 = 20_000;

/// Lists the shards of a job, as many as are planned.
#[utoipa::path(get, path = "/v1/jobs/{id}/shards", operation_id = "listShards", tag = "jobs",
    params(("id" = String, Path), ("state" = Option<String>, Query, description = "States, separated by commas"),
        ("limit" = Option<u32>, Query), ("page_token" = Option<String>, Query), ("order" = Option<String>, Query)),
    responses((status = 200, body = Page<Shard>), (status = "4XX", body = ProblemBody), (status = "5XX", body = ProblemBody)),
    security(("key" = ["jobs:read"])))]
pub async fn list(call: Call, Path(id): Path<String>) -> Answered {
    call.need(&[Scope::JobsRead])?;
    let cut = Cut::of(&call, &["state"], false)?;
    let states = call.words("state");
    let fresh = call.settle().await?;
    let hub = call.rest.hub();
    let (job, count, ended, upto) =
        hub.read(|w| seen(w, &call, &id).map(|(id, job)| (id, job.shard_count, job.ended, EventIndex(w.head.events))))?;
    // Keys of the page tokens are shard numbers from 1: a page behind 0 is the first.
    let (first, last) = match (cut.descending, cut.after) {
        (false, after) => {
            let first = after.unwrap_or(0) + 1;
            // Without a filter a page looks at what it shows, and at one more.
            let shown = if states.is_some() { SCAN_MAX } else { cut.limit as u64 + 1 };
            (first, count.min(first.saturating_add(shown - 1)))
        }
        (true, after) => {
            let last = after.map_or(count, |after| after.saturating_sub(1)).min(count);
            let shown = if states.is_some() { SCAN_MAX } else { cut.limit as u64 + 1 };
            (last.saturating_sub(shown - 1).max(1), last)
        }
    };
    if first > last {
        let empty: Page<Shard> = Page { data: Vec::new(), next_page_token: None, as_of_index: upto.0 };
        return Ok(fresh.mark(answer::at(answer::json(StatusCode::OK, &empty), upto)));
    }
    let number = |key: u64| u32::try_from(key - 1).expect("a job has fewer than 2^32 shards");
    let window = Run { first: number(first), last: number(last) };
    let attempts = Attempts::read(&call.rest, job, window, ended, upto).await?;
    let page = hub.read(|world| {
        let (_, known) = seen(world, &call, &id)?;
        let shards = cut.walk(first..=last).filter_map(|key| {
            let of = attempts.of(number(key));
            let shard = Shard::of(ShardId { job, shard: number(key) }, known, world, of, attempts.complete)?;
            states.as_ref().is_none_or(|s| s.contains(&shard.state.as_str())).then_some((key, shard))
        });
        let mut page = cut.page(shards, upto.0);
        let (end, more) = if cut.descending { (first, first > 1) } else { (last, last < count) };
        if page.next_page_token.is_none() && more {
            page.next_page_token = Some(cut.token(end));
        }
        Ok::<_, Problem>(page)
    })?;
    Ok(fresh.mark(answer::at(answer::json(StatusCode::OK, &page), upto)))
}

/// Shows a shard with all its attempts.
#[utoipa::path(get, path = "/v1/shards/{id}", operation_id = "getShard", tag = "jobs", params(("id" = String, Path)),
    responses((status = 200, body = Shard), (status = "4XX", body = ProblemBody), (status = "5XX", body = ProblemBody)),
    security(("key" = ["jobs:read"])))]
pub async fn show(call: Call, Path(id): Path<String>) -> Answered {
    call.need(&[Scope::JobsRead])?;
    let missing = || Problem::not_found(format!("shard {id}"));
    let shard: ShardId = id.parse().map_err(|_| missing())?;
    let fresh = call.settle().await?;
    let hub = call.rest.hub();
    let job = shard.job.to_string();
    let (ended, upto) = hub.read(|w| {
        let (_, known) = seen(w, &call, &job).map_err(|_| missing())?;
        let planned = u64::from(shard.shard) < known.shard_count;
        if planned { Ok((known.ended, EventIndex(w.head.events))) } else { Err(missing()) }
    })?;
    let window = Run { first: shard.shard, last: shard.shard };
    let attempts = Attempts::read(&call.rest, shard.job, window, ended, upto).await?;
    let shown = hub.read(|world| {
        let (_, known) = seen(world, &call, &job).map_err(|_| missing())?;
        Shard::of(shard, known, world, attempts.of(shard.shard), attempts.complete).ok_or_else(missing)
    })?;
    Ok(fresh.mark(answer::at(answer::json(StatusCode::OK, &shown), upto)))
}
