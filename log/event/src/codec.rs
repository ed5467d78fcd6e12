//! The frame around every frozen value, and the turn's canonical bytes.
//!
//! ```text
//! byte 0      format version
//! bytes 1-4   payload length, little-endian
//! bytes 5-8   CRC-32 (IEEE) of bytes 0-4 and the payload, little-endian
//! bytes 9-    payload (postcard)
//! ```

use crate::event::Nature;
use crate::limits::TURN_BYTES_MAX;
use crate::turn::Turn;
use crate::upcast;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;

/// Version of the turn's encoding.
pub const TURN_VERSION: u8 = 1;
/// Bytes before the payload.
pub const FRAME_HEADER_BYTES: usize = 9;

/// Why bytes are no frame, or no turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// Fewer bytes than the header or its length say.
    Truncated,
    /// Longer than the format allows.
    TooLong,
    /// The checksum does not fit.
    Checksum,
    /// A version this program does not read.
    Version(u8),
    /// The payload is not what the version says: an unknown event, a bad field, bytes left over.
    Malformed,
    /// A decision among the facts or a fact among the decisions.
    WrongList,
    /// Equal values must have equal bytes; these are not the canonical ones.
    NotCanonical,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DecodeError::Truncated => f.write_str("the frame is cut short"),
            DecodeError::TooLong => f.write_str("the frame is longer than its format allows"),
            DecodeError::Checksum => f.write_str("the frame's checksum does not fit its bytes"),
            DecodeError::Version(v) => write!(f, "format version {v} is not one this program reads"),
            DecodeError::Malformed => f.write_str("the payload holds an unknown event or a malformed field"),
            DecodeError::WrongList => f.write_str("a decision stands among the facts or a fact among the decisions"),
            DecodeError::NotCanonical => f.write_str("the bytes are not the canonical ones of their value"),
        }
    }
}

impl core::error::Error for DecodeError {}

/// A framed payload.
///
/// # Panics
/// If `payload` passes 4 GiB.
pub fn frame(version: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(FRAME_HEADER_BYTES + payload.len());
    bytes.extend_from_slice(&[0; FRAME_HEADER_BYTES]);
    bytes.extend_from_slice(payload);
    frame_in_place(version, &mut bytes);
    bytes
}

/// Makes a frame of `bytes`, whose first [`FRAME_HEADER_BYTES`] are room for the header and the rest is the payload.
///
/// # Panics
/// If there is no such room, or the payload passes 4 GiB.
pub fn frame_in_place(version: u8, bytes: &mut [u8]) {
    let (head, payload) = bytes.split_at_mut(FRAME_HEADER_BYTES);
    head[0] = version;
    head[1..5].copy_from_slice(&u32::try_from(payload.len()).expect("a frame is below 4 GiB").to_le_bytes());
    let crc = checksum(&head[..5], payload);
    head[5..].copy_from_slice(&crc.to_le_bytes());
}

fn checksum(head: &[u8], payload: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(head);
    crc.update(payload);
    crc.finalize()
}

/// Splits the first frame off `bytes`: `(version, payload, rest)`.
///
/// # Errors
/// [`DecodeError::Truncated`], [`DecodeError::TooLong`] (before anything is read or allocated), [`DecodeError::Checksum`].
pub fn unframe(bytes: &[u8], payload_bytes_max: usize) -> Result<(u8, &[u8], &[u8]), DecodeError> {
    let (head, rest) = bytes.split_at_checked(FRAME_HEADER_BYTES).ok_or(DecodeError::Truncated)?;
    let length = u32::from_le_bytes([head[1], head[2], head[3], head[4]]) as usize;
    if length > payload_bytes_max {
        return Err(DecodeError::TooLong);
    }
    let (payload, rest) = rest.split_at_checked(length).ok_or(DecodeError::Truncated)?;
    if checksum(&head[..5], payload).to_le_bytes() != head[5..9] {
        return Err(DecodeError::Checksum);
    }
    Ok((head[0], payload, rest))
}

/// The turn's frame.
///
/// # Panics
/// If an event stands in the wrong list: that is a bug of whoever built the turn.
pub fn encode_turn(turn: &Turn) -> Vec<u8> {
    assert!(lists_fit(turn), "facts and decisions stand in their own lists");
    let payload = postcard::to_allocvec(turn).expect("a turn has no value that postcard cannot write");
    frame(TURN_VERSION, &payload)
}

/// The turn's frame, from its events' canonical bytes in their order: whoever folded them has written them already.
///
/// # Panics
/// As [`encode_turn`], and if there are fewer `events` than the turn has.
pub fn assemble_turn<'a>(turn: &Turn, mut events: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    assert!(lists_fit(turn), "facts and decisions stand in their own lists");
    let mut event = || events.next().expect("each event of the turn was written");
    let mut payload = Vec::new();
    append(&(turn.expected, turn.at, turn.salt, turn.policy, turn.facts.len()), &mut payload);
    for fact in &turn.facts {
        append(&fact.by, &mut payload);
        payload.extend_from_slice(event());
    }
    append(&turn.decisions.len(), &mut payload);
    for _ in &turn.decisions {
        payload.extend_from_slice(event());
    }
    frame(TURN_VERSION, &payload)
}

/// Where each event of a turn stands in its frame, facts first.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Places(pub(crate) Vec<Range<usize>>);

impl Places {
    /// Each event's canonical bytes, out of the frame that was read.
    pub fn events<'a>(&'a self, frame: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        let payload = &frame[FRAME_HEADER_BYTES..];
        self.0.iter().map(|place| &payload[place.clone()])
    }
}

/// Reads the first turn of `bytes`: the turn, and how many bytes its frame took.
///
/// # Errors
/// [`DecodeError`]; arbitrary bytes never panic and never allocate past their own length.
pub fn decode_turn(bytes: &[u8]) -> Result<(Turn, usize), DecodeError> {
    decode_placed(bytes).map(|(turn, _, length)| (turn, length))
}

/// The same, and where its events stand.
///
/// # Errors
/// As [`decode_turn`].
pub fn decode_placed(bytes: &[u8]) -> Result<(Turn, Places, usize), DecodeError> {
    let (version, payload, rest) = unframe(bytes, TURN_BYTES_MAX)?;
    let (turn, places) = upcast::turn(version, payload)?;
    Ok((turn, places, bytes.len() - rest.len()))
}

fn lists_fit(turn: &Turn) -> bool {
    let facts = turn.facts.iter().all(|f| f.event.nature() == Nature::Fact);
    facts && turn.decisions.iter().all(|e| e.nature() == Nature::Decision)
}

/// Bytes that `value` takes in a turn.
pub fn encoded_len<T: serde::Serialize>(value: &T) -> usize {
    postcard::experimental::serialized_size(value).expect("an event has no value that postcard cannot write")
}

/// Appends the bytes that `value` takes in a turn.
pub fn append<T: serde::Serialize>(value: &T, bytes: &mut Vec<u8>) {
    let appended = postcard::serialize_with_flavor(value, Appending(bytes));
    appended.expect("an event has no value that postcard cannot write");
}

/// Takes what postcard writes at the end of a vector.
struct Appending<'a>(&'a mut Vec<u8>);

impl postcard::ser_flavors::Flavor for Appending<'_> {
    type Output = ();

    #[inline]
    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }

    #[inline]
    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        // Mostly integers of a few bytes: to call for a copy costs more than to push them.
        if bytes.len() > VARINT_BYTES_MAX {
            self.0.extend_from_slice(bytes);
        } else {
            bytes.iter().for_each(|byte| self.0.push(*byte));
        }
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

/// Feeds what postcard writes to a hasher, in pieces worth hashing: postcard writes byte by byte.
#[derive(Debug)]
pub struct Buffered<'h, H, F: Fn(&mut H, &[u8])> {
    hasher: &'h mut H,
    update: F,
    buffer: [u8; BUFFER_BYTES],
    filled: usize,
}

const BUFFER_BYTES: usize = 256;
/// Of a 64-bit integer.
const VARINT_BYTES_MAX: usize = 10;

impl<'h, H, F: Fn(&mut H, &[u8])> Buffered<'h, H, F> {
    pub fn new(hasher: &'h mut H, update: F) -> Self {
        Buffered { hasher, update, buffer: [0; BUFFER_BYTES], filled: 0 }
    }

    fn flush(&mut self) {
        (self.update)(self.hasher, &self.buffer[..self.filled]);
        self.filled = 0;
    }
}

impl<H, F: Fn(&mut H, &[u8])> postcard::ser_flavors::Flavor for Buffered<'_, H, F> {
    /// The hasher was fed with everything.
    type Output = ();

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        if self.filled == BUFFER_BYTES {
            self.flush();
        }
        self.buffer[self.filled] = byte;
        self.filled += 1;
        Ok(())
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        if bytes.len() > BUFFER_BYTES - self.filled {
            self.flush();
        }
        if bytes.len() > BUFFER_BYTES {
            (self.update)(self.hasher, bytes);
        } else {
            self.buffer[self.filled..self.filled + bytes.len()].copy_from_slice(bytes);
            self.filled += bytes.len();
        }
        Ok(())
    }

    fn finalize(mut self) -> postcard::Result<()> {
        self.flush();
        Ok(())
    }
}
