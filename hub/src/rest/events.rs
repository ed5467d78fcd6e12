//! Events: a page of history, or a stream (SSE) off the log.

use super::answer::{self, Answered, Refused};
use super::call::Call;
use super::jobs::seen;
use super::stream::{self, Follow, Selection};
use axum::body::Body;
use axum::extract::Path;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::sse::{KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use forge_api::event::CloudEvent;
use forge_api::problem::ProblemBody;
use forge_api::{Problem, page};
use forge_event::*;
use std::time::Duration;

const HEARTBEAT: Duration = Duration::from_secs(15);

/// A job's events: history, or with `Accept: text/event-stream` history and then live ones.
#[utoipa::path(get, path = "/v1/jobs/{id}/events", operation_id = "listJobEvents", tag = "events",
    params(("id" = String, Path), ("type" = Option<String>, Query, description = "Names, `*` for any ending"),
        ("after" = Option<u64>, Query), ("until" = Option<String>, Query, description = "`terminal`: the stream ends with the job"),
        ("limit" = Option<u32>, Query), ("page_token" = Option<String>, Query), ("order" = Option<String>, Query)),
    responses((status = 200, body = page::Page<CloudEvent>), (status = "4XX", body = ProblemBody), (status = "5XX", body = ProblemBody)),
    security(("key" = ["jobs:read"])))]
pub async fn of_job(call: Call, Path(id): Path<String>) -> Answered {
    call.need(&[Scope::JobsRead])?;
    call.settle().await?;
    let job = call.rest.hub().read(|w| seen(w, &call, &id).map(|(id, _)| id))?;
    let types = call.query("type").map(String::from);
    // Nothing of a job stands before its birth.
    let start = EventIndex(job.0 - 1);
    answer(call, Selection { job: Some(job), types, project: None, subject: None }, start).await
}

/// The cluster's events, or those of the key's project: history, or a stream.
#[utoipa::path(get, path = "/v1/events", operation_id = "listEvents", tag = "events",
    params(("subject" = Option<String>, Query), ("type" = Option<String>, Query), ("after" = Option<u64>, Query),
        ("limit" = Option<u32>, Query), ("page_token" = Option<String>, Query), ("order" = Option<String>, Query)),
    responses((status = 200, body = page::Page<CloudEvent>), (status = "4XX", body = ProblemBody), (status = "5XX", body = ProblemBody)),
    security(("key" = ["audit:read"]), ("key" = ["jobs:read"])))]
pub async fn all(call: Call) -> Answered {
    call.need(&[Scope::AuditRead, Scope::JobsRead])?;
    call.settle().await?;
    let project = match call.has(Scope::AuditRead) && call.query("project").is_none() {
        true => None,
        false => Some(call.project()?),
    };
    let (mut job, mut subject) = (None, None);
    match call.query("subject").map(|s| (s, s.parse::<JobId>())) {
        Some((_, Ok(id))) => job = Some(id),
        Some((other, Err(_))) => subject = Some(other.to_string()),
        None => {}
    }
    if let (Some(id), true) = (job, project.is_some()) {
        call.rest.hub().read(|w| seen(w, &call, &id.to_string()).map(drop))?;
    }
    let types = call.query("type").map(String::from);
    let start = EventIndex(job.map_or(0, |j| j.0.saturating_sub(1)));
    answer(call, Selection { job, types, project, subject }, start).await
}

async fn answer(call: Call, selection: Selection, start: EventIndex) -> Answered {
    let accept = call.headers.get(header::ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or_default();
    if accept.contains("text/event-stream") {
        return follow(&call, selection, start);
    }
    let filters = ["type", "subject", "after"];
    let cut = super::list::Cut::of(&call, &filters, false)?;
    let after = after(&call)?.unwrap_or(start).max(start);
    let as_of_index = *call.rest.hub().applied().borrow();
    let (data, last) = match cut.descending {
        false => {
            let after = cut.after.map_or(after, EventIndex);
            stream::page(&call.rest, &selection, after, cut.limit).await?
        }
        true => {
            let upto = cut.after.map_or(as_of_index, |before| EventIndex(before.saturating_sub(1)).min(as_of_index));
            stream::page_back(&call.rest, &selection, after, upto, cut.limit).await?
        }
    };
    if accept.contains("application/x-ndjson") {
        let lines: String = data.iter().map(|e| format!("{}\n", e.text)).collect();
        let response = answer::bytes_as(StatusCode::OK, "application/x-ndjson", Body::from(lines));
        return Ok(answer::at(response, as_of_index));
    }
    let next_page_token = last.map(|last| cut.token(last.0));
    let data = data.iter().map(|e| e.value()).collect();
    let page = page::Page { data, next_page_token, as_of_index: as_of_index.0 };
    Ok(answer::at(answer::json(StatusCode::OK, &page), as_of_index))
}

fn follow(call: &Call, selection: Selection, start: EventIndex) -> Answered {
    let until_terminal = match call.query("until") {
        None => false,
        Some("terminal") => true,
        Some(_) => return Err(Problem::bad_parameter("until", "it is terminal").into()),
    };
    // What was seen last wins over where the caller once began.
    let resumed = call.headers.get("last-event-id").and_then(|v| v.to_str().ok());
    let resumed = resumed.map(str::parse::<u64>).transpose();
    let resumed = resumed.map_err(|_| Problem::bad_parameter("Last-Event-ID", "it is an index"))?.map(EventIndex);
    let after = match resumed {
        Some(index) => index.max(start),
        None => after(call)?.map_or(start, |after| after.max(start)),
    };
    let follow = Follow::new(call, selection, after, until_terminal)?;
    let stream = Sse::new(follow.frames()).keep_alive(KeepAlive::new().interval(HEARTBEAT).text("alive"));
    let mut response: Response = stream.into_response();
    response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

fn after(call: &Call) -> Result<Option<EventIndex>, Refused> {
    Ok(call.parsed("after", str::parse::<u64>)?.map(EventIndex))
}
