//! `forge cluster …`.

use super::{Done, Session, confirm};
use crate::client::{Ask, path};
use crate::fail::Failure;
use crate::output::{self, column, state, text, wide};
use clap::Subcommand;
use serde_json::{Value, json};
use std::time::Duration;

#[derive(Subcommand)]
pub enum Verb {
    /// Nodes, leader, quorum
    Status {
        /// What one node knows, also without a leader
        #[arg(long)]
        local: bool,
    },
    /// A one-time token for a new node
    #[command(after_help = "Then, on the new machine:
  forge hub init --data DIR --join TOKEN
  forge hub run --data DIR")]
    Add {
        /// How long the token lives
        #[arg(long, default_value = "15m")]
        ttl: String,
    },
    /// Remove a node, for good
    Remove {
        node: String,
        /// Even if no quorum is left
        #[arg(long)]
        force_i_understand: bool,
    },
    /// Hand leadership to a node
    Transfer { node: String },
    /// Remove a lost node and give a token for its replacement
    Replace { node: String },
}

pub async fn run(session: &Session, verb: Verb) -> Done {
    match verb {
        Verb::Status { local } => status(session, local).await,
        Verb::Add { ttl } => invite(session, &ttl).await,
        Verb::Remove { node, force_i_understand } => {
            confirm(session.global.yes, &format!("Remove {node} from the cluster"))?;
            let body = remove(session, &node, force_i_understand).await?;
            output::object(session.global.output, &body, &[column("removed", |b| text(&b["id"]))]);
            Ok(0)
        }
        Verb::Transfer { node } => {
            let body = transfer(session, &node).await?;
            output::object(session.global.output, &body, &[column("leader", |b| text(&b["leader"]))]);
            Ok(0)
        }
        Verb::Replace { node } => {
            confirm(session.global.yes, &format!("Remove {node} and replace it"))?;
            remove(session, &node, false).await?;
            invite(session, "1h").await
        }
    }
}

async fn status(session: &Session, local: bool) -> Done {
    let path = if local { "/v1/cluster?consistency=local" } else { "/v1/cluster" };
    let body = session.client.json(Ask::get(path)).await?;
    if !matches!(session.global.output, output::Format::Table | output::Format::Wide) {
        output::object(session.global.output, &body, &[]);
        return Ok(0);
    }
    let (leader, quorum) = (text(&body["leader"]), &body["quorum"]);
    output::out(&format!(
        "cluster {}  leader {leader} (term {})  committed {}  tolerates {} failure(s)\n",
        text(&body["id"]).chars().take(12).collect::<String>(),
        text(&body["term"]),
        text(&body["committed"]),
        text(&quorum["tolerates"]),
    ));
    let columns = [
        column("NODE", |m| text(&m["id"])),
        column("ROLE", |m| text(&m["role"])),
        column("STATE", |m| state(&m["state"])),
        column("LAG", |m| text(&m["lag"])),
        column("RTT ms", |m| text(&m["rtt_ms"])),
        column("DISK FREE", |m| disk(&m["disk_free"])),
        column("VERSION", |m| text(&m["version"])),
        column("ADDRESS", |m| text(&m["addr"])),
        wide("HEARD ms", |m| text(&m["heard_ms"])),
        wide("AGENTS", |m| text(&m["agents"])),
        wide("PEERS", |m| text(&m["peers"])),
        wide("LAST LOG", |m| text(&m["last_log"])),
        wide("ARCHIVED", |m| text(&m["archived_index"])),
    ];
    output::list(session.global.output, &json!({"data": body["members"]}), &columns);
    Ok(0)
}

fn disk(bytes: &Value) -> String {
    bytes.as_u64().map_or_else(|| "—".into(), |bytes| format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30)))
}

async fn invite(session: &Session, ttl: &str) -> Done {
    let body = session.client.json(Ask::post("/v1/cluster/members", json!({"ttl": ttl}))).await?;
    let fields = [column("token", |b| text(&b["token"])), column("expires", |b| text(&b["expires_at"]))];
    output::object(session.global.output, &body, &fields);
    Ok(0)
}

async fn remove(session: &Session, node: &str, force: bool) -> Result<Value, Failure> {
    let force = force.then(|| "true".into());
    let path = path(&format!("/v1/cluster/members/{node}"), &[("force_i_understand", force)]);
    session.client.json(Ask::delete(path)).await
}

/// Any node passes it on to the leader.
async fn transfer(session: &Session, node: &str) -> Result<Value, Failure> {
    let ask = Ask::post("/v1/cluster/leader/transfer", json!({"node": node})).waiting(Duration::from_secs(5));
    session.client.json(ask).await
}
