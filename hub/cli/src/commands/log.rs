//! `forge log …`: what a hub is asked for. Verifying and replaying are offline: `offline.rs`.

use super::{Done, Session};
use crate::client::{Ask, path};
use crate::fail::Failure;
use crate::output::{self, column, text};
use crate::watch;
use anyhow::Context as _;
use clap::{Subcommand, ValueEnum};
use futures::StreamExt;
use std::io::Write;
use std::path::PathBuf;

#[derive(Clone, Copy, ValueEnum)]
pub enum ExportFormat {
    /// The archive format: can be verified and replayed
    Forge,
    /// One line of JSON an event
    Ndjson,
}

#[derive(Subcommand)]
pub enum Verb {
    /// Follow the log
    Tail {
        /// Begin behind this index; without it, with the last events
        #[arg(long)]
        after: Option<u64>,
        /// Names, `*` for any ending
        #[arg(long)]
        r#type: Option<String>,
        /// j1842, p3, a37 …
        #[arg(long)]
        subject: Option<String>,
        /// Events before the present to begin with
        #[arg(short = 'n', long, default_value_t = 20)]
        lines: u64,
        /// Stop at the present
        #[arg(long)]
        no_follow: bool,
    },
    /// Show one event
    Show { index: u64 },
    /// Export the log to a file; `-` is stdout
    #[command(after_help = "Examples:
  forge log export all.forge
  forge log export --format ndjson --from 1 --to 18442 -")]
    Export {
        #[arg(value_name = "FILE")]
        file: PathBuf,
        #[arg(long)]
        from: Option<u64>,
        /// Rounded down to the end of a turn
        #[arg(long)]
        to: Option<u64>,
        #[arg(long, value_enum, default_value = "forge")]
        format: ExportFormat,
    },
    /// Check an export offline: chain, every decision derived again, ledger
    #[command(after_help = "Examples:\n  forge log verify all.forge -o json")]
    Verify {
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Replay an export offline: results, balances and the state's digest
    #[command(after_help = "Examples:\n  forge log replay all.forge --until 18442 -o json")]
    Replay {
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Stop after the turn that holds this event
        #[arg(long, value_name = "INDEX")]
        until: Option<u64>,
    },
}

pub async fn run(session: &Session, verb: Verb) -> Done {
    match verb {
        Verb::Tail { after, r#type, subject, lines, no_follow } => {
            let after = match after {
                Some(after) => after,
                None => {
                    let answer = session.client.ask(Ask::get("/v1/log?limit=1")).await?;
                    let end = answer.json()?["as_of_index"].as_u64().unwrap_or(0);
                    end.saturating_sub(lines)
                }
            };
            let after = Some(after.to_string());
            let format = session.global.output;
            if no_follow {
                let query = [("after", after), ("type", r#type), ("subject", subject), ("limit", Some("500".into()))];
                let page = session.client.json(Ask::get(path("/v1/events", &query))).await?;
                output::list(format, &page, &watch::EVENT_COLUMNS);
                return Ok(0);
            }
            let path = path("/v1/events", &[("after", after), ("type", r#type), ("subject", subject)]);
            watch::events(session, &path, &mut |event| output::out(&watch::event_line(format, event))).await
        }
        Verb::Show { index } => {
            let entry = session.client.json(Ask::get(format!("/v1/log/{index}"))).await?;
            let fields = [
                column("index", |e| text(&e["index"])),
                column("type", |e| text(&e["type"])),
                column("at", |e| text(&e["at"])),
                column("subject", |e| text(&e["subject"])),
                column("cause", |e| text(&e["cause"])),
                column("data", |e| e["data"].to_string()),
                column("hash", |e| text(&e["hash"])),
                column("previous", |e| text(&e["previous_hash"])),
            ];
            output::object(session.global.output, &entry, &fields);
            Ok(0)
        }
        Verb::Export { file, from, to, format } => export(session, file, from, to, format).await,
        Verb::Verify { .. } | Verb::Replay { .. } => unreachable!("handled without a client"),
    }
}

async fn export(session: &Session, file: PathBuf, from: Option<u64>, to: Option<u64>, format: ExportFormat) -> Done {
    let format = match format {
        ExportFormat::Forge => "forge",
        ExportFormat::Ndjson => "ndjson",
    };
    let number = |n: Option<u64>| n.map(|n| n.to_string());
    let path = path("/v1/log/export", &[("from", number(from)), ("to", number(to)), ("format", Some(format.into()))]);
    let response = session.client.stream(&path, "*/*", None).await?;
    let mut stream = response.bytes_stream();
    if file.as_os_str() == "-" {
        while let Some(chunk) = stream.next().await {
            output::raw(&chunk.map_err(cut)?);
        }
        return Ok(0);
    }
    // Beside its place first: a cut export never looks like a whole one.
    let aside = file.with_extension("part");
    let written = async {
        let mut out = std::io::BufWriter::new(
            std::fs::File::create(&aside).with_context(|| format!("creating {}", aside.display()))?,
        );
        while let Some(chunk) = stream.next().await {
            out.write_all(&chunk.map_err(cut)?).context("writing the export")?;
        }
        out.into_inner().context("writing the export")?.sync_all().context("writing the export")?;
        std::fs::rename(&aside, &file).with_context(|| format!("naming {}", file.display()))?;
        Ok::<(), Failure>(())
    };
    let written = written.await;
    if written.is_err() {
        let _ = std::fs::remove_file(&aside);
    }
    written?;
    output::hint(session.global.output, &format!("check it: forge log verify {}", file.display()));
    Ok(0)
}

fn cut(error: reqwest::Error) -> Failure {
    Failure::new(crate::fail::UNAVAILABLE, "cut", format!("the hub stopped in the middle of the export: {error}"))
}
