//! Cuts a job into shards.

use super::Failed;
use crate::handle::Hub;
use forge_event::limits::{INLINE_BYTES_MAX, JOB_SHARDS_MAX};
use forge_event::*;
use forge_projections::decide::matches;
use forge_projections::family::PlanHints;

/// # Errors
/// A code and detail for the job's `error`.
pub fn run(hub: &Hub, job: JobId, stage: u16, try_number: u8) -> Result<Fact, Failed> {
    let found = hub.read(|w| {
        let submitted = w.jobs.jobs.get(&job)?.submitted.clone();
        let matching =
            |class: u32| w.scheduler.classes.get(class as usize).is_some_and(|c| matches(c, &submitted.requirements));
        let sessions = w.agents.sessions.iter().filter_map(|((_, agent), ())| w.agents.agents.get(agent));
        let slots = sessions.filter(|a| matching(a.class())).filter_map(|a| a.session).map(|s| s.slots);
        let slots = slots.fold(0u32, u32::saturating_add);
        Some((submitted, slots))
    });
    let (submitted, slots) = found.ok_or(("job-unknown", format!("{job} is not in the state of this node")))?;
    let family = hub.families().family(&submitted.kind, submitted.family_version);
    let family = family.ok_or(("unknown-kind", format!("kind {} is not known", submitted.kind)))?;
    let plan = family.plan(&submitted.spec, PlanHints { shard_cells: submitted.shard_cells, slots });
    if plan.shard_count == 0 || plan.shard_count >= JOB_SHARDS_MAX {
        return Err(("plan-too-large", format!("the plan has {} shards; a job has 1 to 2^32 - 1", plan.shard_count)));
    }
    if plan.body.len() > INLINE_BYTES_MAX {
        return Err((
            "too-large-inline",
            format!("the plan has {} bytes; at most {INLINE_BYTES_MAX} travel in the log", plan.body.len()),
        ));
    }
    let shards = Run { first: 0, last: (plan.shard_count - 1) as u32 };
    Ok(StagePlanned { job, stage, try_number, shards, segments: plan.segments, plan_body: plan.body }.into())
}
