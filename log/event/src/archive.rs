//! The archive: segments and exports are one format, given to the byte.
//!
//! ```text
//! header    frame, version 1: [`Header`]
//! turns     their frames as they were appended, one after another
//! trailer   frame, version 255: [`Trailer`]
//! ```
//!
//! A file without its trailer is a cut file and is refused.

use crate::chain::Head;
use crate::codec::{self, DecodeError, FRAME_HEADER_BYTES, Places};
use crate::limits::TURN_BYTES_MAX;
use crate::turn::Turn;
use crate::upcast;
use alloc::vec::Vec;
use core::fmt;
use serde::{Deserialize, Serialize};

/// First field of every archive file.
pub const MAGIC: [u8; 8] = *b"FORGELOG";
const HEADER_VERSION: u8 = 1;
const TRAILER_VERSION: u8 = 255;
const EDGE_BYTES_MAX: usize = 256;

/// What stands before the turns.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Header {
    pub magic: [u8; 8],
    /// BLAKE3 of the genesis turn's frame; zeros while the log is empty.
    pub cluster: crate::digest::Digest,
    /// The head before the first turn.
    pub before: Head,
}

/// What stands behind the turns.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Trailer {
    /// Turns and events of this file.
    pub turns: u64,
    pub events: u64,
    /// The head after the last turn.
    pub head: Head,
}

/// The header's bytes.
pub fn encode_header(header: &Header) -> Vec<u8> {
    codec::frame(HEADER_VERSION, &postcard::to_allocvec(header).expect("a header can be written"))
}

/// The trailer's bytes.
pub fn encode_trailer(trailer: &Trailer) -> Vec<u8> {
    codec::frame(TRAILER_VERSION, &postcard::to_allocvec(trailer).expect("a trailer can be written"))
}

/// What is wrong with an archive's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArchiveError {
    /// A frame that cannot be read.
    Frame(DecodeError),
    /// Not an archive of this format.
    Header,
    /// A turn that does not follow the one before, or a trailer that does not fit.
    Chain,
    /// Bytes behind the trailer.
    TrailingBytes,
}

impl fmt::Display for ArchiveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ArchiveError::Frame(e) => e.fmt(f),
            ArchiveError::Header => f.write_str("this is not a forge archive"),
            ArchiveError::Chain => f.write_str("the hash chain breaks here"),
            ArchiveError::TrailingBytes => f.write_str("bytes stand behind the trailer"),
        }
    }
}

impl core::error::Error for ArchiveError {}

/// A turn of an archive with its bytes.
#[derive(Debug)]
pub struct Step<'a> {
    pub turn: Turn,
    pub frame: &'a [u8],
    /// Where its events stand in the frame.
    pub places: Places,
    /// The head after it.
    pub head: Head,
    /// Where its frame starts in the file. Units: bytes.
    pub offset: usize,
}

/// Reads an archive held in memory, turn by turn, checking frames, chain and trailer.
pub struct Reader<'a> {
    bytes: &'a [u8],
    offset: usize,
    head: Head,
    first: Head,
    pub header: Header,
    done: bool,
}

impl<'a> Reader<'a> {
    /// # Errors
    /// If the header cannot be read.
    pub fn new(bytes: &'a [u8]) -> Result<Self, ArchiveError> {
        let (version, payload, rest) = codec::unframe(bytes, EDGE_BYTES_MAX).map_err(|e| match e {
            DecodeError::TooLong => ArchiveError::Header,
            other => ArchiveError::Frame(other),
        })?;
        let header: Header = match postcard::take_from_bytes(payload) {
            Ok((header, [])) if version == HEADER_VERSION => header,
            _ => return Err(ArchiveError::Header),
        };
        if header.magic != MAGIC {
            return Err(ArchiveError::Header);
        }
        let offset = bytes.len() - rest.len();
        Ok(Reader { bytes, offset, head: header.before, first: header.before, header, done: false })
    }

    /// The head after what was read.
    pub fn head(&self) -> Head {
        self.head
    }

    /// Where reading stands. Units: bytes.
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// The next turn; `None` behind a good trailer.
    ///
    /// # Errors
    /// [`ArchiveError`]; [`Reader::offset`] then tells where the bad frame starts.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Option<Result<Step<'a>, ArchiveError>> {
        if self.done {
            return None;
        }
        let step = self.step();
        self.done = !matches!(step, Ok(Some(_)));
        step.transpose()
    }

    fn step(&mut self) -> Result<Option<Step<'a>>, ArchiveError> {
        let bytes = &self.bytes[self.offset..];
        let (version, payload, rest) = codec::unframe(bytes, TURN_BYTES_MAX).map_err(ArchiveError::Frame)?;
        if version == TRAILER_VERSION {
            return self.trailer(payload, rest).map(|()| None);
        }
        let (turn, places) = upcast::turn(version, payload).map_err(ArchiveError::Frame)?;
        if turn.expected != self.head {
            return Err(ArchiveError::Chain);
        }
        let length = bytes.len() - rest.len();
        let frame = &bytes[..length];
        let step = Step { head: self.head.after(frame, turn.len()), turn, frame, places, offset: self.offset };
        self.head = step.head;
        self.offset += length;
        Ok(Some(step))
    }

    fn trailer(&mut self, payload: &[u8], rest: &[u8]) -> Result<(), ArchiveError> {
        let trailer: Trailer = match postcard::take_from_bytes(payload) {
            Ok((trailer, [])) => trailer,
            _ => return Err(ArchiveError::Frame(DecodeError::Malformed)),
        };
        let turns = self.head.turns - self.first.turns;
        let events = self.head.events - self.first.events;
        if trailer != (Trailer { turns, events, head: self.head }) {
            return Err(ArchiveError::Chain);
        }
        if !rest.is_empty() {
            return Err(ArchiveError::TrailingBytes);
        }
        self.offset += FRAME_HEADER_BYTES + payload.len();
        Ok(())
    }
}
