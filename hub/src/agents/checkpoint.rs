//! What a running attempt has done so far, from the wire to a fact.

use crate::effects::dispatch::Deeper;
use crate::handle::Hub;
use forge_event::limits::INLINE_BYTES_MAX;
use forge_event::*;
use forge_log::network::identity;
use forge_projections::Command;
use forge_protocol::Checkpoint;

/// The fact that a checkpoint is; `None` if it is not one that could be used.
///
/// # Errors
/// How it breaks the protocol.
pub fn read(
    hub: &Hub,
    (agent, epoch): (AgentId, Epoch),
    key: &[u8; 32],
    checkpoint: Checkpoint,
) -> Result<Option<CheckpointReceived>, &'static str> {
    let Checkpoint { lease, cells, bytes: inline, signature } = checkpoint;
    if inline.len() > INLINE_BYTES_MAX {
        return Err("a checkpoint past the limit of a result");
    }
    let digest = Digest::of(&inline);
    if !is_signed(key, &seal::checkpoint_message(agent, lease, cells, &digest), &signature) {
        return Err("a checkpoint whose signature does not fit");
    }
    let checks = hub.read(|world| world.check_checkpoint(lease, cells, &inline, hub.families()));
    let Some(checks) = checks.filter(|checks| checks.bits == 0) else {
        tracing::warn!(%agent, %lease, cells, ?checks, "a checkpoint that is none");
        return Ok(None);
    };
    let LeaseId { job, shard, attempt } = lease;
    Ok(Some(CheckpointReceived { job, agent, epoch, attempt, shard, cells, digest, inline, checks, signature }))
}

/// Looks into the blobs that a checkpoint names, and hands it in. Nothing depends on it: what cannot be kept is forgotten.
pub async fn keep(hub: Hub, fact: CheckpointReceived) {
    let lease = LeaseId { job: fact.job, shard: fact.shard, attempt: fact.attempt };
    // Without a plan its job is over, or another attempt's part was folded meanwhile.
    let Some(plan) = hub.read(|world| world.checkpoint_plan(lease, fact.cells, hub.families())) else { return };
    if let Some(deeper) = Deeper::of_part(&hub, lease.job, plan) {
        match deeper.run(hub.clone(), fact.inline.clone(), fact.checks).await {
            Ok((_, checks)) if checks.bits == 0 => {}
            found => {
                tracing::warn!(agent = %fact.agent, %lease, ?found, "a checkpoint whose blobs are not what it says");
                return;
            }
        }
    }
    // Refused: its lease is over, or the last one is near enough.
    if let Err(error) = hub.command(Command::Fact(Event::from(fact).into())).await {
        tracing::debug!(?error, "a checkpoint was not kept");
    }
}

/// Whether a message has this agent's signature.
pub(super) fn is_signed(key: &[u8; 32], message: &[u8], signature: &[[u8; 32]; 2]) -> bool {
    let signature = signature.as_flattened().try_into().expect("two halves of 32 bytes");
    identity::verify(key, message, signature)
}
