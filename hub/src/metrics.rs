//! What a node measures of itself: a registry per node, no globals.

use forge_projections::aggregator::{VMEM_BYTES_MAX, VMemUse};
use hdrhistogram::Histogram;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// A latency distribution. Units: microseconds, 1 to 60 000 000, three digits.
#[derive(Debug)]
pub struct Latency(Mutex<Histogram<u64>>);

impl Default for Latency {
    fn default() -> Self {
        Latency(Mutex::new(Histogram::new_with_bounds(1, 60_000_000, 3).expect("the bounds are sane")))
    }
}

impl Latency {
    pub fn record(&self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).saturating_record(us.max(1));
    }

    /// The value at a quantile. Units: microseconds.
    pub fn at(&self, quantile: f64) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).value_at_quantile(quantile)
    }

    pub fn count(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

/// A node's metrics.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    pub commands: Counter,
    pub commands_refused: Counter,
    pub turns: Counter,
    pub events: Counter,
    pub fsyncs: Counter,
    pub http_requests: Counter,
    pub http_refused: Counter,
    pub auth_failed: Counter,
    pub sessions: Gauge,
    /// Of agents: sessions, enrolments, handshakes, and those being closed.
    pub connections: Gauge,
    pub results: Counter,
    pub results_refused: Counter,
    pub blobs_verified: Counter,
    pub blobs_damaged: Counter,
    /// Blobs in the KV's index.
    pub kv_blobs: Gauge,
    pub kv_segments: Gauge,
    pub ledger_sum: Gauge,
    pub applied_index: Gauge,
    pub vmem_states: Gauge,
    pub vmem_bytes: Gauge,
    pub vmem_charged_bytes: Gauge,
    pub vmem_charged_bytes_max: Gauge,
    pub commit: Latency,
    pub fsync: Latency,
    pub http: Latency,
    pub shard: Latency,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("forge");
        let mut counter = |name: &str, help: &str| {
            let counter = Counter::default();
            registry.register(name, help, counter.clone());
            counter
        };
        let commands = counter("commands", "Commands that this node's sequencer committed");
        let commands_refused = counter("commands_refused", "Commands refused or of unknown outcome");
        let turns = counter("turns", "Turns folded into the committed state");
        let events = counter("events", "Events folded into the committed state");
        let fsyncs = counter("log_fsyncs", "Fsyncs of the Raft log");
        let http_requests = counter("http_requests", "REST requests answered");
        let http_refused = counter("http_requests_refused", "REST requests answered with a problem");
        let auth_failed = counter("auth_failures", "Requests without a valid key");
        let results = counter("results", "Results delivered by sessions of this node");
        let results_refused = counter("results_refused", "Results refused after delivery");
        let blobs_verified = counter("blobs_verified", "Files of blobs read and found to be what their names say");
        let blobs_damaged = counter("blobs_damaged", "Files of blobs that were not, and were removed");
        let mut gauge = |name: &str, help: &str| {
            let gauge: Gauge = Gauge::default();
            registry.register(name, help, gauge.clone());
            gauge
        };
        let sessions = gauge("agent_sessions", "Agent sessions held by this node");
        let connections = gauge("agent_connections", "Connections of agents, those being closed included");
        let ledger_sum = gauge("ledger_sum", "Sum over all accounts in micro-credits; must be 0");
        let applied_index = gauge("applied_index", "Position of the last folded event");
        let kv_blobs = gauge("kv_blobs", "Blobs in this node's KV, as of the last pass over their files");
        let kv_segments = gauge("kv_segments", "Sealed segments of which this node's KV knows what they speak of");
        // VMem has a budget a project; projects are no labels here, `GET /v1/projects` shows each one's.
        let vmem_states = gauge("vmem_mid_states", "Numeric mid-states of open jobs, one a stage");
        let vmem_bytes = gauge("vmem_bytes", "Memory that the mid-states take on this node");
        let vmem_charged_bytes = gauge("vmem_charged_bytes", "Bounds of the mid-states, as charged to their projects");
        let vmem_charged_bytes_max = gauge("vmem_project_charged_bytes_max", "The most that one project is charged");
        gauge("vmem_project_budget_bytes", "Budget of a project whose quota names none").set(VMEM_BYTES_MAX as i64);
        Metrics {
            registry,
            commands,
            commands_refused,
            turns,
            events,
            fsyncs,
            http_requests,
            http_refused,
            auth_failed,
            sessions,
            connections,
            results,
            results_refused,
            blobs_verified,
            blobs_damaged,
            kv_blobs,
            kv_segments,
            ledger_sum,
            applied_index,
            vmem_states,
            vmem_bytes,
            vmem_charged_bytes,
            vmem_charged_bytes_max,
            commit: Latency::default(),
            fsync: Latency::default(),
            http: Latency::default(),
            shard: Latency::default(),
        }
    }
}

impl Metrics {
    /// Takes over what a scrape measured.
    pub fn set_vmem(&self, vmem: VMemUse) {
        let gauges = [
            (&self.vmem_states, vmem.mid_states),
            (&self.vmem_bytes, vmem.used_bytes),
            (&self.vmem_charged_bytes, vmem.charged_bytes),
            (&self.vmem_charged_bytes_max, vmem.charged_bytes_max),
        ];
        for (gauge, value) in gauges {
            gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        }
    }

    /// OpenMetrics text.
    pub fn render(&self) -> String {
        let mut text = String::new();
        let encoded = encode(&mut text, &self.registry);
        debug_assert!(encoded.is_ok(), "writing to a string cannot fail");
        let latencies = [
            ("raft_commit", "From append to commit", &self.commit),
            ("log_fsync", "One fsync of the Raft log", &self.fsync),
            ("http_server_request_duration", "REST requests", &self.http),
            ("shard_run", "From assignment to acceptance, as the session saw it", &self.shard),
        ];
        let end = text.rfind("# EOF").unwrap_or(text.len());
        text.truncate(end);
        for (name, help, latency) in latencies {
            text.push_str(&summary(name, help, latency));
        }
        text.push_str("# EOF\n");
        text
    }
}

fn summary(name: &str, help: &str, latency: &Latency) -> String {
    let unit = Unit::Seconds;
    let unit = unit.as_str();
    let mut text = format!("# HELP forge_{name}_{unit} {help}.\n# TYPE forge_{name}_{unit} summary\n");
    for quantile in [0.5, 0.9, 0.99, 0.999] {
        let seconds = latency.at(quantile) as f64 / 1e6;
        text.push_str(&format!("forge_{name}_{unit}{{quantile=\"{quantile}\"}} {seconds}\n"));
    }
    text.push_str(&format!("forge_{name}_{unit}_count {}\n", latency.count()));
    text
}
