//! Yields lines while a world folds.

use super::json::Object;
use super::{Exported, Place, render};
use crate::world::{Meta, Observer, World};
use alloc::string::String;
use alloc::vec::Vec;
use forge_event::*;

/// Collects the events of a range as they are folded.
///
/// Invariant: hands out whole turns only, so that the last event of each carries the chain's head.
#[derive(Debug)]
pub struct Exporter {
    first: EventIndex,
    last: EventIndex,
    turn: u64,
    at: Timestamp,
    policy: PolicyVersion,
    open: Vec<Exported>,
    ready: Vec<Exported>,
    /// First and last event handed out or ready.
    seen: Option<(EventIndex, EventIndex)>,
    turns: u64,
    head: Digest,
}

impl Exporter {
    /// The events `first..=last`. What lies outside is not rendered.
    pub fn new(first: EventIndex, last: EventIndex) -> Self {
        Exporter {
            first,
            last,
            turn: 0,
            at: Timestamp(0),
            policy: PolicyVersion(0),
            open: Vec::new(),
            ready: Vec::new(),
            seen: None,
            turns: 0,
            head: Digest::default(),
        }
    }

    /// What whole turns gave since the last call.
    pub fn take(&mut self) -> Vec<Exported> {
        core::mem::take(&mut self.ready)
    }

    /// The same as ndjson lines, each with its newline.
    pub fn lines(&mut self) -> String {
        let mut text = String::new();
        for event in self.take() {
            text.push_str(&event.line());
            text.push('\n');
        }
        text
    }

    /// The line behind the last one, with its newline.
    ///
    /// Shape: `turns` counts those the export has events of; an empty export has `last` = `first` − 1.
    pub fn trailer(&self) -> String {
        let (first, last) = self.seen.unwrap_or((self.first, EventIndex(self.first.0.saturating_sub(1))));
        let mut line = Object::new()
            .raw("end", true)
            .raw("first", first)
            .raw("last", last)
            .raw("turns", self.turns)
            .plain("head", self.head)
            .end();
        line.push('\n');
        line
    }
}

impl Observer for Exporter {
    fn turn(&mut self, turn: &Turn) {
        self.turn = turn.expected.turns + 1;
        self.at = turn.at;
        self.policy = turn.policy;
    }

    fn event(&mut self, index: EventIndex, by: Option<&By>, event: &Event, meta: &Meta, world: &World) {
        if index < self.first || index > self.last {
            return;
        }
        let place = Place { index, turn: self.turn, at: self.at, policy: self.policy };
        self.open.push(render(place, by, event, Some(meta), world));
    }

    fn closed(&mut self, head: &Head) {
        let Some(last) = self.open.last_mut() else { return };
        if last.place.index.0 == head.events {
            last.head = Some(head.digest);
        }
        self.head = head.digest;
        self.turns += 1;
        let first = self.open[0].place.index;
        self.seen = Some((self.seen.map_or(first, |(first, _)| first), self.open[self.open.len() - 1].place.index));
        self.ready.append(&mut self.open);
    }
}
