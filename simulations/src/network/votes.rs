//! Reads votes off the wire, to know what nodes promised to each other.
//!
//! Mirrors the head of `forge_log`'s messages on the vote lane; what does not read is no vote.

use crate::lock;
use serde::Deserialize;
use std::collections::BTreeSet;
use std::sync::Mutex;

#[derive(Deserialize)]
struct Vote {
    term: u64,
    _node: u64,
    _committed: bool,
}

#[derive(Deserialize)]
enum Ask {
    #[expect(dead_code, reason = "its place in the order of variants is what counts")]
    PreVote(Vote),
    Vote(Vote),
}

#[derive(Deserialize)]
enum Told {
    Vote { vote: Vote, granted: bool, _last: Option<(u64, u64)> },
}

/// One link of the vote lane: which of its questions asked for a vote.
#[derive(Default)]
pub struct Votes(Mutex<BTreeSet<u64>>);

impl Votes {
    /// The term that the asking side's message promises.
    pub fn asked(&self, frame: &[u8]) -> Option<u64> {
        let ((number, ask), _) = postcard::take_from_bytes::<(u64, Ask)>(frame.get(1..)?).ok()?;
        let Ask::Vote(vote) = ask else { return None };
        lock(&self.0).insert(number);
        Some(vote.term)
    }

    /// The term that the answering side's message promises.
    pub fn told(&self, frame: &[u8]) -> Option<u64> {
        let ((number, told), _) = postcard::take_from_bytes::<(u64, Told)>(frame.get(1..)?).ok()?;
        let Told::Vote { vote, granted, .. } = told;
        (granted && lock(&self.0).contains(&number)).then_some(vote.term)
    }
}
