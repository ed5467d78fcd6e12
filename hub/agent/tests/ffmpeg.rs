//! Transcoding with the machine's own ffmpeg, held to what a single pass gives.

use forge_adapters::ffmpeg::Ffmpeg;
use forge_adapters::ffmpeg::work::{FORMAT, Task, Work};
use forge_adapters::host::Stop;
use forge_adapters::laws::{Agent, Bench, MemoryBlobs};
use forge_agent::executors::ffmpeg;
use forge_event::Digest;
use forge_projections::family::Family;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::Command;

/// A folder for sources and outputs of one test.
struct Lab(tempfile::TempDir);

impl Lab {
    /// `None`, visibly, where there is no ffmpeg.
    fn open(test: &str) -> Option<Lab> {
        if !ffmpeg::is_available() {
            eprintln!("SKIPPED {test}: no ffmpeg on PATH");
            return None;
        }
        Some(Lab(tempfile::tempdir().expect("a folder")))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Runs ffmpeg in the folder; words are split at blanks.
    fn ffmpeg(&self, line: &str) {
        let args = ["-nostdin", "-hide_banner", "-y", "-v", "error"].into_iter().chain(line.split_whitespace());
        let status = Command::new("ffmpeg").args(args).current_dir(self.0.path()).status().expect("ffmpeg starts");
        assert!(status.success(), "ffmpeg {line}");
    }

    fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).expect("a file of the lab")
    }

    /// Time stamp (as seconds times 720720000, whatever the time base) and MD5 of each picture.
    fn pictures(&self, name: &str) -> Vec<(i128, String)> {
        self.ffmpeg(&format!("-copyts -i {name} -map 0:v:0 -fps_mode passthrough -enc_time_base -1 -f framemd5 list"));
        let list = String::from_utf8(self.read("list")).expect("text");
        let base = list.lines().find_map(|l| l.strip_prefix("#tb 0: ")).expect("a time base");
        let (num, den) = base.split_once('/').expect("a ratio");
        let (num, den): (i128, i128) = (num.parse().expect("a number"), den.parse().expect("a number"));
        let lines = list.lines().filter(|l| !l.starts_with('#'));
        let read = |line: &str| {
            let fields: Vec<&str> = line.split(',').map(str::trim).collect();
            (fields[2].parse::<i128>().expect("pts") * num * 720_720_000 / den, fields[5].to_string())
        };
        lines.map(read).collect()
    }

    /// MD5 of an audio track's samples.
    fn samples(&self, name: &str, track: usize) -> String {
        self.ffmpeg(&format!("-i {name} -map 0:a:{track} -c:a pcm_s32le -f md5 sum"));
        String::from_utf8(self.read("sum")).expect("text")
    }

    /// Samples of a track, one channel.
    fn count(&self, name: &str, track: usize) -> u64 {
        self.ffmpeg(&format!("-i {name} -map 0:a:{track} -ac 1 -c:a pcm_s16le -f s16le raw"));
        self.read("raw").len() as u64 / 2
    }

    /// A subtitle track as SubRip text, at absolute times.
    fn cues(&self, name: &str, track: usize) -> String {
        self.ffmpeg(&format!("-copyts -i {name} -map 0:s:{track} -f srt cues"));
        String::from_utf8(self.read("cues")).expect("text").replace('\r', "")
    }

    /// Start and end of each cue of the first subtitle track of an mp4 or mov, in milliseconds.
    fn spans(&self, name: &str) -> Vec<(i64, i64)> {
        let args = ["-v", "error", "-select_streams", "s:0", "-show_entries", "packet=pts_time,duration_time,size"];
        let said = Command::new("ffprobe").args(args).args(["-of", "csv=p=0"]).arg(self.path(name)).output();
        let said = String::from_utf8(said.expect("ffprobe starts").stdout).expect("text");
        let read = |line: &str| {
            let ms = |text: &str| (text.parse::<f64>().expect("a time") * 1000.0).round() as i64;
            let fields: Vec<&str> = line.split(',').collect();
            (fields[2] != "2").then(|| (ms(fields[0]), ms(fields[0]) + ms(fields[1])))
        };
        said.lines().filter_map(read).collect()
    }

    /// What ffprobe says of each subtitle track: codec, shown by default, language.
    fn subtitles(&self, name: &str) -> Vec<String> {
        let entries = "stream=codec_name:stream_disposition=default:stream_tags=language";
        let args = ["-v", "error", "-select_streams", "s", "-show_entries", entries, "-of", "csv=p=0"];
        let said = Command::new("ffprobe").args(args).arg(self.path(name)).output().expect("ffprobe starts");
        String::from_utf8(said.stdout).expect("text").lines().map(String::from).collect()
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), bytes).expect("a file of the lab");
    }

    /// When a track is first heard, in microseconds.
    fn heard_from(&self, name: &str, track: usize) -> i64 {
        let args = [
            "-v",
            "error",
            "-select_streams",
            &format!("a:{track}"),
            "-show_entries",
            "frame=pts_time",
            "-of",
            "csv=p=0",
        ];
        let said = Command::new("ffprobe").args(args).arg(self.path(name)).output().expect("ffprobe starts");
        let said = String::from_utf8(said.stdout).expect("text");
        let first = said.lines().next().expect("a frame").trim_end_matches(',');
        first.replace('.', "").parse().expect("a time")
    }
}

/// Every process of ffmpeg costs a tenth of a second: some cases are for `FORGE_FULL=1` alone.
fn is_full() -> bool {
    std::env::var_os("FORGE_FULL").is_some_and(|v| v == "1")
}

/// Runs a job for each grouping, all laws included; writes the output to `out`, gives the document.
fn transcode(lab: &Lab, source: &str, spec: Value, groupings: &[Option<u64>]) -> Value {
    let blobs = MemoryBlobs::default();
    let input = blobs.keep(&lab.read(source));
    let bench = bench(&blobs, input, spec, groupings);
    let document: Value = serde_json::from_slice(&bench.check()).expect("a document is JSON");
    let digest: Digest = document["output"]["digest"].as_str().expect("a digest").parse().expect("a digest");
    let output = blobs.get(&digest).expect("the output is kept");
    assert_eq!(document["output"]["bytes"], output.len());
    std::fs::write(lab.path("out"), output).expect("a file");
    document
}

fn bench<'a>(blobs: &'a MemoryBlobs, input: Digest, mut spec: Value, groupings: &[Option<u64>]) -> Bench<'a> {
    spec["input"] = json!(input.to_string());
    Bench { family: &Ffmpeg, spec, groupings: groupings.to_vec(), blobs, run: &ffmpeg::run }
}

const OPEN_GOP: &str = "-f lavfi -i testsrc2=s=160x120:r=30000/1001:d=3 -f lavfi -i sine=440:r=48000:d=3 \
    -f lavfi -i sine=880:r=44100:d=3 -map 0 -map 1 -map 2 -c:v libx264 -preset veryfast \
    -x264-params open-gop=1:keyint=24:bframes=3:b-adapt=0 -c:a aac -video_track_timescale 30000 source.mp4";

#[test]
fn without_loss_every_picture_and_sample_is_that_of_a_single_pass() {
    let Some(lab) = Lab::open("without_loss_every_picture_and_sample_is_that_of_a_single_pass") else { return };
    lab.ffmpeg(OPEN_GOP);
    lab.ffmpeg("-i source.mp4 -map 0 -vf scale=96:64 -c:v ffv1 -c:a pcm_s16le single.mov");
    let all: &[(_, &[_])] = &[(17, &[Some(1), Some(2), None]), (48, &[Some(1), Some(5)]), (1000, &[None])];
    let few: &[(_, &[_])] = &[(17, &[Some(2), None]), (1000, &[None])];
    for (cell, groupings) in if is_full() { all } else { few } {
        let spec = json!({"video": {"codec": "ffv1", "filters": [{"scale": [96, 64]}], "cell_frames": cell},
            "audio": [{"track": 0, "codec": "pcm_s16le"}, {"track": 1, "codec": "pcm_s16le"}], "container": "mov"});
        let document = transcode(&lab, "source.mp4", spec, groupings);
        assert_eq!(lab.pictures("out"), lab.pictures("single.mov"), "cells of {cell}");
        for track in 0..2 {
            assert_eq!(lab.samples("out", track), lab.samples("single.mov", track), "cells of {cell}");
        }
        assert_eq!((&document["frames"], &document["agent_class"]), (&json!(90), &Value::Null));
        assert_eq!((&document["first_pts"], &document["last_pts"]), (&json!(0), &json!(89 * 1001)));
        assert_eq!(document["time_base"], json!([1, 30000]));
        assert_eq!(
            document["audio"][0],
            json!({"track": 0, "codec": "pcm_s16le", "samples": lab.count("single.mov", 0)})
        );
    }
}

/// A lossy job on a source: pictures' times exact, audio as long as that of a single pass.
fn keeps_times(lab: &Lab, source: &str, spec: Value, groupings: &[Option<u64>], single: &str) -> Value {
    let document = transcode(lab, source, spec, groupings);
    lab.ffmpeg(&format!("-copyts -i {source} -map 0:v:0 -map 0:a? -fps_mode passthrough -enc_time_base -1 {single}"));
    let times = |name: &str| lab.pictures(name).into_iter().map(|(at, _)| at).collect::<Vec<_>>();
    assert_eq!(times("out"), times(source));
    assert_eq!(document["frames"], times(source).len());
    assert!(document["agent_class"].as_str().is_some_and(|class| class.starts_with("ffmpeg-")));
    document
}

#[test]
fn an_open_gop_source_keeps_its_times_in_every_codec_and_container() {
    let Some(lab) = Lab::open("an_open_gop_source_keeps_its_times_in_every_codec_and_container") else { return };
    lab.ffmpeg(OPEN_GOP);
    let both = |codec: &str| json!([{"track": 0, "codec": codec}, {"track": 1, "codec": codec}]);
    let single = "-c:v libx264 -preset ultrafast -c:a aac -b:a 128k -flags:a +bitexact single.mp4";
    let groupings: &[_] = if is_full() { &[Some(1), None] } else { &[Some(1)] };
    for (container, groupings) in [("mp4", groupings), ("mov", &[None])] {
        let spec = json!({"video": {"codec": "libx264", "args": {"preset": "ultrafast"}, "cell_frames": 31},
            "audio": both("aac"), "container": container});
        keeps_times(&lab, "source.mp4", spec, groupings, single);
        for track in 0..2 {
            assert_eq!(lab.samples("out", track), lab.samples("single.mp4", track));
            assert_eq!(lab.heard_from("out", track), lab.heard_from("single.mp4", track));
        }
    }
    let video = |codec: &str, preset: &str| json!({"codec": codec, "args": {"preset": preset}, "cell_frames": 40});
    for (codec, preset, audio) in
        [("libx265", "ultrafast", "flac"), ("libsvtav1", "12", "libopus"), ("libvpx-vp9", "8", "copy")]
    {
        let spec = json!({"video": video(codec, preset), "audio": both(audio), "container": "mp4"});
        keeps_times(&lab, "source.mp4", spec, &[None], single);
    }
}

#[test]
fn ticks_longer_than_their_scale_keep_their_times() {
    let Some(lab) = Lab::open("ticks_longer_than_their_scale_keep_their_times") else { return };
    lab.ffmpeg("-f lavfi -i testsrc2=s=96x64:r=30000/1001:d=1 -c:v mpeg4 -bf 2 source.avi");
    let spec = json!({"video": {"codec": "ffv1", "cell_frames": 11}, "container": "mov"});
    let document = transcode(&lab, "source.avi", spec, &[Some(1), None]);
    assert_eq!(document["time_base"], json!([1001, 30000]));
    assert_eq!(lab.pictures("out"), lab.pictures("source.avi"));
}

#[test]
fn variable_rates_and_edit_lists_keep_their_times() {
    let Some(lab) = Lab::open("variable_rates_and_edit_lists_keep_their_times") else { return };
    lab.ffmpeg(
        "-f lavfi -i testsrc2=s=160x120:r=25:d=4 -vf select='not(eq(mod(n,7),3))*not(eq(mod(n,11),5))' \
        -fps_mode passthrough -c:v libx264 -preset veryfast -g 20 vfr.mp4",
    );
    lab.ffmpeg("-f lavfi -i testsrc2=s=160x120:r=25:d=4 -c:v libx264 -preset veryfast -g 1000 -x264-params bframes=2 whole.mp4");
    lab.ffmpeg("-ss 1 -i whole.mp4 -c copy onekey.mp4");
    let single = "-c:v libx264 -preset ultrafast single.mp4";
    let spec =
        json!({"video": {"codec": "libx264", "args": {"preset": "superfast"}, "cell_frames": 13}, "container": "mp4"});
    let groupings: &[_] = if is_full() { &[Some(1), Some(3)] } else { &[Some(3)] };
    assert_eq!(keeps_times(&lab, "vfr.mp4", spec.clone(), groupings, single)["frames"], 78);
    assert_eq!(keeps_times(&lab, "onekey.mp4", spec, &[Some(1), None], single)["frames"], 75);
}

#[test]
fn a_transport_stream_keeps_its_offset_and_its_late_audio() {
    let Some(lab) = Lab::open("a_transport_stream_keeps_its_offset_and_its_late_audio") else { return };
    lab.ffmpeg(
        "-f lavfi -i testsrc2=s=160x120:r=25:d=3 -itsoffset 0.7 -f lavfi -i sine=440:r=48000:d=2 -map 0 -map 1 \
        -c:v libx264 -preset veryfast -g 20 -c:a aac -output_ts_offset 36000 -f mpegts late.ts",
    );
    let single = "-c:v libx264 -preset ultrafast -c:a pcm_s16le single.mov";
    for (audio, same_as) in [("pcm_s16le", "single.mov"), ("copy", "late.ts")] {
        let spec = json!({"video": {"codec": "libx264", "args": {"preset": "superfast"}, "cell_frames": 13},
            "audio": [{"track": 0, "codec": audio}], "container": "mov"});
        let groupings: &[_] = if is_full() { &[Some(1), Some(2)] } else { &[Some(2)] };
        let document = keeps_times(&lab, "late.ts", spec, groupings, single);
        assert_eq!((&document["time_base"], &document["first_pts"]), (&json!([1, 90000]), &json!(3_240_126_000u64)));
        assert!((lab.heard_from("out", 0) - lab.heard_from("late.ts", 0)).abs() <= 21, "within a sample");
        assert_eq!(lab.samples("out", 0), lab.samples(same_as, 0));
    }
}

#[test]
fn matroska_is_exact_to_its_millisecond() {
    let Some(lab) = Lab::open("matroska_is_exact_to_its_millisecond") else { return };
    lab.ffmpeg(OPEN_GOP);
    let spec = json!({"video": {"codec": "ffv1", "cell_frames": 31}, "audio": [{"track": 1, "codec": "flac"}], "container": "mkv"});
    let document = transcode(&lab, "source.mp4", spec, &[Some(1), None]);
    assert_eq!(document["agent_class"], Value::Null);
    let (source, out) = (lab.pictures("source.mp4"), lab.pictures("out"));
    assert_eq!(source.len(), out.len());
    for ((due, pixels), (found, same)) in source.iter().zip(&out) {
        assert!(pixels == same && (due - found).abs() * 2000 <= 720_720_000);
    }
    lab.ffmpeg("-i source.mp4 -map 0:a:1 -c:a flac single.mkv");
    assert_eq!(lab.samples("out", 0), lab.samples("single.mkv", 0));
}

const FIRST: &str = "1\n00:00:00,333 --> 00:00:00,901\nHello\n\n2\n00:00:00,901 --> 00:00:01,000\nat once\n\n\
    3\n00:00:01,001 --> 00:00:03,007\ntwo lines,\nthe second “ü”\n\n";
const SECOND: &str = "1\n00:00:00,000 --> 00:00:01,999\nHallo\n\n";

/// A video of two seconds with a sound, and subtitles in two languages, the second of which is shown.
fn subtitled(lab: &Lab) {
    lab.write("first.srt", FIRST);
    lab.write("second.srt", SECOND);
    lab.ffmpeg(
        "-f lavfi -i testsrc2=s=64x48:r=30000/1001:d=2 -f lavfi -i sine=440:r=44100:d=2 -i first.srt -i second.srt \
        -map 0 -map 1 -map 2 -map 3 -c:v libx264 -preset ultrafast -c:a pcm_s16le -c:s subrip \
        -metadata:s:s:0 language=eng -metadata:s:s:1 language=ger -disposition:s:1 default source.mkv",
    );
}

fn with_subtitles(container: &str) -> Value {
    let video = if container == "mp4" { "libx264" } else { "ffv1" };
    let audio = if container == "mp4" { "aac" } else { "pcm_s16le" };
    let args = if container == "mp4" { json!({"preset": "ultrafast"}) } else { json!({}) };
    json!({"video": {"codec": video, "args": args, "cell_frames": 40}, "audio": [{"track": 0, "codec": audio}],
        "container": container, "subtitle": "copy"})
}

fn silent(container: &str) -> Value {
    let mut spec = with_subtitles(container);
    spec["audio"] = json!([]);
    spec
}

#[test]
fn subtitles_of_text_keep_their_words_and_times_in_every_container() {
    let Some(lab) = Lab::open("subtitles_of_text_keep_their_words_and_times_in_every_container") else { return };
    subtitled(&lab);
    assert_eq!((lab.cues("source.mkv", 0), lab.cues("source.mkv", 1)), (FIRST.into(), SECOND.into()));
    let containers: [(_, _, &[_]); 3] =
        [("mp4", "mov_text", &[None]), ("mov", "mov_text", &[Some(1), None]), ("mkv", "subrip", &[None])];
    for (container, codec, groupings) in containers {
        let document = transcode(&lab, "source.mkv", with_subtitles(container), groupings);
        let told = json!([{"track": 0, "codec": codec, "cues": 3}, {"track": 1, "codec": codec, "cues": 1}]);
        assert_eq!(document["subtitles"], told);
        assert_eq!(lab.subtitles("out"), [format!("{codec},0,eng"), format!("{codec},1,ger")], "{container}");
        assert_eq!((lab.cues("out", 0), lab.cues("out", 1)), (FIRST.into(), SECOND.into()), "{container}");
    }
}

#[test]
fn subtitles_count_from_the_same_zero_as_pictures_and_sound() {
    let Some(lab) = Lab::open("subtitles_count_from_the_same_zero_as_pictures_and_sound") else { return };
    subtitled(&lab);
    let late = |cues: &str| cues.replace("00:00:", "02:00:");
    lab.ffmpeg("-copyts -i source.mkv -map 0 -c copy -output_ts_offset 7200 late.mkv");
    // An edit list cuts the first second; QuickTime's own samples are kept as they are.
    lab.ffmpeg("-i source.mkv -map 0:v -map 0:s:0 -c copy -c:s mov_text whole.mp4");
    lab.ffmpeg("-ss 0.5 -i whole.mp4 -map 0 -c copy cut.mp4");
    for container in ["mov", "mkv"] {
        let document = transcode(&lab, "late.mkv", with_subtitles(container), &[None]);
        assert_eq!(lab.cues("out", 0), late(FIRST), "{container}");
        assert_eq!(document["first_pts"], 7_200_000);
    }
    // What was made of Matroska's texts is a source again, of either kind.
    transcode(&lab, "whole.mp4", silent("mkv"), &[None]);
    assert_eq!(lab.cues("out", 0), FIRST);
    transcode(&lab, "cut.mp4", silent("mov"), &[None]);
    let shown = lab.spans("cut.mp4").into_iter().map(|(start, end)| (start.max(0), end)).filter(|(_, end)| *end > 0);
    assert_eq!(lab.spans("out"), shown.collect::<Vec<_>>());
    assert!(lab.spans("cut.mp4")[0].0 < 0, "the edit list moves a cue before time 0");
    let (code, detail) = ends(&lab, "cut.mp4", "mkv");
    assert!(code == "negative-pts" && detail.contains("subtitle track 0"), "{code}: {detail}");
}

/// Code and detail with which a job ends that copies the subtitles of a source.
fn ends(lab: &Lab, source: &str, container: &str) -> (&'static str, String) {
    let blobs = MemoryBlobs::default();
    let input = blobs.keep(&lab.read(source));
    bench(&blobs, input, silent(container), &[]).job(None, false).expect_err("the job fails")
}

#[test]
fn subtitles_that_a_container_cannot_hold_are_refused_by_name() {
    let Some(lab) = Lab::open("subtitles_that_a_container_cannot_hold_are_refused_by_name") else { return };
    subtitled(&lab);
    // Pictures' subtitles of a Blu-ray: two segments that end a set.
    let segment = |ticks: u32| [b"PG", &ticks.to_be_bytes()[..], &[0; 4], &[0x80, 0, 0]].concat();
    lab.write("pictures.sup", [segment(9000), segment(90_000)].concat());
    lab.ffmpeg("-i source.mkv -i pictures.sup -map 0:v -map 0:s:0 -map 1 -c copy pictures.mkv");
    for container in ["mp4", "mkv"] {
        let (code, detail) = ends(&lab, "pictures.mkv", container);
        assert_eq!(code, "container-refuses-codec");
        assert!(detail.contains("`hdmv_pgs_subtitle`, which subtitle track 1 is"), "{detail}");
    }
    let overlap = "1\n00:00:00,100 --> 00:00:00,900\none\n\n2\n00:00:00,800 --> 00:00:01,500\nmeanwhile\n\n";
    lab.write("overlap.srt", overlap);
    lab.ffmpeg("-i source.mkv -i overlap.srt -map 0:v -map 1 -map 0:s:1 -c copy -c:s:0 ass -c:s:1 webvtt overlap.mkv");
    let (code, detail) = ends(&lab, "overlap.mkv", "mp4");
    assert_eq!(code, "cues-overlap");
    assert!(detail.contains("track 0: cue 1 begins at 800 ms, before the one ahead ends at 900 ms"), "{detail}");
    assert!(Ffmpeg.is_final(code));
    let document = transcode(&lab, "overlap.mkv", silent("mkv"), &[None]);
    let told = json!([{"track": 0, "codec": "ass", "cues": 2}, {"track": 1, "codec": "webvtt", "cues": 1}]);
    assert_eq!(document["subtitles"], told);
    assert_eq!((lab.cues("out", 0), lab.cues("out", 1)), (lab.cues("overlap.mkv", 0), SECOND.into()));
}

#[test]
fn a_subtitle_track_that_says_nothing_is_told_and_left_out() {
    let Some(lab) = Lab::open("a_subtitle_track_that_says_nothing_is_told_and_left_out") else { return };
    subtitled(&lab);
    lab.ffmpeg("-i source.mkv -map 0:v -map 0:s -t 0.3 -c copy quiet.mkv");
    assert_eq!(lab.subtitles("quiet.mkv").len(), 2);
    for (container, codec) in [("mov", "mov_text"), ("mkv", "subrip")] {
        let document = transcode(&lab, "quiet.mkv", silent(container), &[None]);
        let told = json!([{"track": 0, "codec": codec, "cues": 0}, {"track": 1, "codec": codec, "cues": 1}]);
        assert_eq!(document["subtitles"], told);
        assert_eq!(lab.subtitles("out"), [format!("{codec},1,ger")]);
        assert_eq!(lab.cues("out", 0), lab.cues("quiet.mkv", 1));
    }
}

/// The code with which a probe of these bytes ends.
fn refused(bytes: &[u8]) -> &'static str {
    let blobs = MemoryBlobs::default();
    let input = blobs.keep(bytes);
    let work = Work { format: FORMAT, class: String::new(), task: Task::Probe { input, bound: false } };
    match ffmpeg::run(&work.encode(), &mut Agent::new(&blobs)) {
        Err(Stop::Failed { code, detail }) => {
            assert!(Ffmpeg.is_final(code), "{code}: {detail}");
            code
        }
        other => panic!("the probe is refused: {other:?}"),
    }
}

#[test]
fn an_input_that_is_no_whole_film_is_refused_by_name() {
    let Some(lab) = Lab::open("an_input_that_is_no_whole_film_is_refused_by_name") else { return };
    let film = "-f lavfi -i testsrc2=s=64x48:r=25:d=1 -c:v libx264 -preset ultrafast";
    lab.ffmpeg(&format!("{film} film.mp4"));
    lab.ffmpeg("-i film.mp4 -c copy -movflags faststart moov_first.mp4");
    let half = |name: &str| {
        let bytes = lab.read(name);
        bytes[..bytes.len() / 2].to_vec()
    };
    assert_eq!(refused(&half("film.mp4")), "input-unreadable");
    assert_eq!(refused(&half("moov_first.mp4")), "input-truncated");
    assert_eq!(refused(&[7; 3000]), "input-unreadable");
    assert_eq!(refused(b"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n/etc/hostname\n"), "input-is-a-playlist");
    assert_eq!(refused(b"ffconcat version 1.0\nfile /etc/hostname\n"), "input-is-a-playlist");
    lab.ffmpeg("-f lavfi -i testsrc2=s=64x48 -frames:v 1 picture.png");
    assert_eq!(refused(&lab.read("picture.png")), "format-not-taken");
    lab.ffmpeg("-f lavfi -i sine=d=1 -i picture.png -map 0 -map 1 -c:v png -disposition:v attached_pic cover.m4a");
    assert_eq!(refused(&lab.read("cover.m4a")), "no-video");
    lab.ffmpeg(&format!("{film} -movflags frag_keyframe+empty_moov fragments.mp4"));
    let fragments = lab.read("fragments.mp4");
    let first = fragments.windows(4).position(|name| name == b"moof").expect("a fragment") - 4;
    assert_eq!(refused(&fragments[..first]), "no-frames");
    lab.ffmpeg(&format!("{film} small.ts"));
    lab.ffmpeg("-f lavfi -i testsrc2=s=96x64:r=25:d=1 -c:v libx264 -preset ultrafast large.ts");
    std::fs::write(lab.path("list"), "file small.ts\nfile large.ts\n").expect("a file");
    lab.ffmpeg("-f concat -i list -c copy both.ts");
    assert_eq!(refused(&lab.read("both.ts")), "resolution-changes");
    lab.ffmpeg("-i film.mp4 -c copy -bsf:v setts=pts=floor(PTS/1024)*1024:dts=floor(PTS/1024)*1024 twice.mkv");
    assert_eq!(refused(&lab.read("twice.mkv")), "times-not-ascending");
}

#[test]
fn a_shard_begun_by_another_class_of_agents_is_not_taken() {
    if Lab::open("a_shard_begun_by_another_class_of_agents_is_not_taken").is_none() {
        return;
    }
    let task = Task::Probe { input: Digest::of(b""), bound: true };
    let work = Work { format: FORMAT, class: "ffmpeg-0".into(), task };
    let blobs = MemoryBlobs::default();
    let stop = ffmpeg::run(&work.encode(), &mut Agent::new(&blobs)).expect_err("another class");
    assert!(matches!(stop, Stop::Failed { code: "agent-class-differs", .. }));
    assert!(!Ffmpeg.is_final("agent-class-differs"), "another agent may take it");
    assert_eq!(ffmpeg::run(b"what", &mut Agent::new(&blobs)), Err(Stop::BadPayload));
}
