//! Messages as frames: version, length, checksum, postcard payload (`forge_event::codec`).

use crate::limits::FRAME_BYTES_MAX;
use alloc::vec::Vec;
use core::fmt;
use forge_event::codec::{DecodeError, FRAME_HEADER_BYTES, unframe};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Version byte of every frame.
pub const FRAME_VERSION: u8 = 1;
const PAYLOAD_BYTES_MAX: usize = FRAME_BYTES_MAX - FRAME_HEADER_BYTES;

/// Why received bytes are not a message; the connection is closed with [`crate::CloseCode::Protocol`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FrameError {
    /// The stream ended within a frame.
    Truncated,
    /// The length passes [`FRAME_BYTES_MAX`].
    TooLong,
    Checksum,
    Version(u8),
    /// The payload is no message of this direction, or has bytes left over.
    Malformed,
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FrameError::Truncated => f.write_str("the stream ended within a frame"),
            FrameError::TooLong => write!(f, "a frame is longer than {FRAME_BYTES_MAX} bytes"),
            FrameError::Checksum => f.write_str("a frame's checksum does not fit its bytes"),
            FrameError::Version(v) => write!(f, "frame version {v} is not one this program speaks"),
            FrameError::Malformed => f.write_str("a frame's payload is no message of this direction"),
        }
    }
}

impl core::error::Error for FrameError {}

/// Appends the frame of `message` to `out`.
///
/// # Panics
/// If the message passes [`FRAME_BYTES_MAX`]: whoever builds messages keeps their parts below their limits.
pub fn put<T: Serialize>(message: &T, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&[FRAME_VERSION, 0, 0, 0, 0, 0, 0, 0, 0]);
    let mut bytes = postcard::to_extend(message, core::mem::take(out)).expect("messages have no unwritable value");
    let payload_start = start + FRAME_HEADER_BYTES;
    let length = bytes.len() - payload_start;
    assert!(length <= PAYLOAD_BYTES_MAX, "a message of {length} bytes passes the frame limit");
    bytes[start + 1..start + 5].copy_from_slice(&(length as u32).to_le_bytes());
    let mut crc = crc32fast::Hasher::new();
    crc.update(&bytes[start..start + 5]);
    crc.update(&bytes[payload_start..]);
    bytes[start + 5..payload_start].copy_from_slice(&crc.finalize().to_le_bytes());
    *out = bytes;
}

/// The frame of `message`.
///
/// # Panics
/// As [`put`].
pub fn encode<T: Serialize>(message: &T) -> Vec<u8> {
    let mut out = Vec::with_capacity(96);
    put(message, &mut out);
    out
}

/// The first message of `bytes` and how many bytes it took; `None` if more bytes are needed.
///
/// # Errors
/// [`FrameError`], the length before anything is allocated.
pub fn take<T: DeserializeOwned>(bytes: &[u8]) -> Result<Option<(T, usize)>, FrameError> {
    if let Some(version) = bytes.first().filter(|v| **v != FRAME_VERSION) {
        return Err(FrameError::Version(*version));
    }
    let (payload, rest) = match unframe(bytes, PAYLOAD_BYTES_MAX) {
        Ok((_, payload, rest)) => (payload, rest),
        Err(DecodeError::Truncated) => return Ok(None),
        Err(DecodeError::TooLong) => return Err(FrameError::TooLong),
        Err(_) => return Err(FrameError::Checksum),
    };
    match postcard::take_from_bytes(payload) {
        Ok((message, [])) => Ok(Some((message, bytes.len() - rest.len()))),
        _ => Err(FrameError::Malformed),
    }
}

/// Puts the bytes of one stream together into messages.
///
/// Invariant: holds at most one unfinished frame beyond what was pushed last.
#[derive(Debug, Default)]
pub struct Assembler {
    buffer: Vec<u8>,
    taken: usize,
}

impl Assembler {
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in what the stream gave.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.taken > 0 {
            self.buffer.drain(..self.taken);
            self.taken = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next message; `None` if more bytes are needed.
    ///
    /// # Errors
    /// [`FrameError`]; after one the stream is of no use.
    #[allow(
        clippy::should_implement_trait,
        reason = "an iterator has one type of item, a stream's start and end may differ"
    )]
    pub fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, FrameError> {
        let found = take(&self.buffer[self.taken..])?;
        Ok(found.map(|(message, length)| {
            self.taken += length;
            message
        }))
    }

    /// Gives back the memory of busier times, if nothing is left.
    pub fn rest(&mut self) {
        if self.taken == self.buffer.len() {
            *self = Assembler::new();
        }
    }

    /// The stream is over: nothing may be left.
    ///
    /// # Errors
    /// [`FrameError::Truncated`].
    pub fn finish(&self) -> Result<(), FrameError> {
        if self.taken == self.buffer.len() { Ok(()) } else { Err(FrameError::Truncated) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{AgentToHub, HubToAgent};

    #[test]
    fn messages_survive_any_cut_of_the_stream() {
        let mut bytes = encode(&AgentToHub::Draining);
        put(&AgentToHub::Report { load_permille: 7, speed: 9 }, &mut bytes);
        for cut in 0..=bytes.len() {
            let mut assembler = Assembler::new();
            let mut seen = Vec::new();
            for part in [&bytes[..cut], &bytes[cut..]] {
                assembler.push(part);
                while let Some(message) = assembler.next::<AgentToHub>().expect("whole frames") {
                    seen.push(message);
                }
            }
            assert_eq!(seen, [AgentToHub::Draining, AgentToHub::Report { load_permille: 7, speed: 9 }]);
            assert_eq!(assembler.finish(), Ok(()));
        }
    }

    #[test]
    fn a_length_past_the_limit_is_refused_before_its_bytes_come() {
        let header = [FRAME_VERSION, 0xff, 0xff, 0xff, 0x7f, 0, 0, 0, 0];
        assert_eq!(take::<HubToAgent>(&header), Err(FrameError::TooLong));
    }

    #[test]
    fn a_flipped_bit_is_refused() {
        let good = encode(&HubToAgent::Drain);
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(!matches!(take::<HubToAgent>(&bad), Ok(Some(_))), "bit {bit}");
        }
    }

    #[test]
    fn bytes_behind_the_message_are_refused() {
        let bytes = forge_event::codec::frame(FRAME_VERSION, &[3, 0]);
        assert_eq!(take::<AgentToHub>(&bytes), Err(FrameError::Malformed));
    }
}
