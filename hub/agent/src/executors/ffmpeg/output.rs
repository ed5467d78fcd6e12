//! The output: put together, then decoded to see that it is what it must be.

use super::listing;
use super::parts::decoded;
use super::texts::told;
use super::tool::{self, GUARDS, INPUT, OUTPUT_BYTES_MAX, QUIET, Scratch, words};
use forge_adapters::ffmpeg::codec::Container;
use forge_adapters::ffmpeg::film::{FILM_BYTES_MAX, Film};
use forge_adapters::ffmpeg::movie;
use forge_adapters::ffmpeg::pack::{self, PackHead, SoundHead};
use forge_adapters::ffmpeg::texts::{Cued, TextHead};
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
    texts: &[Blob],
    container: Container,
    host: &mut dyn Host,
) -> Result<Vec<u8>, Stop> {
    let film = Film::decode(&whole(host, &film.digest, FILM_BYTES_MAX)?).ok_or(Stop::BadPayload)?;
    let pack_heads: Vec<(PackHead, u64)> = packs.iter().map(|p| part_head(p, host)).collect::<Result<_, _>>()?;
    let sound_heads: Vec<(SoundHead, u64)> = sounds.iter().map(|s| part_head(s, host)).collect::<Result<_, _>>()?;
    let text_heads: Vec<(TextHead, u64)> = texts.iter().map(|t| part_head(t, host)).collect::<Result<_, _>>()?;
    let pictures: usize = pack_heads.iter().flat_map(|(head, _)| &head.cells).map(|c| c.samples.len()).sum();
    if pictures != film.frames() as usize {
        return Err(Stop::failed("part-unreadable", "the parts do not hold every picture once"));
    }
    // Matroska's texts are files of their own.
    let laid_out: &[(TextHead, u64)] = if container == Container::Mkv { &[] } else { &text_heads };
    let layout = movie::layout(container, &film, &pack_heads, &sound_heads, laid_out)?;
    if layout.bytes() > OUTPUT_BYTES_MAX {
        let detail = format!("the output has {} bytes; at most {OUTPUT_BYTES_MAX} are put together", layout.bytes());
        return Err(Stop::failed("output-too-large", detail));
    }
    let parts: Vec<Digest> = packs.iter().chain(sounds).chain(texts).map(|b| b.digest).collect();
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
        let texts: Vec<(&Blob, &(TextHead, u64))> = texts.iter().zip(&text_heads).collect();
        output = matroska(&output, &texts, host)?;
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

fn matroska(joined: &[u8], texts: &[(&Blob, &(TextHead, u64))], host: &mut dyn Host) -> Result<Vec<u8>, Stop> {
    let scratch = Scratch::new()?;
    scratch.write("joined", joined)?;
    let mut args = words(QUIET.into_iter().chain(GUARDS));
    args.extend(words(["-copyts", "-i", "file:joined"]));
    for (at, (blob, (_, media))) in texts.iter().enumerate() {
        let mut file = vec![0; blob.bytes.saturating_sub(*media).min(OUTPUT_BYTES_MAX) as usize];
        host.read(&blob.digest, *media, &mut file)?;
        scratch.write(&format!("text{at}"), &file)?;
        args.extend(words(GUARDS.into_iter().chain(["-i", &format!("file:text{at}")])));
    }
    args.extend(words(["-map", "0"]));
    (1..=texts.len()).for_each(|input| args.extend(words(["-map", &format!("{input}:s:0")])));
    args.extend(words(["-c", "copy", "-map_metadata", "-1"]));
    for (at, (_, (TextHead { language, shown, .. }, _))) in texts.iter().enumerate() {
        let language = format!("language={}", String::from_utf8_lossy(language));
        args.extend([format!("-metadata:s:s:{at}"), language]);
        args.extend([format!("-disposition:s:{at}"), if *shown { "default" } else { "0" }.to_string()]);
    }
    args.extend(words(["-avoid_negative_ts", "disabled", "-fflags", "+bitexact", "-f", "matroska", "output"]));
    tool::run("ffmpeg", &args, &scratch, 0, host)?.map_err(|c| c.stop("mux-failed"))?;
    scratch.read("output")
}

/// Decodes the output; `texts` are its subtitle tracks.
///
/// # Errors
/// `output-differs` if it is not what it must be.
pub fn check(output: &Blob, expected: &Expected, texts: &[Cued], host: &mut dyn Host) -> Result<(), Stop> {
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
    if found != *expected {
        let what = match () {
            () if found.frames != expected.frames => format!("{} pictures, not {}", found.frames, expected.frames),
            () if found.pts != expected.pts => "other time stamps than the source".to_string(),
            () if found.pixels != expected.pixels => "other pixels than went into the encoder".to_string(),
            () => format!("audio {:?}, not {:?}", found.audio, expected.audio),
        };
        return Err(Stop::failed("output-differs", format!("decoding the output gives {what}")));
    }
    for (track, due) in texts.iter().enumerate() {
        let cued = Cued::of(&told(INPUT, track, &scratch, host)?);
        if cued.cues != due.cues {
            let detail = format!("subtitle track {track} of the output has {} cues, not {}", cued.cues, due.cues);
            return Err(Stop::failed("output-differs", detail));
        }
        if cued != *due {
            let detail = format!("subtitle track {track} of the output has other times or texts");
            return Err(Stop::failed("output-differs", detail));
        }
    }
    Ok(())
}
