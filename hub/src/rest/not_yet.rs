//! Paths of the contract that this version does not serve: they say so, instead of not being there.

use super::answer::Answered;
use super::call::Call;
use super::state::Rest;
use axum::Router;
use axum::routing::{any, patch};
use forge_api::{Code, Problem};

const PATHS: [&str; 20] = [
    "/v1/agents/{id}/sandbox",
    "/v1/agents/{id}/release",
    "/v1/agents/{id}/remove",
    "/v1/jobs/{id}/pause",
    "/v1/jobs/{id}/resume",
    "/v1/jobs/{id}/retry",
    "/v1/jobs/{id}/receipt",
    "/v1/log/checkpoint",
    "/v1/log/proof",
    "/v1/log/consistency",
    "/v1/diff",
    "/v1/shards/{id}/attempts/{n}/log",
    "/v1/ledger/accounts/{id}/entries",
    "/v1/ledger/transfers",
    "/v1/ledger/statements",
    "/v1/cluster/members/{id}/promote",
    "/v1/cluster/snapshots",
    "/v1/cluster/upgrade/finalize",
    "/v1/operations/{id}",
    "/v1/operations",
];

pub fn routes() -> Router<Rest> {
    let paths = PATHS.into_iter().fold(Router::new(), |router, path| router.route(path, any(not_yet)));
    // Beside the methods that are served.
    paths.route("/v1/jobs/{id}", patch(not_yet))
}

async fn not_yet(call: Call) -> Answered {
    Err(Problem::new(Code::NotYet, format!("this version of the hub does not serve {} yet", call.path)).into())
}
