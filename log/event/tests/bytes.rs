//! Arbitrary bytes: no decoder panics, and nothing bad is taken for good.

mod samples;

use forge_event::archive::{Header, Reader, Trailer, encode_header, encode_trailer};
use forge_event::codec::{DecodeError, TURN_VERSION, decode_placed, decode_turn, encode_turn, frame, unframe};
use forge_event::limits::TURN_BYTES_MAX;
use forge_event::*;
use proptest::prelude::*;

fn read_through(bytes: &[u8]) -> bool {
    let Ok(mut reader) = Reader::new(bytes) else { return false };
    loop {
        match reader.next() {
            Some(Ok(_)) => {}
            Some(Err(_)) => return false,
            None => return true,
        }
    }
}

fn small_archive() -> Vec<u8> {
    let mut turn = samples::turn();
    turn.expected = Head::default();
    let frame = encode_turn(&turn);
    let head = Head::default().after(&frame, turn.len());
    let header = Header { magic: archive::MAGIC, cluster: Digest::of(&frame), before: Head::default() };
    let trailer = Trailer { turns: 1, events: turn.len(), head };
    [encode_header(&header), frame, encode_trailer(&trailer)].concat()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_never_panic_a_decoder(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let _ = unframe(&bytes, TURN_BYTES_MAX);
        let _ = postcard::from_bytes::<Event>(&bytes);
        prop_assert!(decode_turn(&bytes).is_err());
        prop_assert!(!read_through(&bytes));
        // The same behind a frame that is in order.
        let framed = frame(TURN_VERSION, &bytes);
        if let Ok((turn, length)) = decode_turn(&framed) {
            prop_assert_eq!(length, framed.len());
            prop_assert!(turn.last().0 >= turn.expected.events);
        }
        let mut archive = small_archive();
        archive.truncate(archive.len() - bytes.len().min(90));
        archive.extend_from_slice(&framed);
        prop_assert!(!read_through(&archive));
    }

    #[test]
    fn a_turn_with_one_byte_changed_behind_its_checksum_is_another_turn_or_none(at in any::<usize>(), to in any::<u8>()) {
        let turn = samples::turn();
        let mut payload = postcard::to_allocvec(&turn).expect("it can be written");
        let at = at % payload.len();
        prop_assume!(payload[at] != to);
        payload[at] = to;
        let framed = frame(TURN_VERSION, &payload);
        if let Ok((other, _)) = decode_turn(&framed) {
            prop_assert!(other != turn, "equal turns have equal bytes");
            prop_assert_eq!(encode_turn(&other), framed);
        }
    }

    #[test]
    fn ids_times_and_amounts_take_any_text(text in ".{0,40}") {
        let _ = (text.parse::<LeaseId>(), text.parse::<ShardId>(), text.parse::<Digest>());
        if let Ok(id) = text.parse::<JobId>() {
            prop_assert_eq!(id.to_string(), text.clone());
        }
        if let Ok(amount) = text.parse::<Credits>() {
            prop_assert_eq!(amount.to_string().parse::<Credits>(), Ok(amount));
        }
    }

    #[test]
    fn any_time_can_be_shown(ms in any::<u64>()) {
        prop_assert!(Timestamp(ms).to_string().ends_with('Z'));
    }
}

#[test]
fn a_decision_among_the_facts_is_refused() {
    let good = samples::turn();
    let decision = good.decisions[0].clone();
    let fact = good.facts[0].event.clone();
    let lies = [
        Turn { facts: vec![Fact { by: None, event: decision }], ..good.clone() },
        Turn { decisions: vec![fact], ..good },
    ];
    for lie in lies {
        let framed = frame(TURN_VERSION, &postcard::to_allocvec(&lie).expect("it can be written"));
        assert_eq!(decode_turn(&framed).err(), Some(DecodeError::WrongList));
    }
}

#[test]
fn an_unknown_event_and_an_unknown_version_are_refused() {
    let good = samples::turn();
    let payload = |turn: &Turn| postcard::to_allocvec(turn).expect("it can be written");
    let empty = Turn { facts: Vec::new(), decisions: Vec::new(), ..good.clone() };
    let mut bytes = payload(&empty);
    // One decision of a number that no event has.
    let last = bytes.len() - 1;
    bytes[last] = 1;
    bytes.extend_from_slice(&[Event::TYPES.len() as u8, 0, 0, 0, 0]);
    assert_eq!(decode_turn(&frame(TURN_VERSION, &bytes)).err(), Some(DecodeError::Malformed));
    assert_eq!(decode_turn(&frame(2, &payload(&good))).err(), Some(DecodeError::Version(2)));
    let mut longer = payload(&good);
    longer.push(0);
    assert_eq!(decode_turn(&frame(TURN_VERSION, &longer)).err(), Some(DecodeError::Malformed));
}

#[test]
fn an_integer_has_one_form() {
    let empty = Turn { facts: Vec::new(), decisions: Vec::new(), ..samples::turn() };
    let mut bytes = postcard::to_allocvec(&empty).expect("it can be written");
    // No decisions, in two bytes.
    *bytes.last_mut().expect("not empty") = 0x80;
    bytes.push(0);
    assert_eq!(decode_turn(&frame(TURN_VERSION, &bytes)).err(), Some(DecodeError::NotCanonical));
}

#[test]
fn each_event_stands_where_the_decoder_says() {
    let turn = samples::turn();
    let bytes = encode_turn(&turn);
    let (read, places, _) = decode_placed(&bytes).expect("it reads");
    assert_eq!(read, turn);
    let written: Vec<Vec<u8>> =
        turn.events().map(|(_, event)| postcard::to_allocvec(event).expect("it can be written")).collect();
    assert!(places.events(&bytes).eq(written));
}

#[test]
fn a_set_of_shards_has_one_form() {
    let mut turn = samples::turn();
    turn.facts.clear();
    let shards = Runs(vec![Run { first: 1, last: 2 }, Run { first: 3, last: 4 }]);
    let requeued = ShardRequeued { job: JobId(1), shards, reason: RequeueReason::Failed, attempt: 1 };
    turn.decisions = vec![requeued.into()];
    let framed = frame(TURN_VERSION, &postcard::to_allocvec(&turn).expect("it can be written"));
    assert_eq!(decode_turn(&framed).err(), Some(DecodeError::NotCanonical));
}

#[test]
fn an_archive_that_is_cut_or_continued_is_refused() {
    let good = small_archive();
    assert!(read_through(&good));
    assert!((0..good.len()).all(|at| !read_through(&good[..at])));
    assert!(!read_through(&[&good[..], &[0]].concat()));
    assert!(!read_through(&[&good[..], &good[..]].concat()));
}
