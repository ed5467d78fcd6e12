//! Snapshots: immutable files that carry a state and where in the log it stands.
//!
//! ```text
//! frame, version 1   SnapshotHead
//! state              what the machine serialised, `state_bytes` long
//! 32 bytes           BLAKE3 of everything before
//! ```

use crate::files::Files;
use crate::form::{LogIdForm, StoredMembershipForm, from_bytes, to_bytes};
use crate::store::record::ChainDigest;
use forge_event::Head;
use forge_event::codec::{FRAME_HEADER_BYTES, frame, unframe};
use serde::{Deserialize, Serialize};
use std::io;
use std::sync::Arc;

pub const FOLDER: &str = "snapshots";
const VERSION: u8 = 1;
const MAGIC: [u8; 8] = *b"FORGESNP";
const HEAD_BYTES_MAX: usize = 1 << 20;
const DIGEST_BYTES: usize = 32;
/// Bytes per read of a file.
const READ_BYTES: usize = 1 << 20;

/// What stands before the state.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SnapshotHead {
    magic: [u8; 8],
    /// The last entry folded into the state.
    pub log_id: Option<LogIdForm>,
    pub members: StoredMembershipForm,
    /// The head of the accepted turns.
    pub head: Head,
    /// The chain over Raft records after `log_id`.
    pub chain: ChainDigest,
    pub state_bytes: u64,
}

/// A snapshot on disk.
#[derive(Clone)]
pub struct SnapshotFile {
    pub files: Arc<dyn Files>,
    pub name: String,
}

impl SnapshotHead {
    pub fn new(
        log_id: Option<LogIdForm>,
        members: StoredMembershipForm,
        head: Head,
        chain: ChainDigest,
        state_bytes: u64,
    ) -> Self {
        SnapshotHead { magic: MAGIC, log_id, members, head, chain, state_bytes }
    }
}

impl SnapshotFile {
    /// Writes a snapshot; it is durable and visible when this returns.
    pub fn write(files: Arc<dyn Files>, head: &SnapshotHead, state: &[u8]) -> io::Result<SnapshotFile> {
        assert_eq!(head.state_bytes, state.len() as u64, "a snapshot's head says how long its state is");
        let (term, index) = head.log_id.map_or((0, 0), |id| (id.term, id.index));
        let name = format!("{FOLDER}/{index:020}-{term:020}.snapshot");
        let head = frame(VERSION, &to_bytes(head));
        let mut hasher = blake3::Hasher::new();
        hasher.update(&head).update(state);
        let mut file = files.create(&name)?;
        file.write(&head)?;
        file.write(state)?;
        file.write(hasher.finalize().as_bytes())?;
        file.finish()?;
        Ok(SnapshotFile { files, name })
    }

    /// Whether it is among the node's snapshots, not one on its way in.
    pub fn is_kept(&self) -> bool {
        self.name.starts_with(FOLDER)
    }

    /// Reads and verifies a whole snapshot: its head and its state.
    ///
    /// # Errors
    /// `InvalidData` if any byte is not what was written.
    pub fn read(&self) -> io::Result<(SnapshotHead, Vec<u8>)> {
        let length = self.files.length(&self.name)?;
        let mut bytes = Vec::with_capacity(usize::try_from(length).map_err(io::Error::other)?);
        while (bytes.len() as u64) < length {
            let part = self.files.read_at(&self.name, bytes.len() as u64, READ_BYTES)?;
            if part.is_empty() {
                return Err(self.bad("it is cut short"));
            }
            bytes.extend_from_slice(&part);
        }
        let body = bytes.len().checked_sub(DIGEST_BYTES).ok_or_else(|| self.bad("it is cut short"))?;
        if blake3::hash(&bytes[..body]).as_bytes().as_slice() != &bytes[body..] {
            return Err(self.bad("its digest does not fit its bytes"));
        }
        let (head, head_bytes) = self.parse(&bytes[..body])?;
        if (body - head_bytes) as u64 != head.state_bytes {
            return Err(self.bad("its state has another length than its head says"));
        }
        bytes.truncate(body);
        bytes.drain(..head_bytes);
        Ok((head, bytes))
    }

    /// Reads the head alone; its checksum is verified, the state's is not.
    ///
    /// # Errors
    /// As [`SnapshotFile::read`].
    pub fn head(&self) -> io::Result<SnapshotHead> {
        let start = self.files.read_at(&self.name, 0, HEAD_BYTES_MAX + FRAME_HEADER_BYTES)?;
        self.parse(&start).map(|(head, _)| head)
    }

    fn parse(&self, bytes: &[u8]) -> io::Result<(SnapshotHead, usize)> {
        let (version, payload, rest) = unframe(bytes, HEAD_BYTES_MAX).map_err(|error| self.bad(&error.to_string()))?;
        if version != VERSION {
            return Err(self.bad("its format is not one this program reads"));
        }
        let head: SnapshotHead = from_bytes(payload, "a head").map_err(|error| self.bad(&error.to_string()))?;
        if head.magic != MAGIC {
            return Err(self.bad("it is no snapshot"));
        }
        Ok((head, bytes.len() - rest.len()))
    }

    fn bad(&self, why: &str) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, format!("snapshot {} does not verify: {why}", self.name))
    }
}

/// The newest snapshot on disk.
pub fn newest(files: &Arc<dyn Files>) -> io::Result<Option<SnapshotFile>> {
    let names = files.list(FOLDER)?;
    let name = names.into_iter().rfind(|name| name.ends_with(".snapshot"));
    Ok(name.map(|name| SnapshotFile { files: files.clone(), name: format!("{FOLDER}/{name}") }))
}

/// Removes all snapshots but `keep` and the one before it, which may still be on its way to a peer.
pub fn remove_older(files: &Arc<dyn Files>, keep: &SnapshotFile) -> io::Result<()> {
    let mut names: Vec<String> = files.list(FOLDER)?.into_iter().map(|name| format!("{FOLDER}/{name}")).collect();
    names.retain(|name| name < &keep.name);
    names.pop();
    names.iter().try_for_each(|name| files.remove(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::RealFiles;
    use crate::form::MembershipForm;
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    /// `UPDATE_GOLDEN=1` writes it anew: until the first release, in one deliberate commit.
    #[test]
    fn the_bytes_of_a_snapshot_file_are_frozen() {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let files: Arc<dyn Files> = Arc::new(RealFiles::new(folder.path().to_owned()));
        let members = StoredMembershipForm {
            log_id: Some(LogIdForm { term: 1, index: 4 }),
            members: MembershipForm { configs: vec![[1, 2].into()], nodes: vec![(1, "a:1".into()), (2, "b:2".into())] },
        };
        let head = Head { turns: 5, events: 9, digest: forge_event::Digest([3; 32]) };
        let head = SnapshotHead::new(Some(LogIdForm { term: 3, index: 9 }), members, head, [7; 32], 5);
        let file = SnapshotFile::write(files.clone(), &head, b"state").expect("written");
        let bytes = files.read_at(&file.name, 0, 1 << 20).expect("readable");
        let line = format!("snapshot {}\n", forge_event::digest::hex(&bytes));
        let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/snapshot.txt");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(golden, &line).expect("the golden folder is there");
        }
        assert_eq!(std::fs::read_to_string(golden).expect("it is checked in"), line);
    }

    #[test]
    fn no_flipped_bit_and_no_cut_of_a_snapshot_is_read() {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let files: Arc<dyn Files> = Arc::new(RealFiles::new(folder.path().to_owned()));
        let members = StoredMembershipForm {
            log_id: None,
            members: MembershipForm { configs: vec![[1, 2].into()], nodes: vec![(1, "a".into()), (2, "b".into())] },
        };
        let mut rng = StdRng::seed_from_u64(1);
        let mut state = vec![0; 5_000];
        rng.fill(&mut state[..]);
        let id = LogIdForm { term: 3, index: 9 };
        let head = SnapshotHead::new(Some(id), members, Head::default(), [7; 32], state.len() as u64);
        let file = SnapshotFile::write(files.clone(), &head, &state).expect("written");
        assert_eq!(file.read().expect("as written"), (head.clone(), state));
        assert_eq!(file.head().expect("as written"), head);
        let good = files.read_at(&file.name, 0, 1 << 20).expect("readable");
        let full = std::env::var_os("FORGE_FULL").is_some_and(|v| v == "1");
        for round in 0..if full { 10_000 } else { 1_000 } {
            let mut bad = good.clone();
            if round % 10 == 0 {
                bad.truncate(rng.random_range(0..good.len()));
            } else {
                bad[rng.random_range(0..good.len())] ^= 1 << rng.random_range(0..8);
            }
            std::fs::write(folder.path().join(&file.name), &bad).expect("overwritten");
            assert!(file.read().is_err(), "round {round}");
        }
    }
}
