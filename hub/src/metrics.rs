//! What a node measures of itself: a registry per node, no globals.

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
    pub ledger_sum: Gauge,
    pub applied_index: Gauge,
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
        let mut gauge = |name: &str, help: &str| {
            let gauge: Gauge = Gauge::default();
            registry.register(name, help, gauge.clone());
            gauge
        };
        let sessions = gauge("agent_sessions", "Agent sessions held by this node");
        let connections = gauge("agent_connections", "Connections of agents, those being closed included");
        let ledger_sum = gauge("ledger_sum", "Sum over all accounts in micro-credits; must be 0");
        let applied_index = gauge("applied_index", "Position of the last folded event");
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
            ledger_sum,
            applied_index,
            commit: Latency::default(),
            fsync: Latency::default(),
            http: Latency::default(),
            shard: Latency::default(),
        }
    }
}

impl Metrics {
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
