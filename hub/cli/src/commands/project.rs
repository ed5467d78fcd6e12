//! `forge project …`.

use super::{Done, Session};
use crate::client::Ask;
use crate::ids;
use crate::output::{self, column, text, wide};
use clap::Subcommand;
use serde_json::json;

#[derive(Subcommand)]
pub enum Verb {
    /// List the projects this key may see
    List,
    /// Show a project
    Show { id: String },
    /// Create a project
    Create {
        name: String,
        /// Most that may be in escrow at once, in credits
        #[arg(long)]
        quota: Option<String>,
        /// Share of the network against other projects, 1 to 1000
        #[arg(long)]
        weight: Option<u16>,
    },
    /// Issue credits to a project
    #[command(after_help = "Examples:\n  forge project credits p7 1000 --reference invoice-12")]
    Credits {
        id: String,
        amount: String,
        #[arg(long)]
        reference: Option<String>,
        /// Makes a repetition safe across runs; made up if absent
        #[arg(long, value_name = "KEY")]
        idempotency_key: Option<String>,
    },
}

const FIELDS: [output::Column; 8] = [
    column("ID", |p| text(&p["id"])),
    column("NAME", |p| text(&p["name"])),
    column("AVAILABLE", |p| text(&p["available"])),
    column("ESCROW", |p| text(&p["escrow"])),
    column("QUOTA", |p| text(&p["quota"])),
    column("WEIGHT", |p| text(&p["weight"])),
    column("VMEM", |p| format!("{} of {} bytes", text(&p["vmem"]["charged_bytes"]), text(&p["vmem"]["budget_bytes"]))),
    wide("VMEM USED", |p| text(&p["vmem"]["used_bytes"])),
];

pub async fn run(session: &Session, verb: Verb) -> Done {
    let (client, format) = (&session.client, session.global.output);
    match verb {
        Verb::List => output::list(format, &client.json(Ask::get("/v1/projects?limit=500")).await?, &FIELDS),
        Verb::Show { id } => {
            let id = ids::project(client, &id).await?;
            output::object(format, &client.json(Ask::get(format!("/v1/projects/{id}"))).await?, &FIELDS)
        }
        Verb::Create { name, quota, weight } => {
            let mut body = json!({"name": name});
            if let Some(quota) = quota {
                body["quota"] = quota.into();
            }
            if let Some(weight) = weight {
                body["weight"] = weight.into();
            }
            output::object(format, &client.json(Ask::post("/v1/projects", body)).await?, &FIELDS);
        }
        Verb::Credits { id, amount, reference, idempotency_key } => {
            let id = ids::project(client, &id).await?;
            let mut body = json!({"amount": amount});
            if let Some(reference) = reference {
                body["reference"] = reference.into();
            }
            let ask = Ask::post(format!("/v1/projects/{id}/credits"), body).keyed(idempotency_key);
            let fields = [column("transfer", |t| text(&t["transfer"])), column("amount", |t| text(&t["amount"]))];
            output::object(format, &client.json(ask).await?, &fields);
        }
    }
    Ok(0)
}
