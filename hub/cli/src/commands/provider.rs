//! `forge provider …`.

use super::{Done, Session};
use crate::client::Ask;
use crate::ids;
use crate::output::{self, column, text};
use clap::Subcommand;
use serde_json::json;

#[derive(Subcommand)]
pub enum Verb {
    /// List providers
    List,
    /// Show a provider and what it earned
    Show { id: String },
    /// Create a provider
    Create { name: String },
}

const FIELDS: [output::Column; 6] = [
    column("ID", |p| text(&p["id"])),
    column("NAME", |p| text(&p["name"])),
    column("EARNED", |p| text(&p["earned"])),
    column("PENDING", |p| text(&p["pending"])),
    column("PAID", |p| text(&p["paid"])),
    column("CLAWED BACK", |p| text(&p["clawed_back"])),
];

pub async fn run(session: &Session, verb: Verb) -> Done {
    let (client, format) = (&session.client, session.global.output);
    match verb {
        Verb::List => output::list(format, &client.json(Ask::get("/v1/providers?limit=500")).await?, &FIELDS),
        Verb::Show { id } => {
            let id = ids::provider(client, &id).await?;
            output::object(format, &client.json(Ask::get(format!("/v1/providers/{id}"))).await?, &FIELDS)
        }
        Verb::Create { name } => {
            output::object(format, &client.json(Ask::post("/v1/providers", json!({"name": name}))).await?, &FIELDS);
        }
    }
    Ok(0)
}
