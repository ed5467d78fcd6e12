//! The log itself: entries, export, digest of the state.

use super::answer::{self, Answered};
use super::call::Call;
use super::list::Cut;
use super::refold::{Refold, Upto};
use axum::body::Body;
use axum::extract::Path;
use axum::http::{HeaderValue, StatusCode, header};
use forge_api::cluster::StateDigest;
use forge_api::problem::ProblemBody;
use forge_api::{Code, Problem, page::Page};
use forge_event::*;
use forge_projections::export::Exported;
use serde_json::{Value, json};

fn not_there(index: impl std::fmt::Display) -> Problem {
    Problem::not_found(format!("event {index}"))
}

/// Events `from..=to` as they are decoded, with the chain's digests.
#[utoipa::path(get, path = "/v1/log", operation_id = "readLog", tag = "log",
    params(("from" = Option<u64>, Query), ("to" = Option<u64>, Query), ("limit" = Option<u32>, Query),
        ("page_token" = Option<String>, Query), ("order" = Option<String>, Query)),
    responses((status = 200, description = "A page of entries"), (status = "4XX", body = ProblemBody), (status = "5XX", body = ProblemBody)),
    security(("key" = ["audit:read"])))]
pub async fn read(call: Call) -> Answered {
    call.need(&[Scope::AuditRead])?;
    let cut = Cut::of(&call, &["from", "to"], false)?;
    let fresh = call.settle().await?;
    let end = *call.rest.hub().applied().borrow();
    let from = call.parsed("from", str::parse::<u64>)?.unwrap_or(1).max(1);
    let to = call.parsed("to", str::parse::<u64>)?.unwrap_or(u64::MAX).min(end.0);
    let limit = cut.limit as u64;
    let (first, last) = match cut.descending {
        false => {
            let first = cut.after.map_or(from, |after| after.saturating_add(1).max(from));
            (first, to.min(first.saturating_add(limit - 1)))
        }
        true => {
            let last = cut.after.map_or(to, |after| after.saturating_sub(1).min(to));
            (from.max(last.saturating_sub(limit - 1)), last)
        }
    };
    let mut data = entries(&call, first, last).await?;
    if cut.descending {
        data.reverse();
    }
    let (shown_to, more) = if cut.descending { (first, first > from) } else { (last, last < to) };
    let next_page_token = (more && !data.is_empty()).then(|| cut.token(shown_to));
    let page = Page { data, next_page_token, as_of_index: end.0 };
    Ok(fresh.mark(answer::at(answer::json(StatusCode::OK, &page), end)))
}

/// Shows one event with the chain's digests before and after its turn.
#[utoipa::path(get, path = "/v1/log/{index}", operation_id = "getLogEntry", tag = "log", params(("index" = u64, Path)),
    responses((status = 200, description = "The entry"), (status = "4XX", body = ProblemBody), (status = "5XX", body = ProblemBody)),
    security(("key" = ["audit:read"])))]
pub async fn show(call: Call, Path(index): Path<String>) -> Answered {
    call.need(&[Scope::AuditRead])?;
    let number = index.parse::<u64>().ok().filter(|i| *i > 0).ok_or_else(|| not_there(&index))?;
    let fresh = call.settle().await?;
    let end = *call.rest.hub().applied().borrow();
    if number > end.0 {
        return Err(not_there(number).into());
    }
    let entry = entries(&call, number, number).await?.pop().ok_or_else(|| not_there(number))?;
    Ok(fresh.mark(answer::at(answer::json(StatusCode::OK, &entry), end)))
}

/// Events `from..=to` with all that the fold knows of them, and the chain's digests around their turns.
async fn entries(call: &Call, from: u64, to: u64) -> Result<Vec<Value>, super::answer::Refused> {
    let mut data = Vec::new();
    if from > to {
        return Ok(data);
    }
    let refold = Refold::new(&call.rest, EventIndex(from), Upto::TurnOf(EventIndex(to))).await?;
    let each = |events: Vec<Exported>, before: &Head, after: &Head| {
        for event in events {
            let mut line: Value = serde_json::from_str(&event.line()).expect("an event is rendered as JSON");
            line["hash"] = json!(after.digest.to_string());
            line["previous_hash"] = json!(before.digest.to_string());
            data.push(line);
        }
    };
    refold.each(each).await?;
    Ok(data)
}

/// Streams the log, to be verified and replayed elsewhere; answered by the node asked.
#[utoipa::path(get, path = "/v1/log/export", operation_id = "exportLog", tag = "log",
    params(("from" = Option<u64>, Query), ("to" = Option<u64>, Query, description = "Rounded down to the end of a turn"),
        ("format" = Option<String>, Query, description = "forge or ndjson")),
    responses((status = 200, description = "The archive", content_type = "application/octet-stream"),
        (status = "4XX", body = ProblemBody), (status = "5XX", body = ProblemBody)),
    security(("key" = ["audit:read"])))]
pub async fn export(call: Call) -> Answered {
    call.need(&[Scope::AuditRead])?;
    let fresh = call.settle_here().await?;
    let end = *call.rest.hub().applied().borrow();
    let index = |name: &str| {
        call.parsed(name, |t| match t.parse::<u64>() {
            Ok(0) => Err("indices start at 1".to_string()),
            other => other.map_err(|e| e.to_string()),
        })
    };
    let from = EventIndex(index("from")?.unwrap_or(1));
    let to = EventIndex(index("to")?.unwrap_or(end.0)).min(end);
    if from > to {
        let detail = format!("events {from} to {to}: the log ends at {end}");
        return Err(Problem::bad_parameter("from", detail).into());
    }
    let (kind, body) = match call.query("format") {
        None | Some("forge") => ("application/octet-stream", Body::from_stream(call.rest.hub().log().export(from, to))),
        Some("ndjson") => ("application/x-ndjson", super::ndjson::body(&call.rest, from, to).await?),
        Some(_) => return Err(Problem::bad_parameter("format", "it is forge or ndjson").into()),
    };
    let mut response = answer::bytes_as(StatusCode::OK, kind, body);
    response.headers_mut().insert(header::CONTENT_DISPOSITION, HeaderValue::from_static("attachment"));
    Ok(fresh.mark(answer::at(response, end)))
}

/// The digest of this node's state; two nodes at one index agree.
#[utoipa::path(get, path = "/v1/state/digest", operation_id = "getStateDigest", tag = "log",
    params(("at" = Option<u64>, Query, description = "The state behind the turn that holds this event; folds the log again")),
    responses((status = 200, body = StateDigest), (status = "4XX", body = ProblemBody), (status = "5XX", body = ProblemBody)),
    security(("key" = ["audit:read"]), ("key" = ["cluster:admin"])))]
pub async fn digest(call: Call) -> Answered {
    call.need(&[Scope::AuditRead, Scope::ClusterAdmin])?;
    let fresh = call.settle_here().await?;
    let at = call.parsed("at", str::parse::<u64>)?.map(EventIndex);
    let present = call.rest.hub().read(Clone::clone);
    let world = match at {
        Some(at) if at.0 > present.head.events => return Err(not_there(at).into()),
        Some(at) if at.0 < present.head.events => {
            let all = |_: Vec<Exported>, _: &Head, _: &Head| ();
            Refold::new(&call.rest, EventIndex(at.0 + 1), Upto::TurnOf(at)).await?.each(all).await?
        }
        _ => present,
    };
    // Roots cost what was written since they were last taken: off the runtime.
    let taken = tokio::task::spawn_blocking(move || world.state_digest()).await;
    let taken = taken.map_err(|_| Problem::new(Code::Internal, Code::Internal.example()))?;
    Ok(fresh.mark(answer::at(answer::json(StatusCode::OK, &taken), taken.index)))
}
