//! The canonical result document of a job, to the byte.

use super::answer::{self, Answered};
use super::call::Call;
use super::jobs::seen;
use axum::extract::Path;
use axum::http::StatusCode;
use forge_api::problem::ProblemBody;
use forge_api::{Code, Problem};
use forge_event::{Digest, EventIndex, Scope};
use forge_projections::World;
use forge_projections::jobs::JobState;
use std::sync::Arc;

/// A document with its digest and the index it was read at.
type Document = (u64, Digest, Arc<[u8]>);

/// Gives the result of a succeeded job.
#[utoipa::path(get, path = "/v1/jobs/{id}/result", operation_id = "getJobResult", tag = "jobs",
    params(("id" = String, Path), ("version" = Option<u32>, Query)),
    responses((status = 200, description = "The canonical result document", content_type = "application/json"),
        (status = 304, description = "Not modified"), (status = "4XX", body = ProblemBody), (status = "5XX", body = ProblemBody)),
    security(("key" = ["jobs:read"])))]
pub async fn show(call: Call, Path(id): Path<String>) -> Answered {
    call.need(&[Scope::JobsRead])?;
    let version = call.parsed("version", str::parse::<u32>)?;
    let fresh = call.settle().await?;
    let (index, digest, document) = call.rest.hub().read(|w| document(w, &call, &id, version))?;
    let body = || answer::bytes_as(StatusCode::OK, "application/json", document.to_vec());
    let mut response = answer::unless_matching(&call.headers, &format!("\"{digest}\""), body);
    answer::set(response.headers_mut(), answer::RESULT_DIGEST, &digest.to_string());
    Ok(fresh.mark(answer::at(response, EventIndex(index))))
}

fn document(world: &World, call: &Call, id: &str, version: Option<u32>) -> Result<Document, Problem> {
    let (number, job) = seen(world, call, id)?;
    let ended = job.ended.map_or_else(String::new, |i| format!(" at index {i}"));
    match job.state {
        JobState::Succeeded => {}
        JobState::Failed | JobState::Cancelled => {
            return Err(Problem::new(Code::NoResult, format!("job {number} {}{ended}", job.state.name())));
        }
        state => return Err(Problem::new(Code::NotFinished, format!("job {number} is {}", state.name()))),
    }
    let result = job.result.as_ref().ok_or_else(|| Problem::new(Code::Internal, Code::Internal.example()))?;
    if version.is_some_and(|v| v != result.version) {
        return Err(Problem::not_found(format!("version {} of the result of {number}", version.unwrap_or_default())));
    }
    let missing =
        || Problem::new(Code::NotYet, "the result is too large to travel in the log; blobs are not available yet");
    let bytes = result.document.clone().ok_or_else(missing)?;
    Ok((world.head.events, result.digest, bytes))
}
