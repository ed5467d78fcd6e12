//! An agent's chain over its results, and what it signs.

use crate::digest::Digest;
use crate::id::{AgentId, LeaseId};
use alloc::string::ToString;
use alloc::vec::Vec;

/// The chain before the first result.
pub const START: [u8; 32] = [0; 32];

/// Root of a result with one segment: BLAKE3(0x00 ‖ digest).
pub fn single_root(digest: &Digest) -> Digest {
    let mut bytes = [0; 33];
    bytes[1..].copy_from_slice(&digest.0);
    Digest::of(&bytes)
}

/// The chain after one more result: BLAKE3(before ‖ `"j1842.17.2"` ‖ 0x00 ‖ digest ‖ root).
pub fn extend(before: &[u8; 32], lease: LeaseId, digest: &Digest, root: &Digest) -> [u8; 32] {
    // In one piece: a hasher that is fed piece by piece costs more than these two blocks.
    let mut bytes = [0; 32 + TEXT_BYTES + 1 + 32 + 32];
    let mut length = 0;
    for piece in [before.as_slice(), Text::of(lease).as_bytes(), &[0], &digest.0, &root.0] {
        bytes[length..length + piece.len()].copy_from_slice(piece);
        length += piece.len();
    }
    Digest::of(&bytes[..length]).0
}

/// A lease's id as text, without the formatter: every result of every agent passes here.
struct Text {
    bytes: [u8; TEXT_BYTES],
    start: usize,
}

/// "j", 20 digits, ".", 10 digits, ".", 5 digits.
const TEXT_BYTES: usize = 38;

impl Text {
    fn of(lease: LeaseId) -> Text {
        let mut text = Text { bytes: [0; TEXT_BYTES], start: TEXT_BYTES };
        text.prepend_number(u64::from(lease.attempt));
        text.prepend(b'.');
        text.prepend_number(u64::from(lease.shard));
        text.prepend(b'.');
        text.prepend_number(lease.job.0);
        text.prepend(b'j');
        text
    }

    fn prepend(&mut self, byte: u8) {
        self.start -= 1;
        self.bytes[self.start] = byte;
    }

    fn prepend_number(&mut self, mut number: u64) {
        loop {
            self.prepend(b'0' + (number % 10) as u8);
            number /= 10;
            if number == 0 {
                return;
            }
        }
    }

    fn as_bytes(&self) -> &[u8] {
        &self.bytes[self.start..]
    }
}

/// What a seal signs: `"forge seal v1\0"` ‖ `"a37"` ‖ 0x00 ‖ LE64(upto) ‖ h.
pub fn message(agent: AgentId, upto: u64, head: &[u8; 32]) -> Vec<u8> {
    let mut bytes = b"forge seal v1\0".to_vec();
    bytes.extend_from_slice(agent.to_string().as_bytes());
    bytes.push(0);
    bytes.extend_from_slice(&upto.to_le_bytes());
    bytes.extend_from_slice(head);
    bytes
}

/// What an agent signs for a checkpoint:
/// `"forge checkpoint v1\0"` ‖ `"a37"` ‖ 0x00 ‖ `"j1842.17.2"` ‖ 0x00 ‖ LE64(cells) ‖ digest.
pub fn checkpoint_message(agent: AgentId, lease: LeaseId, cells: u64, digest: &Digest) -> Vec<u8> {
    let mut bytes = b"forge checkpoint v1\0".to_vec();
    bytes.extend_from_slice(agent.to_string().as_bytes());
    bytes.push(0);
    bytes.extend_from_slice(Text::of(lease).as_bytes());
    bytes.push(0);
    bytes.extend_from_slice(&cells.to_le_bytes());
    bytes.extend_from_slice(&digest.0);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::JobId;

    #[test]
    fn a_lease_is_written_as_its_id() {
        for (job, shard, attempt) in [(0, 0, 0), (1842, 17, 2), (u64::MAX, u32::MAX, u16::MAX), (10, 100, 9)] {
            let lease = LeaseId { job: JobId(job), shard, attempt };
            assert_eq!(Text::of(lease).as_bytes(), lease.to_string().as_bytes());
        }
    }
}
