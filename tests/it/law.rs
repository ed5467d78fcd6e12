//! The law of the turn, checked on logs that a hub left, and on logs that somebody changed.

use ed25519_dalek::{Signature, VerifyingKey};
use forge_adapters::Registry;
use forge_event::archive::{self, Header, Reader, Trailer};
use forge_event::*;
use forge_projections::replay::{FaultCode, Options, Report, Verifier};
use forge_tests::*;
use serde_json::{Value, json};
use std::path::Path;

fn verify(log: &[u8]) -> Report {
    let seal = |key: &[u8; 32], message: &[u8], signature: &[u8; 64]| {
        let key = VerifyingKey::from_bytes(key);
        key.is_ok_and(|key| key.verify_strict(message, &Signature::from_bytes(signature)).is_ok())
    };
    Verifier::new(log, &Registry, Options { recheck: true, ..Options::default() }).sealed_by(&seal).finish()
}

/// A log of an earlier day and what it folds to, as this and every later program must find it.
///
/// `UPDATE_GOLDEN=1` writes both anew from a hub of today: until the first release, in one deliberate commit.
#[tokio::test]
async fn the_golden_log_is_derived_again_and_folds_to_the_golden_state() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden");
    let (log_file, state_file) = (folder.join("log.forge"), folder.join("state.json"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        let log = log_of_a_hub().await.0;
        std::fs::write(&log_file, &log).expect("the golden folder is there");
        std::fs::write(&state_file, state_of(&log) + "\n").expect("the golden folder is there");
    }
    let log = std::fs::read(&log_file).expect("the golden log is checked in");
    let golden = std::fs::read_to_string(&state_file).expect("the golden state is checked in");
    assert_eq!(state_of(&log), golden.trim_end());
}

/// What a log folds to: the replay's report, and the digest of the state as a snapshot holds it.
fn state_of(log: &[u8]) -> String {
    let report = verify(log);
    assert_eq!(report.fault, None);
    let mut state: Value = serde_json::from_str(&report.replay_json()).expect("a report is JSON");
    let frozen = postcard::to_stdvec(&report.world).expect("a world can be written");
    state["snapshot_state"] = json!({"bytes": frozen.len(), "digest": Digest::of(&frozen).to_string()});
    let thawed: forge_projections::World = postcard::from_bytes(&frozen).expect("a written world can be read");
    assert_eq!(thawed.state_digest(), report.world.state_digest());
    serde_json::to_string_pretty(&state).expect("JSON can be written")
}

/// A log with everything in it: two kinds of jobs, one cancelled, an agent that left.
async fn log_of_a_hub() -> (Vec<u8>, String) {
    let mut house = House::found().await;
    let agents = house.agents(2, 2).await;
    let client = house.client();
    Job::submit(&client, null(200, 0)).await.result(&client).await;
    Job::submit(&client, call(20_000, json!(500))).await.result(&client).await;
    let cancelled = Job::submit(&client, null(100_000, 1000)).await;
    until("some shard is done", async || (cancelled.verified(&client).await > 0).then_some(())).await;
    client.post(&format!("/v1/jobs/{}/cancel", cancelled.id), json!({})).await.is(200);
    house.drain_agent(&agents[0]).await;
    // Export and digest at one index: nothing is left to happen once the last lease is gone.
    until("nothing happens any longer", async || {
        let before = client.get("/v1/state/digest").await.is(200).json();
        let log = house.export(&client).await;
        let after = client.get("/v1/state/digest").await.is(200).json();
        (before == after).then(|| (log, after["digest"].as_str().expect("a digest").to_owned()))
    })
    .await
}

/// The turns of a log.
fn turns(log: &[u8]) -> (Header, Vec<Turn>) {
    let mut reader = Reader::new(log).expect("an export is an archive");
    let header = reader.header.clone();
    let mut turns = Vec::new();
    while let Some(step) = reader.next() {
        turns.push(step.expect("an export is sound").turn);
    }
    (header, turns)
}

/// The log of these turns, with every length, checksum and hash computed anew.
fn forged(mut header: Header, turns: Vec<Turn>) -> Vec<u8> {
    let mut frames = Vec::new();
    let mut head = header.before;
    for (at, mut turn) in turns.into_iter().enumerate() {
        turn.expected = head;
        let frame = codec::encode_turn(&turn);
        head = head.after(&frame, turn.len());
        if at == 0 {
            header.cluster = head.digest_of_genesis(&frame);
        }
        frames.extend(frame);
    }
    let mut log = archive::encode_header(&header);
    log.extend(frames);
    let (turns, events) = (head.turns - header.before.turns, head.events - header.before.events);
    log.extend(archive::encode_trailer(&Trailer { turns, events, head }));
    log
}

/// A cluster is named after its genesis turn.
trait Genesis {
    fn digest_of_genesis(&self, frame: &[u8]) -> Digest;
}

impl Genesis for Head {
    fn digest_of_genesis(&self, frame: &[u8]) -> Digest {
        Digest::of(frame)
    }
}

/// The log with the first event that `change` takes changed by it: the log and the event's index.
fn changed(log: &[u8], mut change: impl FnMut(&mut Event) -> bool) -> (Vec<u8>, u64) {
    let (header, mut turns) = turns(log);
    for turn in &mut turns {
        let first = turn.first().0;
        let mut events = turn.facts.iter_mut().map(|f| &mut f.event).chain(&mut turn.decisions);
        if let Some(at) = events.position(&mut change) {
            return (forged(header, turns), first + at as u64);
        }
    }
    panic!("the log has no such event");
}

#[tokio::test]
async fn a_hubs_log_is_derived_again_to_the_byte_and_a_changed_one_is_refused() {
    let (log, digest) = log_of_a_hub().await;
    sound(&log, &digest);
    flipped(&log);
    cut_short(&log);
    rewritten(&log);
    if is_full() {
        flipped_everywhere(&log);
    }
}

fn sound(log: &[u8], digest: &str) {
    let report = verify(log);
    let said: Value = serde_json::from_str(&report.verify_json()).expect("a report is JSON");
    assert_eq!(said["ok"], true, "{said}");
    assert_eq!((said["decisions"]["differ"].as_u64(), said["ledger_sum"].as_str()), (Some(0), Some("0.000000")));
    let decisions: u64 = turns(log).1.iter().map(|t| t.decisions.len() as u64).sum();
    assert_eq!(said["decisions"]["rederived"], decisions);
    let replay: Value = serde_json::from_str(&report.replay_json()).expect("a report is JSON");
    assert_eq!(replay["state_digest"], digest, "replay gives the state that the node has");
    let (header, turns) = turns(log);
    assert_eq!(forged(header, turns), log, "an export is nothing but its turns");
}

/// One flipped byte in each part of the file: refused, and the position given is that of the frame it lies in.
fn flipped(log: &[u8]) {
    let places = frames(log);
    for at in [0, places.len() / 3, places.len() / 2, places.len() - 1] {
        let (start, end) = places[at];
        for byte in [start, start + 6, start + 9, end - 1] {
            let mut bad = log.to_vec();
            bad[byte] ^= 0x10;
            let report = verify(&bad);
            let fault = report.fault.unwrap_or_else(|| panic!("byte {byte} flipped and nobody noticed"));
            let codes = [FaultCode::Checksum, FaultCode::Truncated, FaultCode::UnknownEvent];
            assert!(codes.contains(&fault.code), "{fault:?}");
            assert_eq!(fault.offset, start, "byte {byte}: {fault:?}");
            let good = turns(log).1.get(at).map(|t| t.expected.events);
            assert_eq!(Some(fault.last_good_index.0), good, "byte {byte}");
        }
    }
}

/// Where the turns' frames lie: (start, end).
fn frames(log: &[u8]) -> Vec<(usize, usize)> {
    let mut reader = Reader::new(log).expect("an export is an archive");
    let mut places = Vec::new();
    while let Some(step) = reader.next() {
        let step = step.expect("an export is sound");
        places.push((step.offset, step.offset + step.frame.len()));
    }
    places
}

fn flipped_everywhere(log: &[u8]) {
    for byte in 0..log.len() {
        let mut bad = log.to_vec();
        bad[byte] ^= 1 << (byte % 8);
        let mut reader = match Reader::new(&bad) {
            Ok(reader) => reader,
            Err(_) => continue,
        };
        let refused = std::iter::from_fn(|| reader.next().map(|step| step.is_err())).any(|bad| bad);
        assert!(refused, "byte {byte} flipped and nobody noticed");
    }
}

fn cut_short(log: &[u8]) {
    let last = frames(log).last().expect("a log has turns").1;
    for end in [last, last - 1, log.len() - 1] {
        let fault = verify(&log[..end]).fault.expect("a cut file is refused");
        assert_eq!(fault.code, FaultCode::Truncated, "{fault:?}");
    }
    let mut longer = log.to_vec();
    longer.push(0);
    assert!(verify(&longer).fault.is_some());
}

/// One event changed, every hash after it computed anew: only deriving it again shows the forgery.
fn rewritten(log: &[u8]) {
    let forgeries: [(&str, (Vec<u8>, u64)); 6] = [
        (
            "an assignment goes to another agent",
            changed(log, |event| {
                let Event::ShardAssigned(e) = event else { return false };
                e.agent = AgentId(e.agent.0 + 1);
                true
            }),
        ),
        (
            "a lease lives longer",
            changed(log, |event| {
                let Event::ShardAssigned(e) = event else { return false };
                e.deadline = e.deadline.after(DurationMs(1));
                true
            }),
        ),
        (
            "a credit is counted twice",
            changed(log, |event| {
                let Event::CreditAccrued(e) = event else { return false };
                e.count *= 2;
                true
            }),
        ),
        (
            "a credit goes to another provider",
            changed(log, |event| {
                let Event::CreditAccrued(e) = event else { return false };
                e.provider = ProviderId(e.provider.0 + 1);
                true
            }),
        ),
        (
            "a verdict has another class",
            changed(log, |event| {
                let Event::ResultAccepted(e) = event else { return false };
                e.class = Class::Audited;
                true
            }),
        ),
        (
            "a hold is smaller",
            changed(log, |event| {
                let Event::CreditHeld(e) = event else { return false };
                e.amount = Credits(e.amount.0 - 1);
                true
            }),
        ),
    ];
    let (sealed, index) = changed(log, |event| {
        let Event::ResultsSealed(e) = event else { return false };
        e.signature[1][0] ^= 1;
        true
    });
    let fault = verify(&sealed).fault.expect("a seal that nobody signed is noticed");
    assert_eq!((fault.code, fault.index.0), (FaultCode::BadSeal, index), "{fault:?}");
    for (what, (bad, index)) in forgeries {
        let mut reader = Reader::new(&bad).expect("the forger made an archive");
        assert!(std::iter::from_fn(|| reader.next()).all(|step| step.is_ok()), "{what}: every hash fits");
        let fault = verify(&bad).fault.unwrap_or_else(|| panic!("{what} and nobody noticed"));
        assert_eq!((fault.code, fault.index.0), (FaultCode::DecisionDiffers, index), "{what}: {fault:?}");
        let (ours, theirs) = fault.detail.split_once(" here, the log has ").expect("both are shown");
        assert!(!ours.ends_with(theirs), "{what}: they read alike: {}", fault.detail);
    }
}

#[tokio::test]
async fn a_log_out_of_order_or_of_a_later_program_is_refused_by_name() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/log.forge");
    let log = std::fs::read(golden).expect("the golden log is checked in");
    let code = |log: &[u8]| {
        let fault = verify(log).fault.expect("it is noticed");
        (fault.code.name(), fault.turn)
    };
    let places = frames(&log);
    let ((third, end), (fourth, fourth_end)) = (places[2], places[3]);
    let swapped = [&log[..third], &log[fourth..fourth_end], &log[third..end], &log[fourth_end..]].concat();
    assert_eq!(code(&swapped), ("chain", 3));
    // Every hash fits, but the turn was decided by rules that this program does not have.
    let (header, mut later) = turns(&log);
    later[4].policy = PolicyVersion(later[4].policy.0 + 1);
    assert_eq!(code(&forged(header, later)), ("unknown-event", 5));
    // The clock of the log never goes back.
    let (header, mut earlier) = turns(&log);
    earlier[5].at = Timestamp(earlier[4].at.0 - 1);
    assert_eq!(code(&forged(header, earlier)), ("chain", 6));
}
