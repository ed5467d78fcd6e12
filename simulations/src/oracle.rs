//! Knows what the log says, from whoever folded it first, and shows it to the invariants.

use crate::invariants::{self, Invariant, Seen};
use crate::lock;
use crate::report::Failure;
use crate::trace::{Kind, Trace};
use bytes::Bytes;
use forge_adapters::Registry;
use forge_event::{Digest, EventIndex, Head};
use forge_hub::committed::CommittedWorld;
use forge_log::{CommittedTurn, Machine};
use forge_projections::World;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// State roots are compared at every turn whose number divides by this.
const ROOTS_EVERY: u64 = 64;
/// Failures of one invariant that are kept.
const FAILURES_KEPT: usize = 3;

/// Cheap to clone.
#[derive(Clone)]
pub struct Oracle(Arc<Mutex<Inner>>);

struct Inner {
    /// By turn number less one: the head after it, and its entry.
    turns: Vec<(Head, u64)>,
    frames: Vec<Bytes>,
    world: World,
    /// The chain broke: there is no reference any more.
    derailed: bool,
    roots: BTreeMap<u64, Vec<Digest>>,
    invariants: Vec<Box<dyn Invariant>>,
    failures: Vec<Failure>,
    trace: Trace,
}

impl Oracle {
    pub fn new(trace: Trace) -> Oracle {
        Oracle(Arc::new(Mutex::new(Inner {
            turns: Vec::new(),
            frames: Vec::new(),
            world: World::default(),
            derailed: false,
            roots: BTreeMap::new(),
            invariants: invariants::all(),
            failures: Vec::new(),
            trace,
        })))
    }

    /// Shows something to every invariant.
    pub fn see(&self, seen: &Seen<'_>) {
        lock(&self.0).see(seen);
    }

    pub fn failures(&self) -> Vec<Failure> {
        lock(&self.0).failures.clone()
    }

    /// Reads the reference state: that after the last turn anybody folded.
    pub fn read<R>(&self, query: impl FnOnce(&World) -> R) -> R {
        query(&lock(&self.0).world)
    }

    /// The Raft entry of the turn that holds an event, or of the last one before it.
    pub fn entry_of(&self, event: EventIndex) -> u64 {
        self.last_entry(|(head, _)| head.events <= event.0)
    }

    /// The Raft entry of the last turn up to an entry: those behind it hold no turn, as a new leader's first one.
    pub fn turn_upto(&self, entry: u64) -> u64 {
        self.last_entry(|(_, at)| *at <= entry)
    }

    /// The Raft entry of the last turn that is `within`, 0 if none is.
    fn last_entry(&self, within: impl Fn(&(Head, u64)) -> bool) -> u64 {
        let inner = lock(&self.0);
        let behind = inner.turns.partition_point(within);
        behind.checked_sub(1).map_or(0, |at| inner.turns[at].1)
    }

    /// Frames of all turns, in order.
    pub fn frames(&self) -> Vec<Bytes> {
        lock(&self.0).frames.clone()
    }

    fn folded(&self, node: u64, before: Head, turn: &CommittedTurn) {
        let mut inner = lock(&self.0);
        inner.trace.note(Kind::Folded, node, turn.raft_index, &turn.head.digest.0);
        let known = inner.turns.get(before.turns as usize).map(|(head, _)| *head);
        inner.see(&Seen::Folded { node, before, turn, known });
        if known.is_none() && !inner.derailed {
            inner.commit(turn);
        }
    }

    fn compare_roots(&self, node: u64, committed: &CommittedWorld) {
        let turns = committed.read(|world| world.head.turns);
        if !turns.is_multiple_of(ROOTS_EVERY) {
            return;
        }
        let Some(reference) = lock(&self.0).roots.get(&turns).cloned() else { return };
        let own = committed.read(World::clone).roots();
        self.see(&Seen::Roots { node, turns, own: &own, reference: &reference });
    }

    /// Shows the state that a node ends with.
    pub fn last_look(&self, node: u64, committed: &CommittedWorld) {
        let (head, own) = committed.read(|world| (world.head, world.clone().roots()));
        let mut inner = lock(&self.0);
        let reference = inner.world.roots();
        let expected = inner.world.head;
        inner.see(&Seen::Last { node, head, expected, own: &own, reference: &reference });
    }

    /// Shows the reference state at the end of the run.
    pub fn end(&self) {
        let mut inner = lock(&self.0);
        let world = std::mem::take(&mut inner.world);
        inner.see(&Seen::End { world: &world });
        inner.world = world;
    }
}

impl Inner {
    fn see(&mut self, seen: &Seen<'_>) {
        let at_ms = self.trace.now_us() / 1000;
        for invariant in &mut self.invariants {
            if let Err(detail) = invariant.see(seen) {
                let name = invariant.name();
                if self.failures.iter().filter(|f| f.invariant == name).count() < FAILURES_KEPT {
                    self.failures.push(Failure { invariant: name, at_ms, detail });
                }
            }
        }
    }

    /// Takes a turn that nobody folded before.
    fn commit(&mut self, turn: &CommittedTurn) {
        if turn.turn.expected != self.world.head {
            self.derailed = true;
            return;
        }
        let before = self.world.clone();
        let world = &mut self.world;
        let law = catch_unwind(AssertUnwindSafe(|| invariants::law_of_the_turn::rederive(world, turn)));
        let law = law.unwrap_or_else(|_| Err("deriving it again panics".into()));
        if law.is_err() {
            self.world = before;
            let world = &mut self.world;
            let folded = catch_unwind(AssertUnwindSafe(|| world.fold(&turn.turn, &turn.frame, &Registry, &mut ())));
            self.derailed = folded.is_err();
        }
        self.turns.push((turn.head, turn.raft_index));
        self.frames.push(turn.frame.clone());
        if self.world.head.turns.is_multiple_of(ROOTS_EVERY) {
            let roots = self.world.roots();
            self.roots.insert(self.world.head.turns, roots);
        }
        let world = std::mem::take(&mut self.world);
        self.see(&Seen::Committed { turn, world: &world, law: &law });
        self.world = world;
    }
}

/// A node's state machine, with the oracle looking on while the node lives.
pub(crate) struct Watched {
    pub inner: Arc<CommittedWorld>,
    pub node: u64,
    pub oracle: Oracle,
    pub alive: Arc<AtomicBool>,
    /// Set once the node is up: a state restored later came from a peer.
    pub up: Arc<AtomicBool>,
    pub trace: Trace,
}

impl Machine for Watched {
    fn head(&self) -> Head {
        self.inner.head()
    }

    fn fold(&self, turns: &[Arc<CommittedTurn>]) {
        let alive = self.alive.load(Ordering::Relaxed);
        if alive {
            let mut before = self.inner.head();
            for turn in turns {
                self.oracle.folded(self.node, before, turn);
                before = turn.head;
            }
        }
        self.inner.fold(turns);
        if alive {
            self.oracle.compare_roots(self.node, &self.inner);
        }
    }

    fn freeze(&self) -> Box<dyn FnOnce() -> Vec<u8> + Send> {
        self.inner.freeze()
    }

    fn restore(&self, bytes: &[u8]) -> Result<(), String> {
        self.inner.restore(bytes)?;
        let head = self.inner.head();
        let from_peer = self.up.load(Ordering::Relaxed);
        self.trace.fired(if from_peer { "snapshot installed" } else { "restart from snapshot" });
        self.trace.note(Kind::Folded, self.node, u64::MAX, &head.digest.0);
        let known = head.turns.checked_sub(1).and_then(|at| lock(&self.oracle.0).turns.get(at as usize).copied());
        let entry = known.map_or(0, |(_, entry)| entry);
        let known = known.map(|(head, _)| head);
        self.oracle.see(&Seen::Restored { node: self.node, head, known, from_peer, entry });
        self.oracle.compare_roots(self.node, &self.inner);
        Ok(())
    }
}
