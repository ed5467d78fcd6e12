//! Spawns effects: start record first, work second, outcome last.

use super::machine::{Machine, Start};
use crate::effects;
use crate::handle::Hub;
use forge_event::{EffectId, EffectStarted};
use forge_projections::Command;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug, info_span};

/// The state is looked at again after this time at the latest.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// Runs until `stop`.
pub async fn run(hub: Hub, stop: CancellationToken) {
    let mut machine = Machine::default();
    let mut running: FuturesUnordered<BoxFuture<'static, EffectId>> = FuturesUnordered::new();
    let (mut applied, mut role) = (hub.applied(), hub.log().role());
    loop {
        let now = *role.borrow_and_update();
        let leads = now.leads().is_some();
        if leads {
            for start in hub.read(|world| machine.poll(world, now.term)) {
                running.push(Box::pin(work(hub.clone(), start).instrument(info_span!("effect", id = %start.effect))));
            }
        }
        tokio::select! { biased;
            () = stop.cancelled() => return,
            Some(effect) = running.next() => machine.ended(effect),
            // Whoever does not lead has nothing to do with what is applied.
            changed = async { if leads { applied.changed().await } else { role.changed().await } } => {
                if changed.is_err() { return }
            }
            () = tokio::time::sleep(LOOK_AGAIN) => {}
        }
    }
}

/// One effect from its start record to its outcome.
///
/// What the leader refuses, or of which nobody knows, is decided by a later look at the state: not at once, as the
/// state looked at may be behind the one that refused.
async fn work(hub: Hub, start: Start) -> EffectId {
    let Start { effect, try_number } = start;
    let record = EffectStarted { effect, try_number, node: hub.node() };
    if let Err(error) = hub.command_here(Command::Fact(record.into())).await {
        debug!(%effect, ?error, "an effect was not started");
        tokio::time::sleep(LOOK_AGAIN).await;
        return effect;
    }
    let outcome = effects::run(&hub, effect, try_number).await;
    if let Err(error) = hub.command_here(Command::Fact(outcome)).await {
        debug!(%effect, ?error, "the outcome of an effect was not taken");
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    effect
}
