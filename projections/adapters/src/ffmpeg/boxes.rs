//! ISO base media boxes, read: the one track of a file that an encoder wrote.
//!
//! Source: ISO/IEC 14496-12; QuickTime File Format. Never panics, whatever the bytes.

use super::pack::Sizes;
use alloc::vec::Vec;

/// Most samples of a track.
const SAMPLES_MAX: u64 = 1 << 31;

/// Big-endian fields, taken from the front.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn u32(&mut self) -> Option<u32> {
        self.bytes(4).map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]))
    }

    fn u64(&mut self) -> Option<u64> {
        Some(u64::from(self.u32()?) << 32 | u64::from(self.u32()?))
    }

    /// A u64 in version 1 of a box, a u32 before.
    fn wide(&mut self, version: u8) -> Option<u64> {
        if version == 1 { self.u64() } else { self.u32().map(u64::from) }
    }
}

/// The boxes of a run of bytes: name, body. Ends at the first that does not fit.
fn children(bytes: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut rest = Fields(bytes);
    core::iter::from_fn(move || {
        let size = rest.u32()?;
        let name = rest.bytes(4)?;
        let body = match size {
            0 => rest.0.len(),
            1 => usize::try_from(rest.u64()?.checked_sub(16)?).ok()?,
            size => (size as usize).checked_sub(8)?,
        };
        Some((name, rest.bytes(body)?))
    })
}

fn child<'a>(bytes: &'a [u8], name: &[u8; 4]) -> Option<&'a [u8]> {
    children(bytes).find(|(n, _)| n == name).map(|(_, body)| body)
}

/// Version of a full box, and what follows its flags.
fn full(body: &[u8]) -> Option<(u8, Fields<'_>)> {
    let mut fields = Fields(body);
    let version = fields.bytes(4)?[0];
    Some((version, fields))
}

/// What a `moov` box says of pictures.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pictures {
    /// No track is a video.
    NoTrack,
    /// There are videos, none of which has a sample of its own; fragments may have some.
    NoSample,
    /// There may be some; only a demuxer can tell.
    Some,
}

impl Pictures {
    /// Looks at a `moov` box, whole.
    pub fn of(moov: &[u8]) -> Pictures {
        let Some(moov) = child(moov, b"moov").filter(|moov| child(moov, b"cmov").is_none()) else {
            return Pictures::Some;
        };
        let media = children(moov).filter(|(name, _)| name == b"trak").filter_map(|(_, trak)| child(trak, b"mdia"));
        let mut found = Pictures::NoTrack;
        for mdia in media.filter(|mdia| child(mdia, b"hdlr").and_then(|hdlr| hdlr.get(8..12)) == Some(b"vide")) {
            let stbl = child(mdia, b"minf").and_then(|minf| child(minf, b"stbl"));
            let sizes = stbl.and_then(|stbl| child(stbl, b"stsz").or_else(|| child(stbl, b"stz2")));
            // A count after version, flags and the size that all samples have.
            if sizes.and_then(|sizes| sizes.get(8..12)) != Some(&[0; 4]) {
                return Pictures::Some;
            }
            found = Pictures::NoSample;
        }
        found
    }
}

/// A track of a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Track {
    /// The first sample entry, whole, without its `btrt` box (bit rates differ from cell to cell).
    pub entry: Vec<u8>,
    /// Ticks of a second of the file; of the track.
    pub movie_scale: u32,
    pub timescale: u32,
    /// Units: 1/65536 pixel.
    pub width: u32,
    pub height: u32,
    /// Duration (file's ticks), media time (track's ticks, -1 = nothing is shown).
    pub edits: Vec<(u64, i64)>,
    /// Runs: samples, duration of each.
    pub durations: Vec<(u32, u32)>,
    /// Runs: samples, composition offset.
    pub offsets: Vec<(u32, i32)>,
    /// From 1; `None`: every sample.
    pub sync: Option<Vec<u32>>,
    pub sizes: Sizes,
    /// Place in the file, bytes: runs of samples that lie together, in decoding order.
    pub runs: Vec<(u64, u64)>,
}

impl Track {
    /// Reads a file of one track; `None` if it is not one.
    pub fn read(file: &[u8]) -> Option<Track> {
        let moov = child(file, b"moov")?;
        let mut traks = children(moov).filter(|(name, _)| name == b"trak");
        let (trak, None) = (traks.next()?.1, traks.next()) else { return None };
        let mdia = child(trak, b"mdia")?;
        let stbl = child(child(mdia, b"minf")?, b"stbl")?;
        let sizes = read_sizes(child(stbl, b"stsz")?)?;
        let (width, height) = read_side(child(trak, b"tkhd")?)?;
        let track = Track {
            entry: read_entry(child(stbl, b"stsd")?)?,
            movie_scale: read_scale(child(moov, b"mvhd")?)?,
            timescale: read_scale(child(mdia, b"mdhd")?)?,
            width,
            height,
            edits: child(trak, b"edts").map_or(Some(Vec::new()), read_edits)?,
            durations: read_pairs(child(stbl, b"stts")?)?,
            offsets: child(stbl, b"ctts")
                .map_or(Some(Vec::new()), read_pairs)?
                .into_iter()
                .map(|(n, o)| (n, o as i32))
                .collect(),
            sync: match child(stbl, b"stss") {
                Some(body) => Some(read_list(body)?),
                None => None,
            },
            runs: read_runs(stbl, &sizes, file.len() as u64)?,
            sizes,
        };
        let samples = track.sizes.count();
        let timed: u64 = track.durations.iter().map(|d| u64::from(d.0)).sum();
        let shifted: u64 = track.offsets.iter().map(|d| u64::from(d.0)).sum();
        (timed == samples && (shifted == samples || track.offsets.is_empty())).then_some(track)
    }

    /// Composition time of each sample, in decoding order. Units: the track's ticks.
    pub fn times(&self) -> Vec<i64> {
        let mut times = Vec::with_capacity(self.sizes.count() as usize);
        let mut at = 0i64;
        for (count, duration) in &self.durations {
            for _ in 0..*count {
                times.push(at);
                at += i64::from(*duration);
            }
        }
        let offsets = self.offsets.iter().flat_map(|(count, offset)| core::iter::repeat_n(*offset, *count as usize));
        times.iter_mut().zip(offsets).for_each(|(time, offset)| *time += i64::from(offset));
        times
    }

    /// Whether decoding can start at a sample, from 0.
    pub fn is_sync(&self, sample: u32) -> bool {
        self.sync.as_ref().is_none_or(|sync| sync.binary_search(&(sample + 1)).is_ok())
    }
}

fn read_scale(body: &[u8]) -> Option<u32> {
    let (version, mut fields) = full(body)?;
    fields.wide(version)?;
    fields.wide(version)?;
    fields.u32().filter(|scale| *scale > 0)
}

fn read_side(body: &[u8]) -> Option<(u32, u32)> {
    let end = body.len().checked_sub(8)?;
    let mut fields = Fields(&body[end..]);
    Some((fields.u32()?, fields.u32()?))
}

fn read_edits(edts: &[u8]) -> Option<Vec<(u64, i64)>> {
    let (version, mut fields) = full(child(edts, b"elst")?)?;
    let count = fields.u32()?;
    let mut edits = Vec::new();
    for _ in 0..count {
        let duration = fields.wide(version)?;
        let time = if version == 1 { fields.u64()? as i64 } else { i64::from(fields.u32()? as i32) };
        fields.u32()?;
        edits.push((duration, time));
    }
    Some(edits)
}

fn read_list(body: &[u8]) -> Option<Vec<u32>> {
    let (_, mut fields) = full(body)?;
    let count = fields.u32()?;
    (0..count).map(|_| fields.u32()).collect()
}

fn read_pairs(body: &[u8]) -> Option<Vec<(u32, u32)>> {
    let (_, mut fields) = full(body)?;
    let count = fields.u32()?;
    (0..count).map(|_| Some((fields.u32()?, fields.u32()?))).collect()
}

fn read_sizes(body: &[u8]) -> Option<Sizes> {
    let (_, mut fields) = full(body)?;
    let (bytes, count) = (fields.u32()?, fields.u32()?);
    if bytes > 0 {
        return (u64::from(count) <= SAMPLES_MAX).then_some(Sizes::Equal { bytes, count });
    }
    (0..count).map(|_| fields.u32()).collect::<Option<Vec<u32>>>().map(Sizes::Each)
}

/// Bytes of a visual sample entry before its boxes.
const VISUAL_ENTRY: usize = 86;

fn read_entry(stsd: &[u8]) -> Option<Vec<u8>> {
    let (_, mut fields) = full(stsd)?;
    fields.u32().filter(|count| *count == 1)?;
    let whole = fields.0;
    let size = Fields(whole).u32()? as usize;
    let entry = whole.get(..size).filter(|entry| entry.len() >= 16)?;
    let mut kept = entry.to_vec();
    let visual = [b"avc1", b"hvc1", b"hev1", b"av01", b"vp09", b"FFV1"].iter().any(|name| entry[4..8] == name[..]);
    if visual && entry.len() >= VISUAL_ENTRY {
        kept.truncate(VISUAL_ENTRY);
        for (name, body) in children(&entry[VISUAL_ENTRY..]).filter(|(name, _)| name != b"btrt") {
            kept.extend_from_slice(&(body.len() as u32 + 8).to_be_bytes());
            kept.extend_from_slice(name);
            kept.extend_from_slice(body);
        }
        let size = (kept.len() as u32).to_be_bytes();
        kept[..4].copy_from_slice(&size);
    }
    Some(kept)
}

fn read_runs(stbl: &[u8], sizes: &Sizes, file_bytes: u64) -> Option<Vec<(u64, u64)>> {
    let chunks: Vec<u64> = match child(stbl, b"stco") {
        Some(body) => read_list(body)?.into_iter().map(u64::from).collect(),
        None => {
            let (_, mut fields) = full(child(stbl, b"co64")?)?;
            let count = fields.u32()?;
            (0..count).map(|_| fields.u64()).collect::<Option<Vec<u64>>>()?
        }
    };
    let (_, mut fields) = full(child(stbl, b"stsc")?)?;
    let count = fields.u32()?;
    let steps = (0..count).map(|_| Some((fields.u32()?, fields.u32()?, fields.u32()?)));
    let steps: Vec<(u32, u32, u32)> = steps.collect::<Option<_>>()?;
    let (mut step, mut sample) = (0, 0u64);
    let mut runs = Vec::with_capacity(chunks.len());
    for (i, place) in chunks.iter().enumerate() {
        while steps.get(step + 1).is_some_and(|next| next.0 as usize <= i + 1) {
            step += 1;
        }
        let in_chunk = u64::from(steps.get(step)?.1);
        if sample + in_chunk > sizes.count() {
            return None;
        }
        let bytes = match sizes {
            Sizes::Equal { bytes, .. } => in_chunk.checked_mul(u64::from(*bytes))?,
            Sizes::Each(each) => each[sample as usize..][..in_chunk as usize].iter().map(|b| u64::from(*b)).sum(),
        };
        if place.checked_add(bytes)? > file_bytes {
            return None;
        }
        sample += in_chunk;
        runs.push((*place, bytes));
    }
    (sample == sizes.count()).then_some(runs)
}
