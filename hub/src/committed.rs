//! The committed world: folded from the log on every node, read by everybody.

use forge_adapters::Registry;
use forge_event::{EventIndex, Head};
use forge_log::{CommittedTurn, Machine};
use forge_projections::{Growth, Known, World};
use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use tokio::sync::{broadcast, watch};

/// Committed turns that a slow subscriber may fall behind before it has to resync.
pub const SUBSCRIBER_TURNS_MAX: usize = 4096;
/// Rehearsals that are remembered; a leader has fewer turns in flight.
const REHEARSED_MAX: usize = 8;

thread_local! {
    static READING: Cell<bool> = const { Cell::new(false) };
}

/// One query of this thread.
struct Once;

impl Once {
    fn enter() -> Once {
        assert!(!READING.replace(true), "a query of the committed world must not read it again");
        Once
    }
}

impl Drop for Once {
    fn drop(&mut self) {
        READING.set(false);
    }
}

/// The world as of the last committed turn, and who wants to know of the next.
#[derive(Debug)]
pub struct CommittedWorld {
    world: RwLock<World>,
    applied: watch::Sender<EventIndex>,
    turns: broadcast::Sender<Arc<CommittedTurn>>,
    /// What the sequencer's rehearsals of turns in flight added to the audit tree, oldest first.
    rehearsed: Mutex<VecDeque<(Head, Growth)>>,
}

impl Default for CommittedWorld {
    fn default() -> Self {
        CommittedWorld {
            world: RwLock::default(),
            applied: watch::Sender::new(EventIndex(0)),
            turns: broadcast::Sender::new(SUBSCRIBER_TURNS_MAX),
            rehearsed: Mutex::default(),
        }
    }
}

impl CommittedWorld {
    /// Runs a short query; holds a read lock for as long as it runs.
    ///
    /// # Panics
    /// If `query` reads again: between two read locks of one thread a fold may ask for its
    /// write lock, and then all three wait for ever.
    pub fn read<R>(&self, query: impl FnOnce(&World) -> R) -> R {
        let _once = Once::enter();
        // A panic under the write lock halts the node; a poisoned lock is read only on the way out.
        query(&self.world.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes what the rehearsal of a turn added to the audit tree: hashing is most of what its fold costs, and a leader
    /// would do it twice. `head` is the one behind the turn; it tells the whole log before it.
    pub(crate) fn rehearsed(&self, head: Head, growth: Growth) {
        let mut rehearsed = self.rehearsed.lock().unwrap_or_else(PoisonError::into_inner);
        // Of turns that were not committed.
        if rehearsed.len() >= REHEARSED_MAX {
            rehearsed.pop_front();
        }
        rehearsed.push_back((head, growth));
    }

    fn growth_of(&self, head: &Head) -> Option<Growth> {
        let mut rehearsed = self.rehearsed.lock().unwrap_or_else(PoisonError::into_inner);
        let at = rehearsed.iter().position(|(behind, _)| behind == head)?;
        rehearsed.drain(..=at).next_back().map(|(_, growth)| growth)
    }

    /// Position of the last folded event, as it grows.
    pub fn applied(&self) -> watch::Receiver<EventIndex> {
        self.applied.subscribe()
    }

    /// Every turn from here on. Who lags has to resync from [`CommittedWorld::read`].
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<CommittedTurn>> {
        self.turns.subscribe()
    }
}

impl Machine for CommittedWorld {
    fn head(&self) -> Head {
        self.read(|world| world.head)
    }

    fn fold(&self, turns: &[Arc<CommittedTurn>]) {
        let last = {
            let mut world = self.world.write().unwrap_or_else(PoisonError::into_inner);
            for turn in turns {
                let growth = self.growth_of(&turn.head);
                let known = Known { places: Some(&turn.places), growth: growth.as_ref() };
                world.fold_at(&turn.turn, &turn.frame, known, turn.head, &Registry, &mut ());
            }
            EventIndex(world.head.events)
        };
        for turn in turns {
            // No subscriber is fine.
            let _ = self.turns.send(turn.clone());
        }
        self.applied.send_replace(last);
    }

    fn freeze(&self) -> Box<dyn FnOnce() -> Vec<u8> + Send> {
        let world = self.read(World::clone);
        Box::new(move || postcard::to_stdvec(&world).expect("a world has no value that postcard cannot write"))
    }

    fn restore(&self, bytes: &[u8]) -> Result<(), String> {
        let world: World = postcard::from_bytes(bytes).map_err(|e| format!("the snapshot is no world: {e}"))?;
        let last = EventIndex(world.head.events);
        *self.world.write().unwrap_or_else(PoisonError::into_inner) = world;
        self.applied.send_replace(last);
        Ok(())
    }
}
