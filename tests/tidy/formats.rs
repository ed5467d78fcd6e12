//! Frozen formats have golden files, and every event type stands in one list of a turn and no other.

use crate::tree::{File, TREE};
use crate::{Fault, none};
use forge_event::codec::{self, DecodeError, TURN_VERSION};
use forge_event::event::RESERVED;
use forge_event::{Event, Fact, Head, Nature, PolicyVersion, Timestamp, Turn};
use std::collections::BTreeSet;

const EVENT_GOLDENS: &str = "log/event/tests/golden";

/// An event of the type at `position` of the list: all fields zero, empty or absent.
fn sample(position: usize) -> Event {
    let mut bytes = vec![0; 4096];
    bytes[0] = u8::try_from(position).ok().filter(|p| *p < 128).expect("a type's number takes one byte");
    let (event, _) = postcard::take_from_bytes(&bytes).expect("zeros are a value of every event type");
    event
}

fn turn(facts: Vec<Event>, decisions: Vec<Event>) -> Turn {
    let facts = facts.into_iter().map(|event| Fact { by: None, event }).collect();
    Turn { expected: Head::default(), at: Timestamp(0), salt: [0; 32], policy: PolicyVersion(1), facts, decisions }
}

fn decoded(turn: &Turn) -> Result<Turn, DecodeError> {
    let payload = postcard::to_stdvec(turn).expect("a turn can be written");
    codec::decode_turn(&codec::frame(TURN_VERSION, &payload)).map(|(turn, _)| turn)
}

#[test]
fn every_event_type_stands_in_one_list_and_is_refused_in_the_other() {
    for (position, (name, nature)) in Event::TYPES.iter().enumerate() {
        let event = sample(position);
        assert_eq!((event.name(), event.nature()), (*name, *nature));
        let (as_fact, as_decision) = (turn(vec![event.clone()], vec![]), turn(vec![], vec![event]));
        let (right, wrong) = match nature {
            Nature::Fact => (as_fact, as_decision),
            Nature::Decision => (as_decision, as_fact),
        };
        // A sample without shards is not canonical, which is asked last.
        let read = decoded(&right);
        assert!(
            read.as_ref() == Ok(&right) || read == Err(DecodeError::NotCanonical),
            "{name} in its own list: {read:?}"
        );
        assert_eq!(decoded(&wrong), Err(DecodeError::WrongList), "{name} stands in the wrong list");
    }
}

#[test]
fn event_names_are_those_that_were_promised() {
    let facts = "leader.started node.invited node.admitted node.moved node.removed node.lost segment.archived \
        project.created key.created key.revoked provider.created policy.changed enrolment.created agent.enrolled \
        agent.joined agent.draining agent.lost agents.observed job.submitted job.cancel_requested stage.planned \
        effect.started effect.failed result.received results.sealed block.checked shard.reported_failed job.reduced \
        entropy.drawn recall.listed credits.issued payout.confirmed blob.recorded checkpoint.received quota.changed";
    let decisions = "job.admitted job.succeeded job.failed job.cancelled shard.assigned shard.requeued lease.expired \
        lease.revoked result.accepted result.refused shard.verified audit.chosen agent.sandboxed agent.released \
        agent.removed agent.convicted job.recalled credit.held credit.accrued credit.posted credit.voided \
        credit.released state.rooted shard.resumed";
    let promised = |list: &'static str| list.split_whitespace().collect::<BTreeSet<_>>();
    let of = |nature| Event::TYPES.iter().filter(move |(_, n)| *n == nature).map(|(name, _)| *name);
    let (facts, decisions) = (promised(facts), promised(decisions));
    assert!(of(Nature::Fact).all(|name| facts.contains(name)));
    assert!(of(Nature::Decision).all(|name| decisions.contains(name)));
    let known: BTreeSet<&str> = Event::TYPES.iter().map(|(name, _)| *name).chain(RESERVED).collect();
    let all: BTreeSet<&str> = facts.union(&decisions).copied().collect();
    assert_eq!(known, all, "each promised name is an event or reserved");
    assert_eq!(Event::TYPES.len() + RESERVED.len(), known.len(), "no name is taken twice");
}

#[test]
fn every_event_type_has_its_golden_bytes() {
    let lines: Vec<&str> = below(EVENT_GOLDENS).flat_map(|f| f.text.lines()).collect();
    let frozen = |name: &str| {
        lines.iter().any(|l| l.strip_prefix(name).is_some_and(|hex| hex.len() > 1 && hex.starts_with(' ')))
    };
    let missing = Event::TYPES.iter().filter(|(name, _)| !frozen(name));
    none(missing.map(|(name, _)| Fault::of(EVENT_GOLDENS, format!("no golden bytes for `{name}`"))).collect());
}

/// Text files in a folder, or the file itself.
fn below(place: &str) -> impl Iterator<Item = &'static File> {
    let folder = format!("{place}/");
    TREE.files.iter().filter(move |f| f.path.starts_with(&folder) || f.path == folder[..folder.len() - 1])
}

#[test]
fn every_frozen_format_has_golden_bytes() {
    // (format, where its golden bytes lie, what stands in them)
    let formats = [
        ("archive", EVENT_GOLDENS, "header"),
        ("agent wire", "hub/protocol/tests/golden", ""),
        ("REST bodies", "hub/api/tests/golden", "\"id\""),
        ("snapshot", "log/tests/golden", "snapshot"),
        ("state of a snapshot", "tests/golden", "snapshot_state"),
        ("plans and results of families", "projections/adapters/tests/golden", ""),
        ("OpenAPI description", "hub/openapi.json", "\"openapi\""),
    ];
    let mut faults = Vec::new();
    for (format, place, holds) in formats {
        if !below(place).any(|f| !f.text.is_empty() && f.text.contains(holds)) {
            faults.push(Fault::of(place, format!("holds no golden bytes of the frozen format `{format}`")));
        }
    }
    none(faults);
}
