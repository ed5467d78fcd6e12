//! What every handler shares.

use super::unread::DRAINS_MAX;
use crate::handle::Hub;
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// Requests worked on at once; further ones are refused (429).
pub const REQUESTS_MAX: usize = 1024;
/// Requests that wait for something, and streams, at once.
pub const WAITERS_MAX: usize = 8192;
/// Passes over the whole log at once; further ones wait.
const REFOLDS_MAX: usize = 2;

/// An answered request, by what matters for alarms.
#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
pub struct Answered {
    pub http_route: String,
    pub http_request_method: String,
    pub http_response_status_code: u16,
}

/// Why someone was not let in.
#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
pub struct Refusal {
    pub code: &'static str,
}

/// Handle to the REST door's state; cheap to clone.
#[derive(Clone)]
pub struct Rest(Arc<Shared>);

struct Shared {
    hub: Hub,
    shutdown: CancellationToken,
    requests: Arc<Semaphore>,
    waiters: Arc<Semaphore>,
    refolds: Arc<Semaphore>,
    drains: Arc<Semaphore>,
    registry: Registry,
    answered: Family<Answered, Counter>,
    refused: Family<Refusal, Counter>,
    streams: Gauge,
}

impl Rest {
    pub fn new(hub: Hub, shutdown: CancellationToken) -> Rest {
        let mut registry = Registry::default();
        let (answered, refused, streams) = (Family::default(), Family::default(), Gauge::default());
        registry.register("http_server_requests", "Requests answered", Family::clone(&answered));
        registry.register("forge_rest_refusals", "Requests refused, by problem code", Family::clone(&refused));
        registry.register("forge_sse_clients", "Open event streams", streams.clone());
        Rest(Arc::new(Shared {
            hub,
            shutdown,
            requests: Arc::new(Semaphore::new(REQUESTS_MAX)),
            waiters: Arc::new(Semaphore::new(WAITERS_MAX)),
            refolds: Arc::new(Semaphore::new(REFOLDS_MAX)),
            drains: Arc::new(Semaphore::new(DRAINS_MAX)),
            registry,
            answered,
            refused,
            streams,
        }))
    }

    pub fn hub(&self) -> &Hub {
        &self.0.hub
    }

    /// Cancelled when the node drains.
    pub fn shutdown(&self) -> &CancellationToken {
        &self.0.shutdown
    }

    pub fn requests(&self) -> &Arc<Semaphore> {
        &self.0.requests
    }

    pub fn waiters(&self) -> &Arc<Semaphore> {
        &self.0.waiters
    }

    pub fn refolds(&self) -> &Arc<Semaphore> {
        &self.0.refolds
    }

    /// For rests of bodies that nobody wants.
    pub fn drains(&self) -> &Arc<Semaphore> {
        &self.0.drains
    }

    pub fn streams(&self) -> &Gauge {
        &self.0.streams
    }

    pub fn count_answer(&self, route: &str, method: &str, status: u16) {
        let answered = Answered {
            http_route: route.into(),
            http_request_method: method.into(),
            http_response_status_code: status,
        };
        self.0.answered.get_or_create(&answered).inc();
    }

    pub fn count_refusal(&self, code: &'static str) {
        self.0.refused.get_or_create(&Refusal { code }).inc();
    }

    /// The door's own metrics in OpenMetrics text.
    pub fn metrics(&self) -> String {
        let mut out = String::new();
        // Writing to a string cannot fail; an empty scrape beats a broken one.
        let _ = text::encode(&mut out, &self.0.registry);
        out
    }
}
