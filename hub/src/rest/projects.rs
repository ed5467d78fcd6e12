//! Projects and their credits.

use super::answer::{self, Answered};
use super::call::Call;
use super::list::Cut;
use axum::body::Body;
use axum::extract::Path;
use axum::http::{StatusCode, header};
use forge_api::ledger::Transfer;
use forge_api::problem::ProblemBody;
use forge_api::project::{self as api, Project};
use forge_api::requests::{self, CreditsRequest, ProjectRequest, QuotaRequest};
use forge_api::{Problem, page::Page};
use forge_event::*;
use forge_projections::World;
use forge_projections::projects::Project as Known;

/// The id, if the caller may see that project. Operators see all.
fn seen(call: &Call, id: &str) -> Result<ProjectId, Problem> {
    let number: Option<ProjectId> = id.parse().ok();
    let may = number.filter(|p| call.has(Scope::ClusterAdmin) || call.own_project() == Some(*p));
    may.ok_or_else(|| Problem::not_found(format!("project {id}")))
}

/// Creates a project.
#[utoipa::path(post, path = "/v1/projects", operation_id = "createProject", tag = "projects", request_body = ProjectRequest,
    responses((status = 201, body = Project), (status = "4XX", body = ProblemBody), (status = "5XX", body = ProblemBody)),
    security(("key" = ["cluster:admin"])))]
pub async fn create(call: Call, body: Body) -> Answered {
    call.need(&[Scope::ClusterAdmin])?;
    let body = call.body(body).await?;
    let fact = requests::project(&body)?;
    let committed = call.commit(&body, fact.clone()).await?;
    let id = ProjectId::born_at(committed.index);
    // As of its birth, so that a replay answers the same.
    let quota = Quota { credits: fact.quota, ..Quota::default() };
    let born = Known::new(fact.name, fact.weight, quota, committed.index);
    let project = Project::of(id, &born, &World::default(), 0);
    Ok(call.created(&committed, Some(format!("/v1/projects/{id}")), &project))
}

/// Lists the projects the key may see.
#[utoipa::path(get, path = "/v1/projects", operation_id = "listProjects", tag = "projects",
    params(("name" = Option<String>, Query),
        ("limit" = Option<u32>, Query), ("page_token" = Option<String>, Query), ("order" = Option<String>, Query)),
    responses((status = 200, body = Page<Project>), (status = "4XX", body = ProblemBody), (status = "5XX", body = ProblemBody)),
    security(("key" = [])))]
pub async fn list(call: Call) -> Answered {
    let cut = Cut::of(&call, &["name"], false)?;
    let name = call.query("name");
    call.show(|world| {
        let all = call.has(Scope::ClusterAdmin);
        let projects = cut.walk(world.projects.projects.iter()).filter(|(id, _)| cut.is_behind(id.0));
        let projects = projects.filter(|(_, p)| name.is_none_or(|n| p.name == n));
        let projects = projects.filter(|(id, _)| all || call.own_project() == Some(**id));
        let used = world.vmem_used();
        let used = |id: &ProjectId| used.get(id).copied().unwrap_or(0);
        Ok(cut.page(projects.map(|(id, p)| (id.0, Project::of(*id, p, world, used(id)))), world.head.events))
    })
    .await
}

/// Shows a project.
#[utoipa::path(get, path = "/v1/projects/{id}", operation_id = "getProject", tag = "projects", params(("id" = String, Path)),
    responses((status = 200, body = Project), (status = "4XX", body = ProblemBody), (status = "5XX", body = ProblemBody)),
    security(("key" = [])))]
pub async fn show(call: Call, Path(id): Path<String>) -> Answered {
    let number = seen(&call, &id)?;
    call.show(|world| {
        let project = world.projects.projects.get(&number);
        let used = world.vmem_used().remove(&number).unwrap_or(0);
        project.map(|p| Project::of(number, p, world, used)).ok_or_else(|| Problem::not_found(format!("project {id}")))
    })
    .await
}

/// Shows what a project may use, and what it uses.
#[utoipa::path(get, path = "/v1/projects/{id}/quota", operation_id = "getQuota", tag = "projects", params(("id" = String, Path)),
    responses((status = 200, body = api::Quota), (status = "4XX", body = ProblemBody), (status = "5XX", body = ProblemBody)),
    security(("key" = [])))]
pub async fn quota(call: Call, Path(id): Path<String>) -> Answered {
    let number = seen(&call, &id)?;
    let fresh = call.settle().await?;
    let read = |world: &World| of(world, number).map(|(set, quota)| (EventIndex(world.head.events), set, quota));
    let (index, set, quota) = call.rest.hub().read(read)?;
    let etag = api::Quota::etag(number, set);
    let response = answer::unless_matching(&call.headers, &etag, || answer::json(StatusCode::OK, &quota));
    Ok(fresh.mark(answer::at(response, index)))
}

/// A project's quota, and the event that set it.
fn of(world: &World, id: ProjectId) -> Result<(EventIndex, api::Quota), Problem> {
    let project = world.projects.projects.get(&id).ok_or_else(|| Problem::not_found(format!("project {id}")))?;
    Ok((project.quota_set, api::Quota::of(id, project)))
}

/// Sets what a project may use. `If-Match`: only if nobody changed it meanwhile.
#[utoipa::path(put, path = "/v1/projects/{id}/quota", operation_id = "setQuota", tag = "projects",
    params(("id" = String, Path), ("If-Match" = Option<String>, Header)), request_body = QuotaRequest,
    responses((status = 200, body = api::Quota), (status = "4XX", body = ProblemBody), (status = "5XX", body = ProblemBody)),
    security(("key" = ["cluster:admin"])))]
pub async fn set_quota(call: Call, Path(id): Path<String>, body: Body) -> Answered {
    let number = seen(&call, &id)?;
    call.need(&[Scope::ClusterAdmin])?;
    let body = call.body(body).await?;
    let quota = requests::quota(&body)?;
    call.settle().await?;
    let (set, _) = call.rest.hub().read(|world| of(world, number))?;
    if call.replayed(&body)?.is_none() {
        call.if_match(&api::Quota::etag(number, set))?;
    }
    // Admission looks again: nobody comes in between.
    let replaces = call.headers.contains_key(header::IF_MATCH).then_some(set);
    let committed = call.commit(&body, QuotaChanged { project: number, quota, replaces }).await?;
    let (set, quota) = call.rest.hub().read(|world| of(world, number))?;
    let mut response = answer::at(answer::json(StatusCode::OK, &quota), committed.index);
    answer::set(response.headers_mut(), header::ETAG, &api::Quota::etag(number, set));
    Ok(response)
}

/// Issues credits to a project.
#[utoipa::path(post, path = "/v1/projects/{id}/credits", operation_id = "issueCredits", tag = "projects",
    params(("id" = String, Path)), request_body = CreditsRequest,
    responses((status = 201, body = Transfer), (status = "4XX", body = ProblemBody), (status = "5XX", body = ProblemBody)),
    security(("key" = ["cluster:admin"])))]
pub async fn issue(call: Call, Path(id): Path<String>, body: Body) -> Answered {
    let number = seen(&call, &id)?;
    call.need(&[Scope::ClusterAdmin])?;
    let body = call.body(body).await?;
    let fact = requests::credits(&body, number)?;
    let committed = call.commit(&body, fact.clone()).await?;
    let transfer = Transfer {
        transfer: TransferId::born_at(committed.index).to_string(),
        project: number.to_string(),
        amount: fact.amount.to_string(),
        reference: fact.reference,
    };
    Ok(call.created(&committed, None, &transfer))
}
