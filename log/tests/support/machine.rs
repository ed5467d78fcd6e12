//! A machine that counts, and turns to feed it.

use forge_event::codec::encode_turn;
use forge_event::{Digest, Fact, Head, PolicyVersion, ProjectCreated, Timestamp, Turn};
use forge_log::{CommittedTurn, Machine};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Keeps the head and a digest of everything it folded.
#[derive(Default)]
pub struct Tally(Mutex<Counted>);

#[derive(Clone, Copy, Default, PartialEq, Debug)]
pub struct Counted {
    pub head: Head,
    pub events: u64,
}

impl Tally {
    pub fn counted(&self) -> Counted {
        *self.lock()
    }

    fn lock(&self) -> MutexGuard<'_, Counted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Machine for Tally {
    fn head(&self) -> Head {
        self.lock().head
    }

    fn fold(&self, turns: &[Arc<CommittedTurn>]) {
        let mut counted = self.lock();
        for turn in turns {
            assert_eq!(turn.turn.expected, counted.head, "turns are folded in the order of the chain");
            counted.head = turn.head;
            counted.events += turn.turn.len();
        }
    }

    fn freeze(&self) -> Box<dyn FnOnce() -> Vec<u8> + Send> {
        let counted = self.counted();
        Box::new(move || {
            let mut bytes = counted.head.turns.to_le_bytes().to_vec();
            bytes.extend_from_slice(&counted.head.events.to_le_bytes());
            bytes.extend_from_slice(&counted.head.digest.0);
            bytes.extend_from_slice(&counted.events.to_le_bytes());
            bytes
        })
    }

    fn restore(&self, bytes: &[u8]) -> Result<(), String> {
        let number = |at: usize| bytes.get(at..at + 8).and_then(|b| b.try_into().ok()).map(u64::from_le_bytes);
        let digest = bytes.get(16..48).and_then(|b| b.try_into().ok()).map(Digest);
        let (Some(turns), Some(events), Some(digest), Some(count)) = (number(0), number(8), digest, number(48)) else {
            return Err("the state is cut short".into());
        };
        *self.lock() = Counted { head: Head { turns, events, digest }, events: count };
        Ok(())
    }
}

/// A turn of `count` events of about `bytes` bytes each.
pub fn turn(expected: Head, count: usize, bytes: usize, salt: u8) -> Turn {
    let name = "p".repeat(bytes.saturating_sub(10).max(1));
    let fact = Fact::from(ProjectCreated { name, quota: None, weight: 1 });
    Turn {
        expected,
        at: Timestamp(1_700_000_000_000 + expected.turns),
        salt: [salt; 32],
        policy: PolicyVersion(1),
        facts: vec![fact; count],
        decisions: Vec::new(),
    }
}

/// Its frame.
pub fn frame(expected: Head, count: usize, bytes: usize, salt: u8) -> Vec<u8> {
    encode_turn(&turn(expected, count, bytes, salt))
}
