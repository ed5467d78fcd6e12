//! `forge ledger …`.

use super::{Done, Session};
use crate::client::Ask;
use crate::output::{self, column, text};
use clap::Subcommand;

#[derive(Subcommand)]
pub enum Verb {
    /// Balances that are not zero
    Balance {
        /// Every account of the cluster
        #[arg(long)]
        all: bool,
    },
    /// Add all accounts up: the sum is zero
    TrialBalance,
}

pub async fn run(session: &Session, verb: Verb) -> Done {
    let (client, format) = (&session.client, session.global.output);
    match verb {
        Verb::Balance { all } => {
            let path = if all { "/v1/ledger/accounts?all=true" } else { "/v1/ledger/accounts" };
            let columns = [column("ACCOUNT", |a| text(&a["account"])), column("BALANCE", |a| text(&a["balance"]))];
            output::list(format, &client.json(Ask::get(path)).await?, &columns);
        }
        Verb::TrialBalance => {
            let body = client.json(Ask::get("/v1/ledger/trial-balance")).await?;
            let fields = [column("sum", |b| text(&b["sum"])), column("accounts", |b| text(&b["accounts"]))];
            output::object(format, &body, &fields);
        }
    }
    Ok(0)
}
