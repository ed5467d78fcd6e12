//! `forge job …`.

pub use super::submit::Submit;

use super::{Done, Session, plot};
use crate::client::{Ask, path};
use crate::fail::{Failure, exit_of_state};
use crate::output::{self, Format, column, state, text, wide};
use crate::{ids, watch};
use anyhow::Context as _;
use clap::{Args, Subcommand};
use forge_event::Digest;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::Duration;

#[derive(Subcommand)]
pub enum Verb {
    /// What a job would become; nothing is committed
    Plan(Submit),
    /// Submit a job
    Submit(Submit),
    /// List jobs, newest first
    List {
        /// States, separated by commas
        #[arg(long)]
        state: Option<String>,
        #[arg(long)]
        kind: Option<String>,
        #[arg(long, default_value_t = 50)]
        limit: u32,
        /// Every page
        #[arg(long)]
        all: bool,
    },
    /// Show a job
    Show(One),
    /// Follow a job until it ends; Ctrl-C detaches
    Watch(One),
    /// Wait until a job ends, and say how by the exit code (0, 3 failed, 4 cancelled, 124 too late)
    Wait {
        /// j1842, `last`, or the beginning of a name
        id: String,
        /// Give up after this long, e.g. 90s
        #[arg(long, value_parser = humantime::parse_duration)]
        timeout: Option<Duration>,
    },
    /// The result: with `-o json` exactly its bytes
    #[command(
        after_help = "Examples:\n  forge job result j1842 --save out    out/j1842.json, and a file for each blob it points to, e.g. out/C"
    )]
    Result {
        id: String,
        /// Write it, and every blob it points to under its field's name, into this folder
        #[arg(long, value_name = "DIR")]
        save: Option<PathBuf>,
    },
    /// Draw the result: a histogram, a loss curve, maps of the patterns, the matrix
    #[command(after_help = "Examples:\n  forge job plot last values.svg")]
    Plot { id: String, file: PathBuf },
    /// A job's events
    Events {
        id: String,
        /// Names, `*` for any ending
        #[arg(long)]
        r#type: Option<String>,
        /// Go on until the job ends
        #[arg(long)]
        follow: bool,
    },
    /// Shards and their attempts
    Shards {
        id: String,
        #[arg(long)]
        state: Option<String>,
        #[arg(long, default_value_t = 50)]
        limit: u32,
    },
    /// Why a job or shard waits
    Explain(One),
    /// Cancel a job
    Cancel {
        id: String,
        #[arg(long)]
        reason: Option<String>,
    },
    /// Count jobs by state and kind
    Summary,
}

#[derive(Args)]
pub struct One {
    /// j1842, `last`, or the beginning of a name
    pub id: String,
}

pub async fn run(session: &Session, verb: Verb) -> Done {
    match verb {
        Verb::Plan(request) => plan(session, request).await,
        Verb::Submit(request) => submit(session, request).await,
        Verb::List { state, kind, limit, all } => list(session, state, kind, limit, all).await,
        Verb::Show(one) => show(session, &one.id).await,
        Verb::Watch(one) => watch(session, &one.id).await,
        Verb::Wait { id, timeout } => {
            let id = ids::job(&session.client, &id).await?;
            watch::wait(session, &id, timeout).await
        }
        Verb::Result { id, save } => result(session, &id, save).await,
        Verb::Plot { id, file } => plot::run(session, &id, &file).await,
        Verb::Events { id, r#type, follow } => events(session, &id, r#type, follow).await,
        Verb::Shards { id, state, limit } => shards(session, &id, state, limit).await,
        Verb::Explain(one) => explain(session, &one.id).await,
        Verb::Cancel { id, reason } => cancel(session, &id, reason).await,
        Verb::Summary => {
            let body = session.client.json(Ask::get("/v1/jobs/summary")).await?;
            let fields = [
                column("total", |s| text(&s["total"])),
                column("by state", |s| text(&s["by_state"])),
                column("by kind", |s| text(&s["by_kind"])),
            ];
            output::object(session.global.output, &body, &fields);
            Ok(0)
        }
    }
}

async fn plan(session: &Session, request: Submit) -> Done {
    let body = session.client.json(Ask::post("/v1/plans", request.body()?)).await?;
    let fields = [
        column("plan", |p| text(&p["digest"])),
        column("shards", |p| {
            let shards = &p["shards"];
            let (count, seconds) = (text(&shards["count"]), shards["est_seconds"]["p50"].as_f64().unwrap_or(0.0));
            format!("{count} × ~{} ({})", output::seconds(seconds), text(&shards["est_basis"]))
        }),
        column("credits", |p| format!("{} – {}", text(&p["credits"]["low"]), text(&p["credits"]["high"]))),
        column("finish", |p| match &p["eta"] {
            Value::Null => String::new(),
            eta => format!("p50 {}  p95 {}", output::span(&eta["p50"]), output::span(&eta["p95"])),
        }),
        column("agents", |p| {
            format!("{} match, {} idle", text(&p["capacity"]["matching_agents"]), text(&p["capacity"]["idle"]))
        }),
        wide("rejected", |p| {
            let rejected = p["rejected_agents"].as_array().into_iter().flatten();
            rejected.map(|r| format!("{} {}", text(&r["agent"]), text(&r["code"]))).collect::<Vec<_>>().join(", ")
        }),
        column("warnings", |p| text(&p["warnings"])),
    ];
    output::object(session.global.output, &body, &fields);
    Ok(0)
}

pub async fn submit(session: &Session, request: Submit) -> Done {
    let format = session.global.output;
    let ask = Ask::post("/v1/jobs", request.body()?).keyed(request.idempotency_key.clone());
    let answer = session.client.ask(ask).await?;
    let job = answer.json()?;
    let id = job["id"].as_str().unwrap_or_default().to_string();
    if !request.wait {
        output::object(format, &job, &FIELDS);
        output::hint(format, &format!("follow it: forge watch {id}"));
        return Ok(0);
    }
    output::hint(format, &format!("{id} accepted at log {}", text(&job["created_index"])));
    let code = watch::wait(session, &id, request.timeout).await?;
    if code == 0 && matches!(format, Format::Table | Format::Wide) {
        print_result(session, &id).await?;
    }
    Ok(code)
}

const FIELDS: [output::Column; 14] = [
    column("job", |j| text(&j["id"])),
    column("name", |j| text(&j["name"])),
    column("kind", |j| text(&j["kind"])),
    column("state", |j| state(&j["state"])),
    column("waiting", |j| j["waiting_reason"]["text"].as_str().unwrap_or_default().into()),
    column("progress", progress),
    column("credits", |j| {
        format!("{} spent, {} in escrow", text(&j["credits"]["spent"]), text(&j["credits"]["escrow"]))
    }),
    column("result", |j| j["result"]["digest"].as_str().unwrap_or_default().into()),
    column("error", |j| match &j["error"] {
        Value::Null => String::new(),
        error => format!("{}: {}", text(&error["code"]), text(&error["detail"])),
    }),
    column("about", about),
    column("created", |j| text(&j["created_at"])),
    wide("project", |j| text(&j["project"])),
    wide("plan", |j| text(&j["plan_digest"])),
    wide("updated", |j| text(&j["updated_index"])),
];

/// What the job's family knows of it.
fn about(job: &Value) -> String {
    let known = job["metadata"].as_object().into_iter().flatten();
    known.map(|(name, value)| format!("{name} {}", text(value))).collect::<Vec<_>>().join(", ")
}

fn progress(job: &Value) -> String {
    let of = |name: &str| job["progress"][name].as_u64().unwrap_or(0);
    format!("{}/{}  {} %", of("verified"), of("planned"), of("percent"))
}

async fn list(session: &Session, wanted: Option<String>, kind: Option<String>, limit: u32, all: bool) -> Done {
    let columns = [
        column("ID", |j| text(&j["id"])),
        column("NAME", |j| text(&j["name"])),
        column("KIND", |j| text(&j["kind"])),
        column("STATE", |j| state(&j["state"])),
        column("PROGRESS", progress),
        column("CREDITS", |j| text(&j["credits"]["spent"])),
        column("CREATED", |j| text(&j["created_at"])),
        wide("PROJECT", |j| text(&j["project"])),
        wide("WAITING", |j| j["waiting_reason"]["code"].as_str().unwrap_or("—").into()),
    ];
    let mut token = None;
    let mut data = Vec::new();
    let page = loop {
        let limit = if all { 500 } else { limit };
        let parameters = [
            ("state", wanted.clone()),
            ("kind", kind.clone()),
            ("limit", Some(limit.to_string())),
            ("page_token", token),
        ];
        let mut page = session.client.json(Ask::get(path("/v1/jobs", &parameters))).await?;
        token = page["next_page_token"].as_str().map(String::from);
        data.append(page["data"].as_array_mut().unwrap_or(&mut Vec::new()));
        if !all || token.is_none() {
            page["data"] = data.into();
            break page;
        }
    };
    output::list(session.global.output, &page, &columns);
    if page["next_page_token"].is_string() {
        output::hint(session.global.output, "older jobs are hidden (--all)");
    }
    Ok(0)
}

async fn show(session: &Session, id: &str) -> Done {
    let id = ids::job(&session.client, id).await?;
    let job = session.client.json(Ask::get(format!("/v1/jobs/{id}"))).await?;
    output::object(session.global.output, &job, &FIELDS);
    Ok(0)
}

/// Prints a job as `job show` does.
pub fn print(format: Format, job: &Value) {
    output::object(format, job, &FIELDS);
}

pub async fn watch(session: &Session, id: &str) -> Done {
    let id = ids::job(&session.client, id).await?;
    watch::watch(session, &id).await
}

/// The blobs of a result document, by the name of their field; those of a list are numbered, as in `reconstruction.0`.
fn pointed_to(value: &Value, path: &mut Vec<String>, found: &mut Vec<(String, Digest)>) {
    match value {
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                path.push(at.to_string());
                pointed_to(item, path, found);
                path.pop();
            }
        }
        Value::Object(fields) => {
            let digest = fields.get("digest").and_then(Value::as_str).and_then(|text| text.parse().ok());
            if let Some(digest) = digest.filter(|_| fields.contains_key("bytes")) {
                found.push((path.join("."), digest));
            }
            for (name, item) in fields {
                path.push(name.clone());
                pointed_to(item, path, found);
                path.pop();
            }
        }
        _ => {}
    }
}

async fn result(session: &Session, id: &str, save: Option<PathBuf>) -> Done {
    let id = ids::job(&session.client, id).await?;
    if let Some(folder) = save {
        let answer = session.client.ask(Ask::get(format!("/v1/jobs/{id}/result"))).await?;
        let file = folder.join(format!("{id}.json"));
        let write = std::fs::create_dir_all(&folder).and_then(|()| std::fs::write(&file, &answer.bytes));
        write.with_context(|| format!("writing {}", file.display()))?;
        output::out(&format!("{}\n", file.display()));
        let mut blobs = Vec::new();
        pointed_to(&answer.json()?, &mut Vec::new(), &mut blobs);
        for (name, digest) in blobs {
            let file = folder.join(name);
            session.client.get_blob(&digest, &file).await?;
            output::out(&format!("{}\n", file.display()));
        }
        return Ok(0);
    }
    match session.global.output {
        Format::Json | Format::Ndjson => {
            let answer = session.client.ask(Ask::get(format!("/v1/jobs/{id}/result"))).await?;
            output::raw(&answer.bytes);
            output::raw(b"\n");
        }
        Format::Id => {
            let answer = session.client.ask(Ask::get(format!("/v1/jobs/{id}/result"))).await?;
            output::out(&format!("{}\n", answer.header("forge-result-digest").unwrap_or_default()));
        }
        Format::Table | Format::Wide => print_result(session, &id).await?,
    }
    Ok(0)
}

/// A value of a result document for people: numbers without their bits, a line for each row of a table.
fn plain(value: &Value) -> String {
    if value.get("bits").is_some() {
        return text(&value["value"]);
    }
    if let (Some(digest), Some(bytes)) = (value["digest"].as_str(), value["bytes"].as_u64()) {
        return format!("{digest} ({bytes} bytes)");
    }
    let fields = |row: &Value| -> String {
        let fields = row.as_object().into_iter().flatten();
        fields.map(|(name, value)| format!("{name} {}", plain(value))).collect::<Vec<_>>().join("  ")
    };
    let is_row = |item: &Value| item.is_object() && item.get("bits").is_none() && item.get("digest").is_none();
    match value {
        Value::Array(items) if items.iter().any(is_row) => {
            items.iter().map(fields).collect::<Vec<_>>().join(&format!("\n{:<18} ", ""))
        }
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(", "),
        Value::Object(_) => fields(value),
        _ => text(value),
    }
}

/// The result for people: every field on a line, floats with their bits.
async fn print_result(session: &Session, id: &str) -> Result<(), Failure> {
    let answer = session.client.ask(Ask::get(format!("/v1/jobs/{id}/result"))).await?;
    let document = answer.json()?;
    let mut lines = String::new();
    for (name, value) in document.as_object().into_iter().flatten().filter(|(_, v)| !v.is_null()) {
        let shown = match (value.get("value"), value.get("bits").and_then(Value::as_str)) {
            (Some(number), Some(bits)) => format!("{number}    bits {bits}"),
            _ => plain(value),
        };
        lines.push_str(&format!("{name:<18} {shown}\n"));
    }
    lines.push_str(&format!("{:<18} {}\n", "digest", answer.header("forge-result-digest").unwrap_or_default()));
    output::out(&lines);
    Ok(())
}

async fn events(session: &Session, id: &str, types: Option<String>, follow: bool) -> Done {
    let id = ids::job(&session.client, id).await?;
    if follow {
        let path = path(&format!("/v1/jobs/{id}/events"), &[("type", types), ("until", Some("terminal".into()))]);
        return watch::events(session, &path, &mut |event| {
            output::out(&watch::event_line(session.global.output, event))
        })
        .await;
    }
    let mut token = None;
    let mut data = Vec::new();
    let page = loop {
        let parameters = [("type", types.clone()), ("limit", Some("500".into())), ("page_token", token)];
        let mut page = session.client.json(Ask::get(path(&format!("/v1/jobs/{id}/events"), &parameters))).await?;
        token = page["next_page_token"].as_str().map(String::from);
        data.append(page["data"].as_array_mut().unwrap_or(&mut Vec::new()));
        if token.is_none() {
            page["data"] = data.into();
            break page;
        }
    };
    output::list(session.global.output, &page, &watch::EVENT_COLUMNS);
    Ok(0)
}

async fn shards(session: &Session, id: &str, wanted: Option<String>, limit: u32) -> Done {
    let id = ids::job(&session.client, id).await?;
    let path = path(&format!("/v1/jobs/{id}/shards"), &[("state", wanted), ("limit", Some(limit.to_string()))]);
    let page = session.client.json(Ask::get(path)).await?;
    let columns = [
        column("ID", |s| text(&s["id"])),
        column("STATE", |s| state(&s["state"])),
        column("AGENT", |s| text(&s["agent"])),
        column("ATTEMPTS", |s| s["attempts"].as_array().map_or(0, Vec::len).to_string()),
        column("FAILED", |s| text(&s["failed_attempts"])),
        wide("SINCE", |s| {
            let last = s["attempts"].as_array().and_then(|a| a.last());
            last.map_or_else(|| "—".into(), |a| text(&a["started"]))
        }),
    ];
    output::list(session.global.output, &page, &columns);
    Ok(0)
}

pub async fn explain(session: &Session, id: &str) -> Done {
    let path = match id.parse::<forge_event::AgentId>() {
        Ok(agent) => format!("/v1/agents/{agent}/explain"),
        Err(_) => {
            let id = ids::job_or_shard(&session.client, id).await?;
            let noun = if id.contains('.') { "shards" } else { "jobs" };
            format!("/v1/{noun}/{id}/explain")
        }
    };
    let body = session.client.json(Ask::get(path)).await?;
    let fields = [
        column("subject", |e| text(&e["subject"])),
        column("state", |e| text(&e["state"])),
        column("headline", |e| text(&e["headline"])),
        column("decisive", |e| text(&e["decisive"]["code"])),
        column("funnel", |e| {
            let step = |s: &Value| format!("{} {}", text(&s["n"]), text(&s["step"]));
            e["funnel"].as_array().into_iter().flatten().map(step).collect::<Vec<_>>().join(" ─ ")
        }),
        column("would help", |e| {
            let help = e["would_help"].as_array().into_iter().flatten();
            help.map(|h| text(&h["change"])).collect::<Vec<_>>().join(" · ")
        }),
    ];
    output::object(session.global.output, &body, &fields);
    Ok(0)
}

async fn cancel(session: &Session, id: &str, reason: Option<String>) -> Done {
    let id = ids::job(&session.client, id).await?;
    let body = reason.map_or_else(|| json!({}), |reason| json!({"reason": reason}));
    let job = session.client.json(Ask::post(format!("/v1/jobs/{id}/cancel"), body)).await?;
    output::object(session.global.output, &job, &FIELDS);
    Ok(0)
}

/// The exit code for a job that ended.
pub fn exit_of(job: &Value) -> Option<u8> {
    exit_of_state(job["state"].as_str().unwrap_or_default())
}
