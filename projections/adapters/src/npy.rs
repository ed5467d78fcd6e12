//! `.npy`: the header of an array of floats, read (v1 to v3) and written (v1.0, as `numpy.save` does).
//!
//! Source: NumPy, `numpy/lib/_format_impl.py`. Only what families compute with is taken: little-endian f32 and f64.

use crate::host::{Host, Stop};
use crate::json;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use forge_event::Digest;
use forge_projections::family::{Blobs, Fault, SpecFault};
use serde::{Deserialize, Serialize};

/// Longest header that is read. Units: bytes.
pub const HEADER_BYTES_MAX: u64 = 64 * 1024;
/// Most axes, as in NumPy.
pub const AXES_MAX: usize = 64;

const MAGIC: &[u8; 6] = b"\x93NUMPY";
/// The longest prefix before the text: magic, version, length. Units: bytes.
const PREFIX_BYTES_MAX: u64 = 12;
/// The header, prefix included, is a multiple of this. Units: bytes.
const ALIGN: usize = 64;
/// NumPy leaves room for the first axis to grow to this many digits.
const GROWTH_DIGITS: usize = 21;

/// Type of the entries; little-endian.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum Dtype {
    F32,
    F64,
}

impl Dtype {
    /// Units: bytes an entry.
    pub fn bytes(self) -> u64 {
        match self {
            Dtype::F32 => 4,
            Dtype::F64 => 8,
        }
    }

    /// As NumPy writes it.
    pub fn descr(self) -> &'static str {
        match self {
            Dtype::F32 => "<f4",
            Dtype::F64 => "<f8",
        }
    }
}

/// What stands before the entries.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Header {
    pub dtype: Dtype,
    /// Entries along each axis; none for a single number.
    pub shape: Vec<u64>,
    /// The first axis varies fastest, not the last one.
    pub fortran: bool,
    /// Where the entries begin. Units: bytes.
    pub data_start: u64,
}

/// Why a blob is not an array that can be read here.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NpyFault {
    /// The blob itself cannot be read.
    Blob(Fault),
    /// It does not begin as `.npy` files do.
    Magic,
    /// A version after 3.
    Version(u8),
    /// It ends inside its header.
    Truncated,
    /// The header has more than [`HEADER_BYTES_MAX`].
    HeaderTooLong(u64),
    /// The header is not the dictionary that it should be.
    Header(&'static str),
    /// Entries with the most significant byte first.
    BigEndian(String),
    /// Entries that are Python objects.
    Object,
    /// Entries of several fields.
    Structured,
    /// Another type than f32 and f64.
    Dtype(String),
    /// The first axis varies fastest; for families that do not take that.
    Fortran,
    /// More entries than can be addressed.
    ShapeOverflow,
    /// Another number of bytes than the shape says.
    Length { expected: u64, found: u64 },
}

impl NpyFault {
    /// Kebab-case, for machines.
    pub fn code(&self) -> &'static str {
        match self {
            NpyFault::Blob(fault) => fault.code,
            NpyFault::Magic => "not-npy",
            NpyFault::Version(_) => "npy-version",
            NpyFault::Truncated => "npy-truncated",
            NpyFault::HeaderTooLong(_) => "npy-header-too-long",
            NpyFault::Header(_) => "npy-header",
            NpyFault::BigEndian(_) => "npy-big-endian",
            NpyFault::Object => "npy-object",
            NpyFault::Structured => "npy-structured",
            NpyFault::Dtype(_) => "npy-dtype",
            NpyFault::Fortran => "npy-fortran-order",
            NpyFault::ShapeOverflow => "npy-shape-overflow",
            NpyFault::Length { .. } => "npy-length",
        }
    }

    /// What to do; empty if there is nothing to say.
    pub fn fix(&self) -> &'static str {
        match self {
            NpyFault::Blob(_) | NpyFault::Truncated | NpyFault::Length { .. } => "upload the file again, whole",
            NpyFault::BigEndian(_) => "write it as numpy.save(file, a.astype('<f8')) or '<f4'",
            NpyFault::Object | NpyFault::Structured | NpyFault::Dtype(_) => "write an array of float64 or float32",
            NpyFault::Fortran => "write it as numpy.save(file, numpy.ascontiguousarray(a))",
            NpyFault::ShapeOverflow => "",
            _ => "write it with numpy.save",
        }
    }

    /// The fault of the spec's field at `pointer`, which names the blob.
    pub fn at(&self, pointer: &str) -> SpecFault {
        let fix = Some(self.fix().to_string()).filter(|fix| !fix.is_empty());
        SpecFault { pointer: pointer.into(), code: self.code(), detail: self.to_string(), fix }
    }
}

impl fmt::Display for NpyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NpyFault::Blob(fault) => f.write_str(&fault.detail),
            NpyFault::Magic => f.write_str("this is not a .npy file: it does not begin with \\x93NUMPY"),
            NpyFault::Version(major) => write!(f, "version {major} of .npy is not known here; 1 to 3 are"),
            NpyFault::Truncated => f.write_str("the file ends inside its header"),
            NpyFault::HeaderTooLong(bytes) => {
                write!(f, "the header has {bytes} bytes; at most {HEADER_BYTES_MAX} are read")
            }
            NpyFault::Header(what) => write!(f, "the header is not one that numpy writes: {what}"),
            NpyFault::BigEndian(descr) => write!(f, "entries are big-endian ({descr}); only <f8 and <f4 are read"),
            NpyFault::Object => f.write_str("entries are Python objects; only <f8 and <f4 are read"),
            NpyFault::Structured => f.write_str("entries have several fields; only <f8 and <f4 are read"),
            NpyFault::Dtype(descr) => write!(f, "entries are {descr}; only <f8 and <f4 are read"),
            NpyFault::Fortran => f.write_str("the array is in Fortran order; only C order is read here"),
            NpyFault::ShapeOverflow => f.write_str("the shape has more entries than can be addressed"),
            NpyFault::Length { expected, found } => {
                write!(f, "dtype and shape ask for a file of {expected} bytes; it has {found}")
            }
        }
    }
}

impl From<Fault> for NpyFault {
    fn from(fault: Fault) -> NpyFault {
        NpyFault::Blob(fault)
    }
}

impl From<NpyFault> for Fault {
    fn from(fault: NpyFault) -> Fault {
        Fault::new(fault.code(), fault.to_string())
    }
}

impl From<NpyFault> for Stop {
    fn from(fault: NpyFault) -> Stop {
        Stop::failed(fault.code(), fault.to_string())
    }
}

impl Header {
    /// An array in C order, as [`Header::encode`] writes it.
    ///
    /// Shape: `data_start` is where its entries will begin.
    pub fn c_order(dtype: Dtype, shape: &[u64]) -> Header {
        let data_start = text(dtype, shape).len() as u64;
        Header { dtype, shape: shape.to_vec(), fortran: false, data_start }
    }

    /// The header of an array that lies in memory.
    ///
    /// # Errors
    /// [`NpyFault`], never `Blob`.
    pub fn of_slice(bytes: &[u8]) -> Result<Header, NpyFault> {
        read(bytes.len() as u64, &mut |first, buffer| {
            let part = bytes.get(first as usize..).and_then(|b| b.get(..buffer.len()));
            buffer.copy_from_slice(part.ok_or(NpyFault::Truncated)?);
            Ok(())
        })
    }

    /// The header of a blob, as the hub sees it.
    ///
    /// # Errors
    /// [`NpyFault`].
    pub fn of_blob(blobs: &dyn Blobs, digest: &Digest) -> Result<Header, NpyFault> {
        read(blobs.bytes(digest)?, &mut |first, buffer| Ok(blobs.read(digest, first, buffer)?))
    }

    /// The header of a blob, as a shard sees it.
    ///
    /// # Errors
    /// [`Stop::Failed`] with the code of a [`NpyFault`], or what the host says.
    pub fn of_host(host: &mut dyn Host, digest: &Digest) -> Result<Header, Stop> {
        let bytes = host.blob_bytes(digest)?;
        read(bytes, &mut |first, buffer| host.read(digest, first, buffer))
    }

    /// The bytes before the entries: version 1.0, padded to 64, as `numpy.save` writes them.
    ///
    /// # Panics
    /// If the array is in Fortran order: nothing here writes one.
    pub fn encode(&self) -> Vec<u8> {
        assert!(!self.fortran, "arrays are written in C order");
        text(self.dtype, &self.shape)
    }

    /// Entries of the whole array. It was bounded when the header was read.
    pub fn count(&self) -> u64 {
        self.shape.iter().product()
    }

    /// Length of the whole file. Units: bytes.
    pub fn file_bytes(&self) -> u64 {
        self.data_start + self.count() * self.dtype.bytes()
    }
}

/// Fills a buffer from a byte on.
type Part<'a, E> = &'a mut dyn FnMut(u64, &mut [u8]) -> Result<(), E>;

/// Reads a header through `part`; `bytes` is the length of the file.
fn read<E: From<NpyFault>>(bytes: u64, part: Part<'_, E>) -> Result<Header, E> {
    let mut prefix = [0; PREFIX_BYTES_MAX as usize];
    let first = &mut prefix[..bytes.min(PREFIX_BYTES_MAX) as usize];
    part(0, first)?;
    if !first.iter().zip(MAGIC).all(|(found, magic)| found == magic) || first.is_empty() {
        return Err(NpyFault::Magic.into());
    }
    let (start, length) = match first {
        [_, _, _, _, _, _, 1, _, low, high, ..] => (10, u64::from(u16::from_le_bytes([*low, *high]))),
        [_, _, _, _, _, _, 2 | 3, _, a, b, c, d] => (12, u64::from(u32::from_le_bytes([*a, *b, *c, *d]))),
        [_, _, _, _, _, _, major, ..] if !(1..=3).contains(major) => return Err(NpyFault::Version(*major).into()),
        _ => return Err(NpyFault::Truncated.into()),
    };
    if length > HEADER_BYTES_MAX {
        return Err(NpyFault::HeaderTooLong(length).into());
    }
    if bytes < start + length {
        return Err(NpyFault::Truncated.into());
    }
    let mut text = alloc::vec![0; length as usize];
    part(start, &mut text)?;
    let text = core::str::from_utf8(&text).map_err(|_| NpyFault::Header("it is not text"))?;
    let header = Dictionary { rest: text }.header(start + length)?;
    let data = header.shape.iter().try_fold(header.dtype.bytes(), |product, n| product.checked_mul(*n));
    // An axis of zero entries hides no overflow: the product of the others must be addressable as well.
    let others = header.shape.iter().filter(|n| **n > 0).try_fold(header.dtype.bytes(), |p, n| p.checked_mul(*n));
    let (Some(data), Some(_)) = (data, others.filter(|p| *p <= i64::MAX as u64)) else {
        return Err(NpyFault::ShapeOverflow.into());
    };
    let expected = header.data_start + data;
    if bytes != expected {
        return Err(NpyFault::Length { expected, found: bytes }.into());
    }
    Ok(header)
}

/// The whole v1.0 header of an array in C order.
fn text(dtype: Dtype, shape: &[u64]) -> Vec<u8> {
    let mut axes = String::new();
    for (i, axis) in shape.iter().enumerate() {
        json::write(&mut axes, format_args!("{}{axis}", if i > 0 { ", " } else { "" }));
    }
    if shape.len() == 1 {
        axes.push(',');
    }
    let mut text = format!("{{'descr': '{}', 'fortran_order': False, 'shape': ({axes}), }}", dtype.descr());
    let growth = shape.first().map_or(0, |axis| GROWTH_DIGITS - axis.to_string().len());
    // NumPy pads by a whole unit where nothing would be missing.
    let unpadded = 10 + text.len() + growth + 1;
    let padding = growth + ALIGN - unpadded % ALIGN;
    text.extend(core::iter::repeat_n(' ', padding));
    text.push('\n');
    let length = u16::try_from(text.len()).expect("an array of a few axes has a short header");
    [MAGIC.as_slice(), &[1, 0], &length.to_le_bytes(), text.as_bytes()].concat()
}

/// The rest of a header's text: a Python dictionary of three keys.
struct Dictionary<'a> {
    rest: &'a str,
}

impl<'a> Dictionary<'a> {
    fn header(mut self, data_start: u64) -> Result<Header, NpyFault> {
        let (mut dtype, mut fortran, mut shape) = (None, None, None);
        self.must("{")?;
        while !self.take("}") {
            let key = self.quoted()?;
            self.must(":")?;
            let before = match key {
                "descr" => dtype.replace(self.dtype()?).is_some(),
                "fortran_order" => fortran.replace(self.flag()?).is_some(),
                "shape" => shape.replace(self.shape()?).is_some(),
                _ => return Err(NpyFault::Header("it has a key that is not descr, fortran_order or shape")),
            };
            if before {
                return Err(NpyFault::Header("it has a key twice"));
            }
            if !self.take(",") && !self.rest.trim_start().starts_with('}') {
                return Err(NpyFault::Header("a comma is missing"));
            }
        }
        if !self.rest.trim().is_empty() {
            return Err(NpyFault::Header("something stands behind the dictionary"));
        }
        match (dtype, fortran, shape) {
            (Some(dtype), Some(fortran), Some(shape)) => Ok(Header { dtype, shape, fortran, data_start }),
            _ => Err(NpyFault::Header("one of descr, fortran_order and shape is missing")),
        }
    }

    /// Takes `word`, if it is next.
    fn take(&mut self, word: &str) -> bool {
        let next = self.rest.trim_start().strip_prefix(word);
        self.rest = next.unwrap_or(self.rest);
        next.is_some()
    }

    fn must(&mut self, word: &'static str) -> Result<(), NpyFault> {
        self.take(word).then_some(()).ok_or(NpyFault::Header("it is not a dictionary"))
    }

    fn quoted(&mut self) -> Result<&'a str, NpyFault> {
        let not = NpyFault::Header("a quoted word is missing");
        let text = self.rest.trim_start();
        let quote = text.chars().next().filter(|c| ['\'', '"'].contains(c)).ok_or(not.clone())?;
        let (word, rest) = text[1..].split_once(quote).ok_or(not)?;
        self.rest = rest;
        Ok(word)
    }

    fn dtype(&mut self) -> Result<Dtype, NpyFault> {
        if self.rest.trim_start().starts_with(['[', '(']) {
            return Err(NpyFault::Structured);
        }
        match self.quoted()? {
            "<f4" => Ok(Dtype::F32),
            "<f8" => Ok(Dtype::F64),
            word if word.starts_with('>') => Err(NpyFault::BigEndian(crate::faults::shown(word))),
            word if word.trim_start_matches(['|', '<', '=']).starts_with('O') => Err(NpyFault::Object),
            word if word.trim_start_matches(['|', '<', '=']).starts_with('V') => Err(NpyFault::Structured),
            word => Err(NpyFault::Dtype(crate::faults::shown(word))),
        }
    }

    fn flag(&mut self) -> Result<bool, NpyFault> {
        if self.take("True") {
            return Ok(true);
        }
        self.take("False").then_some(false).ok_or(NpyFault::Header("fortran_order is neither True nor False"))
    }

    fn shape(&mut self) -> Result<Vec<u64>, NpyFault> {
        let not = || NpyFault::Header("shape is not a tuple of lengths");
        let inside = self.rest.trim_start().strip_prefix('(').ok_or_else(not)?;
        let (inside, rest) = inside.split_once(')').ok_or_else(not)?;
        self.rest = rest;
        if inside.trim().is_empty() {
            return Ok(Vec::new());
        }
        let (list, trailing) = match inside.trim_end().strip_suffix(',') {
            Some(list) => (list, true),
            None => (inside, false),
        };
        let mut shape = Vec::new();
        for word in list.split(',').map(str::trim) {
            if word.is_empty() || !word.bytes().all(|b| b.is_ascii_digit()) {
                return Err(not());
            }
            // Digits that do not fit are a length that cannot be addressed.
            shape.push(word.parse().map_err(|_| NpyFault::ShapeOverflow)?);
            if shape.len() > AXES_MAX {
                return Err(NpyFault::Header("shape has too many axes"));
            }
        }
        // `(3)` is a number in Python, not a tuple.
        (shape.len() > 1 || trailing).then_some(shape).ok_or_else(not)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(version: u8, text: &str, data: usize) -> Vec<u8> {
        let mut bytes = [MAGIC.as_slice(), &[version, 0]].concat();
        match version {
            1 => bytes.extend((text.len() as u16).to_le_bytes()),
            _ => bytes.extend((text.len() as u32).to_le_bytes()),
        }
        bytes.extend(text.as_bytes());
        bytes.resize(bytes.len() + data, 0);
        bytes
    }

    fn fault(text: &str, data: usize) -> &'static str {
        Header::of_slice(&file(1, text, data)).expect_err("the file is bad").code()
    }

    #[test]
    fn what_is_written_is_read() {
        for shape in [&[][..], &[0], &[7], &[3, 4], &[2, 0, 5], &[123_456, 789]] {
            for dtype in [Dtype::F32, Dtype::F64] {
                let header = Header::c_order(dtype, shape);
                let mut bytes = header.encode();
                assert_eq!((bytes.len() % 64, bytes.len() as u64), (0, header.data_start));
                bytes.resize(header.file_bytes().min(1 << 20) as usize, 0);
                if bytes.len() as u64 == header.file_bytes() {
                    assert_eq!(Header::of_slice(&bytes), Ok(header));
                }
            }
        }
    }

    /// `numpy.save` of NumPy 2.4: the text without its padding, and the whole length.
    #[test]
    fn the_header_is_numpys_byte_for_byte() {
        for (shape, text, length) in [
            (&[][..], "{'descr': '<f8', 'fortran_order': False, 'shape': (), }", 128),
            (&[3], "{'descr': '<f8', 'fortran_order': False, 'shape': (3,), }", 128),
            (&[3, 4], "{'descr': '<f8', 'fortran_order': False, 'shape': (3, 4), }", 128),
            (&[2, 3, 4], "{'descr': '<f8', 'fortran_order': False, 'shape': (2, 3, 4), }", 128),
        ] {
            let bytes = Header::c_order(Dtype::F64, shape).encode();
            assert_eq!(bytes.len(), length);
            assert_eq!(&bytes[..10], b"\x93NUMPY\x01\x00\x76\x00");
            assert_eq!(core::str::from_utf8(&bytes[10..]).map(str::trim_end), Ok(text));
            assert!(bytes[10 + text.len()..length - 1].iter().all(|b| *b == b' ') && bytes[length - 1] == b'\n');
        }
        // 10 + 98 + 20 + 1 is past 128: the room to grow takes another unit.
        assert_eq!(Header::c_order(Dtype::F64, &[1; 15]).encode().len(), 192);
    }

    #[test]
    fn versions_orders_and_quotes_are_read() {
        let text = r#"{"shape": (2,3,), 'fortran_order':True,"descr":'<f4'}   "#;
        for version in [1, 2, 3] {
            let header = Header::of_slice(&file(version, text, 24)).expect("a good header");
            assert_eq!((header.dtype, &*header.shape, header.fortran), (Dtype::F32, &[2, 3][..], true));
            assert_eq!(header.data_start, if version == 1 { 10 } else { 12 } + text.len() as u64);
        }
    }

    #[test]
    fn each_bad_file_has_its_code() {
        let with =
            |descr: &str, shape: &str| format!("{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n");
        assert_eq!(fault(&with("'>f8'", "(1,)"), 8), "npy-big-endian");
        assert_eq!(fault(&with("'|O'", "(1,)"), 8), "npy-object");
        assert_eq!(fault(&with("[('a', '<f8')]", "(1,)"), 8), "npy-structured");
        assert_eq!(fault(&with("'|V8'", "(1,)"), 8), "npy-structured");
        assert_eq!(fault(&with("'|u1'", "(1,)"), 1), "npy-dtype");
        assert_eq!(fault(&with("'<i8'", "(1,)"), 8), "npy-dtype");
        assert_eq!(fault(&with("'<f8'", "(2,)"), 8), "npy-length");
        assert_eq!(fault(&with("'<f8'", "(1,)"), 9), "npy-length");
        assert_eq!(fault(&with("'<f8'", "(4294967296, 4294967296)"), 0), "npy-shape-overflow");
        assert_eq!(fault(&with("'<f8'", "(4294967296, 0, 4294967296)"), 0), "npy-shape-overflow");
        assert_eq!(fault(&with("'<f8'", "(99999999999999999999,)"), 0), "npy-shape-overflow");
        for shape in ["3", "(3)", "(,)", "(-1,)", "(1 2,)", "(1,,2)", "(1.0,)", "[1]", "(1"] {
            assert_eq!(fault(&with("'<f8'", shape), 8), "npy-header", "{shape}");
        }
        assert_eq!(fault("{'descr': '<f8', 'fortran_order': False}", 8), "npy-header");
        assert_eq!(fault("{'descr': '<f8', 'descr': '<f8', 'shape': (1,)}", 8), "npy-header");
        assert_eq!(fault("{'descr': '<f8', 'fortran_order': 0, 'shape': (1,)}", 8), "npy-header");
        assert_eq!(fault(&(with("'<f8'", "(1,)") + "x"), 8), "npy-header");
        assert_eq!(fault("{", 0), "npy-header");
        assert_eq!(fault("", 0), "npy-header");
    }

    #[test]
    fn a_file_cut_anywhere_is_refused() {
        let mut bytes = Header::c_order(Dtype::F64, &[1]).encode();
        bytes.extend([0; 8]);
        for cut in 0..bytes.len() {
            let code = Header::of_slice(&bytes[..cut]).expect_err("it is cut").code();
            let expected = match cut {
                0 => "not-npy",
                1..128 => "npy-truncated",
                _ => "npy-length",
            };
            assert_eq!(code, expected, "{cut}");
        }
        assert_eq!(Header::of_slice(b"PK\x03\x04").map_err(|f| f.code()), Err("not-npy"));
        assert_eq!(Header::of_slice(b"\x93NUMPY\x04\x00\x00\x00").map_err(|f| f.code()), Err("npy-version"));
        let long = [MAGIC.as_slice(), &[2, 0], &70_000u32.to_le_bytes()].concat();
        assert_eq!(Header::of_slice(&long).map_err(|f| f.code()), Err("npy-header-too-long"));
    }

    #[test]
    fn a_fault_points_at_its_field() {
        let fault = NpyFault::BigEndian(">f8".into()).at("/spec/A");
        assert_eq!((&*fault.pointer, fault.code, fault.fix.is_some()), ("/spec/A", "npy-big-endian", true));
    }
}
