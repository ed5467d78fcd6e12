//! Health, metrics, version: unversioned, without a key.

use super::answer::{self, Answered};
use super::state::Rest;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use forge_api::cluster::Version;
use serde_json::{Map, json};

/// Raft entries this node may be behind and still be ready.
const LAG_MAX: u64 = 1000;

/// The process is alive.
#[utoipa::path(get, path = "/livez", operation_id = "livez", tag = "health", responses((status = 200, description = "Alive")), security(()))]
pub async fn livez() -> Response {
    answer::json(StatusCode::OK, &json!({"ok": true}))
}

/// The node can serve: a leader is known, it has caught up, its disk takes writes.
#[utoipa::path(get, path = "/readyz", operation_id = "readyz", tag = "health",
    params(("verbose" = Option<bool>, Query), ("role" = Option<String>, Query, description = "`leader`: ready only where it leads")),
    responses((status = 200, description = "Ready"), (status = 503, description = "Not ready; the body says why")), security(()))]
pub async fn readyz(State(rest): State<Rest>, RawQuery(query): RawQuery) -> Response {
    let hub = rest.hub();
    let status = hub.log().status();
    let behind = status.committed.unwrap_or(0).saturating_sub(status.applied.unwrap_or(0));
    let leader = hub.leader();
    let mut checks = vec![
        ("leader", leader.is_some()),
        ("caught_up", behind < LAG_MAX),
        ("storage", !status.storage_degraded),
        ("not_draining", !rest.shutdown().is_cancelled()),
    ];
    if query.is_some_and(|q| q.split('&').any(|p| p == "role=leader")) {
        checks.push(("leads", leader == Some(hub.node())));
    }
    let ok = checks.iter().all(|(_, fine)| *fine);
    let checks: Map<_, _> = checks.into_iter().map(|(name, fine)| (name.to_string(), fine.into())).collect();
    let status = if ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    answer::json(status, &json!({"ok": ok, "checks": checks}))
}

/// Metrics of this node, OpenMetrics text.
#[utoipa::path(get, path = "/metrics", operation_id = "metrics", tag = "health",
    responses((status = 200, description = "OpenMetrics text", content_type = "application/openmetrics-text")), security(()))]
pub async fn metrics(State(rest): State<Rest>) -> Answered {
    let mut text = rest.metrics();
    let end = text.trim_end().trim_end_matches("# EOF").len();
    text.truncate(end);
    // Measured when asked for: it costs a look at every open job.
    let hub = rest.hub();
    hub.metrics().set_vmem(hub.read(|w| w.vmem_use()));
    text.push_str(&hub.metrics().render());
    Ok(answer::bytes_as(StatusCode::OK, "application/openmetrics-text; version=1.0.0; charset=utf-8", text))
}

/// What runs here.
#[utoipa::path(get, path = "/version", operation_id = "version", tag = "health", responses((status = 200, body = Version)), security(()))]
pub async fn version(State(rest): State<Rest>) -> Response {
    let hub = rest.hub();
    let version = Version {
        version: env!("CARGO_PKG_VERSION").into(),
        policy: 1,
        node: hub.node().to_string(),
        cluster: hub.cluster().hex(),
    };
    answer::json(StatusCode::OK, &version)
}
