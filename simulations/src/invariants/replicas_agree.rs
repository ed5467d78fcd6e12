//! Equal positions have equal turns and equal states, on every node, through restarts and snapshots.

use super::{Invariant, Seen, ensure};
use forge_event::{Digest, Part};

pub struct ReplicasAgree;

fn differing(own: &[Digest], reference: &[Digest]) -> String {
    let parts = Part::ALL.iter().zip(own.iter().zip(reference)).filter(|(_, (a, b))| a != b);
    parts.map(|(part, _)| part.name()).collect::<Vec<_>>().join(", ")
}

impl Invariant for ReplicasAgree {
    fn name(&self) -> &'static str {
        "replicas_agree"
    }

    fn see(&mut self, seen: &Seen<'_>) -> Result<(), String> {
        match seen {
            Seen::Folded { node, turn, known: Some(known), .. } => ensure(turn.head == *known, || {
                format!("n{node} folds another turn {} (entry {}) than others did", known.turns, turn.raft_index)
            }),
            Seen::Restored { node, head, known: Some(known), .. } => {
                ensure(head == known, || format!("n{node} restores another turn {} than others have", head.turns))
            }
            Seen::Roots { node, turns, own, reference } => ensure(own == reference, || {
                format!("after turn {turns} n{node} differs in: {}", differing(own, reference))
            }),
            Seen::Last { node, head, expected, own, reference } => {
                ensure(head == expected, || {
                    format!("n{node} ends with turn {}, others with {}", head.turns, expected.turns)
                })?;
                ensure(own == reference, || format!("at the end n{node} differs in: {}", differing(own, reference)))
            }
            _ => Ok(()),
        }
    }
}
