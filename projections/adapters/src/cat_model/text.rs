//! Lines and fields of input texts, read chunk by chunk. Arbitrary bytes give a fault, never a panic.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use forge_event::Digest;
use forge_projections::family::{Blobs, Fault};

/// Longest line that is read. Units: bytes.
pub const LINE_BYTES_MAX: usize = 16 * 1024;
/// Largest text that is read. Units: bytes.
pub const TEXT_BYTES_MAX: u64 = 512 * 1024 * 1024;
const CHUNK_BYTES: u64 = 256 * 1024;
/// What files write where a number is missing, besides nothing at all.
const MISSING: [f64; 3] = [-99.0, -999.0, -9999.0];

/// A fault of a line, counted from 1.
pub fn fault(line: u64, code: &'static str, detail: &str) -> Fault {
    Fault::new(code, format!("line {line}: {detail}"))
}

/// Takes one line: its number from 1, and its text without the end.
pub type Take<'a> = &'a mut dyn FnMut(u64, &str) -> Result<(), Fault>;

/// Cuts chunks into lines; LF or CR LF end one, a byte order mark at the start is left out.
#[derive(Debug, Default)]
pub struct Lines {
    partial: Vec<u8>,
    number: u64,
}

impl Lines {
    /// Takes the next bytes of the text.
    ///
    /// # Errors
    /// `line-too-long`, `not-text`, or what `take` says.
    pub fn feed(&mut self, chunk: &[u8], take: Take<'_>) -> Result<(), Fault> {
        let mut pieces = chunk.split(|b| *b == b'\n');
        let mut piece = pieces.next().unwrap_or(&[]);
        for next in pieces {
            self.keep(piece)?;
            self.end_line(take)?;
            piece = next;
        }
        self.keep(piece)
    }

    /// Takes a last line that has no end.
    ///
    /// # Errors
    /// As [`Lines::feed`].
    pub fn finish(mut self, take: Take<'_>) -> Result<(), Fault> {
        if self.partial.is_empty() { Ok(()) } else { self.end_line(take) }
    }

    fn keep(&mut self, piece: &[u8]) -> Result<(), Fault> {
        if self.partial.len() + piece.len() > LINE_BYTES_MAX {
            let detail = format!("a line has at most {LINE_BYTES_MAX} bytes");
            return Err(fault(self.number + 1, "line-too-long", &detail));
        }
        self.partial.extend_from_slice(piece);
        Ok(())
    }

    fn end_line(&mut self, take: Take<'_>) -> Result<(), Fault> {
        self.number += 1;
        let Ok(text) = core::str::from_utf8(&self.partial) else {
            return Err(fault(self.number, "not-text", "these bytes are not UTF-8 text"));
        };
        let text = if self.number == 1 { text.trim_start_matches('\u{feff}') } else { text };
        take(self.number, text.trim_end_matches('\r'))?;
        self.partial.clear();
        Ok(())
    }
}

/// Gives every line of a blob to `take`.
///
/// # Errors
/// `blob-missing`, `blob-too-large`, those of [`Lines::feed`].
pub fn each_line(blobs: &dyn Blobs, digest: &Digest, take: Take<'_>) -> Result<(), Fault> {
    let bytes = blobs.bytes(digest)?;
    if bytes > TEXT_BYTES_MAX {
        let detail = format!("{digest} has {bytes} bytes; at most {TEXT_BYTES_MAX} are read here");
        return Err(Fault::new("blob-too-large", detail));
    }
    let mut lines = Lines::default();
    let mut buffer = Vec::new();
    let mut first = 0;
    while first < bytes {
        buffer.resize((bytes - first).min(CHUNK_BYTES) as usize, 0);
        blobs.read(digest, first, &mut buffer)?;
        lines.feed(&buffer, take)?;
        first += buffer.len() as u64;
    }
    lines.finish(take)
}

/// The fields of a CSV line: trimmed, without the quotes around one. A comma within quotes is not known here.
pub fn fields(line: &str) -> Vec<&str> {
    line.split(',').map(|field| field.trim().trim_matches('"').trim()).collect()
}

/// A finite number.
///
/// # Errors
/// `bad-number`, `not-finite`.
pub fn number(line: u64, name: &str, text: &str) -> Result<f64, Fault> {
    let Ok(value) = text.parse::<f64>() else {
        let detail = format!("`{name}` is `{}`, which is not a number", crate::faults::shown(text));
        return Err(fault(line, "bad-number", &detail));
    };
    if value.is_finite() {
        return Ok(value);
    }
    Err(fault(
        line,
        "not-finite",
        &format!("`{name}` is `{}`; only finite numbers are taken", crate::faults::shown(text)),
    ))
}

/// A finite number from `least` to `most`.
///
/// # Errors
/// Those of [`number`], `out-of-range`.
pub fn within(line: u64, name: &str, text: &str, least: f64, most: f64) -> Result<f64, Fault> {
    let value = number(line, name, text)?;
    check_within(line, name, value, least, most)
}

/// As [`within`], or `None` where the number is missing: nothing there, or -99, -999, -9999.
///
/// # Errors
/// Those of [`within`].
pub fn optional(line: u64, name: &str, text: &str, least: f64, most: f64) -> Result<Option<f64>, Fault> {
    if text.is_empty() {
        return Ok(None);
    }
    let value = number(line, name, text)?;
    if MISSING.contains(&value) {
        return Ok(None);
    }
    check_within(line, name, value, least, most).map(Some)
}

fn check_within(line: u64, name: &str, value: f64, least: f64, most: f64) -> Result<f64, Fault> {
    if (least..=most).contains(&value) {
        return Ok(value);
    }
    Err(fault(line, "out-of-range", &format!("`{name}` is {value:?}; it must be from {least:?} to {most:?}")))
}

/// Places of named columns in a header line.
#[derive(Clone, Debug, Default)]
pub struct Header(Vec<String>);

impl Header {
    /// Reads a header line; names count without case.
    pub fn new(line: &str) -> Header {
        Header(fields(line).into_iter().map(str::to_ascii_lowercase).collect())
    }

    /// Columns there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The first column that has one of these names; names that stand first are preferred.
    pub fn find(&self, names: &[&str]) -> Option<usize> {
        names.iter().find_map(|name| self.0.iter().position(|column| column == name))
    }

    /// As [`Header::find`].
    ///
    /// # Errors
    /// `missing-column`.
    pub fn need(&self, names: &[&str]) -> Result<usize, Fault> {
        self.find(names).ok_or_else(|| {
            let detail = format!("line 1: there is no column `{}`", names.join("` or `"));
            Fault::new("missing-column", detail)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(chunks: &[&[u8]]) -> Result<Vec<String>, &'static str> {
        let (mut lines, mut found) = (Lines::default(), Vec::new());
        let mut take = |_, line: &str| {
            found.push(String::from(line));
            Ok(())
        };
        for chunk in chunks {
            lines.feed(chunk, &mut take).map_err(|f| f.code)?;
        }
        lines.finish(&mut take).map_err(|f| f.code)?;
        Ok(found)
    }

    #[test]
    fn lines_do_not_depend_on_the_chunks() {
        let text = "\u{feff}a,b\r\n1,2\n\nlast".as_bytes();
        let whole = lines(&[text]).expect("text");
        assert_eq!(whole, ["a,b", "1,2", "", "last"]);
        for cut in 0..text.len() {
            assert_eq!(lines(&[&text[..cut], &text[cut..]]).as_ref(), Ok(&whole), "cut at {cut}");
        }
    }

    #[test]
    fn what_is_not_text_is_a_fault() {
        assert_eq!(lines(&[b"\xff\xfe\n"]), Err("not-text"));
        assert_eq!(lines(&[&[b'x'; LINE_BYTES_MAX], b"x"]), Err("line-too-long"));
    }

    #[test]
    fn a_missing_number_is_none_and_nan_is_a_fault() {
        assert_eq!(optional(1, "p", "-999", 800.0, 1100.0), Ok(None));
        assert_eq!(optional(1, "p", "", 800.0, 1100.0), Ok(None));
        assert_eq!(optional(1, "p", "1010", 800.0, 1100.0), Ok(Some(1010.0)));
        for (text, code) in [("nan", "not-finite"), ("inf", "not-finite"), ("x", "bad-number"), ("-5", "out-of-range")]
        {
            assert_eq!(optional(1, "p", text, 800.0, 1100.0).map_err(|f| f.code), Err(code));
        }
    }
}
