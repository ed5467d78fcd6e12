//! The virtual network: places, directed links with delay, loss, reorder and duplication, partitions.

mod pipe;
mod transport;
mod votes;
mod weather;

use pipe::Side;
pub use pipe::{End, Pipe};
pub use transport::{Connection, NodeTransport};
pub use weather::{Flight, Weather};

use crate::dice::Dice;
use crate::lock;
use crate::trace::{Kind, Trace};
use forge_log::network::Incoming;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// A connection that heard nothing for so long is dead. Units: ms.
const IDLE_MS: (u64, u64) = (400, 1_500);

/// An end of a link.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Place {
    Node(u64),
    Agent(u64),
    Client(u64),
}

impl Place {
    /// A number for the trace.
    pub fn number(self) -> u64 {
        match self {
            Place::Node(n) => n,
            Place::Agent(n) => 0x100 + n,
            Place::Client(n) => 0x200 + n,
        }
    }
}

/// Where a node takes links.
struct Door {
    life: u64,
    links: mpsc::Sender<Incoming>,
    agents: mpsc::Sender<Connection>,
}

/// The network of one run. Cheap to clone.
#[derive(Clone)]
pub struct Network(Arc<Mutex<Inner>>);

struct Inner {
    weather: Weather,
    /// Directions in which nothing passes.
    cut: BTreeSet<(Place, Place)>,
    doors: BTreeMap<u64, Door>,
    pipes: Vec<(Place, Place, Weak<Pipe>)>,
    dice: Dice,
    trace: Trace,
    next_pipe: u64,
    on_promise: Arc<OnPromise>,
}

/// Told which node promised its vote in which term.
pub type OnPromise = dyn Fn(u64, u64) + Send + Sync;

impl Network {
    pub fn new(dice: Dice, trace: Trace, on_promise: Arc<OnPromise>) -> Network {
        Network(Arc::new(Mutex::new(Inner {
            weather: Weather::calm(),
            cut: BTreeSet::new(),
            doors: BTreeMap::new(),
            pipes: Vec::new(),
            dice,
            trace,
            next_pipe: 0,
            on_promise,
        })))
    }

    pub fn set_weather(&self, weather: Weather) {
        lock(&self.0).weather = weather;
    }

    /// Stops what goes from `from` to `to`.
    pub fn cut(&self, from: Place, to: Place) {
        lock(&self.0).cut.insert((from, to));
    }

    pub fn mend(&self, from: Place, to: Place) {
        lock(&self.0).cut.remove(&(from, to));
    }

    pub fn mend_all(&self) {
        lock(&self.0).cut.clear();
    }

    pub fn is_cut(&self, from: Place, to: Place) -> bool {
        lock(&self.0).cut.contains(&(from, to))
    }

    /// A node's life takes links here from now on.
    pub(crate) fn enter(&self, node: u64, life: u64, links: mpsc::Sender<Incoming>, agents: mpsc::Sender<Connection>) {
        lock(&self.0).doors.insert(node, Door { life, links, agents });
    }

    /// The place is gone; whoever was linked to it finds out after a while.
    pub fn leave(&self, place: Place) {
        let mut inner = lock(&self.0);
        let inner = &mut *inner;
        if let Place::Node(node) = place {
            inner.doors.remove(&node);
        }
        for (from, to, pipe) in &inner.pipes {
            let Some(pipe) = pipe.upgrade() else { continue };
            if *from == place || *to == place {
                let notice = if *to == place { Duration::ZERO } else { inner.dice.ms(2, IDLE_MS.1 / 3) };
                pipe.end(End::Broken, Instant::now() + notice);
            }
        }
        inner.pipes.retain(|(from, to, pipe)| *from != place && *to != place && pipe.strong_count() > 0);
    }

    fn pipe(&self, from: Place, to: Place, is_numbered: bool, side: Side) -> Arc<Pipe> {
        let mut inner = lock(&self.0);
        inner.next_pipe += 1;
        let pipe = Arc::new(Pipe::new(self.clone(), inner.next_pipe, from, to, is_numbered, side));
        inner.pipes.push((from, to, Arc::downgrade(&pipe)));
        if inner.pipes.len().is_multiple_of(256) {
            inner.pipes.retain(|(.., pipe)| pipe.strong_count() > 0);
        }
        pipe
    }

    /// Tells of a promise in a message that leaves now.
    fn note_promise(&self, pipe: &Pipe, bytes: &[u8]) {
        let promised = match &pipe.side {
            Side::Plain => None,
            Side::Asks(votes) => votes.asked(bytes),
            Side::Answers(votes) => votes.told(bytes),
        };
        if let (Some(term), Place::Node(node)) = (promised, pipe.from) {
            let on_promise = lock(&self.0).on_promise.clone();
            on_promise(node, term);
        }
    }

    /// Decides how one message flies, and notes it.
    fn fly(&self, pipe: &Pipe, bytes: &[u8]) -> Flight {
        let mut inner = lock(&self.0);
        let inner = &mut *inner;
        inner.trace.note(Kind::Sent, pipe.from.number() << 16 | pipe.to.number(), pipe.number, bytes);
        if inner.cut.contains(&(pipe.from, pipe.to)) {
            inner.trace.fired("message cut by partition");
            return Flight::Cut { dead_in: inner.dice.ms(IDLE_MS.0, IDLE_MS.1) };
        }
        inner.weather.fly(&mut inner.dice, &inner.trace, pipe.is_numbered)
    }

    fn note_arrived(&self, pipe: &Pipe, bytes: &[u8]) {
        lock(&self.0).trace.note(Kind::Arrived, pipe.from.number() << 16 | pipe.to.number(), pipe.number, bytes);
    }

    fn note_reordered(&self) {
        lock(&self.0).trace.fired("message reordered");
    }

    /// One message of a client, there or back; false if it is lost.
    pub async fn hop(&self, from: Place, to: Place) -> bool {
        let flight = {
            let mut inner = lock(&self.0);
            let inner = &mut *inner;
            let up = match to {
                Place::Node(node) => inner.doors.contains_key(&node),
                _ => true,
            };
            match up && !inner.cut.contains(&(from, to)) {
                true => inner.weather.fly(&mut inner.dice, &inner.trace, true),
                false => Flight::Lost,
            }
        };
        match flight {
            Flight::Arrives { after } | Flight::Twice { after, .. } => {
                tokio::time::sleep(after).await;
                true
            }
            Flight::Lost | Flight::Cut { .. } => false,
        }
    }
}
