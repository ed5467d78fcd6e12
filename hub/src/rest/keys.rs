//! API keys. The secret is drawn here, shown once, and never leaves this node otherwise.

use super::answer::{self, Answered};
use super::call::Call;
use super::list::Cut;
use axum::body::Body;
use axum::extract::Path;
use axum::http::StatusCode;
use forge_api::problem::ProblemBody;
use forge_api::project::{Key, NewKey};
use forge_api::requests::{self, KeyRequest};
use forge_api::{Code, Problem, key, page::Page};
use forge_event::*;
use serde_json::Value;

fn missing(id: &str) -> Problem {
    Problem::not_found(format!("key {id}"))
}

/// Creates a key and shows it, once.
#[utoipa::path(post, path = "/v1/keys", operation_id = "createKey", tag = "keys", request_body = KeyRequest,
    responses((status = 201, body = NewKey), (status = "4XX", body = ProblemBody), (status = "5XX", body = ProblemBody)),
    security(("key" = ["cluster:admin"])))]
pub async fn create(call: Call, body: Body) -> Answered {
    call.need(&[Scope::ClusterAdmin])?;
    let body = call.body(body).await?;
    let mut fact = requests::key(&body)?;
    let secret = call.rest.hub().clock().random::<{ key::SECRET_BYTES }>();
    fact.digest = key::digest(&secret);
    let committed = call.commit(&body, fact.clone()).await.map_err(|e| e.blame("project"))?;
    let id = KeyId::born_at(committed.index);
    let created = NewKey {
        id: id.to_string(),
        key: (!committed.replayed).then(|| key::compose(&fact.label, id, &secret)),
        label: fact.label,
        scopes: fact.scopes.iter().map(|s| s.name().into()).collect(),
        project: fact.project.map(|p| p.to_string()),
        expires_at: fact.expires_at.map(|t| t.to_string()),
    };
    Ok(call.created(&committed, Some(format!("/v1/keys/{id}")), &created))
}

/// Lists keys, without their secrets.
#[utoipa::path(get, path = "/v1/keys", operation_id = "listKeys", tag = "keys",
    params(("project" = Option<String>, Query), ("label" = Option<String>, Query),
        ("state" = Option<String>, Query, description = "live, expired or revoked, separated by commas"),
        ("limit" = Option<u32>, Query), ("page_token" = Option<String>, Query), ("order" = Option<String>, Query)),
    responses((status = 200, body = Page<Key>), (status = "4XX", body = ProblemBody), (status = "5XX", body = ProblemBody)),
    security(("key" = ["cluster:admin"])))]
pub async fn list(call: Call) -> Answered {
    call.need(&[Scope::ClusterAdmin])?;
    let cut = Cut::of(&call, &["project", "label", "state"], false)?;
    let (label, states) = (call.query("label"), call.words("state"));
    let project = call.named_project()?;
    let now = call.rest.hub().clock().now();
    call.show(|world| {
        let keys = cut.walk(world.projects.keys.iter()).filter(|(id, _)| cut.is_behind(id.0));
        let keys = keys.filter(|(_, k)| project.is_none() || k.project == project);
        let keys = keys.filter(|(_, k)| label.is_none_or(|l| k.label == l));
        let keys = keys.map(|(id, k)| (id.0, Key::of(*id, k, now.max(world.at))));
        let keys = keys.filter(|(_, k)| states.as_ref().is_none_or(|s| s.contains(&k.state.as_str())));
        Ok(cut.page(keys, world.head.events))
    })
    .await
}

/// Shows a key, without its secret; a key may always look at itself.
#[utoipa::path(get, path = "/v1/keys/{id}", operation_id = "getKey", tag = "keys", params(("id" = String, Path)),
    responses((status = 200, body = Key), (status = "4XX", body = ProblemBody), (status = "5XX", body = ProblemBody)),
    security(("key" = [])))]
pub async fn show(call: Call, Path(id): Path<String>) -> Answered {
    let number: KeyId = id.parse().map_err(|_| missing(&id))?;
    if number != call.key && !call.has(Scope::ClusterAdmin) {
        return Err(missing(&id).into());
    }
    let now = call.rest.hub().clock().now();
    call.show(|world| {
        let key = world.projects.keys.get(&number);
        key.map(|k| Key::of(number, k, now.max(world.at))).ok_or_else(|| missing(&id))
    })
    .await
}

/// Revokes a key, at once and for good.
#[utoipa::path(delete, path = "/v1/keys/{id}", operation_id = "revokeKey", tag = "keys", params(("id" = String, Path)),
    responses((status = 200, body = Key), (status = "4XX", body = ProblemBody), (status = "5XX", body = ProblemBody)),
    security(("key" = ["cluster:admin"])))]
pub async fn revoke(call: Call, Path(id): Path<String>) -> Answered {
    call.need(&[Scope::ClusterAdmin])?;
    let number: KeyId = id.parse().map_err(|_| missing(&id))?;
    call.settle().await?;
    let revoked = call.rest.hub().read(|w| w.projects.keys.get(&number).map(|k| k.revoked.is_some()));
    let revoked = revoked.ok_or_else(|| missing(&id))?;
    if !revoked {
        match call.commit(&Value::Null, KeyRevoked { key: number }).await {
            Err(refused) if refused.0.code == Code::InvalidTransition => drop(call.rest.hub().barrier().await?),
            other => drop(other?),
        }
    }
    let now = call.rest.hub().clock().now();
    let read = call
        .rest
        .hub()
        .read(|w| (w.head.events, w.projects.keys.get(&number).map(|k| Key::of(number, k, now.max(w.at)))));
    let key = read.1.ok_or_else(|| missing(&id))?;
    Ok(answer::at(answer::json(StatusCode::OK, &key), EventIndex(read.0)))
}
