//! What a log cannot hide: every forged, flipped or missing part of it is noticed.

use crate::rig::Hub;
use crate::rig::fake::{self, FAMILIES};
use forge_event::*;
use forge_projections::replay::{Options, Verifier};

/// A small history for the tests below.
fn history() -> Hub {
    let (mut hub, project, agent) = Hub::staffed();
    let joined = hub.joined(agent, NodeId(1), 4, Hub::capabilities());
    hub.turn(vec![joined]).unwrap();
    let fact = hub.asked(Hub::submission(project, 8));
    let job = JobId::born_at(hub.turn(vec![fact]).unwrap());
    hub.run_effect(job).unwrap();
    let fact = hub.received(agent, job, 1, Runs::span(0, 7), fake::good(1));
    hub.turn(vec![fact]).unwrap();
    let fact = hub.sealed(agent, 8);
    hub.turn(vec![fact]).unwrap();
    hub.run_effect(job).unwrap();
    assert!(hub.leader.jobs.jobs.get(&job).unwrap().ended.is_some());
    hub
}

/// Every decision of a log, one at a time, left out, doubled, or put elsewhere: never verified.
#[test]
fn a_log_with_other_decisions_is_refused() {
    let hub = history();
    let mut turns = Vec::new();
    let mut rest = &hub.frames[..];
    while !rest.is_empty() {
        let (turn, length) = codec::decode_turn(rest).unwrap();
        turns.push(turn);
        rest = &rest[length..];
    }
    let mut forged = 0;
    for at in 0..turns.len() {
        for decision in 0..turns[at].decisions.len() {
            let mut lie = turns.clone();
            lie[at].decisions.remove(decision);
            let report = Verifier::new(&rechained(lie), &FAMILIES, Options::default()).finish();
            let fault = report.fault.expect("a decision is missing");
            assert_eq!((fault.code.name(), fault.turn), ("decision-differs", at as u64 + 1));
            assert_eq!(fault.last_good_index.0 + 1, turns[at].first().0);
            forged += 1;
        }
    }
    assert!(forged >= 6);
}

/// A log whose frames and chain are in order.
fn rechained(turns: Vec<Turn>) -> Vec<u8> {
    let (mut head, mut frames, mut genesis) = (Head::default(), Vec::new(), None);
    for mut turn in turns {
        turn.expected = head;
        let frame = codec::encode_turn(&turn);
        head = head.after(&frame, turn.len());
        genesis.get_or_insert(Digest::of(&frame));
        frames.extend_from_slice(&frame);
    }
    let header =
        archive::Header { magic: archive::MAGIC, cluster: genesis.unwrap_or_default(), before: Head::default() };
    let trailer = archive::Trailer { turns: head.turns, events: head.events, head };
    [archive::encode_header(&header), frames, archive::encode_trailer(&trailer)].concat()
}

#[test]
fn a_forged_fact_is_refused() {
    let hub = history();
    let (turn, _) = codec::decode_turn(&hub.frames).unwrap();
    let mut lie = turn.clone();
    let extra = CreditsIssued { project: ProjectId(4), amount: Credits(1), reference: String::new() };
    lie.facts.push(Fact { by: None, event: extra.into() });
    let report = Verifier::new(&rechained(vec![lie]), &FAMILIES, Options::default()).finish();
    let fault = report.fault.expect("credits are not issued without a key");
    assert_eq!((fault.code.name(), fault.index), ("fact-refused", EventIndex(turn.last().0 + 1)));
}

#[test]
fn any_flipped_bit_and_any_cut_is_noticed() {
    let hub = history();
    let good = hub.archive();
    let report = Verifier::new(&good, &FAMILIES, Options::default()).finish();
    assert_eq!(report.fault, None);
    assert_eq!(report.events, hub.leader.head.events);
    assert!(report.verify_json().starts_with("{\"ok\":true,"));
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        let report = Verifier::new(&bad, &FAMILIES, Options::default()).finish();
        assert!(report.fault.is_some(), "byte {at}");
        let report = Verifier::new(&good[..at], &FAMILIES, Options::default()).finish();
        let code = report.fault.expect("it is cut").code.name();
        assert_eq!(code, "truncated", "cut at {at}");
    }
}

#[test]
fn replay_stops_behind_the_turn_that_holds_the_index() {
    let hub = history();
    let archive = hub.archive();
    let options = Options { until: Some(EventIndex(3)), ..Options::default() };
    let report = Verifier::new(&archive, &FAMILIES, options).finish();
    assert_eq!((report.fault.clone(), report.world.head.events), (None, 5));
    let whole = Verifier::new(&archive, &FAMILIES, Options::default()).finish();
    let json: serde_json::Value = serde_json::from_str(&whole.replay_json()).unwrap();
    assert_eq!(json["state_digest"], hub.follower.state_digest().digest.to_string());
    assert_eq!(json["jobs"].as_object().unwrap().len(), 1);
    assert_eq!(json["balances"]["equity:issued"], "-50.000000");
}

/// Bits of checks that read blobs cannot be derived from a log alone; those of the free checks can.
#[test]
fn a_result_that_only_its_blobs_convict_leaves_an_honest_log() {
    for (flagged, honest) in [(true, true), (false, false)] {
        let (mut hub, project, agent) = Hub::staffed();
        let joined = hub.joined(agent, NodeId(1), 4, Hub::capabilities());
        hub.turn(vec![joined]).unwrap();
        let digest = Digest::of(b"an input");
        let blob = hub.asked(BlobRecorded { project, digest, bytes: 8, job: None });
        hub.turn(vec![blob]).unwrap();
        let mut submission = Hub::submission(project, 1);
        submission.spec = format!("{{\"shards\":1,\"input\":\"{digest}\"}}").into_bytes();
        submission.inputs = vec![digest];
        let fact = hub.asked(submission);
        let job = JobId::born_at(hub.turn(vec![fact]).unwrap());
        hub.run_effect(job).unwrap();
        // Passes the free checks and is flagged all the same; or fails them and is let through.
        let bytes = if flagged { fake::good(1) } else { fake::bad() };
        let mut fact = hub.received(agent, job, 1, Runs::one(0), bytes);
        let Event::ResultReceived(received) = &mut fact.event else { unreachable!("it is a delivery") };
        received.checks.bits = if flagged { 1 << 7 } else { 0 };
        hub.turn(vec![fact]).unwrap();
        let options = Options { recheck: true, ..Options::default() };
        let report = Verifier::new(&hub.archive(), &FAMILIES, options).finish();
        assert_eq!(report.fault.is_none(), honest, "{:?}", report.fault);
    }
}
