//! Answers on stdout: tables for people, JSON for programs.

use crate::fail::Failure;
use comfy_table::{ContentArrangement, Table, presets};
use owo_colors::OwoColorize;
use serde_json::Value;
use std::io::{ErrorKind, IsTerminal, Write};
use std::time::Duration;

/// How an answer is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, clap::ValueEnum)]
pub enum Format {
    /// Columns for people.
    #[default]
    Table,
    /// More columns.
    Wide,
    /// One JSON document, as the API gives it.
    Json,
    /// One JSON document a line.
    Ndjson,
    /// Ids alone, one a line.
    Id,
}

impl Format {
    pub fn is_json(self) -> bool {
        matches!(self, Format::Json | Format::Ndjson)
    }
}

/// When to colour.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, clap::ValueEnum)]
pub enum Colour {
    #[default]
    Auto,
    Always,
    Never,
}

/// Decides once for stdout and stderr; `NO_COLOR` and `CLICOLOR_FORCE` count under `auto`.
pub fn choose_colour(colour: Colour) {
    match colour {
        Colour::Auto => anstream::ColorChoice::Auto.write_global(),
        Colour::Always => anstream::ColorChoice::Always.write_global(),
        Colour::Never => anstream::ColorChoice::Never.write_global(),
    }
}

/// Writes to stdout. A reader that went away ends the program quietly.
pub fn out(text: &str) {
    let mut stdout = anstream::stdout().lock();
    let written = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    quiet_pipe(written);
}

/// Writes bytes as they are.
pub fn raw(bytes: &[u8]) {
    let mut stdout = std::io::stdout().lock();
    quiet_pipe(stdout.write_all(bytes).and_then(|()| stdout.flush()));
}

fn quiet_pipe(written: std::io::Result<()>) {
    match written {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => std::process::exit(0),
        Err(error) => {
            anstream::eprintln!("error[output]: writing to stdout: {error}");
            std::process::exit(i32::from(crate::fail::OTHER));
        }
        Ok(()) => {}
    }
}

/// A hint on stderr, for people only.
pub fn hint(format: Format, text: &str) {
    if !format.is_json() && std::io::stderr().is_terminal() {
        anstream::eprintln!("{}", text.dimmed());
    }
}

/// A column: its heading and the field it shows. `wide` ones show with `-o wide`.
pub struct Column {
    pub heading: &'static str,
    pub show: fn(&Value) -> String,
    pub wide: bool,
}

/// A column of every table.
pub const fn column(heading: &'static str, show: fn(&Value) -> String) -> Column {
    Column { heading, show, wide: false }
}

/// A column of wide tables.
pub const fn wide(heading: &'static str, show: fn(&Value) -> String) -> Column {
    Column { heading, show, wide: true }
}

/// A page of a list (`data`).
pub fn list(format: Format, page: &Value, columns: &[Column]) {
    let rows = page["data"].as_array().map(Vec::as_slice).unwrap_or_default();
    match format {
        Format::Json => out(&format!("{page}\n")),
        Format::Ndjson => out(&rows.iter().map(|row| format!("{row}\n")).collect::<String>()),
        Format::Id => out(&rows.iter().map(|row| format!("{}\n", id_of(row))).collect::<String>()),
        Format::Table | Format::Wide => table(format, rows, columns),
    }
}

fn table(format: Format, rows: &[Value], columns: &[Column]) {
    let columns: Vec<&Column> = columns.iter().filter(|c| !c.wide || format == Format::Wide).collect();
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(columns.iter().map(|c| c.heading));
    for row in rows {
        table.add_row(columns.iter().map(|c| (c.show)(row)));
    }
    let text = table.to_string();
    let lines = text.lines().map(|line| line.trim_end()).collect::<Vec<_>>();
    out(&format!("{}\n", lines.join("\n")));
}

/// One object.
pub fn object(format: Format, body: &Value, fields: &[Column]) {
    match format {
        Format::Json | Format::Ndjson => out(&format!("{body}\n")),
        Format::Id => out(&format!("{}\n", id_of(body))),
        Format::Table | Format::Wide => {
            let shown: Vec<(&str, String)> = fields
                .iter()
                .filter(|c| !c.wide || format == Format::Wide)
                .map(|c| (c.heading, (c.show)(body)))
                .collect();
            let width = shown.iter().map(|(h, _)| h.len()).max().unwrap_or(0);
            let lines = shown.iter().filter(|(_, v)| !v.is_empty()).map(|(h, v)| format!("{h:<width$}  {v}\n"));
            out(&lines.collect::<String>());
        }
    }
}

fn id_of(row: &Value) -> &str {
    let named = ["id", "account", "transfer", "token"].into_iter().find_map(|f| row[f].as_str());
    named.unwrap_or_default()
}

/// A field as text; `—` for null.
pub fn text(value: &Value) -> String {
    match value {
        Value::Null => "—".into(),
        Value::String(text) => text.clone(),
        Value::Array(list) => list.iter().map(text).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

/// A number of seconds as people say it: `212 µs`, `3.2 s`, `10h 56m`.
pub fn seconds(seconds: f64) -> String {
    match seconds {
        s if s >= 120.0 => humantime::format_duration(Duration::from_secs(s.min(1e15) as u64)).to_string(),
        s if s >= 1.0 => format!("{s:.1} s"),
        s if s >= 1e-3 => format!("{:.0} ms", s * 1e3),
        s => format!("{:.0} µs", s * 1e6),
    }
}

/// The same of a span as the API writes it, such as `39400877ms`.
pub fn span(value: &Value) -> String {
    let read = value.as_str().and_then(|text| forge_api::text::duration(text).ok());
    read.map_or_else(|| text(value), |span| seconds(span.0 as f64 / 1e3))
}

/// A state as glyph and word; colour only says it again.
pub fn state(value: &Value) -> String {
    let word = value.as_str().unwrap_or("—");
    let ascii = std::env::var("TERM").is_ok_and(|t| t == "dumb");
    let glyph = match word {
        "succeeded" | "ready" | "ok" | "live" => "✓",
        "running" | "busy" | "reducing" => "◐",
        "failed" | "lost" | "revoked" => "✗",
        "cancelled" | "offline" | "expired" => "–",
        "lagging" | "draining" => "⚠",
        _ => "◌",
    };
    if ascii { word.into() } else { format!("{glyph} {word}") }
}

/// Reads JSON that the hub sent.
pub fn parse(bytes: &[u8]) -> Result<Value, Failure> {
    serde_json::from_slice(bytes)
        .map_err(|e| Failure::new(crate::fail::OTHER, "bad-answer", format!("the hub's answer is not JSON: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_told_in_units_of_its_size() {
        assert_eq!(seconds(0.000212336), "212 µs");
        assert_eq!((seconds(0.25), seconds(3.24)), ("250 ms".into(), "3.2 s".into()));
        assert_eq!(span(&"39400877ms".into()), "10h 56m 40s");
        assert_eq!((span(&"17s".into()), span(&Value::Null)), ("17.0 s".into(), "—".into()));
    }
}
