//! What happened, as one running digest: equal seeds must give equal traces.

use crate::lock;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use tokio::time::Instant;

/// A kind of step.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum Kind {
    Sent,
    Arrived,
    Synced,
    Folded,
    Fault,
    Command,
    Answer,
    Computed,
    Session,
}

/// The trace of one run. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Trace(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    started: Instant,
    hasher: blake3::Hasher,
    steps: u64,
    /// Steps in words, if somebody wants to read them.
    lines: Option<Vec<String>>,
    faults: BTreeMap<&'static str, u64>,
}

impl Trace {
    /// Starts now; `worded` keeps every step as a line too.
    pub fn new(worded: bool) -> Trace {
        Trace(Arc::new(Mutex::new(Inner {
            started: Instant::now(),
            hasher: blake3::Hasher::new(),
            steps: 0,
            lines: worded.then(Vec::new),
            faults: BTreeMap::new(),
        })))
    }

    /// Virtual time since the start. Units: microseconds.
    pub fn now_us(&self) -> u64 {
        lock(&self.0).started.elapsed().as_micros() as u64
    }

    /// Notes a step: who, what, with which bytes.
    pub fn note(&self, kind: Kind, who: u64, what: u64, bytes: &[u8]) {
        let mut inner = lock(&self.0);
        let at = inner.started.elapsed().as_micros() as u64;
        let mut head = [0; 33];
        head[0] = kind as u8;
        for (slot, number) in head[1..].chunks_mut(8).zip([at, who, what, bytes.len() as u64]) {
            slot.copy_from_slice(&number.to_le_bytes());
        }
        inner.hasher.update(&head);
        inner.hasher.update(bytes);
        inner.steps += 1;
        if let Some(lines) = &mut inner.lines {
            let digest = blake3::hash(bytes).to_hex();
            lines.push(format!("{at} {kind:?} {who:x} {what:x} {} {}", bytes.len(), &digest[..8]));
        }
    }

    /// Notes something in words; part of the digest too.
    pub fn say(&self, kind: Kind, text: impl FnOnce() -> String) {
        let text = text();
        self.note(kind, 0, 0, text.as_bytes());
        let mut inner = lock(&self.0);
        let at = inner.started.elapsed().as_micros() as u64;
        if let Some(lines) = &mut inner.lines {
            lines.push(format!("{at} -- {text}"));
        }
    }

    /// Counts a fault that fired.
    pub fn fired(&self, fault: &'static str) {
        *lock(&self.0).faults.entry(fault).or_default() += 1;
    }

    pub fn faults(&self) -> BTreeMap<&'static str, u64> {
        lock(&self.0).faults.clone()
    }

    /// Digest and number of all steps so far.
    pub fn digest(&self) -> (String, u64) {
        let inner = lock(&self.0);
        (inner.hasher.finalize().to_hex().to_string(), inner.steps)
    }

    pub fn lines(&self) -> Vec<String> {
        lock(&self.0).lines.clone().unwrap_or_default()
    }
}
