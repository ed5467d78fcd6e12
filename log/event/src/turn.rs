//! The turn: one Raft entry, all or nothing.

use crate::chain::Head;
use crate::digest::Digest;
use crate::event::Event;
use crate::id::{EventIndex, KeyId};
use crate::time::Timestamp;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// Which decision code derived a turn's decisions.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, Debug)]
pub struct PolicyVersion(pub u32);

/// On whose word a fact born of a request stands.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug, Default)]
pub struct By {
    /// The API key that authorised it.
    pub key: Option<KeyId>,
    /// BLAKE3 of the client's Idempotency-Key.
    pub idempotency: Option<Digest>,
    /// BLAKE3 fingerprint of method, path, project and canonical body.
    pub request: Option<Digest>,
}

/// An event admitted from the world.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Fact {
    /// `None`: not born of a request.
    pub by: Option<By>,
    pub event: Event,
}

impl<E: Into<Event>> From<E> for Fact {
    /// A fact that no request asked for.
    fn from(event: E) -> Fact {
        Fact { by: None, event: event.into() }
    }
}

/// One atomic batch: facts, then the decisions derived from them.
///
/// Invariant: `facts` hold only events of [`crate::Nature::Fact`], `decisions` only of
/// [`crate::Nature::Decision`]; the codec refuses anything else.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Turn {
    /// The accepted turns before it: compare-and-append.
    pub expected: Head,
    /// Fixed when the turn opened; never goes back.
    pub at: Timestamp,
    /// The leader's randomness, an input like a fact.
    #[serde(deserialize_with = "crate::digest::raw")]
    pub salt: [u8; 32],
    pub policy: PolicyVersion,
    pub facts: Vec<Fact>,
    pub decisions: Vec<Event>,
}

impl Turn {
    /// How many events.
    pub fn len(&self) -> u64 {
        (self.facts.len() + self.decisions.len()) as u64
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Position of its first event.
    pub fn first(&self) -> EventIndex {
        EventIndex(self.expected.events.saturating_add(1))
    }

    /// Position of its last event; the one before [`Turn::first`] if it holds none.
    pub fn last(&self) -> EventIndex {
        EventIndex(self.expected.events.saturating_add(self.len()))
    }

    /// Its events with their positions, facts first.
    pub fn events(&self) -> impl Iterator<Item = (EventIndex, &Event)> {
        let events = self.facts.iter().map(|f| &f.event).chain(&self.decisions);
        (self.first().0..).map(EventIndex).zip(events)
    }
}
