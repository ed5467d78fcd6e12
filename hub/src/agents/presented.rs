//! What the state says to a session: what became of everything that its agent presents, and what is live.

use forge_event::*;
use forge_projections::World;
use forge_projections::agents::Agent;
use forge_projections::aggregator::Outcome;
use forge_protocol::{CloseCode, Fate, Gone, Hello, Presented};
use std::collections::BTreeMap;

/// How an outcome is told.
pub(super) fn fate(outcome: Outcome) -> Fate {
    match outcome {
        Outcome::Accepted | Outcome::Undecided => Fate::Accepted,
        Outcome::Refused(code) => Fate::Refused(code),
        Outcome::Voided => Fate::Voided,
    }
}

/// The fate of everything in `hello`, in its order.
///
/// Holds for good once the session's own `agent.joined` is folded: deliveries of earlier sessions are refused from there on.
pub fn judge(world: &World, agent: AgentId, known: &Agent, hello: &Hello) -> Vec<(LeaseId, Presented)> {
    let unsealed = world.unsealed_of(agent).filter(|(position, _)| *position > hello.position.min(known.position));
    let recorded: BTreeMap<LeaseId, (u64, Digest, Fate)> =
        unsealed.map(|(position, p)| (p.lease, (position, p.digest, fate(p.outcome)))).collect();
    let held = hello.held.iter().map(|lease| (*lease, None));
    let finished = hello.unacknowledged.iter().map(|(lease, digest)| (*lease, Some(*digest)));
    let judged = held.chain(finished).map(|(lease, digest)| {
        let is_live = world.scheduler.leases.holds(agent, lease);
        let presented = match recorded.get(&lease) {
            Some((position, recorded, fate)) if Some(*recorded) == digest => {
                Presented::Recorded { position: *position, fate: *fate }
            }
            _ if is_live => Presented::Live,
            _ => Presented::Gone(gone(world, lease)),
        };
        (lease, presented)
    });
    judged.collect()
}

fn gone(world: &World, lease: LeaseId) -> Gone {
    match world.jobs.jobs.get(&lease.job) {
        None => Gone::NotYours,
        Some(job) if job.ended.is_some() => Gone::JobOver,
        Some(_) => Gone::Ended,
    }
}

/// The live leases of an agent, each with its deadline, and the event up to which that holds, as told to the session
/// that `joined` on `node`.
///
/// # Errors
/// How the session ended, if it is no longer the agent's.
pub(super) fn live(
    world: &World,
    (agent, epoch): (AgentId, Epoch),
    (node, joined): (NodeId, EventIndex),
) -> Result<(EventIndex, Vec<(LeaseId, Timestamp)>), CloseCode> {
    let known = world.agents.agents.get(&agent).ok_or(CloseCode::Unknown)?;
    let current = known.session.is_some_and(|s| s.node == node && s.joined == joined);
    if !current {
        return Err(if known.epoch > epoch { CloseCode::Superseded } else { CloseCode::Rejoin });
    }
    let held = world.scheduler.leases.of(agent).iter().map(|grant| (grant, world.lease_deadline(grant)));
    let leases = held.flat_map(|(grant, end)| grant.leases().map(move |lease| (lease, end))).collect();
    Ok((EventIndex(world.head.events), leases))
}
