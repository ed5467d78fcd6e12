//! The one line that says a program is ready, for whoever started it.

use serde_json::{Value, json};
use std::io::{self, Write};

/// Where a node or a dev cluster is reached.
pub struct Ready {
    pub context: String,
    pub urls: Vec<String>,
    pub agents: Vec<String>,
    pub project: Option<String>,
    /// Shown by `dev` only.
    pub key: Option<String>,
    pub ca: Option<String>,
    pub data: String,
    pub node: Option<String>,
}

impl Ready {
    pub fn to_json(&self) -> Value {
        let mut line = json!({
            "ready": true,
            "context": self.context,
            "url": self.urls.first(),
            "urls": self.urls,
            "agents": self.agents,
        });
        if let Some(key) = &self.key {
            line["key"] = json!(key);
        }
        line["project"] = json!(self.project);
        line["ca"] = json!(self.ca);
        line["data"] = json!(self.data);
        line["pid"] = json!(std::process::id());
        if let Some(node) = &self.node {
            line["node"] = json!(node);
        }
        line
    }
}

/// Writes one line to stdout and flushes it: the reader acts on it at once.
///
/// # Errors
/// If nobody reads.
pub fn print(line: &Value) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}
