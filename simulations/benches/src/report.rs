//! The fields that every bench has.

use crate::house::House;
use crate::limits::Limits;
use crate::{Place, machine};
use anyhow::Result;
use forge_projections::replay;
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
    /// What is looked at before a bench begins: how busy the machine is, and what it gives bare.
    ///
    /// # Errors
    /// If the disk or the network cannot be measured.
    pub async fn before(place: &Place) -> Result<Common> {
        let load_before = machine::load();
        Ok(Common { load_before, limits: Limits::measure(place.path()).await?, ..Common::default() })
    }

    /// With the processes that took part, and all that their log holds.
    pub fn of(self, house: &House, log: &replay::Report) -> Common {
        let (nodes, processes) = (house.hubs.len(), house.processes());
        Common { nodes, processes, events: log.events, turns: log.turns, ..self }
    }

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
