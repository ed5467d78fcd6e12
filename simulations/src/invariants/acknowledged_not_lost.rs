//! What somebody was told is in the log stays in the log, and whoever asks afterwards sees it.

use super::{Invariant, Seen, ensure};
use forge_event::EventIndex;

#[derive(Default)]
pub struct AcknowledgedNotLost {
    last: EventIndex,
}

impl Invariant for AcknowledgedNotLost {
    fn name(&self) -> &'static str {
        "acknowledged_not_lost"
    }

    fn see(&mut self, seen: &Seen<'_>) -> Result<(), String> {
        match seen {
            Seen::Acknowledged { index, .. } => {
                self.last = self.last.max(*index);
                Ok(())
            }
            Seen::Folded { node, before, turn, known: Some(known) } => {
                ensure(turn.head == *known || self.last.0 <= before.events, || {
                    format!("n{node} folds another event {}; {} was acknowledged", before.events + 1, self.last)
                })
            }
            Seen::ReadBack { node, index, found } => {
                ensure(*found, || format!("n{node} does not show event {index}, which was acknowledged before"))
            }
            Seen::ChainFault { agent, detail } => Err(format!("agent {agent}: {detail}")),
            Seen::Last { node, head, .. } => ensure(head.events >= self.last.0, || {
                format!("n{node} ends at event {}; {} was acknowledged", head.events, self.last)
            }),
            _ => Ok(()),
        }
    }
}
