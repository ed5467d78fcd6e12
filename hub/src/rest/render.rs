//! Events as clients see them, rendered by the projections.

use forge_event::*;
use forge_projections::World;
use forge_projections::export::{self, Exported, Place};
use serde_json::Value;

/// One event of a stream or a page.
pub struct Shown {
    pub index: EventIndex,
    pub name: &'static str,
    pub subject: Option<String>,
    /// What it moved is known to the fold alone.
    pub partial: bool,
    /// The CloudEvent.
    pub text: String,
}

impl Shown {
    pub fn value(&self) -> Value {
        serde_json::from_str(&self.text).expect("an event is rendered as JSON")
    }
}

/// True for the event that ends a job.
pub fn ends_job(event: &Event) -> bool {
    matches!(event, Event::JobSucceeded(_) | Event::JobFailed(_) | Event::JobCancelled(_))
}

/// An event of `turn` without what only the fold knows (cause, sequence); `world` is any later state.
fn exported(turn: &Turn, index: EventIndex, event: &Event, world: &World) -> Exported {
    let place = Place { index, turn: turn.expected.turns + 1, at: turn.at, policy: turn.policy };
    let at = (index.0 - turn.first().0) as usize;
    let by = turn.facts.get(at).and_then(|fact| fact.by.as_ref());
    export::render(place, by, event, None, world)
}

/// An event as a CloudEvent of this cluster.
pub fn cloud(source: &str, turn: &Turn, index: EventIndex, event: &Event, world: &World) -> Shown {
    let exported = exported(turn, index, event, world);
    let partial = matches!(event, Event::CreditVoided(_));
    Shown { index, name: exported.name, text: exported.cloud_event(source), subject: exported.subject, partial }
}
