//! Every turn that is folded continues the chain: it expects the very head it is folded onto.

use super::{Invariant, Seen, ensure};

pub struct ChainIntact;

impl Invariant for ChainIntact {
    fn name(&self) -> &'static str {
        "chain_intact"
    }

    fn see(&mut self, seen: &Seen<'_>) -> Result<(), String> {
        let Seen::Folded { node, before, turn, .. } = seen else { return Ok(()) };
        ensure(turn.turn.expected == *before, || {
            format!("n{node} folds entry {} onto turn {}, which it does not expect", turn.raft_index, before.turns)
        })?;
        ensure(turn.head == before.after(&turn.frame, turn.turn.len()), || {
            format!("n{node} has another head after entry {} than its bytes give", turn.raft_index)
        })
    }
}
