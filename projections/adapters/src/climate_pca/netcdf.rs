//! The header of a classic NetCDF file (CDF-1, CDF-2): dimensions, variables, and where their numbers lie.
//!
//! Source: NetCDF Users Guide, "NetCDF Classic Format Specification".

use super::table::Number;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use forge_event::Digest;
use forge_projections::family::{Blobs, Fault};

/// Longest header that is read. Units: bytes.
pub const HEADER_BYTES_MAX: u64 = 4 << 20;
/// The header is fetched in pieces of this. Units: bytes.
const PIECE_BYTES: u64 = 16 * 1024;
/// The count of records of a file that was never closed.
const STREAMING: u32 = u32::MAX;

const TAG_DIMENSION: u32 = 10;
const TAG_VARIABLE: u32 = 11;
const TAG_ATTRIBUTE: u32 = 12;

/// Why a file is not taken: kebab-case code, what is wrong, what to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FileFault {
    pub code: &'static str,
    pub detail: String,
    pub fix: &'static str,
}

impl FileFault {
    pub fn new(code: &'static str, detail: impl Into<String>, fix: &'static str) -> FileFault {
        FileFault { code, detail: detail.into(), fix }
    }

    fn malformed(what: &str) -> FileFault {
        let detail = format!("the header is not that of a classic NetCDF file: {what}");
        FileFault::new("netcdf-malformed", detail, "write the file again, with `nccopy -k classic in.nc out.nc`")
    }

    fn truncated() -> FileFault {
        FileFault::new("netcdf-truncated", "the file ends before its numbers do", "upload the file again, whole")
    }
}

impl From<Fault> for FileFault {
    fn from(fault: Fault) -> FileFault {
        FileFault::new(fault.code, fault.detail, "upload the file, whole")
    }
}

/// An axis.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Dimension {
    pub name: String,
    /// Entries; of the record axis, the records that the file has.
    pub length: u64,
    /// The axis that grows: its entries lie interleaved with those of other variables.
    pub record: bool,
}

/// A stored type.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Byte,
    Char,
    Short,
    Int,
    Float,
    Double,
}

impl Kind {
    fn of(code: u32) -> Result<Kind, FileFault> {
        let kinds = [Kind::Byte, Kind::Char, Kind::Short, Kind::Int, Kind::Float, Kind::Double];
        kinds.get((code as usize).wrapping_sub(1)).copied().ok_or_else(|| FileFault::malformed("an unknown type"))
    }

    fn bytes(self) -> u64 {
        match self {
            Kind::Byte | Kind::Char => 1,
            Kind::Short => 2,
            Kind::Int | Kind::Float => 4,
            Kind::Double => 8,
        }
    }

    /// How its numbers are read; `None` for text.
    pub fn number(self) -> Option<Number> {
        match self {
            Kind::Byte => Some(Number::BigI8),
            Kind::Char => None,
            Kind::Short => Some(Number::BigI16),
            Kind::Int => Some(Number::BigI32),
            Kind::Float => Some(Number::BigF32),
            Kind::Double => Some(Number::BigF64),
        }
    }
}

/// What an attribute says.
#[derive(Clone, PartialEq, Debug)]
pub enum Text {
    Words(String),
    Numbers(Vec<f64>),
}

/// A variable.
#[derive(Clone, PartialEq, Debug)]
pub struct Variable {
    pub name: String,
    /// Places in [`Header::dimensions`].
    pub dimensions: Vec<usize>,
    pub kind: Kind,
    /// Where its numbers begin. Units: bytes.
    pub begin: u64,
    attributes: Vec<(String, Text)>,
}

impl Variable {
    /// The words of an attribute.
    pub fn words(&self, name: &str) -> Option<&str> {
        match self.attributes.iter().find(|(n, _)| n == name) {
            Some((_, Text::Words(words))) => Some(words),
            _ => None,
        }
    }

    /// The numbers of an attribute.
    pub fn numbers(&self, name: &str) -> Option<&[f64]> {
        match self.attributes.iter().find(|(n, _)| n == name) {
            Some((_, Text::Numbers(numbers))) => Some(numbers),
            _ => None,
        }
    }
}

/// What stands before the numbers.
#[derive(Clone, PartialEq, Debug)]
pub struct Header {
    pub dimensions: Vec<Dimension>,
    pub variables: Vec<Variable>,
    /// From a record to the next. Units: bytes.
    pub record_bytes: u64,
    /// Length of the file. Units: bytes.
    pub file_bytes: u64,
}

impl Header {
    /// Reads the header of a blob, and makes sure that every number it speaks of is there.
    ///
    /// # Errors
    /// [`FileFault`]: another format, malformed, truncated, or the blob cannot be read.
    pub fn read(blobs: &dyn Blobs, blob: &Digest) -> Result<Header, FileFault> {
        let mut cursor = Cursor { blobs, blob, bytes: Vec::new(), at: 0, file_bytes: blobs.bytes(blob)? };
        let wide = cursor.magic()?;
        let records = cursor.word()?;
        let dimensions = cursor.list(TAG_DIMENSION, |c| {
            let (name, length) = (c.name()?, u64::from(c.word()?));
            Ok(Dimension { name, length, record: length == 0 })
        })?;
        if dimensions.iter().filter(|d| d.record).count() > 1 {
            return Err(FileFault::malformed("more than one record dimension"));
        }
        cursor.list(TAG_ATTRIBUTE, Cursor::attribute)?;
        let count = dimensions.len();
        let variables = cursor.list(TAG_VARIABLE, |c| c.variable(count, wide))?;
        let file_bytes = cursor.file_bytes;
        let mut header = Header { dimensions, variables, record_bytes: 0, file_bytes };
        header.place_records(records)?;
        header.check_ends()?;
        Ok(header)
    }

    /// The variable of this name.
    pub fn variable(&self, name: &str) -> Option<&Variable> {
        self.variables.iter().find(|v| v.name == name)
    }

    /// True if the variable's first axis is the record axis.
    pub fn has_records(&self, variable: &Variable) -> bool {
        variable.dimensions.first().is_some_and(|d| self.dimensions[*d].record)
    }

    /// Lengths of a variable's axes.
    pub fn shape(&self, variable: &Variable) -> Vec<u64> {
        variable.dimensions.iter().map(|d| self.dimensions[*d].length).collect()
    }

    /// Bytes of a variable, or of one record of it, without padding.
    fn part_bytes(&self, variable: &Variable) -> Option<u64> {
        let axes = variable.dimensions.iter().map(|d| &self.dimensions[*d]).filter(|d| !d.record);
        axes.map(|d| d.length).try_fold(variable.kind.bytes(), u64::checked_mul)
    }

    /// Finds the length of a record, and how many there are.
    fn place_records(&mut self, records: u32) -> Result<(), FileFault> {
        let too_large = || FileFault::malformed("a variable is larger than can be addressed");
        let mut sizes = Vec::new();
        for variable in &self.variables {
            if variable.dimensions.iter().skip(1).any(|d| self.dimensions[*d].record) {
                return Err(FileFault::malformed("the record dimension is not a variable's first one"));
            }
            if self.has_records(variable) {
                sizes.push(self.part_bytes(variable).ok_or_else(too_large)?);
            }
        }
        // Only the lone record variable of a file is stored without padding.
        self.record_bytes = match sizes.as_slice() {
            [size] => *size,
            all => {
                let padded = |size: &u64| size.checked_next_multiple_of(4);
                all.iter().try_fold(0u64, |sum, size| sum.checked_add(padded(size)?)).ok_or_else(too_large)?
            }
        };
        let count = if records != STREAMING {
            u64::from(records)
        } else {
            let begins = self.variables.iter().filter(|v| self.has_records(v)).map(|v| v.begin);
            let room = self.file_bytes.saturating_sub(begins.min().unwrap_or(self.file_bytes));
            room.checked_div(self.record_bytes).unwrap_or(0)
        };
        self.dimensions.iter_mut().filter(|d| d.record).for_each(|d| d.length = count);
        Ok(())
    }

    fn check_ends(&self) -> Result<(), FileFault> {
        for variable in &self.variables {
            let part = self.part_bytes(variable).ok_or_else(FileFault::truncated)?;
            let records = if self.has_records(variable) { self.shape(variable)[0] } else { 1 };
            if records == 0 {
                continue;
            }
            let last = (records - 1).checked_mul(self.record_bytes).and_then(|at| at.checked_add(variable.begin));
            let end = last.and_then(|last| last.checked_add(part)).ok_or_else(FileFault::truncated)?;
            if end > self.file_bytes {
                return Err(FileFault::truncated());
            }
        }
        Ok(())
    }
}

/// Reads a header from its begin on, fetching as it goes.
struct Cursor<'a> {
    blobs: &'a dyn Blobs,
    blob: &'a Digest,
    bytes: Vec<u8>,
    at: usize,
    file_bytes: u64,
}

impl Cursor<'_> {
    fn take(&mut self, count: usize) -> Result<&[u8], FileFault> {
        let end = self.at.checked_add(count).filter(|end| *end as u64 <= self.file_bytes);
        let end = end.ok_or_else(FileFault::truncated)?;
        if end as u64 > HEADER_BYTES_MAX {
            let detail = format!("the header is longer than {HEADER_BYTES_MAX} bytes");
            return Err(FileFault::new("netcdf-header-too-long", detail, "drop attributes that are not needed"));
        }
        while self.bytes.len() < end {
            let known = self.bytes.len() as u64;
            let mut piece = vec![0; PIECE_BYTES.max(end as u64 - known).min(self.file_bytes - known) as usize];
            self.blobs.read(self.blob, known, &mut piece)?;
            self.bytes.extend_from_slice(&piece);
        }
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn word(&mut self) -> Result<u32, FileFault> {
        let bytes = self.take(4)?.try_into().expect("four bytes were taken");
        Ok(u32::from_be_bytes(bytes))
    }

    /// True if offsets have eight bytes.
    fn magic(&mut self) -> Result<bool, FileFault> {
        let classic = "write it as classic NetCDF: `nccopy -k classic in.nc out.nc`, or xarray's \
            to_netcdf(format=\"NETCDF3_64BIT\")";
        let not = |detail: &str| FileFault::new("not-netcdf3", detail, classic);
        match self.take(4).map_err(|_| not("the file is too short to be NetCDF"))? {
            b"CDF\x01" => Ok(false),
            b"CDF\x02" => Ok(true),
            b"CDF\x05" => Err(not("this is a CDF-5 file; CDF-1 and CDF-2 are read")),
            b"\x89HDF" => Err(not("this is an HDF5 file (NetCDF-4); CDF-1 and CDF-2 are read")),
            _ => Err(not("this is not a NetCDF file: it does not begin with CDF")),
        }
    }

    /// A counted list, or an absent one.
    fn list<T>(
        &mut self,
        tag: u32,
        mut item: impl FnMut(&mut Self) -> Result<T, FileFault>,
    ) -> Result<Vec<T>, FileFault> {
        let (found, count) = (self.word()?, self.word()?);
        if (found, count) == (0, 0) {
            return Ok(Vec::new());
        }
        if found != tag {
            return Err(FileFault::malformed("a list has another tag than it should"));
        }
        // No room is made ahead: the count may be a lie, the file's end is not.
        let mut items = Vec::new();
        for _ in 0..count {
            items.push(item(self)?);
        }
        Ok(items)
    }

    fn padded(&mut self, count: u64) -> Result<&[u8], FileFault> {
        let whole = count.checked_next_multiple_of(4).and_then(|n| usize::try_from(n).ok());
        let taken = self.take(whole.ok_or_else(FileFault::truncated)?)?;
        Ok(&taken[..count as usize])
    }

    fn name(&mut self) -> Result<String, FileFault> {
        let count = u64::from(self.word()?);
        let bytes = self.padded(count)?;
        let text = core::str::from_utf8(bytes).map_err(|_| FileFault::malformed("a name is not UTF-8"))?;
        Ok(text.to_string())
    }

    fn attribute(&mut self) -> Result<(String, Text), FileFault> {
        let name = self.name()?;
        let kind = Kind::of(self.word()?)?;
        let count = u64::from(self.word()?);
        let bytes = self.padded(count * kind.bytes())?;
        let each = |size: usize, number: fn(&[u8]) -> f64| bytes.chunks_exact(size).map(number).collect();
        fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
            bytes.try_into().expect("chunks of N bytes")
        }
        let text = match kind {
            Kind::Char => Text::Words(String::from_utf8_lossy(bytes).trim_end_matches('\0').to_string()),
            Kind::Byte => Text::Numbers(each(1, |b| f64::from(b[0] as i8))),
            Kind::Short => Text::Numbers(each(2, |b| f64::from(i16::from_be_bytes(array(b))))),
            Kind::Int => Text::Numbers(each(4, |b| f64::from(i32::from_be_bytes(array(b))))),
            Kind::Float => Text::Numbers(each(4, |b| f64::from(f32::from_be_bytes(array(b))))),
            Kind::Double => Text::Numbers(each(8, |b| f64::from_be_bytes(array(b)))),
        };
        Ok((name, text))
    }

    fn variable(&mut self, dimensions: usize, wide: bool) -> Result<Variable, FileFault> {
        let name = self.name()?;
        let count = self.word()?;
        let mut places = Vec::new();
        for _ in 0..count {
            let place = self.word()? as usize;
            if place >= dimensions {
                return Err(FileFault::malformed("a variable names a dimension that is not there"));
            }
            places.push(place);
        }
        let attributes = self.list(TAG_ATTRIBUTE, Cursor::attribute)?;
        let kind = Kind::of(self.word()?)?;
        // The stored size saturates for large variables, so it is worked out from the shape.
        self.word()?;
        let high = if wide { u64::from(self.word()?) << 32 } else { 0 };
        let begin = high | u64::from(self.word()?);
        Ok(Variable { name, dimensions: places, kind, begin, attributes })
    }
}
