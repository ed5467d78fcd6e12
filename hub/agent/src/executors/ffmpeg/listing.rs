//! What ffmpeg's `framemd5` and `framecrc` write: one line a frame.

use forge_event::digest::unhex;

/// A line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Line {
    /// Units: ticks of the stream's time base.
    pub pts: i64,
    pub duration: u64,
    pub bytes: u64,
    /// Zero in a `framecrc` list.
    pub md5: [u8; 16],
}

/// A list of one stream.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Listing {
    /// Numerator, denominator; 0, 0 if there was no stream.
    pub time_base: (u32, u32),
    pub lines: Vec<Line>,
}

/// Reads a list; `None` if it is not one.
pub fn read(text: &str) -> Option<Listing> {
    let mut listing = Listing::default();
    for line in text.lines() {
        if let Some(comment) = line.strip_prefix('#') {
            if let Some(scale) = comment.strip_prefix("tb 0: ") {
                let (num, den) = scale.split_once('/')?;
                listing.time_base = (num.trim().parse().ok()?, den.trim().parse().ok()?);
            }
            continue;
        }
        let mut fields = line.split(',').map(str::trim);
        let (_, _) = (fields.next()?, fields.next()?);
        let (pts, duration, bytes) = (fields.next()?, fields.next()?, fields.next()?);
        listing.lines.push(Line {
            pts: pts.parse().ok()?,
            duration: duration.parse().ok()?,
            bytes: bytes.parse().ok()?,
            md5: unhex(fields.next()?).unwrap_or_default(),
        });
    }
    Some(listing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_with_its_time_base() {
        let text = "#format: frame checksums\n#tb 0: 1/30000\n#dimensions 0: 160x120\n\
            0,          0,       -512,     1001,    28800, b9976a5ae935f148f107deaa7f8e92c3\n";
        let listing = read(text).expect("a list");
        assert_eq!(listing.time_base, (1, 30000));
        let line = listing.lines[0];
        assert_eq!((line.pts, line.duration, line.bytes, line.md5[0]), (-512, 1001, 28800, 0xb9));
    }

    #[test]
    fn other_text_is_no_list() {
        assert_eq!(read("0, 1, N/A, 1, 1, 00"), None);
        assert_eq!(read("what"), None);
    }
}
