//! Segments against flipped bits and cuts.

use super::segment::{SegmentFile, SegmentReader, SegmentWriter, list, segment_name};
use crate::files::{Files, RealFiles};
use crate::log::{ReadError, ReadTurn};
use forge_event::codec::encode_turn;
use forge_event::{Digest, EventIndex, Fact, Head, PolicyVersion, ProjectCreated, Timestamp, Turn};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::sync::Arc;

fn turns(count: u64) -> Vec<ReadTurn> {
    let mut head = Head::default();
    let turn = |salt: u64| {
        let fact = Fact::from(ProjectCreated { name: format!("project {salt}"), quota: None, weight: 1 });
        let (at, salt, policy) = (Timestamp(salt), [salt as u8; 32], PolicyVersion(1));
        let turn = Turn { expected: head, at, salt, policy, facts: vec![fact; 2], decisions: Vec::new() };
        let frame = encode_turn(&turn);
        head = head.after(&frame, 2);
        ReadTurn { turn, frame: frame.into(), head }
    };
    (0..count).map(turn).collect()
}

fn read(files: &Arc<dyn Files>, file: &SegmentFile) -> Result<Vec<ReadTurn>, ReadError> {
    let mut reader = SegmentReader::open(files.clone(), file)?;
    let mut turns = Vec::new();
    while let Some(turn) = reader.next()? {
        turns.push(turn);
    }
    Ok(turns)
}

#[test]
fn no_flipped_bit_and_no_cut_of_a_segment_is_read_as_something_else() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let files: Arc<dyn Files> = Arc::new(RealFiles::new(folder.path().to_owned()));
    let written = turns(30);
    let cluster = Digest::of(&written[0].frame);
    let name = segment_name(EventIndex(1));
    let mut writer = SegmentWriter::create(&files, name.clone(), cluster, Head::default()).expect("created");
    for turn in &written {
        writer.push(turn.turn.expected, &turn.frame, turn.head).expect("written");
    }
    let segment = writer.finish(&files, 30).expect("it verifies");
    segment.keep(&files).expect("noted");

    let (listed, stub) = list(&files).expect("listed");
    assert!(stub.is_none());
    assert_eq!(listed.iter().map(|s| s.sealed).collect::<Vec<_>>(), [segment.sealed]);
    let frames = |turns: &[ReadTurn]| turns.iter().map(|t| t.frame.clone()).collect::<Vec<_>>();
    assert_eq!(frames(&read(&files, &segment).expect("as written")), frames(&written));

    let mut rng = StdRng::seed_from_u64(1);
    let full = std::env::var_os("FORGE_FULL").is_some_and(|v| v == "1");
    let originals = [name.clone(), format!("{name}.note")].map(|n| (std::fs::read(folder.path().join(&n)), n));
    for round in 0..if full { 10_000 } else { 1_000 } {
        let (good, name) = &originals[usize::from(round % 4 == 0)];
        let good = good.as_ref().expect("readable");
        let mut bad = good.clone();
        if round % 10 == 0 {
            bad.truncate(rng.random_range(0..good.len()));
        } else {
            bad[rng.random_range(0..good.len())] ^= 1 << rng.random_range(0..8);
        }
        std::fs::write(folder.path().join(name), &bad).expect("overwritten");
        let found = list(&files).map(|(segments, _)| segments);
        if let Ok(segments) = found {
            let turns = segments.first().map(|segment| read(&files, segment));
            assert!(matches!(turns, Some(Err(_))), "round {round}");
        }
        std::fs::write(folder.path().join(name), good).expect("restored");
    }
    assert!(read(&files, &segment).is_ok());
}
