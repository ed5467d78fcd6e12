//! `forge agents …`: agents as the operator sees them.

use super::{Done, Session};
use crate::client::{Ask, path};
use crate::ids;
use crate::output::{self, column, state, text, wide};
use clap::Subcommand;
use serde_json::{Value, json};

#[derive(Subcommand)]
pub enum Verb {
    /// List agents
    List {
        #[arg(long)]
        state: Option<String>,
        #[arg(long, default_value_t = 500)]
        limit: u32,
    },
    /// Show an agent
    Show { id: String },
    /// Why an agent has no work
    Explain { id: String },
    /// Give an agent no further work
    Drain {
        id: String,
        #[arg(long)]
        reason: Option<String>,
    },
    /// A one-time token that enrols one agent
    #[command(after_help = "Then, on the agent's machine:
  forge agent enrol TOKEN --data DIR
  forge agent run --data DIR")]
    Invite {
        /// Who is paid for its work
        #[arg(long)]
        provider: String,
        /// How long the token lives
        #[arg(long, default_value = "15m")]
        ttl: String,
        /// Run by the operator: its results are taken for true
        #[arg(long)]
        anchor: bool,
    },
}

const FIELDS: [output::Column; 15] = [
    column("ID", |a| text(&a["id"])),
    column("PROVIDER", |a| text(&a["provider"])),
    column("STATE", |a| state(&a["state"])),
    column("CLASS", |a| text(&a["class"])),
    column("REGION", |a| text(&a["region"])),
    column("SLOTS", |a| text(&a["slots"])),
    column("LEASES", |a| text(&a["leases"])),
    column("NODE", |a| text(&a["node"])),
    column("ACCEPTED", |a| text(&a["accepted"])),
    column("FAILED", |a| text(&a["failed"])),
    wide("RTT ms", |a| text(&a["rtt_ms"])),
    wide("STANDING", |a| text(&a["standing"])),
    wide("SEALED", |a| text(&a["sealed"])),
    wide("SOFTWARE", |a| text(&a["software"])),
    wide("RATES", rates),
];

/// Work units a second of one slot, by family; 1.0 is the speed of the families' cost models.
fn rates(agent: &Value) -> String {
    let rates = agent["rates"].as_array().into_iter().flatten();
    let shown =
        rates.map(|r| format!("{} {:.2}", text(&r["kind"]), r["units_per_second"].as_f64().unwrap_or(0.0) / 1e9));
    shown.collect::<Vec<_>>().join(", ")
}

pub async fn run(session: &Session, verb: Verb) -> Done {
    let (client, format) = (&session.client, session.global.output);
    match verb {
        Verb::List { state, limit } => {
            let path = path("/v1/agents", &[("state", state), ("limit", Some(limit.to_string()))]);
            output::list(format, &client.json(Ask::get(path)).await?, &FIELDS);
        }
        Verb::Show { id } => {
            let id = ids::agent(client, &id).await?;
            output::object(format, &client.json(Ask::get(format!("/v1/agents/{id}"))).await?, &FIELDS)
        }
        Verb::Explain { id } => return super::job::explain(session, &ids::agent(client, &id).await?).await,
        Verb::Drain { id, reason } => {
            let id = ids::agent(client, &id).await?;
            let body = reason.map_or_else(|| json!({}), |reason| json!({"reason": reason}));
            output::object(format, &client.json(Ask::post(format!("/v1/agents/{id}/drain"), body)).await?, &FIELDS);
        }
        Verb::Invite { provider, ttl, anchor } => {
            let provider = ids::provider(client, &provider).await?;
            let body = json!({"provider": provider, "ttl": ttl, "anchor": anchor});
            let body = client.json(Ask::post("/v1/agents/enrolments", body)).await?;
            let fields = [
                column("token", |e| text(&e["token"])),
                column("provider", |e| text(&e["provider"])),
                column("expires", |e| text(&e["expires_at"])),
            ];
            output::object(format, &body, &fields);
        }
    }
    Ok(0)
}
