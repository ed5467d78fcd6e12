//! `forge log verify`, `forge log replay`: offline, from a file alone.

use super::Done;
use crate::fail::{Failure, OTHER, VERIFICATION};
use crate::output::{self, Format};
use forge_adapters::Registry;
use forge_event::EventIndex;
use forge_projections::replay::{Mode, Options, Report, Verifier};
use std::path::Path;

/// Reads and checks an archive whole: frames, chain, law of the turn, seals, ledger.
///
/// # Errors
/// If the file cannot be read.
pub fn check(file: &Path, until: Option<EventIndex>) -> Result<Report, Failure> {
    let bytes = std::fs::read(file)
        .map_err(|e| Failure::new(OTHER, "unreadable", format!("{} cannot be read: {e}", file.display())))?;
    let options = Options { mode: Mode::Full, until, recheck: true };
    let verify = |key: &[u8; 32], message: &[u8], signature: &[u8; 64]| {
        forge_log::network::identity::verify(key, message, signature)
    };
    Ok(Verifier::new(&bytes, &Registry, options).sealed_by(&verify).finish())
}

/// Prints what [`check`] found; the exit code says it too.
pub fn run(format: Format, file: &Path, until: Option<EventIndex>, replay: bool) -> Done {
    let report = check(file, until)?;
    let text = if replay { report.replay_json() } else { report.verify_json() };
    if format.is_json() {
        output::out(&format!("{text}\n"));
    } else {
        let body = output::parse(text.as_bytes())?;
        output::out(&format!("{}\n", serde_json::to_string_pretty(&body).unwrap_or(text)));
    }
    Ok(if report.is_ok() { 0 } else { VERIFICATION })
}
