//! A process computes a lease once, however often its connection breaks and its session moves.

use super::{Invariant, Seen, ensure};
use forge_event::LeaseId;
use std::collections::BTreeSet;

#[derive(Default)]
pub struct NoResumedLeaseRecomputed {
    computed: BTreeSet<(u64, u64, LeaseId)>,
}

impl Invariant for NoResumedLeaseRecomputed {
    fn name(&self) -> &'static str {
        "no_resumed_lease_recomputed"
    }

    fn see(&mut self, seen: &Seen<'_>) -> Result<(), String> {
        let Seen::Computed { agent, life, lease } = seen else { return Ok(()) };
        ensure(self.computed.insert((*agent, *life, *lease)), || format!("agent {agent} computes {lease} again"))
    }
}
