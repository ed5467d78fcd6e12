//! `ffmpeg`: drives the `ffmpeg` and `ffprobe` found on `PATH`.
//!
//! Nothing of a job reaches a command line but numbers and words of the family's lists. A tool sees one scratch folder, which
//! goes away on every way out; it reads no other file and no network, and is killed when the result is not wanted any longer.

mod listing;
mod output;
mod parts;
mod probe;
mod texts;
mod tool;

use crate::capabilities::cpu_class;
use forge_adapters::ffmpeg::wire;
use forge_adapters::ffmpeg::work::{Task, Work};
use forge_adapters::host::{Host, Stop};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// Runs a shard.
///
/// # Errors
/// [`Stop`]: cancelled, another payload, or what is wrong with the input: `input-unreadable`, `input-truncated`,
/// `input-damaged`, `input-is-a-playlist`, `format-not-taken`, `no-video`, `no-frames`, `resolution-changes`,
/// `times-not-ascending`, `negative-pts`, `audio-unreadable`, `subtitle-unreadable`, `cues-overlap`, `encode-failed`,
/// `time-limit`, `output-too-large`, …
pub fn run(payload: &[u8], host: &mut dyn Host) -> Result<Vec<u8>, Stop> {
    let work = Work::decode(payload).ok_or(Stop::BadPayload)?;
    let Some(class) = agent_class() else {
        return Err(Stop::failed("ffmpeg-missing", "this agent finds no `ffmpeg` and `ffprobe` on its PATH"));
    };
    if !work.class.is_empty() && work.class != class {
        let detail = format!("begun by agents of class {}, this one is {class}: require one `cpu_class`", work.class);
        return Err(Stop::failed("agent-class-differs", detail));
    }
    match work.task {
        Task::Probe { input, bound } => {
            let (probed, _) = probe::run(&input, if bound { class } else { "" }, host)?;
            Ok(wire::encode(&probed))
        }
        Task::ProbeTexts { input, bound } => {
            let (probed, texts) = probe::run(&input, if bound { class } else { "" }, host)?;
            probe::with_texts(probed, texts)
        }
        Task::Cells { input, film, video, container, first, cells } => {
            parts::run_cells(&parts::Cells { input, film, video, container, first, cells }, host)
        }
        Task::Audio { input, track, .. } => parts::run_audio(&input, &track, host),
        Task::Text { input, track, text, container } => {
            texts::run(&texts::Speech { input, track, text, container }, host)
        }
        Task::Mux { film, packs, sounds, container } => output::mux(&film, &packs, &sounds, &[], container, host),
        Task::MuxTexts { film, packs, sounds, texts, container } => {
            output::mux(&film, &packs, &sounds, &texts, container, host)
        }
        Task::Check { output, expected } => {
            output::check(&output, &expected, &[], host)?;
            Ok(wire::encode(&expected))
        }
        Task::CheckTexts { output, expected } => {
            output::check(&output, &expected.rest, &expected.texts, host)?;
            Ok(wire::encode(&expected))
        }
    }
}

/// Whether both tools are there: an agent without them is not to offer this kind.
pub fn is_available() -> bool {
    agent_class().is_some()
}

/// The tools' build and the CPU's instructions, which lossy encoders' bytes depend on; `None` without the tools.
pub fn agent_class() -> Option<&'static str> {
    static CLASS: OnceLock<Option<String>> = OnceLock::new();
    let find = || {
        let said = |tool: &str| {
            let said = Command::new(tool).arg("-version").stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
            said.status.success().then_some(said.stdout)
        };
        let (ffmpeg, _) = (said("ffmpeg")?, said("ffprobe")?);
        let text = String::from_utf8_lossy(&ffmpeg);
        let version = text.split_whitespace().nth(2)?;
        let plain = |c: &char| c.is_ascii_alphanumeric() || "+-.:~_".contains(*c);
        let version: String = version.chars().filter(plain).take(64).collect();
        let build = &blake3::hash(&ffmpeg).to_hex()[..8];
        Some(format!("ffmpeg-{version}/{build}/{}/threads-1", cpu_class()))
    };
    CLASS.get_or_init(find).as_deref()
}
