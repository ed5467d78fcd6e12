//! Exports against the contract's tables: every field, in its order, and what the fold has to add.

use crate::rig::Hub;
use crate::rig::fake::{self, FAMILIES};
use forge_event::*;
use forge_projections::export::{Exporter, Place, event_json, render};
use forge_projections::{Meta, World};
use serde_json::Value;

/// The fields the contract asks for. What an export has besides stands in `MORE`.
const FIELDS: &[(&str, &str)] = &[
    ("leader.started", "node term wall extend_ms"),
    ("node.invited", "token_digest expires_at"),
    ("node.admitted", "node invite addresses public_key tip voter"),
    ("node.moved", "node addresses"),
    ("node.removed", "node"),
    ("node.lost", "node term"),
    ("segment.archived", "node first last digest"),
    ("project.created", "name quota"),
    ("key.created", "scopes project expires_at digest"),
    ("key.revoked", ""),
    ("provider.created", "name"),
    ("policy.changed", "version digest prices payout fee verification"),
    ("enrolment.created", "provider anchor expires_at token_digest"),
    ("agent.enrolled", "provider anchor public_key enrolment"),
    ("agent.joined", "node epoch slots capabilities"),
    ("agent.draining", "epoch"),
    ("agent.lost", "epoch reason"),
    ("agents.observed", "node agents"),
    ("job.submitted", "kind name labels spec request max_credits inputs verify idempotency body"),
    ("job.cancel_requested", "reason"),
    ("stage.planned", "stage effect shards segments plan plan_body"),
    ("effect.started", "effect try node"),
    ("effect.failed", "effect try code"),
    ("result.received", "agent epoch attempt shards position digests roots checks bytes inline"),
    ("results.sealed", "upto head signature"),
    ("shard.reported_failed", "agent epoch attempt shards code"),
    ("job.reduced", "effect version digest bytes document"),
    ("credits.issued", "amount reference entries"),
    ("job.admitted", "hold max_cost"),
    ("job.succeeded", "version digest bytes assurance error_bound verification evidence"),
    ("job.failed", "code detail"),
    ("job.cancelled", "reason"),
    ("shard.assigned", "agent epoch shards attempt role probation segment deadline"),
    ("shard.requeued", "shards reason attempt"),
    ("lease.expired", "agent shards attempt"),
    ("lease.revoked", "agent shards attempt reason"),
    ("result.accepted", "agent attempt shards class"),
    ("result.refused", "agent attempt shards code"),
    ("credit.held", "transfer amount entries"),
    ("credit.accrued", "transfer job provider for results count rate charge payout prices warranty_block entries"),
    ("credit.voided", "transfer of job results entries reason"),
    ("credit.released", "transfer of amount entries"),
    ("state.rooted", "upto roots"),
    ("blob.recorded", "digest bytes"),
    // Not in the contract.
    ("quota.changed", "credits shards blob_bytes blob_count vmem_bytes uploads replaces"),
    ("checkpoint.received", "agent epoch attempt shard cells digest checks inline signature"),
    ("shard.resumed", "agent attempt shard from"),
];

/// Fields an export has besides the contract's.
const MORE: &[&str] = &["label", "weight", "family_version", "try", "detail", "job", "last", "outputs"];

#[path = "../../../log/event/tests/samples/mod.rs"]
mod samples;

#[test]
fn every_type_shows_the_fields_of_the_contract_in_their_order() {
    for event in samples::events() {
        let meta = Meta::default();
        let json = event_json(EventIndex(1842), &event, Some(&meta), None, &World::default());
        let data: serde_json::Map<String, Value> = serde_json::from_str(&json).expect("an object");
        let (_, fields) = FIELDS.iter().find(|(name, _)| *name == event.name()).expect("the contract has it");
        let asked: Vec<&str> = fields.split_whitespace().collect();
        for field in &asked {
            assert!(data.contains_key(*field), "{} lacks {field}: {json}", event.name());
        }
        for field in data.keys() {
            let known = asked.contains(&field.as_str()) || MORE.contains(&field.as_str());
            assert!(known, "{} has {field}, which nobody knows", event.name());
        }
        // The map of serde_json sorts; the text keeps the order.
        let places: Vec<usize> = asked.iter().map(|f| json.find(&format!("\"{f}\":")).expect("it is there")).collect();
        let sorted = asked.is_empty() || places.windows(2).all(|w| w[0] < w[1]);
        assert!(sorted || event.name() == "credit.voided", "{json}");
    }
    assert_eq!(FIELDS.len(), Event::TYPES.len());
}

/// A history with money, results that are equal and not, a seal, a request with a key.
fn history() -> (Hub, Vec<Value>) {
    let mut hub = Hub::new();
    let mut lines = Vec::new();
    let project = hub.project(1, None);
    hub.issue(project, 10_000_000);
    let provider = hub.provider();
    let agent = hub.agent(provider);
    let joined = hub.joined(agent, NodeId(1), 4, Hub::capabilities());
    hub.turn(vec![joined]).unwrap();
    let mut fact = hub.asked(Hub::submission(project, 3));
    fact.by = fact.by.map(|by| By { idempotency: Some(Digest::of(b"K")), request: Some(Digest::of(b"R")), ..by });
    let job = JobId::born_at(hub.turn(vec![fact]).unwrap());
    hub.run_effect(job).unwrap();
    let fact = hub.received(agent, job, 1, Runs::span(0, 2), fake::good(1));
    hub.turn(vec![fact]).unwrap();
    let fact = hub.sealed(agent, 3);
    hub.turn(vec![fact]).unwrap();
    hub.run_effect(job).unwrap();
    let mut world = World::default();
    let mut exporter = Exporter::new(EventIndex(1), EventIndex(u64::MAX));
    let mut rest = &hub.frames[..];
    while !rest.is_empty() {
        let (turn, length) = codec::decode_turn(rest).unwrap();
        world.fold(&turn, &rest[..length], &FAMILIES, &mut exporter);
        rest = &rest[length..];
    }
    lines.extend(exporter.lines().lines().map(|line| serde_json::from_str::<Value>(line).expect("a line is JSON")));
    lines.push(serde_json::from_str(&exporter.trailer()).expect("and so is the trailer"));
    (hub, lines)
}

fn find<'a>(lines: &'a [Value], name: &str) -> &'a Value {
    lines.iter().find(|l| l["type"] == name).unwrap_or_else(|| panic!("{name} is in the export"))
}

#[test]
fn indices_turns_and_sequences_have_no_gaps() {
    let (hub, lines) = history();
    let (trailer, events) = lines.split_last().unwrap();
    assert_eq!(trailer["last"], hub.leader.head.events);
    assert_eq!(trailer["turns"], hub.leader.head.turns);
    assert_eq!(trailer["head"], hub.leader.head.digest.to_string());
    let mut sequences = std::collections::BTreeMap::<String, u64>::new();
    for (n, line) in events.iter().enumerate() {
        assert_eq!(line["index"], n as u64 + 1);
        let ends_turn = events.get(n + 1).is_none_or(|next| next["turn"] != line["turn"]);
        assert_eq!(line.get("head").is_some(), ends_turn, "the last event of a turn has the head");
        match line["project"].as_str() {
            Some(project) => {
                let seq = sequences.entry(project.into()).or_default();
                *seq += 1;
                assert_eq!(line["seq"], *seq);
            }
            None => assert!(line["seq"].is_null()),
        }
        assert_eq!(line["derived"].as_bool().unwrap(), line["cause"].is_u64(), "facts have no cause");
    }
}

#[test]
fn digests_stand_beside_the_bytes_they_are_of() {
    let (_, lines) = history();
    let bytes = |value: &Value| -> Vec<u8> {
        let hex = value.as_str().expect("hex");
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    };
    let digest = |value: &Value| value.as_str().unwrap().parse::<Digest>().unwrap();
    let submitted = &find(&lines, "job.submitted")["data"];
    let body = bytes(&submitted["body"]);
    assert_eq!(Digest::of(&body), digest(&submitted["request"]));
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(Digest::of(body["spec"].to_string().as_bytes()), digest(&submitted["spec"]));
    let planned = &find(&lines, "stage.planned")["data"];
    assert_eq!(Digest::of(&bytes(&planned["plan_body"])), digest(&planned["plan"]));
    let received = &find(&lines, "result.received")["data"];
    assert_eq!(received["digests"].as_array().unwrap().len(), 3, "equal results are shown one by one");
    for n in 0..3 {
        let result = Digest::of(&bytes(&received["inline"][n]));
        assert_eq!(result, digest(&received["digests"][n]));
        assert_eq!(Digest::of(&[&[0], &result.0[..]].concat()), digest(&received["roots"][n]));
    }
    assert_eq!(received["bytes"], 3);
    let reduced = &find(&lines, "job.reduced")["data"];
    assert_eq!(Digest::of(&bytes(&reduced["document"])), digest(&reduced["digest"]));
}

#[test]
fn a_request_stands_in_the_envelope_of_its_fact() {
    let (hub, lines) = history();
    let line = find(&lines, "job.submitted");
    assert_eq!(line["key"], hub.key.to_string());
    assert_eq!(line["idempotency"], Digest::of(b"K").to_string());
    assert_eq!(line["request"], Digest::of(b"R").to_string());
    assert_eq!(line["subject"], format!("j{}", line["index"]));
    let invited = find(&lines, "credits.issued");
    assert!(invited["idempotency"].is_null() && invited.get("request").is_some());
    assert!(find(&lines, "agent.joined").get("request").is_none());
}

#[test]
fn money_is_shown_with_its_entries() {
    let (_, lines) = history();
    for line in lines.iter().filter(|l| l["type"].as_str().is_some_and(|t| t.starts_with("credit"))) {
        let entries = line["data"]["entries"].as_array().expect("entries");
        let micro = |e: &Value| e["amount"].as_str().unwrap().replace('.', "").parse::<i128>().unwrap();
        assert_eq!(entries.iter().map(micro).sum::<i128>(), 0, "{line}");
        if line["type"] != "credits.issued" {
            assert_eq!(line["data"]["transfer"], format!("t{}", line["index"]));
        }
    }
    let accrued = &find(&lines, "credit.accrued")["data"];
    assert_eq!((accrued["charge"].as_str(), accrued["payout"].as_str()), (Some("3.000000"), Some("2.400000")));
    assert_eq!(find(&lines, "job.admitted")["data"]["hold"], find(&lines, "credit.held")["data"]["transfer"]);
}

#[test]
fn a_live_event_can_be_shown_without_its_fold() {
    let (hub, lines) = history();
    let (turn, _) = codec::decode_turn(&hub.frames).unwrap();
    for (index, event) in turn.events() {
        let place = Place { index, turn: 1, at: turn.at, policy: turn.policy };
        let shown = render(place, None, event, None, &hub.follower);
        let line = &lines[index.0 as usize - 1];
        assert_eq!(serde_json::from_str::<Value>(&shown.data).unwrap(), line["data"]);
        assert_eq!(shown.subject.as_deref(), line["subject"].as_str());
        assert_eq!(shown.project.map(|p| p.to_string()).as_deref(), line["project"].as_str());
        let cloud: Value = serde_json::from_str(&shown.cloud_event("/clusters/c1")).unwrap();
        assert_eq!(cloud["type"], format!("hub.forge.{}.v1", event.name()));
    }
}

#[test]
fn a_part_of_the_log_is_exported_alone() {
    let hub = history().0;
    let mut world = World::default();
    let mut exporter = Exporter::new(EventIndex(6), EventIndex(7));
    let mut rest = &hub.frames[..];
    while !rest.is_empty() {
        let (turn, length) = codec::decode_turn(rest).unwrap();
        world.fold(&turn, &rest[..length], &FAMILIES, &mut exporter);
        rest = &rest[length..];
    }
    let events = exporter.take();
    assert_eq!(events.iter().map(|e| e.place.index.0).collect::<Vec<_>>(), [6, 7]);
    let trailer: Value = serde_json::from_str(&exporter.trailer()).unwrap();
    assert_eq!((&trailer["first"], &trailer["last"], &trailer["turns"]), (&6.into(), &7.into(), &2.into()));
}

#[test]
fn the_state_digest_is_what_the_readme_says() {
    let hub = history().0;
    let shown = hub.follower.state_digest();
    let mut bytes = b"forge state v1\0".to_vec();
    bytes.extend_from_slice(&hub.follower.head.events.to_le_bytes());
    bytes.extend_from_slice(&hub.follower.head.digest.0);
    shown.parts.iter().for_each(|(_, root)| bytes.extend_from_slice(&root.0));
    assert_eq!(Digest::of(&bytes), shown.digest);
    let json = serde_json::to_string(&shown).unwrap();
    assert!(json.starts_with(&format!("{{\"index\":{},\"digest\":\"blake3:", hub.follower.head.events)));
    assert!(json.contains("\"parts\":{\"cluster\":\"blake3:"));
}
