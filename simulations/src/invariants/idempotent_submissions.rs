//! One Idempotency-Key, one event; every answer under it names that event.

use super::{Invariant, Seen, ensure};
use forge_event::{Digest, EventIndex};
use std::collections::BTreeMap;

#[derive(Default)]
pub struct IdempotentSubmissions {
    events: BTreeMap<Digest, EventIndex>,
}

impl Invariant for IdempotentSubmissions {
    fn name(&self) -> &'static str {
        "idempotent_submissions"
    }

    fn see(&mut self, seen: &Seen<'_>) -> Result<(), String> {
        match seen {
            Seen::Committed { turn, .. } => {
                for (index, fact) in (turn.turn.first().0..).map(EventIndex).zip(&turn.turn.facts) {
                    let Some(key) = fact.by.and_then(|by| by.idempotency) else { continue };
                    let first = *self.events.entry(key).or_insert(index);
                    ensure(first == index, || format!("the request of event {first} is in the log again at {index}"))?;
                }
                Ok(())
            }
            Seen::Acknowledged { idempotency, index } => {
                let event = self.events.get(idempotency).copied();
                ensure(event == Some(*index), || format!("event {index} is acknowledged; the log has {event:?}"))
            }
            _ => Ok(()),
        }
    }
}
