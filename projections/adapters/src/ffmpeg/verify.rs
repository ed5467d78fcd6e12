//! What the hub can see of inputs and results without a codec. All exact: an honest result is never flagged.

use super::boxes::Pictures;
use super::film::{FILM_BYTES_MAX, Film};
use super::movie::{self, Layout};
use super::pack::{PackHead, SoundHead};
use super::plan::{self, Part, part_of, range};
use super::spec::Spec;
use super::texts::{TEXTS_MAX, Text, TextHead, Told};
use super::wire;
use super::work::{Blob, Body, Expected, ExpectedTexts, Heard, Packed, Probed, ProbedTexts, Stage, Texts};
use super::{codec::Container, pack};
use crate::faults::Faults;
use alloc::vec::Vec;
use forge_event::{Digest, ShardIndex};
use forge_projections::family::{Blobs, Fault, SpecFault};

/// The bytes are not a result of this stage.
pub const CHECK_FORM: u32 = 1 << 0;
/// The number of pictures is not the planned one.
pub const CHECK_FRAMES: u32 = 1 << 1;
/// The output is not what the parts make it.
pub const CHECK_OUTPUT: u32 = 1 << 2;
/// The film is none, or not as the result says.
pub const CHECK_FILM: u32 = 1 << 3;
/// The part is none: its pictures, its samples or its length do not add up.
pub const CHECK_PART: u32 = 1 << 4;

/// Bytes compared at a time.
const WINDOW: u64 = 1 << 20;

/// Texts at the start of files that name other files.
const PLAYLISTS: [&[u8]; 4] = [b"#EXTM3U", b"ffconcat", b"<?xml", b"<MPD"];
/// The start of a file that is one picture.
const IMAGES: [&[u8]; 2] = [b"\x89PNG", b"\xff\xd8\xff"];
/// Bytes of the input that are looked at.
const FRONT: usize = 16;
/// A longer list of samples is left to the probe. Units: bytes.
const MOOV_BYTES_MAX: u64 = 64 << 20;
/// Boxes of a file, at its outermost, that are looked at.
const BOXES_MAX: usize = 100_000;

/// Looks at what the input is, as far as that can be seen without a demuxer.
pub fn check_input(input: &Digest, blobs: &dyn Blobs) -> Result<(), Vec<SpecFault>> {
    let mut faults = Faults::default();
    let (code, detail, fix) = match look(input, blobs) {
        Ok(None) => return Ok(()),
        Ok(Some((code, detail))) => (code, detail.into(), "upload a whole film: mp4, mov, mkv, ts, avi, …"),
        Err(fault) => (fault.code, fault.detail, "upload the file first"),
    };
    faults.add("/spec/input", code, detail, fix);
    Err(faults.into_vec())
}

/// Code and detail of what is wrong.
fn look(input: &Digest, blobs: &dyn Blobs) -> Result<Option<(&'static str, &'static str)>, Fault> {
    let bytes = blobs.bytes(input)?;
    if bytes < FRONT as u64 {
        return Ok(Some(("input-unreadable", "so few bytes are no film")));
    }
    let mut front = [0; FRONT];
    blobs.read(input, 0, &mut front)?;
    if PLAYLISTS.iter().any(|text| front.starts_with(text)) {
        return Ok(Some(("input-is-a-playlist", "this file names other files, which are not read")));
    }
    if IMAGES.iter().any(|text| front.starts_with(text)) {
        return Ok(Some(("format-not-taken", "this file is one picture, not a film")));
    }
    if front.starts_with(b"GIF8") {
        let detail = "this file is a GIF, one picture or many, which is not read here: make it an mp4 with ffmpeg";
        return Ok(Some(("format-not-taken", detail)));
    }
    if &front[4..8] != b"ftyp" {
        return Ok(None);
    }
    let (mut at, mut moov, mut fragments) = (0, None, false);
    for _ in 0..BOXES_MAX {
        if bytes - at < FRONT as u64 {
            break;
        }
        blobs.read(input, at, &mut front)?;
        fragments |= &front[4..8] == b"moof";
        let wide =
            u64::from_be_bytes([front[8], front[9], front[10], front[11], front[12], front[13], front[14], front[15]]);
        let size = match u32::from_be_bytes([front[0], front[1], front[2], front[3]]) {
            0 => bytes - at,
            1 => wide,
            size => u64::from(size),
        };
        if size < 8 || size > bytes - at {
            return Ok(Some(("input-truncated", "a box of this mp4 or mov file ends behind the end of the file")));
        }
        if &front[4..8] == b"moov" {
            moov = Some((at, size));
        }
        at += size;
    }
    let Some((first, size)) = moov else {
        let detail = "this mp4 or mov file has no `moov` box: it was cut short, or never finished";
        return Ok(Some(("input-unreadable", detail)));
    };
    if size > MOOV_BYTES_MAX {
        return Ok(None);
    }
    let mut moov = alloc::vec![0; size as usize];
    blobs.read(input, first, &mut moov)?;
    Ok(match Pictures::of(&moov) {
        Pictures::NoTrack => Some(("no-video", "no track of this mp4 or mov file is a video")),
        Pictures::NoSample if !fragments => Some(("no-frames", "the video of this mp4 or mov file has no pictures")),
        _ => None,
    })
}

fn bit(broken: bool, bit: u32) -> u32 {
    if broken { bit } else { 0 }
}

/// What a probe answered; the subtitle tracks only if the job copies them.
pub fn probed(spec: &Spec, result: &[u8]) -> Option<(Probed, Vec<Text>)> {
    if spec.copies_texts {
        wire::decode::<ProbedTexts>(result).map(|all| (all.probed, all.texts))
    } else {
        wire::decode::<Probed>(result).map(|probed| (probed, Vec::new()))
    }
}

/// The free checks.
pub fn check_result(spec: &Spec, Body { stage, texts }: &Body, shard: ShardIndex, result: &[u8]) -> u32 {
    match stage {
        Stage::Probe => {
            let form = |(probed, texts): (Probed, Vec<Text>)| {
                probed.frames > 0 && texts.len() <= TEXTS_MAX && texts.iter().all(Text::is_plain)
            };
            bit(!probed(spec, result).is_some_and(form), CHECK_FORM)
        }
        Stage::Parts { tracks, cells, group, .. } => match part_of(shard, tracks.len(), texts.tracks().len()) {
            Part::Sound(track) => {
                let codec = tracks[track].audio.codec;
                let form = |h: Heard| h.samples > 0 && h.md5.is_some() == keeps_samples(codec);
                bit(!wire::decode::<Heard>(result).is_some_and(form), CHECK_FORM)
            }
            Part::Text(_) => bit(wire::decode::<Told>(result).is_none(), CHECK_FORM),
            Part::Cells(place) => {
                let (from, to) = range(place, cells.len(), *group);
                let Some(packed) = wire::decode::<Packed>(result) else { return CHECK_FORM };
                bit(packed.frames != cells[from..to].iter().sum::<u32>(), CHECK_FRAMES)
            }
        },
        Stage::Mux { .. } => {
            let Some(output) = wire::decode::<Blob>(result) else { return CHECK_FORM };
            bit(output.bytes == 0 || spec.container != Container::Mkv && output.bytes < 64, CHECK_OUTPUT)
        }
        Stage::Check { expected, .. } => {
            let as_due = match texts {
                Texts::Expected(texts) => {
                    wire::decode::<ExpectedTexts>(result).map(|found| found.rest == *expected && found.texts == *texts)
                }
                _ => wire::decode::<Expected>(result).map(|found| found == *expected),
            };
            as_due.map_or(CHECK_FORM, |as_due| bit(!as_due, CHECK_OUTPUT))
        }
    }
}

fn keeps_samples(codec: super::codec::AudioCodec) -> bool {
    codec.lossless() && codec != super::codec::AudioCodec::Copy
}

/// Blobs that a result names.
pub fn result_blobs(spec: &Spec, stage: &Stage, result: &[u8]) -> Vec<Digest> {
    let named = match stage {
        Stage::Probe => probed(spec, result).map(|(p, _)| p.film.digest),
        Stage::Parts { .. } => {
            // A text track's answer is written as that of cells is: a blob and a count.
            let packed = wire::decode::<Packed>(result).map(|p| p.pack.digest);
            packed.or_else(|| wire::decode::<Heard>(result).map(|h| h.part.digest))
        }
        Stage::Mux { .. } => wire::decode::<Blob>(result).map(|b| b.digest),
        Stage::Check { .. } => None,
    };
    named.into_iter().collect()
}

/// The checks that read blobs.
pub fn check_blobs(
    spec: &Spec,
    Body { stage, texts }: &Body,
    shard: ShardIndex,
    result: &[u8],
    blobs: &dyn Blobs,
) -> Result<u32, Fault> {
    match stage {
        Stage::Probe => {
            let (probed, _) = probed(spec, result).expect("the free checks passed");
            check_film(spec, &probed, blobs)
        }
        Stage::Parts { tracks, cells, group, .. } => match part_of(shard, tracks.len(), texts.tracks().len()) {
            Part::Sound(_) => {
                let heard: Heard = wire::decode(result).expect("the free checks passed");
                check_sound(&heard, blobs)
            }
            Part::Text(track) => {
                let told: Told = wire::decode(result).expect("the free checks passed");
                check_text(&told, &texts.tracks()[track], spec.container, blobs)
            }
            Part::Cells(place) => {
                let packed: Packed = wire::decode(result).expect("the free checks passed");
                let (from, to) = range(place, cells.len(), *group);
                check_pack(&packed, &cells[from..to], spec.video.lossless(), blobs)
            }
        },
        Stage::Mux { film, packs, sounds, .. } => {
            let output: Blob = wire::decode(result).expect("the free checks passed");
            if blobs.bytes(&output.digest)? != output.bytes {
                return Ok(CHECK_OUTPUT);
            }
            if spec.container == Container::Mkv {
                return Ok(0);
            }
            let spoken: Vec<Blob> = texts.present().map(|told| told.part).collect();
            let layout = layout(spec.container, film, packs, sounds, &spoken, blobs)?;
            let parts: Vec<Blob> = packs.iter().copied().chain(sounds.iter().map(|s| s.part)).chain(spoken).collect();
            Ok(bit(!is_made_of(&output, &layout, &parts, blobs)?, CHECK_OUTPUT))
        }
        Stage::Check { .. } => Ok(0),
    }
}

fn check_film(spec: &Spec, probed: &Probed, blobs: &dyn Blobs) -> Result<u32, Fault> {
    let bytes = blobs.bytes(&probed.film.digest)?;
    if bytes != probed.film.bytes || bytes > FILM_BYTES_MAX {
        return Ok(CHECK_FILM);
    }
    let film = Film::decode(&blobs.whole(&probed.film.digest, FILM_BYTES_MAX)?);
    let good = |f: &Film| f.frames() == probed.frames && f.agent_class.is_empty() != spec.is_bound();
    // The class becomes part of a JSON text.
    let plain = |f: &Film| f.agent_class.bytes().all(|b| (b' '..=b'~').contains(&b) && b != b'"' && b != b'\\');
    Ok(bit(!film.is_some_and(|f| good(&f) && plain(&f)), CHECK_FILM))
}

/// Whether a part's entry is one box.
fn is_entry(entry: &[u8]) -> bool {
    entry.len() >= 16 && entry[..4] == (entry.len() as u32).to_be_bytes()
}

fn check_pack(packed: &Packed, cells: &[u32], lossless: bool, blobs: &dyn Blobs) -> Result<u32, Fault> {
    let bytes = blobs.bytes(&packed.pack.digest)?;
    if bytes != packed.pack.bytes {
        return Ok(CHECK_PART);
    }
    let read = pack::head(bytes, &mut |first, buffer| blobs.read(&packed.pack.digest, first, buffer))?;
    let Some((head, media)) = read else { return Ok(CHECK_PART) };
    let head: PackHead = head;
    let cell_is_good = |(cell, frames): (&pack::Cell, &u32)| cell.stands_for(*frames, lossless);
    let good = head.format == pack::FORMAT
        && head.cells.len() == cells.len()
        && head.cells.iter().zip(cells).all(cell_is_good)
        && is_entry(&head.entry)
        && media + head.media_bytes() == bytes;
    Ok(bit(!good, CHECK_PART))
}

fn check_sound(heard: &Heard, blobs: &dyn Blobs) -> Result<u32, Fault> {
    let bytes = blobs.bytes(&heard.part.digest)?;
    if bytes != heard.part.bytes {
        return Ok(CHECK_PART);
    }
    let read = pack::head(bytes, &mut |first, buffer| blobs.read(&heard.part.digest, first, buffer))?;
    let Some((head, media)) = read else { return Ok(CHECK_PART) };
    let head: SoundHead = head;
    let good = head.is_whole() && is_entry(&head.entry) && media + head.sizes.sum() == bytes;
    Ok(bit(!good, CHECK_PART))
}

fn check_text(told: &Told, text: &Text, container: Container, blobs: &dyn Blobs) -> Result<u32, Fault> {
    let bytes = blobs.bytes(&told.part.digest)?;
    if bytes != told.part.bytes {
        return Ok(CHECK_PART);
    }
    let read = pack::head(bytes, &mut |first, buffer| blobs.read(&told.part.digest, first, buffer))?;
    let Some((head, media)) = read else { return Ok(CHECK_PART) };
    let head: TextHead = head;
    let media_is_due = |head: &TextHead| match container {
        Container::Mkv => (media < bytes) != head.cues.is_empty(),
        _ => is_entry(&head.entry) && media + head.media_bytes() == bytes,
    };
    let good = head.stands_for(text, container) && head.cues.len() == told.cues as usize && media_is_due(&head);
    Ok(bit(!good, CHECK_PART))
}

fn layout(
    container: Container,
    film: &Blob,
    packs: &[Blob],
    sounds: &[Heard],
    texts: &[Blob],
    blobs: &dyn Blobs,
) -> Result<Layout, Fault> {
    let film = plan::film(film, blobs)?;
    let packs: Vec<(PackHead, u64)> = packs.iter().map(|p| plan::part_head(p, blobs)).collect::<Result<_, _>>()?;
    let sounds: Vec<(SoundHead, u64)> =
        sounds.iter().map(|s| plan::part_head(&s.part, blobs)).collect::<Result<_, _>>()?;
    let texts: Vec<(TextHead, u64)> = texts.iter().map(|t| plan::part_head(t, blobs)).collect::<Result<_, _>>()?;
    movie::layout(container, &film, &packs, &sounds, &texts)
}

/// Byte by byte. Linear in the output.
fn is_made_of(output: &Blob, layout: &Layout, parts: &[Blob], blobs: &dyn Blobs) -> Result<bool, Fault> {
    if layout.bytes() != output.bytes {
        return Ok(false);
    }
    let mut found = alloc::vec![0; layout.head.len()];
    blobs.read(&output.digest, 0, &mut found)?;
    if found != layout.head {
        return Ok(false);
    }
    let mut at = layout.head.len() as u64;
    for piece in &layout.pieces {
        let mut done = 0;
        while done < piece.bytes {
            let length = WINDOW.min(piece.bytes - done) as usize;
            let (mut found, mut due) = (alloc::vec![0; length], alloc::vec![0; length]);
            blobs.read(&output.digest, at, &mut found)?;
            blobs.read(&parts[piece.part].digest, piece.first + done, &mut due)?;
            if found != due {
                return Ok(false);
            }
            done += length as u64;
            at += length as u64;
        }
    }
    Ok(true)
}
