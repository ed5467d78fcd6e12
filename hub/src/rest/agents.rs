//! Agents and their enrolment.

use super::answer::{self, Answered};
use super::call::Call;
use super::list::Cut;
use axum::body::Body;
use axum::extract::Path;
use axum::http::StatusCode;
use forge_api::agent::{Agent, Enrolment};
use forge_api::problem::ProblemBody;
use forge_api::requests::{self, EnrolmentRequest, ReasonRequest};
use forge_api::{Problem, page::Page};
use forge_event::*;
use forge_projections::{Rejection, World};
use forge_protocol::limits::HUB_ADDRESSES_MAX;
use forge_protocol::message::{HubAddress, Secret};
use forge_protocol::token::{Token, TokenKind};

const READERS: [Scope; 2] = [Scope::AgentsAdmin, Scope::ClusterAdmin];

/// Lists agents.
#[utoipa::path(get, path = "/v1/agents", operation_id = "listAgents", tag = "agents",
    params(("state" = Option<String>, Query, description = "States, separated by commas"), ("provider" = Option<String>, Query),
        ("standing" = Option<String>, Query), ("class" = Option<String>, Query), ("region" = Option<String>, Query),
        ("limit" = Option<u32>, Query), ("page_token" = Option<String>, Query), ("order" = Option<String>, Query)),
    responses((status = 200, body = Page<Agent>), (status = "4XX", body = ProblemBody), (status = "5XX", body = ProblemBody)),
    security(("key" = ["agents:admin"])))]
pub async fn list(call: Call) -> Answered {
    call.need(&READERS)?;
    let cut = Cut::of(&call, &["state", "provider", "standing", "class", "region"], false)?;
    let provider = call.parsed("provider", str::parse::<ProviderId>)?;
    let (states, standings) = (call.words("state"), call.words("standing"));
    let (class, region) = (call.query("class"), call.query("region"));
    call.show(|world| {
        let agents = cut.walk(world.agents.agents.iter()).filter(|(id, _)| cut.is_behind(id.0));
        let agents = agents.filter(|(_, a)| provider.is_none_or(|p| a.provider == p));
        let agents = agents.filter(|(_, a)| class.is_none_or(|c| a.capabilities.cpu_class == c));
        let agents = agents.filter(|(_, a)| region.is_none_or(|r| a.capabilities.region == r));
        let agents = agents.map(|(id, a)| (id.0, Agent::of(*id, a, world)));
        let agents = agents.filter(|(_, a)| states.as_ref().is_none_or(|s| s.contains(&a.state.as_str())));
        let agents = agents.filter(|(_, a)| standings.as_ref().is_none_or(|s| s.contains(&a.standing.as_str())));
        Ok(cut.page(agents, world.head.events))
    })
    .await
}

/// Shows an agent.
#[utoipa::path(get, path = "/v1/agents/{id}", operation_id = "getAgent", tag = "agents", params(("id" = String, Path)),
    responses((status = 200, body = Agent), (status = "4XX", body = ProblemBody), (status = "5XX", body = ProblemBody)),
    security(("key" = ["agents:admin"])))]
pub async fn show(call: Call, Path(id): Path<String>) -> Answered {
    call.need(&READERS)?;
    let missing = || Problem::not_found(format!("agent {id}"));
    let number: AgentId = id.parse().map_err(|_| missing())?;
    call.show(|world| world.agents.agents.get(&number).map(|a| Agent::of(number, a, world)).ok_or_else(missing)).await
}

/// Gives a one-time token that enrols one agent.
#[utoipa::path(post, path = "/v1/agents/enrolments", operation_id = "inviteAgent", tag = "agents", request_body = EnrolmentRequest,
    responses((status = 201, body = Enrolment), (status = "4XX", body = ProblemBody), (status = "5XX", body = ProblemBody)),
    security(("key" = ["agents:admin"])))]
pub async fn enrol(call: Call, body: Body) -> Answered {
    call.need(&[Scope::AgentsAdmin])?;
    let body = call.body(body).await?;
    let (provider, anchor, ttl) = requests::enrolment(&body)?;
    let hub = call.rest.hub();
    let (hubs, at) = hub.read(|w| (hubs(w, |a| &a.agents), w.at));
    let secret = Secret(hub.clock().random());
    let token = Token { kind: TokenKind::Agent, cluster: hub.cluster(), secret, hubs };
    let expires_at = at.max(hub.clock().now()).after(ttl);
    let fact = EnrolmentCreated { provider, anchor, expires_at, token_digest: token.digest() };
    let committed = call.commit(&body, fact).await.map_err(|e| e.blame("provider"))?;
    let born = hub.read(|w| w.projects.enrolments.get(&committed.index).map(|e| e.expires_at));
    let enrolment = Enrolment {
        id: committed.index.to_string(),
        token: (!committed.replayed).then(|| token.encode()),
        provider: provider.to_string(),
        anchor,
        expires_at: born.unwrap_or(expires_at).to_string(),
    };
    Ok(call.created(&committed, None, &enrolment))
}

/// Where to reach the cluster's nodes, and the keys that pin them.
pub fn hubs(world: &World, address: impl Fn(&Addresses) -> &String) -> Vec<HubAddress> {
    let known = world.cluster.members().filter(|(_, n)| !address(&n.addresses).is_empty());
    let hubs = known.map(|(_, n)| HubAddress { address: address(&n.addresses).clone(), public_key: n.public_key });
    hubs.take(HUB_ADDRESSES_MAX).collect()
}

/// Gives an agent no further work; what it holds it may finish.
#[utoipa::path(post, path = "/v1/agents/{id}/drain", operation_id = "drainAgent", tag = "agents", params(("id" = String, Path)),
    request_body = ReasonRequest,
    responses((status = 200, body = Agent), (status = "4XX", body = ProblemBody), (status = "5XX", body = ProblemBody)),
    security(("key" = ["agents:admin"])))]
pub async fn drain(call: Call, Path(id): Path<String>, body: Body) -> Answered {
    call.need(&[Scope::AgentsAdmin])?;
    let body = call.body_or_empty(body).await?;
    requests::reason(&body)?;
    let missing = || Problem::not_found(format!("agent {id}"));
    let agent: AgentId = id.parse().map_err(|_| missing())?;
    call.settle().await?;
    let known = call.rest.hub().read(|w| w.agents.agents.get(&agent).map(|a| (a.epoch, a.session.map(|s| s.draining))));
    let (epoch, session) = known.ok_or_else(missing)?;
    let mut replayed = call.replayed(&body)?.is_some();
    match session {
        _ if replayed => {}
        None => {
            let reason = format!("agent {agent} is offline");
            return Err(Rejection::InvalidTransition { asked: "drain".into(), reason }.into());
        }
        Some(true) => {}
        Some(false) => replayed = call.commit(&body, AgentDraining { agent, epoch }).await?.replayed,
    }
    let read = call.rest.hub().read(|w| (w.head.events, w.agents.agents.get(&agent).map(|a| Agent::of(agent, a, w))));
    let shown = read.1.ok_or_else(missing)?;
    let mut response = answer::at(answer::json(StatusCode::OK, &shown), EventIndex(read.0));
    if replayed {
        answer::set(response.headers_mut(), answer::REPLAYED, "true");
    }
    Ok(response)
}
