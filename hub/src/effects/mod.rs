//! Work outside the fold: at least once, idempotent by the effect's id, bounded in time.

pub mod dispatch;
mod plan;
mod reduce;

use crate::core::Offload;
use crate::handle::Hub;
use forge_event::*;
use std::time::Duration;

/// Plans and reductions take no longer, or fail.
const EFFECT_WAIT: Duration = Duration::from_secs(60);

/// Runs an effect whose start is committed; gives its outcome as a fact.
pub async fn run(hub: &Hub, effect: EffectId, try_number: u8) -> Fact {
    let (offload, hub) = (hub.offload(), hub.clone());
    let work = move || match effect {
        EffectId::Plan { job, stage } => plan::run(&hub, job, stage, try_number),
        EffectId::Reduce { job, version } => reduce::run(&hub, job, version, try_number),
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
        Err(_) => failed("effect-timeout", "the effect did not end within 60 s"),
    }
}

/// Why an effect has no outcome but failure: code and detail.
type Failed = (&'static str, String);
