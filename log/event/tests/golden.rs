//! The frozen formats, byte for byte: a line a value, in `golden/`, append-only.
//!
//! `UPDATE_GOLDEN=1 cargo test -p forge-event --test golden` appends what is missing. A line that is there is
//! never rewritten: until the first release a deliberate commit may delete a file and have it written anew.

#![allow(clippy::unwrap_used)]

mod samples;

use forge_event::archive::{Header, Reader, Trailer, encode_header, encode_trailer};
use forge_event::digest::hex;
use forge_event::merkle::{self, Leaf};
use forge_event::*;
use std::collections::BTreeMap;
use std::path::PathBuf;

fn path(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(file)
}

fn lines(file: &str) -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(path(file)).unwrap_or_default();
    let lines = text.lines().filter_map(|line| line.split_once(' '));
    lines.map(|(name, hex)| (name.to_string(), hex.to_string())).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

/// Compares values with their lines; with UPDATE_GOLDEN appends the missing ones.
fn compare(file: &str, values: &[(String, Vec<u8>)]) {
    let known = lines(file);
    let mut missing = String::new();
    for (name, bytes) in values {
        match known.get(name) {
            Some(golden) => assert_eq!(&hex(bytes), golden, "{file}: the bytes of {name} are frozen"),
            None => missing.push_str(&format!("{name} {}\n", hex(bytes))),
        }
    }
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        let text = std::fs::read_to_string(path(file)).unwrap_or_default();
        std::fs::write(path(file), text + &missing).unwrap();
    } else {
        assert_eq!(missing, "", "{file} lacks these; UPDATE_GOLDEN=1 appends them");
    }
}

#[test]
fn every_event_type_has_its_frozen_bytes() {
    let samples = samples::events();
    let names: Vec<&str> = samples.iter().map(Event::name).collect();
    let types: Vec<&str> = Event::TYPES.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, types, "a sample for each type, in encoding order");
    let values: Vec<_> =
        samples.iter().map(|e| (e.name().to_string(), postcard::to_allocvec(e).expect("it can be written"))).collect();
    compare("events.txt", &values);
}

#[test]
fn every_frozen_event_still_reads() {
    let samples: BTreeMap<&str, Event> = samples::events().iter().map(|e| (e.name(), e.clone())).collect();
    for (name, golden) in lines("events.txt") {
        let event: Event = postcard::from_bytes(&unhex(&golden)).expect("a frozen event reads for ever");
        assert_eq!(&event, &samples[name.as_str()]);
    }
}

#[test]
fn frames_and_everything_hashed_are_frozen() {
    let turn = samples::turn();
    let empty = Turn { facts: Vec::new(), decisions: Vec::new(), ..turn.clone() };
    let (frame, nothing) = (codec::encode_turn(&turn), codec::encode_turn(&empty));
    let head = turn.expected.after(&frame, turn.len());
    let header = Header { magic: archive::MAGIC, cluster: Digest([6; 32]), before: turn.expected };
    let trailer = Trailer { turns: 1, events: turn.len(), head };
    let body = postcard::to_allocvec(&turn.decisions[0]).unwrap();
    let leaf = Leaf {
        version: 1,
        project: Some(ProjectId(3)),
        project_seq: 17,
        project_prev: [4; 32],
        time: turn.at,
        key: Some(KeyId(9)),
        salt: merkle::salt(&turn.salt, 2),
        body: &body,
    };
    let lease = LeaseId { job: JobId(1842), shard: 17, attempt: 2 };
    let root = seal::single_root(&Digest([7; 32]));
    let chain = seal::extend(&seal::START, lease, &Digest([7; 32]), &root);
    let values = [
        ("turn", frame),
        ("turn-without-events", nothing),
        ("head", head.digest.0.to_vec()),
        ("archive-header", encode_header(&header)),
        ("archive-trailer", encode_trailer(&trailer)),
        ("leaf-salt", leaf.salt.to_vec()),
        ("leaf", leaf.hash().to_vec()),
        ("seal-single-root", root.0.to_vec()),
        ("seal-chain", chain.to_vec()),
        ("seal-message", seal::message(AgentId(37), 307, &chain)),
    ];
    compare("frames.txt", &values.map(|(name, bytes)| (name.to_string(), bytes)));
}

#[test]
fn frozen_frames_still_read() {
    let known = lines("frames.txt");
    let (turn, length) = codec::decode_turn(&unhex(&known["turn"])).expect("it reads for ever");
    assert_eq!((turn, length * 2), (samples::turn(), known["turn"].len()));
    let archive = ["archive-header", "turn", "archive-trailer"].map(|name| unhex(&known[name])).concat();
    let mut reader = Reader::new(&archive).expect("it is an archive");
    let step = reader.next().expect("a turn").expect("that reads");
    assert_eq!(step.turn, samples::turn());
    assert!(reader.next().is_none());
    assert_eq!(reader.offset(), archive.len());
}

#[test]
fn names_are_those_of_the_contract() {
    let facts = "leader.started node.invited node.admitted node.moved node.removed node.lost segment.archived \
        project.created key.created key.revoked provider.created policy.changed enrolment.created agent.enrolled \
        agent.joined agent.draining agent.lost agents.observed job.submitted job.cancel_requested stage.planned \
        effect.started effect.failed result.received results.sealed block.checked shard.reported_failed job.reduced \
        entropy.drawn recall.listed credits.issued payout.confirmed blob.recorded checkpoint.received quota.changed";
    let decisions = "job.admitted job.succeeded job.failed job.cancelled shard.assigned shard.requeued lease.expired \
        lease.revoked result.accepted result.refused shard.verified audit.chosen agent.sandboxed agent.released \
        agent.removed agent.convicted job.recalled credit.held credit.accrued credit.posted credit.voided \
        credit.released state.rooted shard.resumed";
    for (names, nature) in [(facts, Nature::Fact), (decisions, Nature::Decision)] {
        for name in names.split_whitespace() {
            let known = Event::TYPES.iter().find(|(n, _)| *n == name);
            assert!(known.is_none_or(|(_, n)| *n == nature), "{name} is in its list");
            assert!(known.is_some() != RESERVED_NAMES.contains(&name), "{name} is known or reserved");
        }
    }
    let count = facts.split_whitespace().count() + decisions.split_whitespace().count();
    assert_eq!(Event::TYPES.len() + RESERVED_NAMES.len(), count);
}

const RESERVED_NAMES: [&str; 12] = forge_event::event::RESERVED;
