//! The REST door: axum, one file per resource. Rules that hold everywhere stand in `call.rs` and `context.rs`.

mod agents;
mod answer;
mod attempts;
mod blob_bytes;
mod blobs;
mod call;
mod cluster;
mod context;
mod docs;
mod events;
mod explain;
mod health;
mod jobs;
mod keys;
mod ledger;
mod list;
mod log;
mod ndjson;
mod not_yet;
mod plan;
mod projects;
mod providers;
mod refold;
mod render;
mod result;
mod shards;
mod state;
mod stream;
mod tls;
mod unread;
mod wait;

pub use tls::{CA_FILE, CA_KEY_FILE, RestCa, RestTls, TlsError};

use crate::handle::Hub;
use axum::Router;
use state::Rest;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{NotForContentType, Predicate, SizeAbove};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{InfoBuilder, OpenApi, OpenApiBuilder};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// How long open requests may take once the node drains.
const DRAIN: Duration = Duration::from_secs(5);

/// Shorter answers are sent as they are. Units: bytes.
const COMPRESS_BYTES_MIN: u64 = 1024;

/// The REST door did not open, or broke.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("refusing to serve REST on {address} without TLS: only loopback addresses may do without")]
    PlainBeyondLoopback { address: SocketAddr },
    #[error("serving REST on {address}")]
    Io { address: SocketAddr, source: io::Error },
    #[error("reading the address of the REST listener")]
    Address(#[source] io::Error),
}

/// Serves REST until `shutdown`; then streams get `bye` and open requests have 5 seconds.
///
/// # Errors
/// Without TLS on an address that is not loopback, or if the listener breaks.
pub async fn serve(
    hub: Hub,
    listener: TcpListener,
    tls: Option<RestTls>,
    shutdown: CancellationToken,
) -> Result<(), ServeError> {
    let address = listener.local_addr().map_err(ServeError::Address)?;
    if tls.is_none() && !address.ip().is_loopback() {
        return Err(ServeError::PlainBeyondLoopback { address });
    }
    let broken = |source| ServeError::Io { address, source };
    let app = router(Rest::new(hub, shutdown.clone())).into_make_service();
    let handle = axum_server::Handle::new();
    let closer = {
        let handle = handle.clone();
        tokio::spawn(async move {
            shutdown.cancelled().await;
            handle.graceful_shutdown(Some(DRAIN));
        })
    };
    let served = match tls {
        None => axum_server::from_tcp(listener).map_err(broken)?.handle(handle).serve(app).await,
        Some(tls) => {
            let config = axum_server::tls_rustls::RustlsConfig::from_config(tls.config());
            axum_server::from_tcp_rustls(listener, config).map_err(broken)?.handle(handle).serve(app).await
        }
    };
    closer.abort();
    served.map_err(broken)
}

fn router(rest: Rest) -> Router {
    let (router, description) = routes().split_for_parts();
    let description = docs::polish(description);
    router
        .merge(docs::serve_description(&description))
        .merge(not_yet::routes())
        .fallback(context::no_such_path)
        .with_state(rest.clone())
        .layer(axum::middleware::from_fn_with_state(rest, context::around))
        .layer(
            CompressionLayer::new().compress_when(
                SizeAbove::new(COMPRESS_BYTES_MIN)
                    .and(NotForContentType::SSE)
                    .and(NotForContentType::const_new("application/octet-stream")),
            ),
        )
}

/// The API's description; `openapi.json` is its checked-in copy.
pub fn openapi() -> OpenApi {
    docs::polish(routes().split_for_parts().1)
}

fn routes() -> OpenApiRouter<Rest> {
    let info = InfoBuilder::new()
        .title("Forge Hub")
        .version("1")
        .description(Some("Submit jobs, follow them, and read everything that was decided about them."));
    let mut description = OpenApiBuilder::new().info(info.build()).build();
    let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some("An API key: `fk_…`"));
    let components = description.components.get_or_insert_with(Default::default);
    components.add_security_scheme("key", SecurityScheme::Http(scheme.build()));
    OpenApiRouter::with_openapi(description)
        .routes(routes!(plan::plan))
        .routes(routes!(jobs::submit, jobs::list))
        .routes(routes!(jobs::summary))
        .routes(routes!(jobs::show))
        .routes(routes!(jobs::cancel))
        .routes(routes!(result::show))
        .routes(routes!(events::of_job))
        .routes(routes!(events::all))
        .routes(routes!(shards::list))
        .routes(routes!(shards::show))
        .routes(routes!(explain::job))
        .routes(routes!(explain::shard))
        .routes(routes!(explain::agent))
        .routes(routes!(projects::create, projects::list))
        .routes(routes!(projects::show))
        .routes(routes!(projects::issue))
        .routes(routes!(projects::quota, projects::set_quota))
        .routes(routes!(keys::create, keys::list))
        .routes(routes!(keys::show, keys::revoke))
        .routes(routes!(providers::create, providers::list))
        .routes(routes!(providers::show))
        .routes(routes!(agents::list))
        .routes(routes!(agents::show))
        .routes(routes!(agents::enrol))
        .routes(routes!(agents::drain))
        .routes(routes!(blobs::exists))
        .routes(routes!(blobs::sign))
        .routes(routes!(blob_bytes::put, blob_bytes::get))
        .routes(routes!(ledger::accounts))
        .routes(routes!(ledger::trial_balance))
        .routes(routes!(cluster::show))
        .routes(routes!(cluster::invite))
        .routes(routes!(cluster::remove))
        .routes(routes!(cluster::transfer))
        .routes(routes!(log::digest))
        .routes(routes!(log::read))
        .routes(routes!(log::export))
        .routes(routes!(log::show))
        .routes(routes!(health::livez))
        .routes(routes!(health::readyz))
        .routes(routes!(health::metrics))
        .routes(routes!(health::version))
        .routes(routes!(docs::errors))
        .routes(routes!(docs::error))
}
