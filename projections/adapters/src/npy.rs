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

    /// What to do.
    pub fn fix(&self) -> &'static str {
        match self {
            NpyFault::Blob(_) | NpyFault::Truncated | NpyFault::Length { .. } => "upload the file again, whole",
            NpyFault::BigEndian(_) => "write it as numpy.save(file, a.astype('<f8')) or '<f4'",
            NpyFault::Object | NpyFault::Structured | NpyFault::Dtype(_) => "write an array of float64 or float32",
            NpyFault::Fortran => "write it as numpy.save(file, numpy.ascontiguousarray(a))",
            NpyFault::ShapeOverflow => "cut the array into several",
            _ => "write it with numpy.save",
        }
    }

    /// The fault of the spec's field at `pointer`, which names the blob.
    pub fn at(&self, pointer: &str) -> SpecFault {
        SpecFault { pointer: pointer.into(), code: self.code(), detail: self.to_string(), fix: Some(self.fix().into()) }
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
