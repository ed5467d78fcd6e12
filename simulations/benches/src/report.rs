//! The fields that every bench has.

use crate::limits::Limits;
use serde_json::{Map, Value, json};

/// What every bench reports, its own figures behind.
#[derive(Clone, Debug, Default)]
pub struct Common {
    pub nodes: usize,
    pub agents: usize,
    /// Processes that took part: hubs, agents, and the client that measures.
    pub processes: usize,
    /// Fsyncs of all nodes' Raft logs while it was measured.
    pub fsyncs: u64,
    pub events: u64,
    pub turns: u64,
    /// How long the measured stretch took.
    pub seconds: f64,
    pub load_before: f64,
    pub limits: Limits,
}

impl Common {
    /// The object that is printed.
    pub fn with(self, own: Value) -> Value {
        let mut body = Map::new();
        if let Value::Object(own) = own {
            body.extend(own);
        }
        let common = json!({
            "nodes": self.nodes,
            "agents": self.agents,
            "processes": self.processes,
            "fsyncs": self.fsyncs,
            "events": self.events,
            "turns": self.turns,
            "seconds": rounded(self.seconds),
            "load_before": self.load_before,
            "version": env!("CARGO_PKG_VERSION"),
            "limits": self.limits.to_json(),
        });
        if let Value::Object(common) = common {
            body.extend(common);
        }
        Value::Object(body)
    }
}

/// Three digits behind the point.
pub fn rounded(figure: f64) -> f64 {
    (figure * 1000.0).round() / 1000.0
}

/// `count / seconds`, whole.
pub fn rate(count: u64, seconds: f64) -> f64 {
    (count as f64 / seconds).round()
}
