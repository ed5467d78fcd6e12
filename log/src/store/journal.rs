//! The journal before redb: batches of changes, durable with one write to blocks that are there already.
//!
//! redb makes a commit durable in some ten scattered pages of a growing file. A batch here is one write and one fsync
//! that touches no metadata of the file; redb takes over many batches at once, later (`filing.rs`).
//!
//! ```text
//! The journal has two halves of equal size, filled by turns from their beginning. A batch, at a multiple of 4096:
//!   bytes 0-3    "FGJ1"
//!   bytes 4-7    payload length, little-endian
//!   bytes 8-15   number of the batch, from 1, little-endian
//!   bytes 16-47  BLAKE3 of bytes 0-15 and the payload, keyed with the store's key
//!   bytes 48-    payload (batch.rs), then zeros up to the next multiple of 4096
//! ```
//!
//! The key is the store's own: bytes that a client sent are never taken for a batch, nor is another store's journal.

use super::batch::Batch;
use std::fmt::Debug;
use std::io;

const MAGIC: [u8; 4] = *b"FGJ1";
const DIGEST_BYTES: usize = 32;
/// Bytes before a batch's payload.
pub const HEADER_BYTES: usize = MAGIC.len() + 4 + 8 + DIGEST_BYTES;
/// Batches begin at multiples of this: what a batch made durable, no later one writes over before it was filed.
pub const BLOCK_BYTES: usize = 4096;

/// Keys a store's journal.
pub type Key = [u8; 32];

/// Where a journal lies. Its length never changes.
pub trait Device: Send + Debug {
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()>;
    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    fn sync(&self) -> io::Result<()>;
}

/// The open journal.
#[derive(Debug)]
pub struct Journal {
    device: Box<dyn Device>,
    key: Key,
    half_bytes: usize,
    /// The half that is being filled: 0 or 1.
    half: usize,
    filled: usize,
    next: u64,
}

/// A batch that was found, by its number.
pub struct Found {
    pub number: u64,
    pub batch: Batch,
}

impl Journal {
    /// Opens a journal of two halves of `half_bytes` each; gives the batches behind `filed`, ascending. They have to be
    /// filed before anything is written.
    ///
    /// # Errors
    /// `InvalidData` if a batch is missing that must have been durable: one behind it is there. The last batch that was
    /// written may be torn; it was not acknowledged.
    pub fn open(device: Box<dyn Device>, half_bytes: usize, key: Key, filed: u64) -> io::Result<(Journal, Vec<Found>)> {
        let mut journal = Journal { device, key, half_bytes, half: 0, filled: 0, next: 0 };
        let mut found = journal.scan(0)?;
        found.append(&mut journal.scan(1)?);
        found.retain(|f| f.number > filed);
        found.sort_by_key(|f| f.number);
        let gap = (filed + 1..).zip(&found).find(|(wanted, f)| *wanted != f.number);
        if let Some((wanted, f)) = gap {
            let text = format!("the log's journal does not verify: batch {wanted} is not there, but {} is", f.number);
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        journal.next = filed + found.len() as u64 + 1;
        Ok((journal, found))
    }

    /// All batches of a half that verify, old ones too.
    fn scan(&self, half: usize) -> io::Result<Vec<Found>> {
        let mut bytes = vec![0; self.half_bytes];
        self.device.read((half * self.half_bytes) as u64, &mut bytes)?;
        let (mut found, mut at) = (Vec::new(), 0);
        while at + BLOCK_BYTES <= bytes.len() {
            match self.verified(&bytes[at..]) {
                Some(one) => {
                    at += padded(one.batch.written().len());
                    found.push(one);
                }
                // Torn or old: what lies in the blocks behind it is looked at all the same.
                None => at += BLOCK_BYTES,
            }
        }
        Ok(found)
    }

    /// The batch that `bytes` begin with.
    fn verified(&self, bytes: &[u8]) -> Option<Found> {
        let (header, rest) = bytes.split_at_checked(HEADER_BYTES)?;
        if header[..4] != MAGIC {
            return None;
        }
        let length = u32::from_le_bytes(header[4..8].try_into().ok()?) as usize;
        let payload = rest.get(..length)?;
        if self.digest(&header[..16], payload) != header[16..] {
            return None;
        }
        let number = u64::from_le_bytes(header[8..16].try_into().ok()?);
        Some(Found { number, batch: Batch::read(bytes[..HEADER_BYTES + length].to_vec()) })
    }

    fn digest(&self, head: &[u8], payload: &[u8]) -> [u8; DIGEST_BYTES] {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(head).update(payload);
        *hasher.finalize().as_bytes()
    }

    /// The number of the next batch.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Whether a batch has room in the half that is being filled.
    pub fn has_room(&self, batch: &Batch) -> bool {
        self.filled + padded(batch.written().len()) <= self.half_bytes
    }

    /// Goes on in the other half, whose batches have to be filed by now.
    pub fn turn_over(&mut self) {
        self.half = 1 - self.half;
        self.filled = 0;
    }

    /// Takes a number for a batch that goes straight to redb.
    pub fn skip(&mut self) {
        self.next += 1;
    }

    /// Makes a batch durable.
    ///
    /// # Panics
    /// If there is no room for it.
    pub fn write(&mut self, batch: &mut Batch) -> io::Result<()> {
        assert!(self.has_room(batch), "whoever writes a batch has made room for it");
        let bytes = batch.bytes_mut();
        let length = u32::try_from(bytes.len() - HEADER_BYTES).expect("a half is below 4 GiB");
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[4..8].copy_from_slice(&length.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.next.to_le_bytes());
        let digest = self.digest(&bytes[..16], &bytes[HEADER_BYTES..]);
        bytes[16..HEADER_BYTES].copy_from_slice(&digest);
        let end = bytes.len();
        // Whole blocks: the file system need not read what is there to write a part of it.
        bytes.resize(padded(end), 0);
        let offset = self.half * self.half_bytes + self.filled;
        self.device.write(offset as u64, bytes)?;
        self.device.sync()?;
        self.filled += bytes.len();
        bytes.truncate(end);
        self.next += 1;
        Ok(())
    }
}

fn padded(bytes: usize) -> usize {
    bytes.next_multiple_of(BLOCK_BYTES)
}

#[cfg(test)]
mod tests {
    use super::super::batch::Step;
    use super::*;
    use std::sync::{Arc, Mutex, PoisonError};

    const HALF: usize = 4 * BLOCK_BYTES;
    const KEY: Key = [7; 32];

    #[derive(Clone, Debug)]
    struct Ram(Arc<Mutex<Vec<u8>>>);

    impl Ram {
        fn new() -> Ram {
            Ram(Arc::new(Mutex::new(vec![0; 2 * HALF])))
        }

        fn change(&self, change: impl FnOnce(&mut Vec<u8>)) {
            change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }

    impl Device for Ram {
        fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
            self.change(|bytes| out.copy_from_slice(&bytes[offset as usize..][..out.len()]));
            Ok(())
        }

        fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
            self.change(|all| all[offset as usize..][..bytes.len()].copy_from_slice(bytes));
            Ok(())
        }

        fn sync(&self) -> io::Result<()> {
            Ok(())
        }
    }

    fn batch(first: u64) -> Batch {
        let mut batch = Batch::with_capacity(0);
        batch.push(&Step::Truncate { first });
        batch
    }

    fn open(ram: &Ram, filed: u64) -> io::Result<(Journal, Vec<u64>)> {
        let (journal, found) = Journal::open(Box::new(ram.clone()), HALF, KEY, filed)?;
        let numbers = found.iter().map(|f| f.number).collect();
        Ok((journal, numbers))
    }

    fn written(count: u64) -> Ram {
        let ram = Ram::new();
        let (mut journal, _) = open(&ram, 0).expect("it is new");
        for number in 1..=count {
            let mut batch = batch(number);
            if !journal.has_room(&batch) {
                journal.turn_over();
            }
            assert_eq!(journal.next(), number);
            journal.write(&mut batch).expect("written");
        }
        ram
    }

    #[test]
    fn what_is_not_filed_is_found_in_order() {
        // Six batches: four in one half, two in the other.
        let ram = written(6);
        assert_eq!(open(&ram, 0).expect("it verifies").1, [1, 2, 3, 4, 5, 6]);
        assert_eq!(open(&ram, 5).expect("it verifies").1, [6]);
        let (journal, found) = open(&ram, 6).expect("it verifies");
        assert_eq!((journal.next(), found.len()), (7, 0));
    }

    #[test]
    fn a_half_that_is_filled_again_hides_what_it_held() {
        // The first half holds 9 and 10, and what is left of 3 and 4.
        assert_eq!(open(&written(10), 4).expect("it verifies").1, [5, 6, 7, 8, 9, 10]);
    }

    #[test]
    fn a_torn_last_batch_was_never_there() {
        let ram = written(3);
        ram.change(|bytes| bytes[2 * BLOCK_BYTES + HEADER_BYTES] ^= 1);
        assert_eq!(open(&ram, 0).expect("it verifies").1, [1, 2]);
    }

    #[test]
    fn a_damaged_batch_before_the_last_is_an_error() {
        for (at, filed) in [(0, 0), (BLOCK_BYTES + 5, 1), (BLOCK_BYTES + HEADER_BYTES, 0)] {
            let ram = written(3);
            ram.change(|bytes| bytes[at] ^= 1);
            assert_eq!(open(&ram, filed).map(drop).map_err(|e| e.kind()), Err(io::ErrorKind::InvalidData), "byte {at}");
        }
    }

    #[test]
    fn another_key_opens_nothing() {
        let (_, found) = Journal::open(Box::new(written(3)), HALF, [8; 32], 0).expect("nothing of it verifies");
        assert!(found.is_empty());
    }
}
