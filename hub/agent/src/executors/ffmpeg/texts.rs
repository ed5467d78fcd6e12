//! Subtitle tracks of text: made from the source, and read back from the output.

use super::listing::{self, Line, Listing};
use super::tool::{self, GUARDS, INPUT, QUIET, Scratch, words};
use forge_adapters::ffmpeg::boxes::Track as Boxes;
use forge_adapters::ffmpeg::codec::Container;
use forge_adapters::ffmpeg::pack::front;
use forge_adapters::ffmpeg::texts::{CUES_MAX, Cue, EMPTY, FORMAT, TIMESCALE, Text, TextHead, Told};
use forge_adapters::ffmpeg::wire;
use forge_adapters::ffmpeg::work::Blob;
use forge_adapters::host::{Host, Stop};
use forge_event::Digest;

/// A shard of one subtitle track.
pub struct Speech {
    pub input: Digest,
    /// Among the source's subtitle tracks.
    pub track: u32,
    pub text: Text,
    pub container: Container,
}

/// What is made of a track: as [`TextHead`] says.
struct Made {
    entry: Vec<u8>,
    cues: Vec<Cue>,
    media: Vec<u8>,
}

/// Makes a subtitle track.
///
/// # Errors
/// [`Stop`]: `subtitle-unreadable`, `cues-overlap`, `negative-pts`, …
pub fn run(work: &Speech, host: &mut dyn Host) -> Result<Vec<u8>, Stop> {
    let scratch = Scratch::new()?;
    scratch.fetch(&work.input, host)?;
    let Made { entry, cues, mut media } = match work.container {
        Container::Mkv => work.file(&scratch, host)?,
        Container::Mp4 | Container::Mov => work.samples(&scratch, host)?,
    };
    let Text { language, shown, .. } = work.text;
    let count = cues.len() as u32;
    let head = TextHead { format: FORMAT, language, shown, entry, cues };
    if !head.stands_for(&work.text, work.container) {
        return Err(work.unreadable("its times are beyond what is handled".into()));
    }
    let mut part = front(&head);
    part.append(&mut media);
    let bytes = part.len() as u64;
    Ok(wire::encode(&Told { part: Blob { digest: host.put(&part)?, bytes }, cues: count }))
}

impl Speech {
    fn unreadable(&self, what: String) -> Stop {
        Stop::failed("subtitle-unreadable", format!("subtitle track {}: {what}", self.track))
    }

    /// The source, and this track of it.
    fn opened(&self) -> Vec<String> {
        // Without `-xerror` cues out of order would be moved until they are in order.
        let mut args = words(QUIET.into_iter().chain(["-xerror"]).chain(GUARDS));
        args.extend(words(["-copyts", "-i", &format!("file:{INPUT}")]));
        args
    }

    fn coded(&self) -> Vec<String> {
        words(["-map", &format!("0:{}", self.text.stream), "-c:s", self.text.encoder(self.container)])
    }

    /// For mkv: a Matroska file; none without cues.
    fn file(&self, scratch: &Scratch, host: &mut dyn Host) -> Result<Made, Stop> {
        let mut args = self.opened();
        // The list is of the packets that go into the file, at times that Matroska may not be able to say.
        args.extend(self.coded());
        args.extend(words(["-f", "framemd5", "list"]));
        args.extend(self.coded());
        args.extend(words(["-map_metadata", "-1", "-avoid_negative_ts", "disabled", "-fflags", "+bitexact"]));
        args.extend(words(["-f", "matroska", "text"]));
        tool::run("ffmpeg", &args, scratch, 0, host)?.map_err(|c| self.unreadable(c.0))?;
        let listing = self.listing(scratch)?;
        if listing.lines.is_empty() {
            return Ok(Made { entry: Vec::new(), cues: Vec::new(), media: Vec::new() });
        }
        if let Some(line) = listing.lines.iter().find(|line| line.pts < 0) {
            let (track, (at, _)) = (self.track, span(line, listing.time_base));
            let detail = format!(
                "a cue of subtitle track {track} begins at {at} ms, before time 0, which `mkv` cannot hold: \
                 use mp4 or mov, or set `subtitle` to \"drop\""
            );
            return Err(Stop::failed("negative-pts", detail));
        }
        Ok(Made { entry: Vec::new(), cues: told("text", 0, scratch, host)?, media: scratch.read("text")? })
    }

    /// For mp4 and mov: samples of timed text.
    fn samples(&self, scratch: &Scratch, host: &mut dyn Host) -> Result<Made, Stop> {
        let mut args = self.opened();
        for (form, name) in [("framemd5", "list"), ("data", "raw")] {
            args.extend(self.coded());
            args.extend(words(["-f", form, name]));
        }
        tool::run("ffmpeg", &args, scratch, 0, host)?.map_err(|c| self.unreadable(c.0))?;
        let (listing, raw) = (self.listing(scratch)?, scratch.read("raw")?);
        let mut rest = raw.as_slice();
        let mut cues: Vec<(Cue, &[u8])> = Vec::new();
        for line in &listing.lines {
            let (sample, behind) = usize::try_from(line.bytes)
                .ok()
                .and_then(|bytes| rest.split_at_checked(bytes))
                .ok_or_else(|| self.unreadable("its list and its samples differ".into()))?;
            rest = behind;
            if sample.len() > EMPTY.len() {
                self.push(&mut cues, line, listing.time_base, sample)?;
            }
        }
        let mut media = Vec::new();
        let mut end = 0;
        for (cue, sample) in &cues {
            if cue.start > end {
                media.extend_from_slice(&EMPTY);
            }
            media.extend_from_slice(sample);
            end = cue.end;
        }
        if !cues.is_empty() {
            media.extend_from_slice(&EMPTY);
        }
        let cues = cues.into_iter().map(|(cue, _)| cue).collect();
        Ok(Made { entry: self.entry(scratch, host)?, cues, media })
    }

    fn listing(&self, scratch: &Scratch) -> Result<Listing, Stop> {
        let listing = listing::read(&scratch.text("list")?);
        let listing = listing.ok_or_else(|| self.unreadable("the list of its cues does not read".into()))?;
        if listing.lines.len() > CUES_MAX {
            return Err(self.unreadable(format!("{} cues; at most {CUES_MAX} are taken", listing.lines.len())));
        }
        Ok(listing)
    }

    /// Adds a cue: from time 0 on, as sound is cut there.
    fn push<'a>(
        &self,
        cues: &mut Vec<(Cue, &'a [u8])>,
        line: &Line,
        time_base: (u32, u32),
        sample: &'a [u8],
    ) -> Result<(), Stop> {
        let (start, end) = span(line, time_base);
        if end <= 0 {
            return Ok(());
        }
        let (start, end) = (start.max(0) as u64, end as u64);
        let bytes = u32::try_from(sample.len()).map_err(|_| self.unreadable("a cue is too long".into()))?;
        if start >= end {
            return Err(self.unreadable(format!("cue {} at {start} ms has no duration", cues.len())));
        }
        let count = cues.len();
        if let Some((before, _)) = cues.last_mut().filter(|(before, _)| before.end > start) {
            // QuickTime's texts do not overlap in the source: start and length were rounded apart.
            if self.text.codec != "mov_text" || before.end > start + 1 || before.start >= start {
                let detail = format!(
                    "subtitle track {}: cue {count} begins at {start} ms, before the one ahead ends at {} ms, which `{}` \
                     cannot hold: use mkv, or set `subtitle` to \"drop\"",
                    self.track,
                    before.end,
                    self.container.word()
                );
                return Err(Stop::failed("cues-overlap", detail));
            }
            before.end = start;
        }
        cues.push((Cue { start, end, bytes, md5: line.md5 }, sample));
        Ok(())
    }

    /// The sample entry that goes with the samples.
    fn entry(&self, scratch: &Scratch, host: &mut dyn Host) -> Result<Vec<u8>, Stop> {
        let mut args = self.opened();
        args.extend(self.coded());
        // An empty `moov` has the entry before the first cue; whatever follows is not looked at.
        args.extend(words([
            "-frames:s",
            "1",
            "-movflags",
            "+empty_moov",
            "-fflags",
            "+bitexact",
            "-f",
            "mp4",
            "coded",
        ]));
        tool::run("ffmpeg", &args, scratch, 0, host)?.map_err(|c| self.unreadable(c.0))?;
        let boxes = Boxes::read(&scratch.read("coded")?);
        let entry = boxes.map(|boxes| boxes.entry).filter(|entry| entry.get(4..8) == Some(b"tx3g"));
        entry.ok_or_else(|| self.unreadable("it has no sample entry".into()))
    }
}

/// Start and end of a packet. Units: milliseconds.
fn span(line: &Line, time_base: (u32, u32)) -> (i64, i64) {
    (milliseconds(line.pts, time_base), milliseconds(line.pts.saturating_add_unsigned(line.duration), time_base))
}

/// To the nearest, halves away from 0.
fn milliseconds(ticks: i64, (num, den): (u32, u32)) -> i64 {
    let den = u128::from(den.max(1));
    let whole = (u128::from(ticks.unsigned_abs()) * u128::from(num) * u128::from(TIMESCALE) + den / 2) / den;
    let whole = i64::try_from(whole).unwrap_or(i64::MAX);
    if ticks < 0 { -whole } else { whole }
}

/// The cues of a subtitle track of a file in the scratch folder; `track` is among the file's subtitle tracks.
///
/// # Errors
/// `subtitle-unreadable`.
pub fn told(file: &str, track: usize, scratch: &Scratch, host: &mut dyn Host) -> Result<Vec<Cue>, Stop> {
    let mut args = words(QUIET.into_iter().chain(GUARDS));
    args.extend(words(["-copyts", "-i", &format!("file:{file}"), "-map", &format!("0:s:{track}"), "-c", "copy"]));
    args.extend(words(["-f", "framemd5", "cues"]));
    tool::run("ffmpeg", &args, scratch, 0, host)?.map_err(|c| c.stop("subtitle-unreadable"))?;
    let text = scratch.text("cues")?;
    let listing = listing::read(&text)
        .ok_or_else(|| Stop::failed("subtitle-unreadable", format!("the cues of track {track} do not read")))?;
    let samples = text.lines().any(|line| line == "#codec_id 0: mov_text");
    let cue = |line: &Line| {
        let (start, end) = span(line, listing.time_base);
        let out_of_range = || Stop::failed("subtitle-unreadable", format!("a cue of track {track} lies out of range"));
        Ok(Cue {
            start: u64::try_from(start).map_err(|_| out_of_range())?,
            end: u64::try_from(end).map_err(|_| out_of_range())?,
            bytes: u32::try_from(line.bytes).map_err(|_| out_of_range())?,
            md5: line.md5,
        })
    };
    let shows = |line: &&Line| !samples || line.bytes > EMPTY.len() as u64;
    listing.lines.iter().filter(shows).map(cue).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rounded_to_the_nearest_millisecond_on_both_sides_of_zero() {
        for (ticks, base, due) in
            [(45, (1, 90_000), 1), (44, (1, 90_000), 0), (-45, (1, 90_000), -1), (30_000, (1001, 30_000), 1_001_000)]
        {
            assert_eq!(milliseconds(ticks, base), due);
        }
        assert_eq!(milliseconds(i64::MIN, (u32::MAX, 1)), -i64::MAX);
    }
}
