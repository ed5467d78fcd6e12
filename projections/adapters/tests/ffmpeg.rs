//! The family `ffmpeg` without ffmpeg: specs, inputs, and the files it lays out.

use forge_adapters::Registry;
use forge_adapters::ffmpeg::boxes::{Pictures, Track};
use forge_adapters::ffmpeg::codec::Container;
use forge_adapters::ffmpeg::film::{FORMAT, Film};
use forge_adapters::ffmpeg::movie::layout;
use forge_adapters::ffmpeg::pack::{self, Cell, PackHead, Sample};
use forge_adapters::ffmpeg::texts::{Cue, TextHead, Told};
use forge_adapters::ffmpeg::work::{Blob, Body, Probed, ProbedTexts, Seen, Stage, Task, Texts, Work};
use forge_adapters::ffmpeg::{Ffmpeg, texts::Text, wire};
use forge_adapters::laws::MemoryBlobs;
use forge_event::Digest;
use forge_projections::family::{ADVICE, Families, Family};
use proptest::prelude::*;
use serde_json::{Value, json};

fn spec(more: Value) -> Value {
    let mut spec = json!({"input": Digest::of(b"film").to_string(), "video": {"codec": "ffv1"}, "container": "mov"});
    for (key, field) in more.as_object().expect("fields") {
        spec[key] = field.clone();
    }
    spec
}

#[test]
fn the_contracts_example_is_taken_and_its_defaults_are_filled_in() {
    let input = Digest::of(b"film");
    let example = json!({"input": input.to_string(), "video": {"codec": "ffv1", "args": {}, "filters": [{"scale": [640, 360]}],
        "cell_frames": 48}, "audio": [{"track": 0, "codec": "pcm_s16le"}], "container": "mov", "subtitle": "drop"});
    let checked = Registry.newest("ffmpeg").expect("it is built in").check_spec(&example, None).expect("no fault");
    assert_eq!(checked.inputs, [input]);
    let text = String::from_utf8(checked.spec).expect("text");
    let rest = r#""video":{"codec":"ffv1","args":{"lossless":true},"filters":[{"scale":[640,360]}],"cell_frames":48},"#;
    let audio = r#""audio":[{"track":0,"codec":"pcm_s16le"}],"container":"mov","subtitle":"drop"}"#;
    assert_eq!(text, format!(r#"{{"input":"{input}",{rest}{audio}"#));
    let short = json!({"video": {"codec": "libx264"}, "audio": [{"track": 1, "codec": "aac"}], "container": "mp4"});
    let text = String::from_utf8(Ffmpeg.check_spec(&spec(short), None).expect("no fault").spec).expect("text");
    assert!(text.contains(r#""args":{"crf":23,"preset":"medium"},"filters":[],"cell_frames":null"#), "{text}");
    assert!(text.contains(r#"{"track":1,"codec":"aac","bitrate":128000}"#), "{text}");
}

#[test]
fn a_canonical_spec_is_its_own_canonical_form() {
    let eq = json!({"eq": {"brightness": 0.1, "gamma": 1.5}});
    let filters = json!([{"crop": [64, 48, 0, 2]}, eq, {"format": "yuv444p"}, {"scale": [32, 24]}]);
    for video in [
        json!({"codec": "libx265", "args": {"lossless": true, "preset": "fast"}, "filters": filters}),
        json!({"codec": "libsvtav1", "args": {"qp": 40, "preset": 12, "pix_fmt": "yuv420p10le"}}),
        json!({"codec": "libvpx-vp9", "args": {"crf": 0, "preset": "8"}}),
        json!({"codec": "libx264", "args": {"qp": 0}}),
    ] {
        let first = Ffmpeg.check_spec(&spec(json!({"video": video, "container": "mkv"})), None).expect("no fault");
        let again = Ffmpeg.check_spec(&serde_json::from_slice(&first.spec).expect("JSON"), None).expect("no fault");
        assert_eq!(first, again);
    }
}

#[test]
fn plans_and_payloads_of_jobs_that_drop_subtitles_are_what_they_always_were() {
    let checked = |more| Ffmpeg.check_spec(&spec(more), None).expect("no fault").spec;
    let probe = Stage::Probe.encode();
    assert_eq!(probe, [1, 0]);
    let dropped = Ffmpeg.payload(&checked(json!({"subtitle": "drop"})), &probe, 0);
    assert_eq!(dropped, [&[1, 0, 0][..], &Digest::of(b"film").0, &[0]].concat());
    assert_eq!(Ffmpeg.payload(&checked(json!({})), &probe, 0), dropped);
    let copied = checked(json!({"subtitle": "copy"}));
    assert!(String::from_utf8_lossy(&copied).ends_with(r#""container":"mov","subtitle":"copy"}"#));
    // mov_text is made by an agent's ffmpeg, so that one class must make all of it.
    let task = Task::ProbeTexts { input: Digest::of(b"film"), bound: true };
    assert_eq!(Work::decode(&Ffmpeg.payload(&copied, &probe, 0)).expect("a payload").task, task);
    for texts in [Texts::None, Texts::Tracks(vec![]), Texts::Tracks(vec![text()]), Texts::Parts(vec![])] {
        let body = Body { stage: Stage::Probe, texts };
        assert_eq!(Body::of(&body.encode()), body);
    }
}

#[test]
fn subtitle_tracks_that_no_agent_would_name_so_are_flagged() {
    let copied = Ffmpeg.check_spec(&spec(json!({"subtitle": "copy"})), None).expect("no fault").spec;
    let probed = Probed { film: Blob { digest: Digest::of(b"film"), bytes: 9 }, frames: 3 };
    let bits = |texts: Vec<Text>| {
        Ffmpeg.check_result(&copied, &Stage::Probe.encode(), 0, &wire::encode(&ProbedTexts { probed, texts }))
    };
    assert_eq!(bits(vec![]), 0);
    assert_eq!(bits(vec![text(); 64]), 0);
    assert_ne!(bits(vec![text(); 65]), 0);
    assert_ne!(bits(vec![Text { codec: "sub\"rip".into(), ..text() }]), 0);
    assert_ne!(bits(vec![Text { codec: String::new(), ..text() }]), 0);
    assert_ne!(bits(vec![Text { language: *b"DE-", ..text() }]), 0);
    assert_ne!(Ffmpeg.check_result(&copied, &Stage::Probe.encode(), 0, &wire::encode(&probed)), 0);
}

#[test]
fn a_text_track_whose_cues_do_not_follow_each_other_is_flagged() {
    let blobs = MemoryBlobs::default();
    let film = Blob { digest: Digest::of(b"film"), bytes: 9 };
    let seen = Seen::of(&self::film(0, &[1], (1, 25)));
    let stage = Stage::Parts { film, class: "c".into(), tracks: vec![], cells: vec![2], group: 1, seen };
    let plan = Body { stage, texts: Texts::Tracks(vec![text()]) }.encode();
    let bits = |container: &str, head: &TextHead, media: usize, cues: u32| {
        let spec = spec(json!({"subtitle": "copy", "container": container}));
        let spec = Ffmpeg.check_spec(&spec, None).expect("no fault").spec;
        let part = [pack::front(head), vec![7; media]].concat();
        let told = Told { part: Blob { digest: blobs.keep(&part), bytes: part.len() as u64 }, cues };
        let result = wire::encode(&told);
        assert_eq!(Ffmpeg.check_result(&spec, &plan, 0, &result), 0);
        assert_eq!(Ffmpeg.result_blobs(&spec, &plan, &result), [told.part.digest]);
        Ffmpeg.check_blobs(&spec, &plan, 0, &result, &blobs).expect("the blob is there")
    };
    let head = |times: &[(u64, u64)]| {
        let cue = |(start, end): &(u64, u64)| Cue { start: *start, end: *end, bytes: 5, md5: [0; 16] };
        let cues = times.iter().map(cue).collect();
        TextHead { format: 1, language: *b"ger", shown: true, entry: entry(), cues }
    };
    let good = head(&[(0, 10), (10, 20), (25, 30)]);
    assert_eq!(bits("mov", &good, 19, 3), 0);
    assert_eq!(bits("mov", &head(&[]), 0, 0), 0);
    assert_ne!(bits("mov", &good, 18, 3), 0);
    assert_ne!(bits("mov", &good, 19, 2), 0);
    assert_ne!(bits("mov", &head(&[(0, 10), (9, 20)]), 12, 2), 0);
    assert_ne!(bits("mov", &head(&[(0, 0)]), 7, 1), 0);
    assert_ne!(bits("mov", &TextHead { language: *b"eng", ..good.clone() }, 19, 3), 0);
    assert_ne!(bits("mov", &TextHead { entry: vec![], ..good.clone() }, 19, 3), 0);
    let free = TextHead { entry: vec![], ..head(&[(0, 10), (9, 20)]) };
    assert_eq!(bits("mkv", &free, 500, 2), 0);
    assert_ne!(bits("mkv", &free, 0, 2), 0);
    assert_ne!(bits("mkv", &good, 500, 3), 0);
}

fn text() -> Text {
    Text { stream: 2, codec: "subrip".into(), tx3g: false, language: *b"ger", shown: true }
}

#[test]
fn what_the_probe_saw_is_shown_once_the_parts_are_planned() {
    let film = Blob { digest: Digest::of(b"film"), bytes: 9 };
    let (time_base, sounds) = ((1001, 30000), vec!["aac".into(), "pcm_s16le".into()]);
    let seen = Seen { width: 640, height: 360, pix_fmt: "yuv420p".into(), time_base, duration: 90, sounds };
    let parts = Stage::Parts { film, class: String::new(), tracks: vec![], cells: vec![48, 42], group: 1, seen };
    let checked = Ffmpeg.check_spec(&spec(json!({})), None).expect("no fault").spec;
    let (probe, parts) = (Stage::Probe.encode(), parts.encode());
    assert_eq!(Value::from(Ffmpeg.metadata(&checked, &[&probe])), json!({"codec": "ffv1", "container": "mov"}));
    let known = Value::from(Ffmpeg.metadata(&checked, &[&probe, &parts]));
    let shown = |field: &str| known[field].clone();
    assert_eq!((shown("frames"), shown("cells"), shown("picture")), (json!(90), json!(2), json!([640, 360])));
    assert_eq!(shown("audio_streams"), json!(["aac", "pcm_s16le"]));
    assert!((known["fps"].as_f64().expect("a number") - 29.97).abs() < 0.001, "{known}");
}

/// A film of pictures at these times, in cells whose pictures are coded in this order.
fn film(first_pts: u64, gaps: &[u64], time_base: (u32, u32)) -> Film {
    Film {
        format: FORMAT,
        agent_class: String::new(),
        demuxer: "mov".into(),
        stream: 0,
        time_base,
        width: 64,
        height: 48,
        pix_fmt: "yuv420p".into(),
        first_pts,
        gaps: gaps.to_vec(),
        last_duration: 7,
        pixels: vec![[0; 16]; gaps.len() + 1],
        keys: vec![0],
        sounds: vec![],
    }
}

fn cell(ranks: &[u32]) -> Cell {
    let sample = |(at, rank): (usize, &u32)| Sample { bytes: 10 + *rank, rank: *rank, sync: at == 0 };
    Cell { samples: ranks.iter().enumerate().map(sample).collect(), pixels: vec![] }
}

fn entry() -> Vec<u8> {
    let mut entry = vec![0; 86];
    entry[..4].copy_from_slice(&86u32.to_be_bytes());
    entry[4..8].copy_from_slice(b"avc1");
    entry
}

/// The file's only track, read back; and the times of its pictures as a player counts them, in the film's ticks.
fn laid_out(container: Container, film: &Film, cells: &[Vec<Cell>]) -> (Track, Vec<u64>) {
    let heads: Vec<(PackHead, u64)> = cells
        .iter()
        .map(|cells| {
            let side = 64 << 16;
            (PackHead { format: pack::FORMAT, entry: entry(), width: side, height: side, cells: cells.clone() }, 99)
        })
        .collect();
    let layout = layout(container, film, &heads, &[], &[]).expect("times in range");
    let mut file = layout.head.clone();
    file.resize(layout.bytes() as usize, 0);
    let track = Track::read(&file).expect("a track");
    let (start, skip) = match track.edits.as_slice() {
        [(_, skip)] => (0, *skip),
        [(start, -1), (_, skip)] => (*start, *skip),
        other => panic!("{other:?}"),
    };
    assert_eq!(track.movie_scale, track.timescale);
    let shown = track.times().into_iter().map(|at| (start as i64 + at - skip) as u64 / u64::from(film.time_base.0));
    let shown = shown.collect();
    (track, shown)
}

#[test]
fn an_edit_list_takes_the_delay_of_reordering_and_adds_the_start() {
    let film = film(3_240_126_000, &[3600, 3600, 7200, 1, 3600], (1, 90_000));
    let (track, shown) = laid_out(Container::Mov, &film, &[vec![cell(&[0, 3, 1, 2])], vec![cell(&[0, 1])]]);
    let pts = film.pts();
    assert_eq!(shown, [pts[0], pts[3], pts[1], pts[2], pts[4], pts[5]]);
    assert_eq!(track.edits, [(3_240_126_000, -1), (film.duration(), 7200)]);
    assert_eq!(track.sync, Some(vec![1, 5]));
    assert_eq!(track.durations.last(), Some(&(1, 7)));
}

#[test]
fn a_gap_too_long_for_the_format_is_a_fault() {
    let film = film(0, &[1 << 33], (1, 1 << 30));
    let head = PackHead { format: pack::FORMAT, entry: entry(), width: 1, height: 1, cells: vec![cell(&[0, 1])] };
    let fault = layout(Container::Mp4, &film, &[(head, 0)], &[], &[]).expect_err("it does not fit");
    assert_eq!(fault.code, "time-out-of-range");
}

#[test]
fn a_cell_that_lacks_a_picture_or_begins_in_the_middle_is_seen() {
    assert!(cell(&[0, 2, 1]).stands_for(3, false));
    assert!(!cell(&[0, 2, 2]).stands_for(3, false));
    assert!(!cell(&[0, 1]).stands_for(3, false));
    assert!(!cell(&[1, 0]).stands_for(2, false));
    assert!(!cell(&[0, 1]).stands_for(2, true));
    let mut empty = cell(&[0, 1]);
    empty.samples[1].bytes = 0;
    assert!(!empty.stands_for(2, false));
}

#[test]
fn an_output_that_is_not_made_of_its_parts_is_flagged() {
    let blobs = MemoryBlobs::default();
    let kept = |bytes: &[u8]| Blob { digest: blobs.keep(bytes), bytes: bytes.len() as u64 };
    let film = film(12, &[3, 4, 5, 6], (1, 25));
    let head = |cell: Cell| PackHead { format: pack::FORMAT, entry: entry(), width: 1, height: 1, cells: vec![cell] };
    let heads = [head(cell(&[0, 2, 1])), head(cell(&[0, 1]))];
    let mut parts = Vec::new();
    for (head, fill) in heads.iter().zip([1, 2]) {
        let mut part = pack::front(head);
        part.resize(part.len() + head.media_bytes() as usize, fill);
        parts.push(part);
    }
    let placed: Vec<_> = heads.iter().zip(&parts).map(|(h, p)| (h.clone(), p.len() as u64 - h.media_bytes())).collect();
    let cue = |start, end| Cue { start, end, bytes: 9, md5: [0; 16] };
    let cues = vec![cue(400, 500), cue(500, 700), cue(900, 3000)];
    let text = TextHead { format: 1, language: *b"ger", shown: true, entry: entry(), cues };
    let front = pack::front(&text);
    let spoken = [(text.clone(), front.len() as u64)];
    parts.push([front, vec![3; text.media_bytes() as usize]].concat());
    let layout = layout(Container::Mov, &film, &placed, &[], &spoken).expect("times in range");
    let mut output = layout.head.clone();
    let speech: Vec<u64> = layout.pieces.iter().filter(|p| p.part == 2).map(|p| p.bytes).collect();
    assert_eq!(speech, [11, 9, 13], "what shows nothing stands in each gap, and behind the last cue");
    for piece in &layout.pieces {
        output.extend_from_slice(&parts[piece.part][piece.first as usize..][..piece.bytes as usize]);
    }
    let mut packs: Vec<Blob> = parts.iter().map(|p| kept(p)).collect();
    let told = |part, cues| Told { part, cues };
    // A track without cues has no place in the output.
    let texts = Texts::Parts(vec![told(packs[0], 0), told(packs.pop().expect("the text"), 3)]);
    let stage = Stage::Mux { film: kept(&film.encode()), class: String::new(), packs, sounds: vec![] };
    let spec = Ffmpeg.check_spec(&spec(json!({"subtitle": "copy"})), None).expect("no fault").spec;
    let plan = Body { stage, texts }.encode();
    let bits = |output: &[u8]| {
        let result = wire::encode(&kept(output));
        assert_eq!(Ffmpeg.check_result(&spec, &plan, 0, &result), 0);
        Ffmpeg.check_blobs(&spec, &plan, 0, &result, &blobs).expect("the blobs are there")
    };
    assert_eq!(bits(&output), 0);
    for at in (0..output.len()).step_by(7).chain([output.len() - 1]) {
        let mut other = output.clone();
        other[at] ^= 1;
        assert_ne!(bits(&other), 0, "byte {at}");
    }
    assert_ne!(bits(&output[..output.len() - 1]), 0);
    assert_ne!(bits(&[&output[..], b"x"].concat()), 0);
}

proptest! {
    #[test]
    fn every_picture_is_shown_at_its_time_whatever_the_order_of_coding(
        first in 0u64..1 << 31,
        gaps in prop::collection::vec(1u64..100_000, 1..60),
        cut in 1usize..20,
        seed in any::<u64>(),
        num in 1u32..1002,
    ) {
        let film = film(first, &gaps, (num, 30_000));
        let count = gaps.len() + 1;
        let mut state = seed;
        let mut cells = Vec::new();
        let mut coded = Vec::new();
        for from in (0..count).step_by(cut) {
            let frames = cut.min(count - from) as u32;
            let mut ranks: Vec<u32> = (0..frames).collect();
            for at in (2..ranks.len()).rev() {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                ranks.swap(at, 1 + (state >> 33) as usize % at);
            }
            coded.extend(ranks.iter().map(|r| film.pts()[from + *r as usize]));
            cells.push(cell(&ranks));
        }
        prop_assert!(Film::decode(&film.encode()) == Some(film.clone()));
        let (_, one) = laid_out(Container::Mp4, &film, &[cells.clone()]);
        prop_assert_eq!(&one, &coded);
        let (_, many) = laid_out(Container::Mov, &film, &cells.into_iter().map(|c| vec![c]).collect::<Vec<_>>());
        prop_assert_eq!(&many, &coded);
    }

    #[test]
    fn no_bytes_make_a_reader_stumble(bytes in prop::collection::vec(any::<u8>(), 0..400), at in 0usize..900, bit in 0u8..8) {
        let _ = (Track::read(&bytes), Pictures::of(&bytes), Film::decode(&bytes), wire::decode::<PackHead>(&bytes));
        let film = film(5, &[1, 2, 3], (1, 25));
        let head = PackHead { format: pack::FORMAT, entry: entry(), width: 1, height: 1, cells: vec![cell(&[0, 2, 1, 3])] };
        let layout = layout(Container::Mov, &film, &[(head, 0)], &[], &[]).expect("times in range");
        let mut file = layout.head.clone();
        file.resize(layout.bytes() as usize, 0);
        let at = at % file.len();
        file[at] ^= 1 << bit;
        let _ = Pictures::of(&file);
        if let Some(track) = Track::read(&file) {
            let _ = track.sizes.count() < 1000 && !track.times().is_empty();
        }
    }
}

#[test]
fn a_final_code_says_why_and_what_to_do() {
    let codes = ["encode-failed", "input-truncated", "cells-differ", "no-video", "output-differs", "cues-overlap"];
    for code in codes {
        let advice = Ffmpeg.advice(code);
        assert!(Ffmpeg.is_final(code) && advice != ADVICE && advice.contains([';', ',']), "{code}: {advice}");
    }
    assert!(!Ffmpeg.advice("encode-failed").contains("input"), "the spec may be at fault");
    assert_eq!(Ffmpeg.advice("ffmpeg-missing"), ADVICE);
}
