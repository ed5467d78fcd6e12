//! The output: put together, then decoded to see that it is what it must be.

use super::listing;
use super::parts::decoded;
use super::tool::{self, GUARDS, INPUT, OUTPUT_BYTES_MAX, QUIET, Scratch, words};
use forge_adapters::ffmpeg::codec::Container;
use forge_adapters::ffmpeg::film::{FILM_BYTES_MAX, Film};
use forge_adapters::ffmpeg::movie;
use forge_adapters::ffmpeg::pack::{self, PackHead, SoundHead};
use forge_adapters::ffmpeg::wire;
use forge_adapters::ffmpeg::work::{Blob, Expected};
use forge_adapters::host::{Host, Stop, whole};
use forge_event::Digest;

/// Bytes copied between two looks at the host.
const COPY_BYTES: u64 = 1 << 20;

/// Puts the parts together.
///
/// # Errors
/// [`Stop`]: `part-unreadable`, `output-too-large`, `mux-failed`.
pub fn mux(
    film: &Blob,
    packs: &[Blob],
    sounds: &[Blob],
    container: Container,
    host: &mut dyn Host,
) -> Result<Vec<u8>, Stop> {
    let film = Film::decode(&whole(host, &film.digest, FILM_BYTES_MAX)?).ok_or(Stop::BadPayload)?;
    let pack_heads: Vec<(PackHead, u64)> = packs.iter().map(|p| part_head(p, host)).collect::<Result<_, _>>()?;
    let sound_heads: Vec<(SoundHead, u64)> = sounds.iter().map(|s| part_head(s, host)).collect::<Result<_, _>>()?;
    let pictures: usize = pack_heads.iter().flat_map(|(head, _)| &head.cells).map(|c| c.samples.len()).sum();
    if pictures != film.frames() as usize {
        return Err(Stop::failed("part-unreadable", "the parts do not hold every picture once"));
    }
    let layout = movie::layout(container, &film, &pack_heads, &sound_heads)?;
    if layout.bytes() > OUTPUT_BYTES_MAX {
        let detail = format!("the output has {} bytes; at most {OUTPUT_BYTES_MAX} are put together", layout.bytes());
        return Err(Stop::failed("output-too-large", detail));
    }
    let parts: Vec<Digest> = packs.iter().chain(sounds).map(|b| b.digest).collect();
    let mut output = layout.head.clone();
    output.reserve_exact((layout.bytes() - output.len() as u64) as usize);
    for piece in &layout.pieces {
        let mut done = 0;
        while done < piece.bytes {
            let bytes = COPY_BYTES.min(piece.bytes - done);
            let at = output.len();
            output.resize(at + bytes as usize, 0);
            host.read(&parts[piece.part], piece.first + done, &mut output[at..])?;
            done += bytes;
        }
        host.progress(0)?;
    }
    if container == Container::Mkv {
        output = matroska(&output, host)?;
    }
    let bytes = output.len() as u64;
    Ok(wire::encode(&Blob { digest: host.put(&output)?, bytes }))
}

fn part_head<T: serde::Serialize + serde::de::DeserializeOwned>(
    part: &Blob,
    host: &mut dyn Host,
) -> Result<(T, u64), Stop> {
    let read = pack::head(part.bytes, &mut |first, buffer| host.read(&part.digest, first, buffer))?;
    read.ok_or_else(|| Stop::failed("part-unreadable", format!("{} is no part of an output", part.digest)))
}

fn matroska(joined: &[u8], host: &mut dyn Host) -> Result<Vec<u8>, Stop> {
    let scratch = Scratch::new()?;
    scratch.write("joined", joined)?;
    let mut args = words(QUIET.into_iter().chain(GUARDS));
    args.extend(words(["-copyts", "-i", "file:joined", "-map", "0", "-c", "copy", "-map_metadata", "-1"]));
    args.extend(words(["-avoid_negative_ts", "disabled", "-fflags", "+bitexact", "-f", "matroska", "output"]));
    tool::run("ffmpeg", &args, &scratch, 0, host)?.map_err(|c| c.stop("mux-failed"))?;
    scratch.read("output")
}

/// Decodes the output.
///
/// # Errors
/// `output-differs` if it is not what it must be.
pub fn check(output: &Blob, expected: &Expected, host: &mut dyn Host) -> Result<Vec<u8>, Stop> {
    let scratch = Scratch::new()?;
    scratch.fetch(&output.digest, host)?;
    let mut args = words(QUIET.into_iter().chain(GUARDS));
    args.extend(words(["-copyts", "-i", &format!("file:{INPUT}"), "-map", "0:v:0", "-fps_mode", "passthrough"]));
    args.extend(words(["-enc_time_base", &format!("1:{}", expected.timescale), "-f", "framemd5", "shown"]));
    tool::run("ffmpeg", &args, &scratch, 0, host)?.map_err(|c| c.stop("output-differs"))?;
    let shown = listing::read(&scratch.text("shown")?).unwrap_or_default();
    let pts: Vec<u8> = shown.lines.iter().flat_map(|l| (l.pts as u64).to_le_bytes()).collect();
    let pixels: Vec<u8> = shown.lines.iter().flat_map(|l| l.md5).collect();
    let mut audio = Vec::new();
    for (at, (samples, md5)) in expected.audio.iter().enumerate() {
        let (found, sum) = decoded(INPUT, &format!("0:a:{at}"), "again", &scratch, host)?;
        audio.push((samples.map(|_| found), md5.map(|_| sum)));
    }
    let found = Expected {
        frames: shown.lines.len() as u32,
        timescale: expected.timescale,
        pts: Digest::of(&pts),
        pixels: expected.pixels.map(|_| Digest::of(&pixels)),
        audio,
    };
    if found == *expected {
        return Ok(wire::encode(&found));
    }
    let what = match () {
        () if found.frames != expected.frames => format!("{} pictures, not {}", found.frames, expected.frames),
        () if found.pts != expected.pts => "other time stamps than the source".to_string(),
        () if found.pixels != expected.pixels => "other pixels than went into the encoder".to_string(),
        () => format!("audio {:?}, not {:?}", found.audio, expected.audio),
    };
    Err(Stop::failed("output-differs", format!("decoding the output gives {what}")))
}
