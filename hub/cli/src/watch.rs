//! Waiting for jobs and following events. Progress is stderr's, the answer is stdout's.

use crate::client::Ask;
use crate::commands::{Done, Session, job};
use crate::fail::{Failure, INTERRUPTED, OTHER, TIMED_OUT};
use crate::output::{self, Column, Format, column, text};
use eventsource_stream::Eventsource;
use futures::StreamExt;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Map, Value};
use std::io::IsTerminal;
use std::time::Duration;
use tokio::time::Instant;

/// One long poll.
const POLL: Duration = Duration::from_secs(20);
/// Without a terminal: one line of progress in this time at the most.
const LINE_EVERY: Duration = Duration::from_secs(10);
/// Between two looks at a job whose progress is shown.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// A longer word is cut in tables: no digest is, and no sentence. Units: bytes.
const WORD_BYTES_MAX: usize = 96;
/// Letters that are left of it.
const TEXT_FRONT: usize = 32;

/// Columns of an event.
pub const EVENT_COLUMNS: [Column; 5] = [
    column("INDEX", |e| text(&e["id"])),
    column("TIME", |e| text(&e["time"])),
    column("TYPE", |e| event_name(e).into()),
    column("SUBJECT", |e| text(&e["subject"])),
    column("DATA", |e| shortened(&e["data"]).to_string()),
];

/// Data for a table: long words, such as a whole document in hex, are cut. `-o json` has them whole.
fn shortened(data: &Value) -> Value {
    match data {
        Value::String(text) if text.len() > WORD_BYTES_MAX && !text.contains(' ') => {
            let front: String = text.chars().take(TEXT_FRONT).collect();
            format!("{front}… ({} characters)", text.chars().count()).into()
        }
        Value::Array(items) => items.iter().map(shortened).collect(),
        Value::Object(fields) => {
            fields.iter().map(|(name, value)| (name.clone(), shortened(value))).collect::<Map<_, _>>().into()
        }
        other => other.clone(),
    }
}

fn event_name(event: &Value) -> &str {
    event["type"].as_str().unwrap_or_default().trim_start_matches("hub.forge.").trim_end_matches(".v1")
}

/// An event on one line.
pub fn event_line(format: Format, event: &Value) -> String {
    match format {
        Format::Json | Format::Ndjson => format!("{event}\n"),
        Format::Id => format!("{}\n", text(&event["id"])),
        Format::Table | Format::Wide => {
            let (id, time) = (text(&event["id"]), text(&event["time"]));
            format!(
                "{id:>8}  {time}  {:<22} {:<10} {}\n",
                event_name(event),
                text(&event["subject"]),
                shortened(&event["data"])
            )
        }
    }
}

/// Waits until a job ends; prints it, and gives the exit code of its end.
pub async fn wait(session: &Session, id: &str, timeout: Option<Duration>) -> Done {
    let deadline = timeout.map(|t| Instant::now() + t);
    let mut progress = Progress::new(session.global.output);
    tokio::select! {
        biased;
        _ = tokio::signal::ctrl_c() => {
            progress.clear();
            detached(session, id);
            Err(Failure::silent(INTERRUPTED))
        }
        ended = until_ended(session, id, deadline, &mut progress) => {
            progress.clear();
            let job = ended?;
            job::print(session.global.output, &job);
            match job::exit_of(&job) {
                Some(code) => Ok(code),
                None => Err(Failure::new(TIMED_OUT, "wait-timed-out", format!("{id} has not ended in time; it goes on"))),
            }
        }
    }
}

async fn until_ended(
    session: &Session,
    id: &str,
    deadline: Option<Instant>,
    progress: &mut Progress,
) -> Result<Value, Failure> {
    loop {
        let left = deadline.map_or(POLL, |d| d.saturating_duration_since(Instant::now()));
        // With something to show, look often; without, let the hub wait for us.
        let poll = if progress.shows() { LOOK_EVERY } else { POLL }.min(left);
        let path = match poll.is_zero() {
            true => format!("/v1/jobs/{id}"),
            false => format!("/v1/jobs/{id}?until=terminal&wait={}ms", poll.as_millis()),
        };
        let job = session.client.json(Ask::get(path).waiting(poll)).await?;
        progress.show(&job);
        if job::exit_of(&job).is_some() || deadline.is_some_and(|d| Instant::now() >= d) {
            return Ok(without_meta(job));
        }
    }
}

fn without_meta(mut job: Value) -> Value {
    if let Some(job) = job.as_object_mut() {
        job.remove("meta");
    }
    job
}

/// Follows a job until it ends: a bar on a terminal, its events as NDJSON for programs.
pub async fn watch(session: &Session, id: &str) -> Done {
    if !session.global.output.is_json() {
        return wait(session, id, None).await;
    }
    let path = format!("/v1/jobs/{id}/events?until=terminal");
    let mut print = |event: &Value| output::out(&format!("{event}\n"));
    let followed = events(session, &path, &mut print);
    tokio::select! {
        biased;
        _ = tokio::signal::ctrl_c() => {
            detached(session, id);
            return Err(Failure::silent(INTERRUPTED));
        }
        done = followed => { done?; }
    }
    let job = session.client.json(Ask::get(format!("/v1/jobs/{id}"))).await?;
    Ok(job::exit_of(&job).unwrap_or(OTHER))
}

fn detached(session: &Session, id: &str) {
    if !session.global.output.is_json() {
        anstream::eprintln!("detached; {id} goes on.   again: forge watch {id}   stop it: forge job cancel {id}");
    }
}

/// Gives every event of a stream to `take`, across nodes and reconnections, until the hub says `end`.
pub async fn events(session: &Session, path: &str, take: &mut dyn FnMut(&Value)) -> Done {
    let mut last: Option<String> = None;
    loop {
        let response = session.client.stream(path, "text/event-stream", last.as_deref()).await?;
        let mut stream = response.bytes_stream().eventsource();
        while let Some(Ok(event)) = stream.next().await {
            match event.event.as_str() {
                "end" => return Ok(0),
                "bye" => break,
                _ => {}
            }
            if let Ok(body) = serde_json::from_str::<Value>(&event.data)
                && body["specversion"].is_string()
            {
                last = Some(event.id.clone());
                take(&body);
            }
        }
        if session.global.verbose {
            anstream::eprintln!("the stream ended; going on elsewhere");
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// A bar on a terminal, now and then a line elsewhere, nothing for programs.
struct Progress {
    bar: Option<ProgressBar>,
    lines: bool,
    last: Instant,
}

impl Progress {
    fn new(format: Format) -> Progress {
        let terminal = std::io::stderr().is_terminal() && std::env::var("TERM").is_ok_and(|t| t != "dumb");
        let bar = (terminal && !format.is_json()).then(|| {
            let bar = ProgressBar::with_draw_target(Some(100), ProgressDrawTarget::stderr());
            let style = ProgressStyle::with_template(" {bar:24} {pos} %  {msg}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("█▌·"));
            bar
        });
        Progress { bar, lines: !terminal && !format.is_json(), last: Instant::now() }
    }

    fn shows(&self) -> bool {
        self.bar.is_some()
    }

    fn show(&mut self, job: &Value) {
        let of = |name: &str| job["progress"][name].as_u64().unwrap_or(0);
        if let Some(bar) = &self.bar {
            // Shards of stages that are not planned yet count in the hub's percentage only.
            bar.set_position(of("percent"));
            let waiting = job["waiting_reason"]["text"].as_str().unwrap_or_default();
            let state = job["state"].as_str().unwrap_or_default();
            bar.set_message(format!("{}/{} shards  {state} {waiting}", of("verified"), of("planned")));
        } else if self.lines && self.last.elapsed() >= LINE_EVERY {
            self.last = Instant::now();
            anstream::eprintln!("{} {} {}/{}", text(&job["id"]), text(&job["state"]), of("verified"), of("planned"));
        }
    }

    fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_table_cuts_a_document_and_neither_digest_nor_sentence() {
        let digest = format!("blake3:{}", "0".repeat(64));
        let detail = "why it failed ".repeat(20);
        let data = json!({"digest": digest, "detail": detail, "document": "7b".repeat(400), "shards": [[0, 7]]});
        let shown = shortened(&data);
        assert_eq!(shown["detail"], data["detail"]);
        assert_eq!((&shown["digest"], &shown["shards"]), (&data["digest"], &data["shards"]));
        assert_eq!(shown["document"], format!("{}… (800 characters)", "7b".repeat(16)));
    }
}
