//! What sessions show of their agents, told to the log when it moved.

use super::router::Sessions;
use crate::handle::Hub;
use forge_event::AgentsObserved;
use forge_projections::Command;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Between two looks.
const INTERVAL: Duration = Duration::from_secs(5);
/// Agents in one fact.
const AGENTS_MAX: usize = 512;
/// Load moves in steps. Units: permille.
const LOAD_STEP: u32 = 250;
/// Below it all latencies are alike. Units: microseconds.
const LATENCY_FLOOR_US: u32 = 1024;

/// Latency (a power of two of microseconds), load (in steps), speed (a power of two).
pub(super) type Seen = (u32, u16, u32);

pub(super) fn quantised(rtt: Duration, load_permille: u32, speed: u32) -> Seen {
    let latency = u32::try_from(rtt.as_micros()).unwrap_or(u32::MAX).clamp(LATENCY_FLOOR_US, 1 << 31);
    let load = (load_permille.min(1000) + LOAD_STEP / 2) / LOAD_STEP * LOAD_STEP;
    let floor_power = |v: u32| if v == 0 { 0 } else { 1 << v.ilog2() };
    (floor_power(latency), load as u16, floor_power(speed))
}

/// Whether it is worth an event: latency and speed by more than a step, so that a value on an edge does not flutter.
pub(super) fn differs(last: Option<Seen>, seen: Seen) -> bool {
    let Some(last) = last else { return true };
    let steps = |a: u32, b: u32| a.max(1).ilog2().abs_diff(b.max(1).ilog2());
    steps(last.0, seen.0) > 1 || last.1.abs_diff(seen.1) > LOAD_STEP as u16 || steps(last.2, seen.2) > 1
}

/// Tells the log every few seconds, until `stop`.
pub(super) async fn run(hub: Hub, sessions: Sessions, stop: CancellationToken) {
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = tokio::time::sleep(INTERVAL) => {}
        }
        loop {
            let agents = sessions.moved(AGENTS_MAX);
            let last = agents.len() < AGENTS_MAX;
            if !agents.is_empty() {
                let fact = AgentsObserved { node: hub.node(), agents };
                if let Err(error) = hub.command(Command::Fact(fact.into())).await {
                    tracing::debug!(?error, "observations were not taken");
                }
            }
            if last {
                break;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_on_an_edge_does_not_flutter() {
        let seen = |us| quantised(Duration::from_micros(us), 0, 0);
        assert!(differs(None, seen(10)));
        assert!(!differs(Some(seen(10)), seen(900)));
        assert!(!differs(Some(seen(4090)), seen(4100)));
        assert!(differs(Some(seen(2000)), seen(9000)));
    }
}
