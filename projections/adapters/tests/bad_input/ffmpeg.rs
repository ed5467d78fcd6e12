//! `ffmpeg`, as far as it shows before an agent decodes anything.

use super::{Cases, with};
use forge_event::Digest;
use serde_json::{Value, json};

const KIND: &str = "ffmpeg";

pub fn add(cases: &mut Cases) {
    let film = cases.keep(&file(&[&movie(&track(b"vide", 25)), &mdat()]));
    let good = json!({"input": film, "video": {"codec": "ffv1"}, "container": "mov"});
    specs(cases, &good);
    containers(cases, &good);
    inputs(cases, &good);
}

fn specs(cases: &mut Cases, good: &Value) {
    let mut of = cases.of(KIND, good);
    of.fields(
        "fields that are missing, of another type or of no name",
        [
            ("/input", json!(null), "", "missing-field"),
            ("/input", json!("film.mp4"), "", "bad-digest"),
            ("/input", json!(7), "", "wrong-type"),
            ("/video", json!(null), "", "missing-field"),
            ("/video", json!("ffv1"), "", "wrong-type"),
            ("/video/codec", json!(null), "", "missing-field"),
            ("/video/codec", json!("copy"), "", "unknown-value"),
            ("/container", json!("avi"), "", "unknown-value"),
            ("/container", json!(null), "", "missing-field"),
            ("/args", json!("-y"), "", "unknown-field"),
        ],
    );
    of.fields(
        "cells that are none",
        [
            ("/video/cell_frames", json!(0), "", "out-of-range"),
            ("/video/cell_frames", json!(100_001), "", "out-of-range"),
        ],
    );
    of.shard_cells(0, "out-of-range");
    let filter = |filter: Value| json!([filter]);
    of.fields(
        "filters beyond the allow-list",
        [
            ("/video/filters", filter(json!({"scale": "640:360,movie=x"})), "/0/scale", "out-of-range"),
            ("/video/filters", filter(json!({"scale": [0, 2]})), "/0/scale", "out-of-range"),
            ("/video/filters", filter(json!({"crop": [0, 2, 0, 0]})), "/0/crop", "out-of-range"),
            ("/video/filters", filter(json!({"eq": {"gamma": 99}})), "/0/eq/gamma", "out-of-range"),
            ("/video/filters", filter(json!({"format": "bgr8"})), "/0/format", "unknown-value"),
            ("/video/filters", filter(json!({"movie": "x"})), "/0/movie", "unknown-field"),
            ("/video/filters", filter(json!({"minterpolate": 50})), "/0/minterpolate", "unknown-field"),
            ("/video/filters", filter(json!({})), "/0", "wrong-type"),
            ("/video/filters", filter(json!("yadif")), "/0", "wrong-type"),
            ("/video/filters", json!("scale=2:2"), "", "wrong-type"),
            ("/video/filters", json!(vec![json!({"scale": [2, 2]}); 17]), "", "out-of-range"),
        ],
    );
    of.fields(
        "pictures that no encoder takes",
        [
            ("/video/filters", filter(json!({"scale": [16_384, 16_384]})), "/0/scale", "picture-too-large"),
            (
                "/video/filters",
                json!([{"scale": [64, 48]}, {"crop": [64, 48, 1, 0]}]),
                "/1/crop",
                "crop-outside-picture",
            ),
        ],
    );
    of.fields(
        "audio that is none",
        [
            ("/audio", json!([{"track": 0, "codec": "mp3"}]), "/0/codec", "unknown-value"),
            ("/audio", json!([{"track": 256, "codec": "copy"}]), "/0/track", "out-of-range"),
            ("/audio", json!([{"codec": "copy"}]), "/0/track", "missing-field"),
            ("/audio", json!([{"track": 0, "codec": "aac"}, {"track": 0, "codec": "copy"}]), "/1/track", "duplicate"),
            ("/audio", json!([{"track": 0, "codec": "pcm_s16le", "bitrate": 9000}]), "/0/bitrate", "not-applicable"),
            ("/audio", json!([{"track": 0, "codec": "aac", "bitrate": 5}]), "/0/bitrate", "out-of-range"),
            ("/audio", json!("copy"), "", "wrong-type"),
        ],
    );
    of.fields(
        "subtitles",
        [("/subtitle", json!("burn"), "", "unknown-value"), ("/subtitle", json!(true), "", "wrong-type")],
    );
    let x264 = with(good, "/video", json!({"codec": "libx264", "args": {}}));
    cases.of(KIND, &x264).fields(
        "options beyond the allow-list",
        [
            ("/video/args/x264-params", json!("qp=0"), "", "unknown-field"),
            ("/video/args/b", json!("2M"), "", "unknown-field"),
            ("/video/args/crf", json!(52), "", "out-of-range"),
            ("/video/args", json!({"crf": 20, "qp": 20}), "/qp", "conflicting"),
            ("/video/args/preset", json!("placebo -y"), "", "unknown-value"),
            ("/video/args/pix_fmt", json!("rgb24"), "", "unknown-value"),
            ("/video/args", json!({"lossless": true, "pix_fmt": "yuv420p10le"}), "/pix_fmt", "conflicting"),
            ("/video/args", json!("-crf 20"), "", "wrong-type"),
        ],
    );
    for (codec, args) in [("libx264", json!({"pix_fmt": "yuv420p"})), ("libx265", json!({"pix_fmt": "yuv422p"}))] {
        let video = json!({"codec": codec, "args": args, "filters": [{"scale": [63, 48]}]});
        let spec = with(good, "/video", video);
        cases.of(KIND, good).spec("odd sides where pixels share colours", spec, "/video/filters/0/scale", "odd-sides");
    }
    let whole = json!({"codec": "libx264", "args": {"pix_fmt": "yuv444p"}, "filters": [{"scale": [63, 47]}]});
    cases.of(KIND, good).taken("odd sides where they do not", "/video", whole);
    let lossy = with(good, "/video/args", json!({"lossless": false}));
    cases.of(KIND, good).spec("ffv1 with a loss", lossy, "/video/args/lossless", "out-of-range");
}

fn containers(cases: &mut Cases, good: &Value) {
    for (container, codec) in [("mp4", "ffv1"), ("mov", "libsvtav1"), ("mov", "libvpx-vp9")] {
        let spec = with(&with(good, "/container", json!(container)), "/video/codec", json!(codec));
        let what = "a container that does not take the codec";
        cases.of(KIND, good).spec(what, spec, "/video/codec", "container-refuses-codec");
    }
    let x264 = with(good, "/video/codec", json!("libx264"));
    for (container, codec) in [("mov", "flac"), ("mov", "libopus"), ("mp4", "pcm_s16le"), ("mp4", "pcm_s24le")] {
        let audio = with(&x264, "/audio", json!([{"track": 0, "codec": codec}]));
        let spec = with(&audio, "/container", json!(container));
        let what = "a container that does not take the codec";
        cases.of(KIND, good).spec(what, spec, "/audio/0/codec", "container-refuses-codec");
    }
}

fn boxed(name: &[u8; 4], body: &[u8]) -> Vec<u8> {
    [&(body.len() as u32 + 8).to_be_bytes(), &name[..], body].concat()
}

/// A `trak` of this handler, with so many samples.
fn track(handler: &[u8; 4], samples: u32) -> Vec<u8> {
    let hdlr = boxed(b"hdlr", &[&[0; 8], &handler[..], &[0; 13]].concat());
    let stsz = boxed(b"stsz", &[&[0; 8][..], &samples.to_be_bytes()].concat());
    let minf = boxed(b"minf", &boxed(b"stbl", &stsz));
    boxed(b"trak", &boxed(b"mdia", &[hdlr, minf].concat()))
}

fn movie(tracks: &[u8]) -> Vec<u8> {
    boxed(b"moov", &[&boxed(b"mvhd", &[0; 100])[..], tracks].concat())
}

fn mdat() -> Vec<u8> {
    boxed(b"mdat", &[0; 100])
}

fn file(parts: &[&Vec<u8>]) -> Vec<u8> {
    let ftyp = boxed(b"ftyp", b"isom\0\0\x02\0isommp41");
    parts.iter().fold(ftyp, |file, part| [file, part.to_vec()].concat())
}

fn inputs(cases: &mut Cases, good: &Value) {
    let (video, sound) = (movie(&track(b"vide", 25)), movie(&track(b"soun", 25)));
    let cut = mdat()[..80].to_vec();
    let fragmented = movie(&[track(b"vide", 0), boxed(b"mvex", &[0; 32])].concat());
    let rows = [
        ("no moov", file(&[&mdat()]), "input-unreadable"),
        ("truncation", file(&[&video, &cut]), "input-truncated"),
        ("truncation", Vec::new(), "input-unreadable"),
        ("truncation", b"short".to_vec(), "input-unreadable"),
        ("zero frames", file(&[&movie(&track(b"vide", 0)), &mdat()]), "no-frames"),
        ("zero frames", file(&[&fragmented]), "no-frames"),
        ("no video", file(&[&sound, &mdat()]), "no-video"),
        ("image as video", b"\x89PNG\r\n\x1a\n 0123456789".to_vec(), "format-not-taken"),
        ("image as video", b"\xff\xd8\xff\xe0\0\x10JFIF\0 0123456789".to_vec(), "format-not-taken"),
        ("playlists", b"#EXTM3U\n#EXT-X-VERSION:3\n".to_vec(), "input-is-a-playlist"),
        ("playlists", b"ffconcat version 1.0\nfile x".to_vec(), "input-is-a-playlist"),
        ("playlists", b"<?xml version=\"1.0\"?><MPD></MPD>".to_vec(), "input-is-a-playlist"),
    ];
    for (what, bytes, code) in rows {
        let input = cases.keep(&bytes);
        cases.of(KIND, good).fields(what, [("/input", input, "", code)]);
    }
    let missing = json!(format!("{}", Digest::of(b"not uploaded")));
    cases.of(KIND, good).fields("a blob that is not there", [("/input", missing, "", "blob-missing")]);
    let both = cases.keep(&file(&[&movie(&[track(b"soun", 25), track(b"vide", 25)].concat()), &mdat()]));
    let mut of = cases.of(KIND, good);
    of.taken("more than one stream, the video not first", "/input", both);
    let fragment = boxed(b"moof", &[0; 16]);
    let fragments = of.keep(&file(&[&fragmented, &fragment, &mdat()]));
    of.taken("frames that are all in fragments", "/input", fragments);
}
