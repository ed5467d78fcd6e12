//! The cluster: status, members, leader.

use super::answer::{self, Answered, Refused};
use super::call::Call;
use crate::handle::Hub;
use crate::peers::{Card, TransferError, card_of};
use axum::body::Body;
use axum::extract::Path;
use axum::http::StatusCode;
use forge_api::agent::NodeInvite;
use forge_api::cluster::{Cluster, Member, Quorum};
use forge_api::problem::ProblemBody;
use forge_api::requests::{self, InviteRequest, TransferRequest};
use forge_api::{Code, Problem};
use forge_event::*;
use forge_log::Status;
use forge_projections::World;
use forge_projections::cluster::Node;
use forge_protocol::message::Secret;
use forge_protocol::token::{Token, TokenKind};
use futures::future::join_all;
use serde_json::{Value, json};
use std::time::Duration;

const READERS: [Scope; 2] = [Scope::ClusterAdmin, Scope::AuditRead];
/// A member that answered a heartbeat within this is healthy. Units: ms.
const HEARD_MS_MAX: u64 = 2000;
/// A member that is further behind is lagging. Units: Raft entries.
const LAG_MAX: u64 = 1000;
/// Raft takes this long to change hands at the most.
const TRANSFER: Duration = Duration::from_secs(9);

/// Shows the cluster as this node sees it.
#[utoipa::path(get, path = "/v1/cluster", operation_id = "getCluster", tag = "cluster",
    params(("consistency" = Option<String>, Query, description = "`local`: this node's view, also without a leader")),
    responses((status = 200, body = Cluster), (status = "4XX", body = ProblemBody), (status = "5XX", body = ProblemBody)),
    security(("key" = ["cluster:admin"]), ("key" = ["audit:read"])))]
pub async fn show(call: Call) -> Answered {
    call.need(&READERS)?;
    let own = call.rest.hub().card();
    call.show(|world| Ok(cluster(&call, world, &own))).await
}

fn cluster(call: &Call, world: &World, own: &Card) -> Cluster {
    let hub = call.rest.hub();
    let status = hub.log().status();
    let leader = hub.leader();
    let members: Vec<Member> = world.cluster.members().map(|(id, node)| member(hub, own, id, node, &status)).collect();
    let voters = members.iter().filter(|m| m.role != "learner").count() as u64;
    let size = voters / 2 + 1;
    let healthy =
        members.iter().filter(|m| m.role != "learner" && matches!(m.state.as_str(), "ok" | "lagging")).count();
    let healthy = healthy as u64;
    Cluster {
        id: world.genesis.hex(),
        node: hub.node().to_string(),
        leader: leader.map(|n| n.to_string()),
        term: hub.term(),
        committed: world.head.events,
        applied: world.head.events,
        feature_level: 1,
        members,
        quorum: Quorum { size, healthy, tolerates: healthy.saturating_sub(size) },
        changing: status.changing,
        incomplete: status.incomplete,
        storage_degraded: status.storage_degraded,
    }
}

fn member(hub: &Hub, own: &Card, id: NodeId, node: &Node, status: &Status) -> Member {
    let leader = status.role.leader;
    let peer = status.members.iter().find(|m| m.node == id);
    let role = match peer {
        _ if leader == Some(id) => "leader",
        Some(peer) if peer.voter => "follower",
        _ => "learner",
    };
    let here = status.node == id;
    // Only the leader hears from everybody; the others know whom the leader reported lost.
    let heard = peer.and_then(|p| p.heard_ms);
    let silent = peer.and_then(|p| p.silent_ms(&status.role));
    let state = match heard {
        _ if here => "ok",
        _ if node.lost.is_some() || silent.is_some_and(|ms| ms > HEARD_MS_MAX) => "lost",
        Some(_) if peer.and_then(|p| p.lag).is_some_and(|lag| lag > LAG_MAX) => "lagging",
        None if leader == Some(status.node) => "unknown",
        Some(_) | None => "ok",
    };
    let seen = hub.acquaintances().of(id).filter(|_| !here);
    let card = if here { Some(own) } else { seen.as_ref().map(|seen| &seen.card) };
    Member {
        id: id.to_string(),
        addr: node.addresses.rest.clone(),
        role: role.into(),
        state: state.into(),
        last_log: if here { status.last_log } else { peer.and_then(|p| p.matched) },
        lag: peer.and_then(|p| p.lag),
        heard_ms: heard,
        rtt_ms: seen.as_ref().map(|seen| seen.rtt.as_micros() as f64 / 1000.0),
        disk_free: card.and_then(|card| card.disk_free_bytes),
        version: card.map(|card| card.version.clone()),
        agents: node.addresses.agents.clone(),
        peers: node.addresses.peers.clone(),
        archived_index: node.archived_upto.0,
    }
}

/// Gives a one-time token that admits one node.
#[utoipa::path(post, path = "/v1/cluster/members", operation_id = "inviteNode", tag = "cluster", request_body = InviteRequest,
    responses((status = 201, body = NodeInvite), (status = "4XX", body = ProblemBody), (status = "5XX", body = ProblemBody)),
    security(("key" = ["cluster:admin"])))]
pub async fn invite(call: Call, body: Body) -> Answered {
    call.need(&[Scope::ClusterAdmin])?;
    let body = call.body_or_empty(body).await?;
    let ttl = requests::invite(&body)?;
    let hub = call.rest.hub();
    let (hubs, at) = hub.read(|w| (super::agents::hubs(w, |a| &a.peers), w.at));
    let secret = Secret(hub.clock().random());
    let token = Token { kind: TokenKind::Node, cluster: hub.cluster(), secret, hubs };
    let digest = token.digest();
    let expires_at = at.max(hub.clock().now()).after(ttl);
    let committed = call.commit(&body, NodeInvited { token_digest: digest, expires_at }).await?;
    let first =
        hub.read(|w| w.cluster.invites.iter().find(|(_, i)| i.index == committed.index).map(|(_, i)| i.expires_at));
    let invite = NodeInvite {
        token: (!committed.replayed).then(|| token.encode()),
        expires_at: first.unwrap_or(expires_at).to_string(),
    };
    Ok(call.created(&committed, None, &invite))
}

/// Removes a node from the cluster, for good.
#[utoipa::path(delete, path = "/v1/cluster/members/{id}", operation_id = "removeNode", tag = "cluster",
    params(("id" = String, Path), ("force_i_understand" = Option<bool>, Query, description = "Even if no quorum is left")),
    responses((status = 200, description = "Removed; Raft's membership follows"), (status = "4XX", body = ProblemBody),
        (status = "5XX", body = ProblemBody)),
    security(("key" = ["cluster:admin"])))]
pub async fn remove(call: Call, Path(id): Path<String>) -> Answered {
    call.need(&[Scope::ClusterAdmin])?;
    let missing = || Problem::not_found(format!("node {id}"));
    let node: NodeId = id.parse().map_err(|_| missing())?;
    call.settle().await?;
    let removed = call.rest.hub().read(|w| w.cluster.nodes.get(&node).map(|n| n.removed)).ok_or_else(missing)?;
    let mut index = *call.rest.hub().applied().borrow();
    if !removed {
        if call.query("force_i_understand") != Some("true") {
            keeps_quorum(&call, node).await?;
        }
        index = call.commit(&Value::Null, NodeRemoved { node }).await?.index.max(index);
    }
    Ok(answer::at(answer::json(StatusCode::OK, &json!({"id": node.to_string(), "removed": true})), index))
}

/// # Errors
/// 409 if fewer voters than a majority would answer without this one.
async fn keeps_quorum(call: &Call, node: NodeId) -> Result<(), Refused> {
    let hub = call.rest.hub();
    let voters = hub.log().status().members.into_iter().filter(|m| m.voter).map(|m| m.node);
    let voters: Vec<NodeId> = voters.collect();
    if !voters.contains(&node) {
        return Ok(());
    }
    let others: Vec<NodeId> = voters.into_iter().filter(|voter| *voter != node).collect();
    let asked = others
        .iter()
        .map(async |other| *other == hub.node() || card_of(hub.transport(), hub.clock(), *other).await.is_ok());
    let healthy = join_all(asked).await.into_iter().filter(|answers| *answers).count();
    let needed = others.len() / 2 + 1;
    if healthy >= needed {
        return Ok(());
    }
    let left = others.len();
    let detail = format!("without {node}, {healthy} of {left} voters would answer; {needed} are needed");
    Err(Problem::new(Code::QuorumAtRisk, detail).with_fix("bring another node back, or add one, first").into())
}

/// Hands leadership to another node.
#[utoipa::path(post, path = "/v1/cluster/leader/transfer", operation_id = "transferLeader", tag = "cluster",
    request_body = TransferRequest,
    responses((status = 200, description = "The node leads"), (status = "4XX", body = ProblemBody), (status = "5XX", body = ProblemBody)),
    security(("key" = ["cluster:admin"])))]
pub async fn transfer(call: Call, body: Body) -> Answered {
    call.need(&[Scope::ClusterAdmin])?;
    let body = call.body(body).await?;
    let node = requests::transfer(&body)?;
    let hub = call.rest.hub();
    if !hub.read(|w| w.cluster.members().any(|(id, n)| id == node && n.voter)) {
        return Err(Refused::from(Problem::not_found(format!("voter {node}"))).blame("node"));
    }
    if hub.leader() != Some(node) {
        hub.transfer(node).await.map_err(|e| refused(node, e))?;
        let mut role = hub.log().role();
        let leads = tokio::time::timeout(TRANSFER, role.wait_for(|r| r.leader == Some(node))).await;
        if !matches!(leads, Ok(Ok(_))) {
            return Err(
                Problem::new(Code::OutcomeUnknown, format!("{node} has not taken over yet; read the status")).into()
            );
        }
    }
    Ok(answer::json(StatusCode::OK, &json!({"leader": node.to_string(), "term": hub.term()})))
}

fn refused(node: NodeId, error: TransferError) -> Problem {
    match error {
        TransferError::NoLeader => Problem::new(Code::NoLeader, "no leader is known; try again"),
        TransferError::NotAVoter => {
            Problem::new(Code::InvalidTransition, format!("transfer: {node} does not vote (yet)"))
        }
        TransferError::Refused { why } => Problem::new(Code::InvalidTransition, why),
        TransferError::Unknown => {
            Problem::new(Code::OutcomeUnknown, "the leader was asked to hand over and did not answer; read the status")
        }
    }
}
