//! `forge key …`.

use super::{Done, Session, confirm};
use crate::client::Ask;
use crate::ids;
use crate::output::{self, column, state, text};
use clap::Subcommand;
use serde_json::json;

#[derive(Subcommand)]
pub enum Verb {
    /// List keys, without their secrets
    List,
    /// Create a key; it is shown once
    #[command(after_help = "Examples:\n  forge key create ci --project p7 --scope jobs:read --scope jobs:write")]
    Create {
        label: String,
        /// The project it is bound to; without one, a cluster key
        #[arg(long)]
        project: Option<String>,
        /// jobs:read jobs:write blobs ledger:read audit:read agents:admin cluster:admin
        #[arg(long = "scope", required = true, value_delimiter = ',')]
        scopes: Vec<String>,
        /// RFC 3339
        #[arg(long)]
        expires_at: Option<String>,
    },
    /// Revoke a key, at once and for good
    Revoke { id: String },
}

const FIELDS: [output::Column; 5] = [
    column("ID", |k| text(&k["id"])),
    column("LABEL", |k| text(&k["label"])),
    column("PROJECT", |k| text(&k["project"])),
    column("SCOPES", |k| text(&k["scopes"])),
    column("STATE", |k| state(&k["state"])),
];

pub async fn run(session: &Session, verb: Verb) -> Done {
    let (client, format) = (&session.client, session.global.output);
    match verb {
        Verb::List => output::list(format, &client.json(Ask::get("/v1/keys?limit=500")).await?, &FIELDS),
        Verb::Create { label, project, scopes, expires_at } => {
            let mut body = json!({"label": label, "scopes": scopes});
            if let Some(project) = project {
                body["project"] = ids::project(client, &project).await?.into();
            }
            if let Some(end) = expires_at {
                body["expires_at"] = end.into();
            }
            let fields = [column("id", |k| text(&k["id"])), column("key", |k| text(&k["key"]))];
            output::object(format, &client.json(Ask::post("/v1/keys", body)).await?, &fields);
            output::hint(format, "keep it: it is not shown again");
        }
        Verb::Revoke { id } => {
            let id = ids::key(client, &id).await?;
            confirm(session.global.yes, &format!("Revoke {id}"))?;
            output::object(format, &client.json(Ask::delete(format!("/v1/keys/{id}"))).await?, &FIELDS);
        }
    }
    Ok(0)
}
