//! All projections together, and how a turn is folded into them.

use crate::accounting::{Accounting, Entry};
use crate::agents::Agents;
use crate::aggregator::Aggregator;
use crate::cluster::Cluster;
use crate::family::Families;
use crate::jobs::Jobs;
use crate::projects::Projects;
use crate::scheduler::Scheduler;
use crate::scratch::Scratch;
use alloc::vec::Vec;
use forge_event::codec::Places;
use forge_event::limits::SEGMENT_LEAVES;
use forge_event::merkle::{self, Frontier, Leaf};
use forge_event::*;
use serde::{Deserialize, Serialize};

/// The state after a prefix of the log.
///
/// Invariant: a function of that prefix alone; equal on every node, in replay and in simulation.
#[derive(Clone, Serialize, Deserialize, Debug, Default)]
pub struct World {
    pub head: Head,
    /// Log time of the last turn.
    pub at: Timestamp,
    /// Digest of the genesis turn's frame: the cluster's id.
    pub genesis: Digest,
    /// The audit tree's frontier.
    pub tree: Frontier,
    pub cluster: Cluster,
    pub projects: Projects,
    pub agents: Agents,
    pub jobs: Jobs,
    pub scheduler: Scheduler,
    pub aggregator: Aggregator,
    pub accounting: Accounting,
    /// What the running turn left for its own decisions; empty between turns.
    #[serde(skip, default = "Scratch::unknown")]
    pub(crate) turn: Scratch,
}

/// What a turn's fold added to the audit tree. Invariant: a function of the head behind the turn.
#[derive(Clone, Debug)]
pub struct Growth {
    leaves: Vec<merkle::Node>,
    tree: Frontier,
}

/// What whoever folds a turn knows of it already, so that it need not be worked out again.
#[derive(Clone, Copy, Debug, Default)]
pub struct Known<'a> {
    /// Where its events stand in its frame.
    pub places: Option<&'a Places>,
    /// What the same turn, with the same head behind it, added to the tree when it was folded before.
    pub growth: Option<&'a Growth>,
}

/// What the fold knows of an event beyond its bytes; exports show it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Meta {
    /// The project it belongs to, and its place in that project's own sequence.
    pub project: Option<ProjectId>,
    pub seq: u64,
    /// The latest event without which a decision would not have been taken.
    pub cause: Option<EventIndex>,
    /// All of them, ascending, if there are several.
    pub causes: Vec<EventIndex>,
    /// The legs of a transfer.
    pub entries: Vec<Entry>,
}

impl Meta {
    pub(crate) fn of(project: ProjectId) -> Meta {
        Meta { project: Some(project), ..Meta::default() }
    }

    pub(crate) fn because(mut self, cause: EventIndex) -> Meta {
        self.add_cause(cause);
        self
    }

    pub(crate) fn add_cause(&mut self, cause: EventIndex) {
        match self.cause {
            None => self.cause = Some(cause),
            Some(one) if one == cause => {}
            Some(one) => {
                if self.causes.is_empty() {
                    self.causes.push(one);
                }
                if let Err(at) = self.causes.binary_search(&cause) {
                    self.causes.insert(at, cause);
                }
                self.cause = self.causes.last().copied();
            }
        }
    }
}

/// Sees every event as it is folded.
pub trait Observer {
    /// A turn begins.
    fn turn(&mut self, _turn: &Turn) {}

    /// An event was folded; `world` is the state behind it.
    fn event(&mut self, index: EventIndex, by: Option<&By>, event: &Event, meta: &Meta, world: &World);

    /// The turn is over; `head` is the chain behind it.
    fn closed(&mut self, _head: &Head) {}
}

/// Sees nothing.
impl Observer for () {
    fn event(&mut self, _: EventIndex, _: Option<&By>, _: &Event, _: &Meta, _: &World) {}
}

impl World {
    /// Starts a turn. Everything until [`World::close`] belongs to it.
    ///
    /// # Panics
    /// If time would go back.
    pub fn open(&mut self, at: Timestamp, salt: [u8; 32]) {
        assert!(at >= self.at, "log time never goes back");
        self.at = at;
        self.turn.open(salt, EventIndex(self.head.events));
    }

    /// Ends the turn whose frame is `frame`.
    pub fn close(&mut self, frame: &[u8]) {
        let events = self.turn.index.0 - self.head.events;
        self.close_at(frame, self.head.after(frame, events));
    }

    /// The same, when whoever read the frame chained it already: `head` is the one behind it.
    pub(crate) fn close_at(&mut self, frame: &[u8], head: Head) {
        if self.head.turns == 0 {
            self.genesis = Digest::of(frame);
        }
        self.head = head;
        self.turn.close();
    }

    /// What the running turn has added to the tree so far.
    pub fn growth(&self) -> Growth {
        Growth { leaves: self.turn.leaves.clone(), tree: self.tree.clone() }
    }

    /// The frame of the running turn, from the bytes that its events were folded as.
    ///
    /// # Panics
    /// If `turn` is not the running one.
    pub fn frame_of(&self, turn: &Turn) -> Vec<u8> {
        codec::assemble_turn(turn, self.turn.events())
    }

    /// Folds one event of the running turn. Total: what was admitted or derived always folds.
    ///
    /// # Panics
    /// If the event could neither be admitted nor derived here: the log is not one of ours, or we have a bug.
    pub fn apply(&mut self, by: Option<&By>, event: &Event, families: &dyn Families) -> Meta {
        self.turn.write(event);
        self.apply_taken(by, event, families)
    }

    /// The same, when the event was read: `bytes` are its canonical ones.
    pub(crate) fn apply_read(&mut self, by: Option<&By>, event: &Event, bytes: &[u8], families: &dyn Families) -> Meta {
        self.turn.copy(bytes);
        self.apply_taken(by, event, families)
    }

    fn apply_taken(&mut self, by: Option<&By>, event: &Event, families: &dyn Families) -> Meta {
        self.turn.index = EventIndex(self.turn.index.0 + 1);
        let index = self.turn.index;
        let mut meta = self.apply_event(index, by, event, families);
        if let Some(by) = by {
            self.remember(by, index);
        }
        self.add_leaf(by, &mut meta);
        meta
    }

    /// Bytes of the event that was applied last, as it stands in a turn.
    pub fn applied_len(&self) -> usize {
        self.turn.event().len()
    }

    /// Folds a committed turn: its facts, then the decisions as recorded.
    ///
    /// # Panics
    /// If it does not follow this state's head; see also [`World::apply`].
    pub fn fold(&mut self, turn: &Turn, frame: &[u8], families: &dyn Families, observer: &mut impl Observer) {
        self.fold_at(turn, frame, Known::default(), self.head.after(frame, turn.len()), families, observer);
    }

    /// The same, when whoever read the frame chained it already: `head` is the one behind it.
    ///
    /// # Panics
    /// As [`World::fold`].
    pub fn fold_at(
        &mut self,
        turn: &Turn,
        frame: &[u8],
        known: Known<'_>,
        head: Head,
        families: &dyn Families,
        observer: &mut impl Observer,
    ) {
        assert!(turn.expected == self.head, "a turn is folded only onto the head it expects");
        self.open(turn.at, turn.salt);
        self.turn.leaves_known = known.growth.map(|growth| growth.leaves.clone()).unwrap_or_default();
        observer.turn(turn);
        let mut read = known.places.map(|places| places.events(frame));
        let facts = turn.facts.iter().map(|fact| (fact.by.as_ref(), &fact.event));
        for (by, event) in facts.chain(turn.decisions.iter().map(|event| (None, event))) {
            let meta = match read.as_mut().and_then(Iterator::next) {
                Some(bytes) => self.apply_read(by, event, bytes, families),
                None => self.apply(by, event, families),
            };
            observer.event(self.turn.index, by, event, &meta, self);
        }
        if let Some(growth) = known.growth {
            self.tree = growth.tree.clone();
        }
        self.close_at(frame, head);
        // Whether the decider's budget left work over is not in the log.
        self.turn.leftover = true;
        observer.closed(&self.head);
    }

    fn remember(&mut self, by: &By, index: EventIndex) {
        let Some(idempotency) = by.idempotency else { return };
        let project = self.projects.memory_of(by.key);
        let expires_at = self.at.after(crate::projects::IDEMPOTENCY_MS);
        let what = crate::projects::Remembered { request: by.request, index, expires_at };
        self.projects.remember(project, idempotency, what, self.at);
    }

    fn add_leaf(&mut self, by: Option<&By>, meta: &mut Meta) {
        let ordinal = self.turn.index.0 - self.head.events - 1;
        let project = meta.project.and_then(|p| self.projects.projects.get_mut(&p));
        let (project_seq, project_prev) = match &project {
            Some(p) => (p.seq + 1, p.last_leaf),
            None => (0, [0; 32]),
        };
        let leaf = match self.turn.leaves_known.get(ordinal as usize) {
            Some(leaf) => *leaf,
            None => {
                let leaf = Leaf {
                    version: 1,
                    project: meta.project,
                    project_seq,
                    project_prev,
                    time: self.at,
                    key: by.and_then(|b| b.key),
                    salt: merkle::salt(&self.turn.salt, ordinal),
                    body: self.turn.event(),
                }
                .hash();
                self.tree.push(leaf);
                self.turn.leaves.push(leaf);
                leaf
            }
        };
        if let Some(project) = project {
            project.seq = project_seq;
            project.last_leaf = leaf;
        }
        meta.seq = project_seq;
    }

    /// Whether a turn that begins here opens with `state.rooted`.
    pub(crate) fn root_is_due(&self) -> bool {
        // The first turn that begins at or after a multiple: the turn before it crossed (or met) one.
        let before = self.head.events;
        before >= SEGMENT_LEAVES && before / SEGMENT_LEAVES > self.cluster.rooted_upto.0 / SEGMENT_LEAVES
    }

    /// The root of each part, in the order of [`Part::ALL`]; costs what was written since the last call.
    pub fn roots(&mut self) -> Vec<Digest> {
        Part::ALL.into_iter().map(|part| self.root_of(part)).collect()
    }

    fn root_of(&mut self, part: Part) -> Digest {
        match part {
            Part::Cluster => self.cluster.root(),
            Part::Projects => self.projects.root(),
            Part::Agents => self.agents.root(),
            Part::Jobs => self.jobs.root(),
            Part::Scheduler => self.scheduler.root(),
            Part::Aggregator => self.aggregator.root(),
            Part::Accounting => self.accounting.root(),
        }
    }
}
