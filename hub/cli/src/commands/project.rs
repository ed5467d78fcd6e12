//! `forge project …`.

use super::{Done, Session};
use crate::client::Ask;
use crate::fail::Failure;
use crate::ids;
use crate::output::{self, column, text, wide};
use crate::sugar;
use clap::Subcommand;
use serde_json::{Value, json};

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
    /// Show what a project may use and what it uses, or set it
    #[command(
        after_help = "Examples:\n  forge project quota p7\n  forge project quota p7 --shards 200 --credits 500\n  \
                            forge project quota p7 --shards none"
    )]
    Quota {
        id: String,
        /// Most in escrow at once, in credits, or `none`
        #[arg(long)]
        credits: Option<String>,
        /// Most shards under way at once, or `none`
        #[arg(long)]
        shards: Option<String>,
        /// Most bytes kept in blobs, e.g. 1e9, or `none` for the hub's own limit
        #[arg(long)]
        blob_bytes: Option<String>,
        /// Most blobs kept, or `none` for the hub's own limit
        #[arg(long)]
        blob_count: Option<String>,
        /// Most bytes in the mid-states of open jobs, or `none` for the hub's own limit
        #[arg(long)]
        vmem_bytes: Option<String>,
        /// Most uploads at once on a node, or `none` for the hub's own limit
        #[arg(long)]
        uploads: Option<String>,
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
    column("QUOTA", quota_of),
    column("WEIGHT", |p| text(&p["weight"])),
    column("VMEM", |p| format!("{} of {} bytes", text(&p["vmem"]["charged_bytes"]), text(&p["vmem"]["budget_bytes"]))),
    wide("VMEM USED", |p| text(&p["vmem"]["used_bytes"])),
];

/// What was set, of credits and of everything else; `—` if nothing was.
fn quota_of(project: &Value) -> String {
    let set = |(name, value): (&String, &Value)| (!value.is_null()).then(|| format!("{name} {}", text(value)));
    let set: Vec<String> = project["own_limits"].as_object().into_iter().flatten().filter_map(set).collect();
    if set.is_empty() { text(&project["quota"]) } else { set.join(", ") }
}

/// A limit with what is used of it, the same field of both.
fn limit(quota: &Value, field: &str) -> String {
    let limit = Some(&quota["limits"][field]).filter(|limit| !limit.is_null()).map_or("no limit".into(), text);
    format!("{} of {limit}", text(&quota["used"][field]))
}

const QUOTA: [output::Column; 7] = [
    column("PROJECT", |q| text(&q["project"])),
    column("CREDITS", |q| limit(q, "credits")),
    column("SHARDS", |q| limit(q, "shards")),
    column("BLOB BYTES", |q| limit(q, "blob_bytes")),
    column("BLOBS", |q| limit(q, "blob_count")),
    column("VMEM BYTES", |q| limit(q, "vmem_bytes")),
    column("UPLOADS A NODE", |q| text(&q["limits"]["uploads"])),
];

/// Sets the fields that were named, if any, on top of the quota that was read.
async fn quota(session: &Session, id: &str, changes: [(&str, Option<String>); 6]) -> Result<Value, Failure> {
    let client = &session.client;
    let path = format!("/v1/projects/{}/quota", ids::project(client, id).await?);
    let read = client.ask(Ask::get(path.as_str())).await?;
    let known = read.json()?;
    let mut body = known["quota"].clone();
    for (field, change) in &changes {
        let Some(change) = change else { continue };
        // Amounts are text; what is no number is for the hub to refuse, which names the field.
        body[field] = match (change.as_str(), sugar::value(change)) {
            ("none", _) => Value::Null,
            (_, number @ Value::Number(_)) if *field != "credits" => number,
            (word, _) => word.into(),
        };
    }
    if changes.iter().all(|(_, change)| change.is_none()) {
        return Ok(known);
    }
    let if_match = read.header("etag").map(str::to_owned);
    client.json(Ask { if_match, ..Ask::put(path, body) }).await
}

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
        Verb::Quota { id, credits, shards, blob_bytes, blob_count, vmem_bytes, uploads } => {
            let changes = [
                ("credits", credits),
                ("shards", shards),
                ("blob_bytes", blob_bytes),
                ("blob_count", blob_count),
                ("vmem_bytes", vmem_bytes),
                ("uploads", uploads),
            ];
            output::object(format, &quota(session, &id, changes).await?, &QUOTA);
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
