//! Providers: whoever is paid for what agents compute.

use super::answer::Answered;
use super::call::Call;
use super::list::Cut;
use axum::body::Body;
use axum::extract::Path;
use forge_api::agent::Provider;
use forge_api::problem::ProblemBody;
use forge_api::requests::{self, ProviderRequest};
use forge_api::{Problem, page::Page};
use forge_event::*;

const READERS: [Scope; 2] = [Scope::AgentsAdmin, Scope::ClusterAdmin];

/// Creates a provider.
#[utoipa::path(post, path = "/v1/providers", operation_id = "createProvider", tag = "agents", request_body = ProviderRequest,
    responses((status = 201, body = Provider), (status = "4XX", body = ProblemBody), (status = "5XX", body = ProblemBody)),
    security(("key" = ["agents:admin"])))]
pub async fn create(call: Call, body: Body) -> Answered {
    call.need(&[Scope::AgentsAdmin])?;
    let body = call.body(body).await?;
    let fact = requests::provider(&body)?;
    let committed = call.commit(&body, fact.clone()).await?;
    let id = ProviderId::born_at(committed.index);
    let nothing = || Credits(0).to_string();
    let provider = Provider {
        id: id.to_string(),
        name: fact.name,
        earned: nothing(),
        pending: nothing(),
        paid: nothing(),
        clawed_back: nothing(),
    };
    Ok(call.created(&committed, Some(format!("/v1/providers/{id}")), &provider))
}

/// Lists providers.
#[utoipa::path(get, path = "/v1/providers", operation_id = "listProviders", tag = "agents",
    params(("name" = Option<String>, Query),
        ("limit" = Option<u32>, Query), ("page_token" = Option<String>, Query), ("order" = Option<String>, Query)),
    responses((status = 200, body = Page<Provider>), (status = "4XX", body = ProblemBody), (status = "5XX", body = ProblemBody)),
    security(("key" = ["agents:admin"])))]
pub async fn list(call: Call) -> Answered {
    call.need(&READERS)?;
    let cut = Cut::of(&call, &["name"], false)?;
    let name = call.query("name");
    call.show(|world| {
        let providers = cut.walk(world.projects.providers.iter()).filter(|(id, _)| cut.is_behind(id.0));
        let providers = providers.filter(|(_, p)| name.is_none_or(|n| p.name == n));
        Ok(cut.page(providers.map(|(id, p)| (id.0, Provider::of(*id, &p.name, world))), world.head.events))
    })
    .await
}

/// Shows a provider and what it earned.
#[utoipa::path(get, path = "/v1/providers/{id}", operation_id = "getProvider", tag = "agents", params(("id" = String, Path)),
    responses((status = 200, body = Provider), (status = "4XX", body = ProblemBody), (status = "5XX", body = ProblemBody)),
    security(("key" = ["agents:admin"])))]
pub async fn show(call: Call, Path(id): Path<String>) -> Answered {
    call.need(&READERS)?;
    let missing = || Problem::not_found(format!("provider {id}"));
    let number: ProviderId = id.parse().map_err(|_| missing())?;
    call.show(|world| {
        let provider = world.projects.providers.get(&number);
        provider.map(|p| Provider::of(number, &p.name, world)).ok_or_else(missing)
    })
    .await
}
