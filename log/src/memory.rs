//! A log of one node in memory, for unit tests of what stands on the log.

use crate::log::{
    Appended, Fault, Log, MembershipError, NotReady, PurgeRefused, ReadError, ReadTurn, Refusal, SealedSegment,
    SnapshotError, Ticket,
};
use crate::machine::{CommittedTurn, Machine};
use crate::role::{PeerStatus, Role, RoleState, Status};
use bytes::Bytes;
use forge_event::archive::{Header, MAGIC, Trailer, encode_header, encode_trailer};
use forge_event::codec::decode_placed;
use forge_event::{Digest, EventIndex, Head, NodeId, Term};
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt, stream};
use std::collections::VecDeque;
use std::future::ready;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// What the next append meets instead of success.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Injected {
    /// It is refused.
    Refuse(Refusal),
    /// The answer is lost, the turn is not.
    UnknownButCommitted,
    /// The answer is lost and so is the turn.
    UnknownAndLost,
}

/// Leads from the start, in term 1, and folds at once.
pub struct MemoryLog {
    machine: Arc<dyn Machine>,
    segment_leaves: u64,
    role: watch::Sender<Role>,
    applied: watch::Sender<u64>,
    segments: watch::Sender<u64>,
    incomplete: watch::Sender<bool>,
    degraded: watch::Sender<bool>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    turns: Vec<Arc<CommittedTurn>>,
    injected: VecDeque<Injected>,
    index: u64,
}

const NODE: NodeId = NodeId(1);

impl MemoryLog {
    /// Seals nothing.
    pub fn new(machine: Arc<dyn Machine>) -> Arc<MemoryLog> {
        MemoryLog::sealing(machine, u64::MAX)
    }

    /// Seals a segment with the turn that reaches a multiple of so many events.
    pub fn sealing(machine: Arc<dyn Machine>, segment_leaves: u64) -> Arc<MemoryLog> {
        let state = RoleState::Leader { last_index_at_election: 0, since: Instant::now() };
        Arc::new(MemoryLog {
            machine,
            segment_leaves,
            role: watch::Sender::new(Role { term: 1, leader: Some(NODE), state }),
            applied: watch::Sender::new(0),
            segments: watch::Sender::new(0),
            incomplete: watch::Sender::new(false),
            degraded: watch::Sender::new(false),
            state: Mutex::new(State::default()),
        })
    }

    /// What the next append without an injection meets.
    pub fn inject(&self, injected: Injected) {
        self.state().injected.push_back(injected);
    }

    /// Changes the role; a leader of a later term finds the log as it is.
    pub fn set_role(&self, role: Role) {
        self.role.send_replace(role);
    }

    /// The turns so far.
    pub fn turns(&self) -> Vec<Arc<CommittedTurn>> {
        self.state().turns.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn commit(&self, state: &mut State, term: Term, frame: Vec<u8>) -> Appended {
        let (turn, places, length) = decode_placed(&frame).expect("an appended frame is one whole turn's");
        assert_eq!(length, frame.len(), "an appended frame is one whole turn's");
        state.index += 1;
        let head = self.machine.head();
        if turn.expected != head {
            self.applied.send_replace(state.index);
            return Appended::Refused(Refusal::Ignored { head });
        }
        let head = head.after(&frame, turn.len());
        let turn = Arc::new(CommittedTurn { turn, frame: frame.into(), places, head, raft_index: state.index, term });
        self.machine.fold(std::slice::from_ref(&turn));
        if self.seals(&turn) {
            self.segments.send_modify(|count| *count += 1);
        }
        state.turns.push(turn);
        self.applied.send_replace(state.index);
        Appended::Committed { head, raft_index: state.index }
    }

    fn seals(&self, turn: &CommittedTurn) -> bool {
        turn.head.events / self.segment_leaves > turn.turn.expected.events / self.segment_leaves
    }

    fn span(&self, from: EventIndex, to: EventIndex) -> Vec<Arc<CommittedTurn>> {
        let turns = self.turns();
        turns.into_iter().filter(|t| t.head.events >= from.0 && t.turn.expected.events < to.0).collect()
    }
}

impl Log for MemoryLog {
    fn append(&self, term: Term, frame: Vec<u8>) -> Ticket {
        let mut state = self.state();
        let role = *self.role.borrow();
        if role.term != term || role.leads().is_none() {
            return Ticket::known(Appended::Refused(Refusal::NotLeader { leader: role.leader }));
        }
        Ticket::known(match state.injected.pop_front() {
            None => self.commit(&mut state, term, frame),
            Some(Injected::Refuse(refusal)) => Appended::Refused(refusal),
            Some(Injected::UnknownAndLost) => Appended::Unknown,
            Some(Injected::UnknownButCommitted) => {
                self.commit(&mut state, term, frame);
                Appended::Unknown
            }
        })
    }

    fn role(&self) -> watch::Receiver<Role> {
        self.role.subscribe()
    }

    fn applied(&self) -> watch::Receiver<u64> {
        self.applied.subscribe()
    }

    fn read_barrier(&self, _deadline: Duration) -> BoxFuture<'static, Result<(), NotReady>> {
        ready(Ok(())).boxed()
    }

    fn bootstrap(&self, _address: String) -> BoxFuture<'static, Result<(), MembershipError>> {
        ready(Ok(())).boxed()
    }

    fn add_learner(&self, _node: NodeId, _address: String) -> BoxFuture<'static, Result<(), MembershipError>> {
        ready(Ok(())).boxed()
    }

    fn promote(&self, _node: NodeId) -> BoxFuture<'static, Result<(), MembershipError>> {
        ready(Ok(())).boxed()
    }

    fn remove(&self, _node: NodeId) -> BoxFuture<'static, Result<(), MembershipError>> {
        ready(Ok(())).boxed()
    }

    fn transfer(&self, node: NodeId) -> BoxFuture<'static, Result<(), MembershipError>> {
        ready(if node == NODE { Ok(()) } else { Err(MembershipError::UnknownNode { node }) }).boxed()
    }

    fn status(&self) -> Status {
        let index = Some(self.state().index).filter(|index| *index > 0);
        let member = PeerStatus {
            node: NODE,
            address: "memory".into(),
            voter: true,
            matched: index,
            lag: Some(0),
            heard_ms: None,
        };
        Status {
            node: NODE,
            role: *self.role.borrow(),
            last_log: index,
            committed: index,
            applied: index,
            snapshot: None,
            purged: None,
            members: vec![member],
            changing: false,
            incomplete: false,
            storage_degraded: *self.degraded.borrow(),
        }
    }

    fn snapshot(&self) -> BoxFuture<'static, Result<u64, SnapshotError>> {
        ready(Ok(self.state().index)).boxed()
    }

    fn purge_upto(&self, upto: u64, _archived: EventIndex) -> BoxFuture<'static, Result<(), PurgeRefused>> {
        ready(Err(PurgeRefused::NotArchived { asked: upto, archived: 0 })).boxed()
    }

    fn purgeable(&self, _archived: EventIndex) -> Option<u64> {
        None
    }

    fn segments(&self, after: EventIndex) -> Vec<SealedSegment> {
        let turns = self.turns();
        let cut = turns.split_inclusive(|turn| self.seals(turn));
        let sealed = cut
            .filter(|cut| cut.last().is_some_and(|last| self.seals(last)) && cut[cut.len() - 1].head.events > after.0);
        let segment = |cut: &[Arc<CommittedTurn>]| {
            let (first, last) = (&cut[0], &cut[cut.len() - 1]);
            let bytes: Vec<u8> = cut.iter().flat_map(|turn| turn.frame.iter().copied()).collect();
            SealedSegment {
                first: EventIndex(first.turn.expected.events + 1),
                last: EventIndex(last.head.events),
                digest: Digest::of(&bytes),
                bytes: bytes.len() as u64,
                head: last.head,
                raft_index: last.raft_index,
            }
        };
        sealed.map(segment).collect()
    }

    fn segment_count(&self) -> watch::Receiver<u64> {
        self.segments.subscribe()
    }

    fn incomplete(&self) -> watch::Receiver<bool> {
        self.incomplete.subscribe()
    }

    fn storage_degraded(&self) -> watch::Receiver<bool> {
        self.degraded.subscribe()
    }

    fn read(&self, from: EventIndex) -> BoxStream<'static, Result<ReadTurn, ReadError>> {
        let turns = self.span(from, EventIndex(u64::MAX));
        let read = |t: Arc<CommittedTurn>| ReadTurn { turn: t.turn.clone(), frame: t.frame.clone(), head: t.head };
        stream::iter(turns.into_iter().map(move |turn| Ok(read(turn)))).boxed()
    }

    fn export(&self, from: EventIndex, to: EventIndex) -> BoxStream<'static, Result<Bytes, ReadError>> {
        let head = self.machine.head();
        if to.0 > head.events {
            let error = ReadError::BeyondEnd { asked: to, last: EventIndex(head.events) };
            return stream::iter([Err(error)]).boxed();
        }
        let turns = self.span(from, to);
        let cluster = self.turns().first().map_or(Digest::default(), |genesis| Digest::of(&genesis.frame));
        let before = turns.first().map_or(head, |first| first.turn.expected);
        let after = turns.last().map_or(before, |last| last.head);
        let count = |at: fn(&Head) -> u64| at(&after) - at(&before);
        let trailer = Trailer { turns: count(|h| h.turns), events: count(|h| h.events), head: after };
        let mut parts = vec![encode_header(&Header { magic: MAGIC, cluster, before }).into()];
        parts.extend(turns.iter().map(|turn| turn.frame.clone()));
        parts.push(encode_trailer(&trailer).into());
        stream::iter(parts.into_iter().map(Ok)).boxed()
    }

    fn fatal(&self) -> BoxFuture<'static, Fault> {
        std::future::pending().boxed()
    }

    fn shutdown(&self) -> BoxFuture<'static, ()> {
        self.role.send_modify(|role| role.state = RoleState::Stopped);
        ready(()).boxed()
    }
}
