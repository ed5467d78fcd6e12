//! Turns a finished mid-state into the canonical result document.

use super::Failed;
use crate::handle::Hub;
use forge_event::limits::INLINE_BYTES_MAX;
use forge_event::*;

/// # Errors
/// A code and detail for the job's `error`.
pub fn run(hub: &Hub, job: JobId, version: u32, try_number: u8) -> Result<Fact, Failed> {
    let found = hub.read(|w| {
        let state = w.jobs.jobs.get(&job)?;
        let plan = state.stages.last()?.plan_body.clone();
        Some((state.submitted.clone(), plan, w.aggregator.mids.get(&job)?.clone()))
    });
    let (submitted, plan, mid) = found.ok_or(("job-unknown", format!("{job} is not in the state of this node")))?;
    let family = hub.families().family(&submitted.kind, submitted.family_version);
    let family = family.ok_or(("unknown-kind", format!("kind {} is not known", submitted.kind)))?;
    let live = mid.to_live(|bytes| family.thaw(&submitted.spec, &plan, bytes));
    let document = live.ok_or(("mid-state-unreadable", format!("the mid-state of {job} cannot be read")))?.finish();
    if document.len() > INLINE_BYTES_MAX {
        let detail = format!("the result has {} bytes; at most {INLINE_BYTES_MAX} travel in the log", document.len());
        return Err(("too-large-inline", detail));
    }
    let (digest, bytes) = (Digest::of(&document), document.len() as u64);
    Ok(JobReduced { job, version, try_number, digest, bytes, document: Some(document) }.into())
}
