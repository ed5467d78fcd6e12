//! A batch of changes to the store, as the journal holds it and as redb takes it over.

use super::journal::HEADER_BYTES;
use super::record::{self, ChainDigest};
use super::table::ChainEnd;
use crate::form::{LogIdForm, VoteForm};
use serde::{Deserialize, Serialize};
use std::io;

/// One change.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Step {
    Vote(VoteForm),
    /// A record of so many bytes, which follow.
    Put {
        index: u64,
        bytes: u32,
    },
    /// Removes the records from `first` on.
    Truncate {
        first: u64,
    },
    /// Removes the records up to `upto`.
    Purge {
        upto: u64,
    },
    /// Ends a batch: the ends of the chain behind it, and what is known to be committed.
    Ends {
        edge: ChainEnd,
        tail: ChainEnd,
        committed: Option<LogIdForm>,
    },
}

/// Steps one behind the other, behind room for the journal's header.
#[derive(Debug)]
pub struct Batch(Vec<u8>);

impl Batch {
    /// With room for so many bytes of steps and records.
    pub fn with_capacity(bytes: usize) -> Batch {
        let mut all = Vec::with_capacity(HEADER_BYTES + bytes);
        all.resize(HEADER_BYTES, 0);
        Batch(all)
    }

    /// A batch from its bytes, header and all.
    pub fn read(bytes: Vec<u8>) -> Batch {
        Batch(bytes)
    }

    pub fn is_empty(&self) -> bool {
        self.0.len() == HEADER_BYTES
    }

    pub fn push(&mut self, step: &Step) {
        let bytes = postcard::to_extend(step, std::mem::take(&mut self.0));
        self.0 = bytes.expect("a step holds nothing that postcard cannot write");
    }

    /// Adds the record of the entry at `index`, which comes in two pieces; gives the chain after it.
    pub fn put(&mut self, index: u64, before: &ChainDigest, entry: (&[u8], &[u8])) -> ChainDigest {
        let bytes = u32::try_from(record::length(entry.0.len() + entry.1.len())).expect("a record is below 4 GiB");
        self.push(&Step::Put { index, bytes });
        self.0.reserve(bytes as usize);
        record::append(&mut self.0, before, entry)
    }

    /// Header and steps.
    pub fn written(&self) -> &[u8] {
        &self.0
    }

    pub(super) fn bytes_mut(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }

    /// The steps in their order, each with the record it brings.
    ///
    /// # Errors
    /// `InvalidData` from the first that cannot be read; nothing behind it is given.
    pub fn steps(&self) -> impl Iterator<Item = io::Result<(Step, &[u8])>> {
        let mut rest = &self.0[HEADER_BYTES..];
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let step = step(rest);
            rest = step.as_ref().map_or(&[], |(_, _, behind)| *behind);
            Some(step.map(|(step, record, _)| (step, record)))
        })
    }
}

/// The first step, its record, and the bytes behind both.
fn step(bytes: &[u8]) -> io::Result<(Step, &[u8], &[u8])> {
    let bad = || io::Error::new(io::ErrorKind::InvalidData, "the log's journal holds a step that cannot be read");
    let (step, rest) = postcard::take_from_bytes::<Step>(bytes).map_err(|_| bad())?;
    let length = if let Step::Put { bytes, .. } = step { bytes as usize } else { 0 };
    let (record, behind) = rest.split_at_checked(length).ok_or_else(bad)?;
    Ok((step, record, behind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_read_back_in_order_and_a_cut_batch_is_an_error() {
        let mut batch = Batch::with_capacity(0);
        assert!(batch.is_empty());
        batch.put(3, &[7; 32], (b"en", b"try"));
        batch.push(&Step::Purge { upto: 1 });
        let steps: Vec<_> = batch.steps().collect::<io::Result<_>>().expect("readable");
        let mut record = Vec::new();
        record::append(&mut record, &[7; 32], (b"entry", b""));
        let put = Step::Put { index: 3, bytes: record.len() as u32 };
        assert_eq!(steps, [(put, record.as_slice()), (Step::Purge { upto: 1 }, b"".as_slice())]);
        let cut = Batch::read(batch.written()[..HEADER_BYTES + 5].to_vec());
        assert!(cut.steps().any(|step| step.is_err()));
    }
}
