//! Cuts the next stage of a job into shards.

use super::{Failed, past};
use crate::blobs::{Keeping, View};
use crate::handle::Hub;
use forge_event::limits::{INLINE_BYTES_MAX, JOB_SHARDS_MAX};
use forge_event::*;
use forge_projections::family::{Blobs, NoBlobs, Plan, PlanHints};
use tokio::runtime::Handle;

/// # Errors
/// A code and detail for the job's `error`.
pub fn run(hub: &Hub, runtime: Option<Handle>, job: JobId, stage: u16, try_number: u8) -> Result<Fact, Failed> {
    let found = hub.read(|w| {
        let state = w.jobs.jobs.get(&job)?;
        Some((state.submitted.clone(), state.shard_count, w.slots_for(&state.submitted.requirements)))
    });
    let (submitted, first, slots) = found.ok_or(("job-unknown", format!("{job} is not in the state of this node")))?;
    let family = hub.families().family(&submitted.kind, submitted.family_version);
    let family = family.ok_or(("unknown-kind", format!("kind {} is not known", submitted.kind)))?;
    let hints = PlanHints { shard_cells: submitted.shard_cells, slots };
    let keep = Keeping { project: submitted.project, job };
    let view = runtime.map(|runtime| View { hub, runtime, keep });
    let blobs: &dyn Blobs = view.as_ref().map_or(&NoBlobs, |view| view as &dyn Blobs);
    let plan = past(hub, family, job, &submitted, |past| family.plan(past, hints, blobs))?;
    let plan = plan.map_err(|fault| (fault.code, fault.detail))?;
    let shards = shards(&plan, first)?;
    let Plan { segments, last, body, .. } = plan;
    Ok(StagePlanned { job, stage, try_number, shards, segments, last, plan_body: body }.into())
}

/// The plan's shards, numbered on from the stages before.
fn shards(plan: &Plan, first: u64) -> Result<Run, Failed> {
    let end = first + plan.shard_count;
    if plan.shard_count == 0 || end >= JOB_SHARDS_MAX {
        return Err(("plan-too-large", format!("the plan makes {end} shards; a job has 1 to 2^32 - 1")));
    }
    if plan.body.len() > INLINE_BYTES_MAX {
        let detail = format!("the plan has {} bytes; at most {INLINE_BYTES_MAX} travel in the log", plan.body.len());
        return Err(("too-large-inline", detail));
    }
    Ok(Run { first: first as u32, last: (end - 1) as u32 })
}
