//! A record of the Raft log, and the chain over records.
//!
//! ```text
//! frame, version 1, around:
//!   bytes 0-31   chain digest before this record
//!   bytes 32-63  chain digest after it: BLAKE3(before ‖ entry)
//!   bytes 64-    entry (form.rs)
//! ```
//!
//! redb survives power cuts but serves flipped bits without noticing: the frame's checksum finds
//! those, the chain finds a whole record that is not the one that was written.

use forge_event::codec::{FRAME_HEADER_BYTES, frame_in_place, unframe};
use std::io;

/// A point of the chain over records.
pub type ChainDigest = [u8; 32];

const VERSION: u8 = 1;
const DIGESTS_BYTES: usize = 64;
/// No record is longer: a turn of the longest kind with its headers, or a large membership.
const RECORD_BYTES_MAX: usize = 1 << 20;

/// The chain after an entry.
pub fn chain(before: &ChainDigest, entry: &[u8]) -> ChainDigest {
    let mut hasher = blake3::Hasher::new();
    hasher.update(before).update(entry);
    *hasher.finalize().as_bytes()
}

/// Bytes of a record around an entry of so many bytes.
pub fn length(entry_bytes: usize) -> usize {
    FRAME_HEADER_BYTES + DIGESTS_BYTES + entry_bytes
}

/// Appends a record to `out`; gives the chain after it. The entry comes in two pieces, as it lies in memory.
pub fn append(out: &mut Vec<u8>, before: &ChainDigest, (head, rest): (&[u8], &[u8])) -> ChainDigest {
    let start = out.len();
    out.extend_from_slice(&[0; FRAME_HEADER_BYTES]);
    out.extend_from_slice(before);
    out.extend_from_slice(&[0; DIGESTS_BYTES / 2]);
    out.extend_from_slice(head);
    out.extend_from_slice(rest);
    let entry = start + length(0);
    let after = chain(before, &out[entry..]);
    out[entry - DIGESTS_BYTES / 2..entry].copy_from_slice(&after);
    frame_in_place(VERSION, &mut out[start..]);
    after
}

/// A record whose checksum and digest fit its bytes.
pub struct Record<'a> {
    pub before: ChainDigest,
    pub after: ChainDigest,
    pub entry: &'a [u8],
}

/// Reads and verifies a record.
///
/// # Errors
/// `InvalidData`, naming `index`, if anything does not fit.
pub fn decode(index: u64, bytes: &[u8]) -> io::Result<Record<'_>> {
    let record = digests(index, bytes)?;
    if chain(&record.before, record.entry) != record.after {
        return Err(corrupt(index, "its digest does not fit its bytes"));
    }
    Ok(record)
}

/// Reads a record by its checksum alone; for the digest that the next record must continue.
///
/// # Errors
/// As [`decode`].
pub fn digests(index: u64, bytes: &[u8]) -> io::Result<Record<'_>> {
    let (version, payload, rest) =
        unframe(bytes, RECORD_BYTES_MAX).map_err(|error| corrupt(index, &error.to_string()))?;
    if version != VERSION || !rest.is_empty() {
        return Err(corrupt(index, "its frame is not one of this format"));
    }
    let split = payload.split_at_checked(DIGESTS_BYTES).ok_or_else(|| corrupt(index, "it is cut short"))?;
    let (digests, entry) = split;
    let (before, after) = digests.split_at(DIGESTS_BYTES / 2);
    let digest = |bytes: &[u8]| bytes.try_into().expect("half of the two digests is one digest");
    Ok(Record { before: digest(before), after: digest(after), entry })
}

/// The error for a record that cannot be trusted.
pub fn corrupt(index: u64, why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("log record {index} does not verify: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_reads_back_and_no_flipped_bit_passes() {
        let before = [7; 32];
        let mut bytes = Vec::new();
        let after = append(&mut bytes, &before, (b"ent", b"ry"));
        assert_eq!((after, bytes.len()), (chain(&before, b"entry"), length(5)));
        let record = decode(1, &bytes).expect("as written");
        assert_eq!((record.before, record.after, record.entry), (before, after, b"entry".as_slice()));
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(1, &bad).is_err(), "bit {bit}");
        }
    }
}
