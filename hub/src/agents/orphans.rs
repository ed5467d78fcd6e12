//! Sessions that the log knows on this node and that nobody here holds: of a process before this one, or of a
//! connection that broke while it joined. Their agents come back soon, or are told lost.

use super::router::Sessions;
use crate::handle::Hub;
use forge_event::*;
use forge_projections::{Command, World};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Between two looks.
const INTERVAL: Duration = Duration::from_secs(2);
/// An agent of a process before this one notices the loss, and is back, within this.
const ORPHAN_WAIT: Duration = Duration::from_secs(10);
/// Losses told at one look; the rest follows at the next.
const TOLD_MAX: usize = 256;

/// The sessions that `world` puts on `node` and that are not held there.
pub fn orphans(world: &World, node: NodeId, held: impl Fn(AgentId) -> bool) -> Vec<(AgentId, Epoch)> {
    let sessions = world.agents.sessions.range_from(&(node, AgentId(0)));
    let sessions = sessions.take_while(|((n, _), ())| *n == node).map(|((_, agent), ())| *agent);
    let orphans = sessions.filter(|agent| !held(*agent));
    orphans.filter_map(|agent| Some((agent, world.agents.agents.get(&agent)?.epoch))).collect()
}

/// Tells them lost, until `stop`.
pub(super) async fn run(hub: Hub, sessions: Sessions, stop: CancellationToken) {
    let mut since: BTreeMap<(AgentId, Epoch), Instant> = BTreeMap::new();
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = tokio::time::sleep(INTERVAL) => {}
        }
        let now = Instant::now();
        let held = sessions.agents();
        let found = hub.read(|world| orphans(world, hub.node(), |agent| held.contains(&agent)));
        since = found.into_iter().map(|orphan| (orphan, since.get(&orphan).copied().unwrap_or(now))).collect();
        let due = since.iter().filter(|(_, at)| now.duration_since(**at) >= ORPHAN_WAIT).map(|(orphan, _)| *orphan);
        for (agent, epoch) in due.take(TOLD_MAX) {
            let fact = AgentLost { agent, epoch, reason: LostReason::Disconnected };
            if let Err(error) = hub.command(Command::Fact(fact.into())).await {
                tracing::debug!(%agent, ?error, "the loss of a session without a connection was not taken");
            }
        }
    }
}
