//! Putting parts together: where each byte of an mp4 or mov file comes from.
//!
//! No encoder's clock reaches the output: a picture's time is the film's, exactly. Decoding times are the film's times moved
//! back by the longest delay that reordering asks for, and an edit list takes that delay, and adds the source's start.
//! Source: ISO/IEC 14496-12; QuickTime File Format.

use super::codec::Container;
use super::film::Film;
use super::pack::{PackHead, SoundHead};
use super::texts::{self, TextHead};
use alloc::vec::Vec;
use forge_projections::family::Fault;

/// Media of a chunk, after which another track may follow. Units: 1/2 second.
const CHUNK_HALF_SECONDS: u64 = 1;

/// A run of media bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Piece {
    /// Among the packs, then the sounds, then the texts, from 0.
    pub part: usize,
    /// Within the part's blob.
    pub first: u64,
    pub bytes: u64,
}

/// A file: its head, then the pieces.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Layout {
    pub head: Vec<u8>,
    pub pieces: Vec<Piece>,
}

impl Layout {
    /// Length of the file. Units: bytes.
    pub fn bytes(&self) -> u64 {
        self.head.len() as u64 + self.pieces.iter().map(|p| p.bytes).sum::<u64>()
    }
}

/// A part's head, and where its media start in its blob.
pub type Placed<T> = (T, u64);

/// Tracks of the output, and what they are made of.
struct Trak<'a> {
    entry: &'a [u8],
    timescale: u32,
    kind: Kind,
    /// Track's ticks: before it starts; what is decoded but not shown; what is shown.
    start: u64,
    skip: u64,
    shown: u64,
    durations: Vec<(u32, u32)>,
    /// Runs; empty if all are 0.
    offsets: Vec<(u32, u32)>,
    /// From 1; `None`: every sample.
    sync: Option<Vec<u32>>,
    sizes: TrakSizes<'a>,
    chunks: Vec<Chunk>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Width and height.
    Pictures(u32, u32),
    Sound,
    /// The pictures' width and height, language, shown unless told otherwise.
    Text(u32, u32, [u8; 3], bool),
}

enum TrakSizes<'a> {
    Pictures(&'a [Placed<PackHead>]),
    Sound(&'a SoundHead),
    Text(Vec<u32>),
}

impl Trak<'_> {
    fn is_text(&self) -> bool {
        matches!(self.kind, Kind::Text(..))
    }
}

struct Chunk {
    samples: u32,
    /// Decoding time of its first sample, with the start, in the track's ticks.
    time: u64,
    piece: Piece,
}

/// Lays the file out. The packs together hold the film's pictures, each once.
///
/// # Errors
/// `time-out-of-range` if a time does not fit the format.
pub fn layout(
    container: Container,
    film: &Film,
    packs: &[Placed<PackHead>],
    sounds: &[Placed<SoundHead>],
    texts: &[Placed<TextHead>],
) -> Result<Layout, Fault> {
    let mut traks = Vec::from([picture_trak(film, packs)?]);
    traks.extend((packs.len()..).zip(sounds).map(|(part, sound)| sound_trak(part, sound)));
    for (part, text) in (packs.len() + sounds.len()..).zip(texts) {
        traks.push(text_trak(part, text, (packs[0].0.width, packs[0].0.height))?);
    }
    let mut order: Vec<(usize, usize)> = Vec::new();
    let mut next: Vec<usize> = traks.iter().map(|_| 0).collect();
    // The chunk that starts first goes first; of equal ones that of the earlier track.
    while let Some(track) = (0..traks.len()).filter(|t| next[*t] < traks[*t].chunks.len()).min_by(|a, b| {
        let at = |t: usize| (u128::from(traks[t].chunks[next[t]].time), u128::from(traks[t].timescale));
        let ((ta, sa), (tb, sb)) = (at(*a), at(*b));
        (ta * sb).cmp(&(tb * sa))
    }) {
        order.push((track, next[track]));
        next[track] += 1;
    }
    let pieces: Vec<Piece> = order.iter().map(|(track, chunk)| traks[*track].chunks[*chunk].piece).collect();
    let media: u64 = pieces.iter().map(|p| p.bytes).sum();
    let front = head(container, &traks, &order, 0, media)?.len() as u64;
    Ok(Layout { head: head(container, &traks, &order, front, media)?, pieces })
}

fn out_of_range() -> Fault {
    Fault::new("time-out-of-range", "a gap between two pictures or cues is longer than the container can say")
}

fn push_run(runs: &mut Vec<(u32, u32)>, value: u32) {
    match runs.last_mut() {
        Some(run) if run.1 == value && run.0 < u32::MAX => run.0 += 1,
        _ => runs.push((1, value)),
    }
}

fn picture_trak<'a>(film: &Film, packs: &'a [Placed<PackHead>]) -> Result<Trak<'a>, Fault> {
    let (num, den) = film.time_base;
    let num = u64::from(num);
    let pts: Vec<u64> = film.pts().into_iter().map(|t| t * num).collect();
    let mut shown = Vec::with_capacity(pts.len());
    let mut first = 0;
    for cell in packs.iter().flat_map(|(head, _)| &head.cells) {
        shown.extend(cell.samples.iter().map(|s| pts[first + s.rank as usize]));
        first += cell.samples.len();
    }
    assert_eq!(shown.len(), pts.len(), "the packs hold every picture once");
    let delay = pts.iter().zip(&shown).map(|(decoded, shown)| decoded.saturating_sub(*shown)).max().unwrap_or(0);
    let (mut durations, mut offsets) = (Vec::new(), Vec::new());
    for (at, decoded) in pts.iter().enumerate() {
        let next = pts.get(at + 1).copied().unwrap_or(decoded + film.last_duration * num);
        push_run(&mut durations, u32::try_from(next - decoded).map_err(|_| out_of_range())?);
        push_run(&mut offsets, u32::try_from(shown[at] + delay - decoded).map_err(|_| out_of_range())?);
    }
    if delay == 0 {
        offsets.clear();
    }
    let samples = || packs.iter().flat_map(|(head, _)| &head.cells).flat_map(|c| &c.samples);
    let sync = samples().zip(1..).filter(|(s, _)| s.sync).map(|(_, at)| at).collect::<Vec<u32>>();
    let head = &packs[0].0;
    Ok(Trak {
        entry: &head.entry,
        timescale: den,
        kind: Kind::Pictures(head.width, head.height),
        start: pts[0],
        skip: delay,
        shown: film.duration() * num,
        durations,
        offsets,
        sync: (sync.len() < pts.len()).then_some(sync),
        sizes: TrakSizes::Pictures(packs),
        chunks: picture_chunks(packs, &pts, u64::from(den)),
    })
}

fn picture_chunks(packs: &[Placed<PackHead>], pts: &[u64], timescale: u64) -> Vec<Chunk> {
    let mut chunks: Vec<Chunk> = Vec::new();
    let mut at = 0;
    for (part, (head, media)) in packs.iter().enumerate() {
        let mut first = *media;
        for (in_cell, sample) in head.cells.iter().flat_map(|c| c.samples.iter().enumerate()) {
            let bytes = u64::from(sample.bytes);
            match chunks.last_mut() {
                // A new cell is a new chunk, so that shards leave no trace.
                Some(chunk) if in_cell > 0 && 2 * (pts[at] - chunk.time) < CHUNK_HALF_SECONDS * timescale => {
                    chunk.samples += 1;
                    chunk.piece.bytes += bytes;
                }
                _ => chunks.push(Chunk { samples: 1, time: pts[at], piece: Piece { part, first, bytes } }),
            }
            first += bytes;
            at += 1;
        }
    }
    chunks
}

fn sound_trak(part: usize, (head, media): &Placed<SoundHead>) -> Trak<'_> {
    let mut chunks: Vec<Chunk> = Vec::new();
    let (mut first, mut time, mut at) = (*media, head.start, 0);
    for (count, duration) in &head.durations {
        for _ in 0..*count {
            let bytes = u64::from(head.sizes.get(at));
            match chunks.last_mut() {
                Some(chunk) if 2 * (time - chunk.time) < CHUNK_HALF_SECONDS * u64::from(head.timescale) => {
                    chunk.samples += 1;
                    chunk.piece.bytes += bytes;
                }
                _ => chunks.push(Chunk { samples: 1, time, piece: Piece { part, first, bytes } }),
            }
            first += bytes;
            time += u64::from(*duration);
            at += 1;
        }
    }
    Trak {
        entry: &head.entry,
        timescale: head.timescale,
        kind: Kind::Sound,
        start: head.start,
        skip: head.skip,
        shown: head.heard,
        durations: head.durations.clone(),
        offsets: Vec::new(),
        sync: None,
        sizes: TrakSizes::Sound(head),
        chunks,
    }
}

/// Nothing of a text track is moved by an edit list, whose times are rounded where scales do not fit each other: it begins
/// at time 0, and samples that show nothing fill its gaps. One ends the last cue, since readers take a last sample for as
/// long as the movie.
fn text_trak<'a>(
    part: usize,
    (head, media): &'a Placed<TextHead>,
    (width, height): (u32, u32),
) -> Result<Trak<'a>, Fault> {
    let ticks = |ticks: u64| u32::try_from(ticks).map_err(|_| out_of_range());
    let (mut durations, mut sizes, mut chunks) = (Vec::new(), Vec::new(), Vec::new());
    let mut first = *media;
    for (gap, cue) in head.gaps() {
        let mut piece = Piece { part, first, bytes: u64::from(cue.bytes) };
        if gap > 0 {
            push_run(&mut durations, ticks(gap)?);
            sizes.push(texts::EMPTY.len() as u32);
            piece.bytes += texts::EMPTY.len() as u64;
        }
        push_run(&mut durations, ticks(cue.end.saturating_sub(cue.start))?);
        sizes.push(cue.bytes);
        first += piece.bytes;
        chunks.push(Chunk { samples: if gap > 0 { 2 } else { 1 }, time: cue.start, piece });
    }
    if let Some(last) = chunks.last_mut() {
        push_run(&mut durations, 1);
        sizes.push(texts::EMPTY.len() as u32);
        last.samples += 1;
        last.piece.bytes += texts::EMPTY.len() as u64;
    }
    Ok(Trak {
        entry: &head.entry,
        timescale: texts::TIMESCALE,
        kind: Kind::Text(width, height, head.language, head.shown),
        start: 0,
        skip: 0,
        shown: head.cues.last().map_or(0, |cue| cue.end + 1),
        durations,
        offsets: Vec::new(),
        sync: None,
        sizes: TrakSizes::Text(sizes),
        chunks,
    })
}

/// Ticks of a second in which all edit lists' times are whole, or the film's if there are too many.
fn movie_scale(traks: &[Trak<'_>]) -> u32 {
    let gcd = |mut a: u64, mut b: u64| {
        while b > 0 {
            (a, b) = (b, a % b);
        }
        a
    };
    let whole = traks
        .iter()
        .filter(|t| !t.is_text())
        .map(|t| u64::from(t.timescale))
        .try_fold(1u64, |scale, t| Some(scale / gcd(scale, t) * t).filter(|scale| *scale <= i32::MAX as u64));
    whole.map_or(traks[0].timescale, |scale| scale as u32)
}

fn rescaled(ticks: u64, from: u32, to: u32) -> u64 {
    let (from, to) = (u128::from(from), u128::from(to));
    ((u128::from(ticks) * to + from / 2) / from) as u64
}

/// Before a track starts, and how long it is shown, in the movie's ticks. No cue is cut by rounding.
fn span(trak: &Trak<'_>, scale: u32) -> (u64, u64) {
    let shown = rescaled(trak.shown, trak.timescale, scale);
    let cut =
        trak.is_text() && u128::from(shown) * u128::from(trak.timescale) < u128::from(trak.shown) * u128::from(scale);
    (rescaled(trak.start, trak.timescale, scale), shown + u64::from(cut))
}

#[derive(Default)]
struct Writer(Vec<u8>);

impl Writer {
    fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }

    fn u16s(&mut self, words: &[u16]) -> &mut Self {
        words.iter().for_each(|w| self.0.extend_from_slice(&w.to_be_bytes()));
        self
    }

    fn u32s(&mut self, words: &[u32]) -> &mut Self {
        words.iter().for_each(|w| self.0.extend_from_slice(&w.to_be_bytes()));
        self
    }

    fn u64s(&mut self, words: &[u64]) -> &mut Self {
        words.iter().for_each(|w| self.0.extend_from_slice(&w.to_be_bytes()));
        self
    }

    fn boxed(&mut self, name: &[u8; 4], fill: impl FnOnce(&mut Writer)) -> &mut Self {
        let start = self.0.len();
        self.u32s(&[0]).raw(name);
        fill(self);
        let size =
            u32::try_from(self.0.len() - start).expect("tables of 2^22 pictures and 2^31 samples stay below 4 GiB");
        self.0[start..start + 4].copy_from_slice(&size.to_be_bytes());
        self
    }

    fn full(&mut self, name: &[u8; 4], version: u8, flags: u32, fill: impl FnOnce(&mut Writer)) -> &mut Self {
        self.boxed(name, |w| {
            w.u32s(&[u32::from(version) << 24 | flags]);
            fill(w);
        })
    }

    fn matrix(&mut self) -> &mut Self {
        self.u32s(&[0x1_0000, 0, 0, 0, 0x1_0000, 0, 0, 0, 0x4000_0000])
    }
}

const ISO_BRANDS: &[u8] = b"isom\0\0\x02\0isomiso2mp41";
const QT_BRANDS: &[u8] = b"qt  \0\0\x02\0qt  ";

fn head(
    container: Container,
    traks: &[Trak<'_>],
    order: &[(usize, usize)],
    front: u64,
    media: u64,
) -> Result<Vec<u8>, Fault> {
    let mut places: Vec<Vec<u64>> = traks.iter().map(|_| Vec::new()).collect();
    let mut at = front;
    for (track, chunk) in order {
        places[*track].push(at);
        at += traks[*track].chunks[*chunk].piece.bytes;
    }
    let scale = movie_scale(traks);
    let duration = traks.iter().map(|t| span(t, scale)).map(|(start, shown)| start + shown).max().unwrap_or(0);
    let quicktime = container == Container::Mov;
    let mut writer = Writer::default();
    writer.boxed(b"ftyp", |w| {
        w.raw(if quicktime { QT_BRANDS } else { ISO_BRANDS });
    });
    writer.boxed(b"moov", |w| {
        w.full(b"mvhd", 1, 0, |w| {
            w.u64s(&[0, 0]).u32s(&[scale]).u64s(&[duration]).u32s(&[0x1_0000]).u16s(&[0x100, 0]).u32s(&[0, 0]).matrix();
            w.u32s(&[0; 6]).u32s(&[traks.len() as u32 + 1]);
        });
        for ((id, trak), places) in (1..).zip(traks).zip(&places) {
            w.boxed(b"trak", |w| write_trak(w, id, trak, places, scale, quicktime));
        }
    });
    writer.u32s(&[1]).raw(b"mdat").u64s(&[media + 16]);
    Ok(writer.0)
}

fn write_trak(w: &mut Writer, id: u32, trak: &Trak<'_>, places: &[u64], scale: u32, quicktime: bool) {
    let (start, shown) = span(trak, scale);
    // Tracks of one group stand for each other.
    let (group, volume, (width, height), flags) = match trak.kind {
        Kind::Pictures(width, height) => (0, 0, (width, height), 3),
        Kind::Sound => (1, 0x100, (0, 0), 3),
        // In the movie, and enabled if it is shown.
        Kind::Text(width, height, _, shown) => (2, 0, (width, height), 2 | u32::from(shown)),
    };
    w.full(b"tkhd", 1, flags, |w| {
        w.u64s(&[0, 0]).u32s(&[id, 0]).u64s(&[start + shown]).u32s(&[0, 0]).u16s(&[0, group]);
        w.u16s(&[volume, 0]).matrix().u32s(&[width, height]);
    });
    if !trak.is_text() {
        w.boxed(b"edts", |w| {
            w.full(b"elst", 1, 0, |w| {
                w.u32s(&[if start > 0 { 2 } else { 1 }]);
                if start > 0 {
                    w.u64s(&[start, u64::MAX]).u32s(&[0x1_0000]);
                }
                w.u64s(&[shown, trak.skip]).u32s(&[0x1_0000]);
            });
        });
    }
    w.boxed(b"mdia", |w| {
        let media: u64 = trak.durations.iter().map(|(n, d)| u64::from(*n) * u64::from(*d)).sum();
        w.full(b"mdhd", 1, 0, |w| {
            let language = if let Kind::Text(_, _, language, _) = trak.kind { language } else { *b"und" };
            // Five bits a letter.
            let language = language.iter().fold(0, |packed, letter| packed << 5 | u16::from(letter & 31));
            w.u64s(&[0, 0]).u32s(&[trak.timescale]).u64s(&[media]).u16s(&[language, 0]);
        });
        let (kind, name): (&[u8], &[u8]) = match trak.kind {
            Kind::Pictures(..) => (b"vide", b"video"),
            Kind::Sound => (b"soun", b"sound"),
            Kind::Text(..) => (b"sbtl", b"subtitle"),
        };
        write_handler(w, if quicktime { b"mhlr" } else { &[0; 4] }, kind, name, quicktime);
        w.boxed(b"minf", |w| {
            match trak.kind {
                Kind::Pictures(..) => w.full(b"vmhd", 0, 1, |w| _ = w.u32s(&[0, 0])),
                Kind::Sound => w.full(b"smhd", 0, 0, |w| _ = w.u32s(&[0])),
                // QuickTime's header of all that is neither: how it would be drawn, and no balance.
                Kind::Text(..) if quicktime => w.boxed(b"gmhd", |w| {
                    w.full(b"gmin", 0, 0, |w| _ = w.u16s(&[0x40, 0x8000, 0x8000, 0x8000, 0, 0]));
                }),
                Kind::Text(..) => w.full(b"nmhd", 0, 0, |_| {}),
            };
            if quicktime {
                write_handler(w, b"dhlr", b"url ", b"data", true);
            }
            w.boxed(b"dinf", |w| {
                w.full(b"dref", 0, 0, |w| {
                    w.u32s(&[1]).full(b"url ", 0, 1, |_| {});
                });
            });
            w.boxed(b"stbl", |w| write_tables(w, trak, places));
        });
    });
}

fn write_handler(w: &mut Writer, class: &[u8; 4], kind: &[u8], name: &[u8], quicktime: bool) {
    w.full(b"hdlr", 0, 0, |w| {
        w.raw(class).raw(kind).u32s(&[0, 0, 0]);
        // QuickTime's strings say their length, ISO's end with a zero.
        if quicktime {
            w.raw(&[name.len() as u8]).raw(name);
        } else {
            w.raw(name).raw(&[0]);
        }
    });
}

fn write_pairs(w: &mut Writer, pairs: &[(u32, u32)]) {
    w.u32s(&[pairs.len() as u32]);
    pairs.iter().for_each(|(a, b)| _ = w.u32s(&[*a, *b]));
}

fn write_tables(w: &mut Writer, trak: &Trak<'_>, places: &[u64]) {
    w.full(b"stsd", 0, 0, |w| _ = w.u32s(&[1]).raw(trak.entry));
    w.full(b"stts", 0, 0, |w| write_pairs(w, &trak.durations));
    if !trak.offsets.is_empty() {
        w.full(b"ctts", 0, 0, |w| write_pairs(w, &trak.offsets));
    }
    if let Some(sync) = &trak.sync {
        w.full(b"stss", 0, 0, |w| _ = w.u32s(&[sync.len() as u32]).u32s(sync));
    }
    w.full(b"stsc", 0, 0, |w| {
        let mut steps: Vec<(u32, u32)> = Vec::new();
        for (at, chunk) in (1..).zip(&trak.chunks) {
            if steps.last().is_none_or(|step| step.1 != chunk.samples) {
                steps.push((at, chunk.samples));
            }
        }
        w.u32s(&[steps.len() as u32]);
        steps.iter().for_each(|(at, samples)| _ = w.u32s(&[*at, *samples, 1]));
    });
    w.full(b"stsz", 0, 0, |w| match &trak.sizes {
        TrakSizes::Pictures(packs) => {
            let sizes: Vec<u32> =
                packs.iter().flat_map(|(head, _)| &head.cells).flat_map(|c| &c.samples).map(|s| s.bytes).collect();
            w.u32s(&[0, sizes.len() as u32]).u32s(&sizes);
        }
        TrakSizes::Sound(head) => match &head.sizes {
            super::pack::Sizes::Equal { bytes, count } => _ = w.u32s(&[*bytes, *count]),
            super::pack::Sizes::Each(sizes) => _ = w.u32s(&[0, sizes.len() as u32]).u32s(sizes),
        },
        TrakSizes::Text(sizes) => _ = w.u32s(&[0, sizes.len() as u32]).u32s(sizes),
    });
    w.full(b"co64", 0, 0, |w| _ = w.u32s(&[places.len() as u32]).u64s(places));
}
