//! Work outside the fold: at least once, idempotent by the effect's id, bounded in time.

pub mod dispatch;
mod plan;
mod reduce;

use crate::core::Offload;
use crate::handle::Hub;
use forge_event::*;
use forge_projections::aggregator::Mid;
use forge_projections::family::{DoneStage, Family, Past};
use forge_projections::jobs::Stage;
use std::time::Duration;

/// Plans and reductions take no longer, or fail.
const EFFECT_WAIT: Duration = Duration::from_secs(600);

/// Runs an effect whose start is committed; gives its outcome as a fact.
pub async fn run(hub: &Hub, effect: EffectId, try_number: u8) -> Fact {
    let (offload, hub) = (hub.offload(), hub.clone());
    // On a thread of its own an effect may wait for the network, which this runtime drives.
    let runtime = (offload == Offload::Threads).then(tokio::runtime::Handle::current);
    let work = move || match effect {
        EffectId::Plan { job, stage } => plan::run(&hub, runtime, job, stage, try_number),
        EffectId::Reduce { job, version } => reduce::run(&hub, runtime, job, version, try_number),
    };
    let work = async move {
        match offload {
            // A plan or a reduction may take its time: it keeps no runtime waiting.
            Offload::Threads => tokio::task::spawn_blocking(work).await,
            Offload::Inline => Ok(work()),
        }
    };
    let failed =
        |code: &str, detail: &str| EffectFailed { effect, try_number, code: code.into(), detail: detail.into() }.into();
    match tokio::time::timeout(EFFECT_WAIT, work).await {
        Ok(Ok(Ok(fact))) => fact,
        Ok(Ok(Err((code, detail)))) => failed(code, &detail),
        Ok(Err(_)) => {
            failed("effect-panicked", "the effect ran into a bug of the hub; its input is at fault or we are")
        }
        Err(_) => failed("effect-timeout", "the effect did not end within 600 s"),
    }
}

/// Why an effect has no outcome but failure: code and detail.
type Failed = (&'static str, String);

/// Shows a family the stages of a job that are done: all of them, when a plan or a reduction is due.
fn past<R>(
    hub: &Hub,
    family: &dyn Family,
    job: JobId,
    submitted: &JobSubmitted,
    ask: impl FnOnce(&Past<'_>) -> R,
) -> Result<R, Failed> {
    let stages: Vec<(Stage, Option<Mid>)> = hub.read(|w| {
        let stages = w.jobs.jobs.get(&job).map_or(&[][..], |state| state.stages.as_slice());
        let mid = |number: usize| w.aggregator.vmem.get(job, number as u16).cloned();
        stages.iter().enumerate().map(|(number, stage)| (stage.clone(), mid(number))).collect()
    });
    let mut mids = Vec::new();
    for (stage, mid) in &stages {
        let live = mid.as_ref().and_then(|m| m.to_live(|bytes| family.thaw(&submitted.spec, &stage.plan_body, bytes)));
        mids.push(live.ok_or(("mid-state-unreadable", format!("a mid-state of {job} cannot be read")))?);
    }
    let done: Vec<DoneStage<'_>> = stages
        .iter()
        .zip(&mids)
        .map(|((stage, _), mid)| DoneStage {
            plan: &stage.plan_body,
            shard_count: stage.shards.count(),
            mid: mid.as_ref(),
        })
        .collect();
    Ok(ask(&Past { spec: &submitted.spec, stages: &done }))
}
