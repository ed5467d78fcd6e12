//! An agent's chain over its results, and what it signs.

use crate::digest::Digest;
use crate::id::{AgentId, LeaseId};
use alloc::string::ToString;
use alloc::vec::Vec;

/// The chain before the first result.
pub const START: [u8; 32] = [0; 32];

/// Root of a result with one segment: BLAKE3(0x00 ‖ digest).
pub fn single_root(digest: &Digest) -> Digest {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&[0]).update(&digest.0);
    Digest(*hasher.finalize().as_bytes())
}

/// The chain after one more result: BLAKE3(before ‖ `"j1842.17.2"` ‖ 0x00 ‖ digest ‖ root).
pub fn extend(before: &[u8; 32], lease: LeaseId, digest: &Digest, root: &Digest) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(before).update(lease.to_string().as_bytes()).update(&[0]).update(&digest.0).update(&root.0);
    *hasher.finalize().as_bytes()
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
