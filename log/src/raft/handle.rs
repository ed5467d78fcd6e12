//! [`Log`], as Raft keeps it.

use super::proposals::Proposal;
use super::{Core, RaftLog, members, within};
use crate::log::{
    Appended, Fault, Log, MembershipError, NotReady, PurgeRefused, ReadError, ReadTurn, Refusal, SealedSegment,
    SnapshotError, Ticket,
};
use crate::network::Lane;
use crate::network::client::PeerClient;
use crate::network::server::read_index;
use crate::network::wire::{Ask, Told};
use crate::role::{Role, Status};
use bytes::Bytes;
use forge_event::codec::{FRAME_HEADER_BYTES, TURN_VERSION, unframe};
use forge_event::limits::TURN_BYTES_MAX;
use forge_event::{EventIndex, NodeId, Term};
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use openraft::async_runtime::WatchReceiver;
use std::time::Duration;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{oneshot, watch};
use tokio::time::sleep;

/// Deadline of a change of members.
const MEMBERSHIP_DEADLINE: Duration = Duration::from_secs(30);
/// Deadline of taking a snapshot.
const SNAPSHOT_DEADLINE: Duration = Duration::from_secs(120);
/// Deadline of a purge.
const PURGE_DEADLINE: Duration = Duration::from_secs(30);
/// Pause before a read barrier is tried again.
const BARRIER_PAUSE: Duration = Duration::from_millis(10);
/// Longest frame: header and payload. Units: bytes.
const FRAME_BYTES_MAX: usize = TURN_BYTES_MAX + FRAME_HEADER_BYTES;

impl Log for RaftLog {
    fn append(&self, term: Term, frame: Vec<u8>) -> Ticket {
        let refused = |refusal| Ticket::known(Appended::Refused(refusal));
        if frame.len() > FRAME_BYTES_MAX {
            return refused(Refusal::TooLong);
        }
        // Apply halts every node on bytes it cannot read: they must not get that far.
        let whole = matches!(unframe(&frame, TURN_BYTES_MAX), Ok((TURN_VERSION, _, [])));
        assert!(whole, "an appended frame is one whole turn's");
        if self.core.space.is_degraded() {
            return refused(Refusal::StorageDegraded);
        }
        let (done, outcome) = oneshot::channel();
        match self.core.proposals.try_send(Proposal { term, frame: frame.into(), done }) {
            Ok(()) => Ticket::waiting(outcome),
            Err(TrySendError::Full(_)) => refused(Refusal::Busy),
            Err(TrySendError::Closed(_)) => refused(Refusal::Stopped),
        }
    }

    fn role(&self) -> watch::Receiver<Role> {
        self.core.role.subscribe()
    }

    fn applied(&self) -> watch::Receiver<u64> {
        self.core.places.index.subscribe()
    }

    fn wait_applied(&self, index: u64) -> BoxFuture<'static, bool> {
        let log = self.core.clone();
        Box::pin(async move { log.reach(index).await.is_ok() })
    }

    fn read_barrier(&self, deadline: Duration) -> BoxFuture<'static, Result<(), NotReady>> {
        let log = self.core.clone();
        Box::pin(async move {
            let mut last = NotReady::Deadline;
            let passed = tokio::time::timeout(deadline, log.barrier(&mut last)).await;
            passed.unwrap_or(Err(last))
        })
    }

    fn bootstrap(&self, address: String) -> BoxFuture<'static, Result<(), MembershipError>> {
        let formed = members::bootstrap(self.core.raft.clone(), self.core.node, address);
        Box::pin(within(MEMBERSHIP_DEADLINE, MembershipError::Deadline, formed))
    }

    fn add_learner(&self, node: NodeId, address: String) -> BoxFuture<'static, Result<(), MembershipError>> {
        let added = members::add_learner(self.core.raft.clone(), node, address);
        Box::pin(within(MEMBERSHIP_DEADLINE, MembershipError::Deadline, added))
    }

    fn promote(&self, node: NodeId) -> BoxFuture<'static, Result<(), MembershipError>> {
        let promoted = members::promote(self.core.raft.clone(), node);
        Box::pin(within(MEMBERSHIP_DEADLINE, MembershipError::Deadline, promoted))
    }

    fn remove(&self, node: NodeId) -> BoxFuture<'static, Result<(), MembershipError>> {
        let removed = members::remove(self.core.raft.clone(), node);
        Box::pin(within(MEMBERSHIP_DEADLINE, MembershipError::Deadline, removed))
    }

    fn transfer(&self, node: NodeId) -> BoxFuture<'static, Result<(), MembershipError>> {
        let transferred = members::transfer(self.core.raft.clone(), node);
        Box::pin(within(MEMBERSHIP_DEADLINE, MembershipError::Deadline, transferred))
    }

    fn status(&self) -> Status {
        self.core.view()
    }

    fn snapshot(&self) -> BoxFuture<'static, Result<u64, SnapshotError>> {
        let log = self.core.clone();
        Box::pin(within(SNAPSHOT_DEADLINE, SnapshotError::Deadline, async move { log.take_snapshot().await }))
    }

    fn purge_upto(&self, upto: u64, archived: EventIndex) -> BoxFuture<'static, Result<(), PurgeRefused>> {
        let log = self.core.clone();
        Box::pin(async move { log.purge(upto, archived).await })
    }

    fn purgeable(&self, archived: EventIndex) -> Option<u64> {
        let limit = self.core.behind_snapshot()?.min(self.core.archive.index_of(archived)?);
        let purged = self.core.store.purged().map(|id| id.index);
        (purged.is_none_or(|purged| purged < limit)).then_some(limit)
    }

    fn segments(&self, after: EventIndex) -> Vec<SealedSegment> {
        self.core.archive.segments(after)
    }

    fn segment_count(&self) -> watch::Receiver<u64> {
        self.core.archive.count()
    }

    fn incomplete(&self) -> watch::Receiver<bool> {
        self.core.archive.incomplete()
    }

    fn storage_degraded(&self) -> watch::Receiver<bool> {
        self.core.space.degraded()
    }

    fn read(&self, from: EventIndex) -> BoxStream<'static, Result<ReadTurn, ReadError>> {
        self.core.archive.clone().read(from, *self.core.places.applied.borrow())
    }

    fn export(&self, from: EventIndex, to: EventIndex) -> BoxStream<'static, Result<Bytes, ReadError>> {
        self.core.archive.clone().export(from, to, *self.core.places.applied.borrow())
    }

    fn fatal(&self) -> BoxFuture<'static, Fault> {
        let mut fault = self.core.fault.subscribe();
        Box::pin(async move {
            match fault.wait_for(Option::is_some).await.ok().and_then(|fault| fault.clone()) {
                Some(fault) => fault,
                // The log was dropped in good order: there is no fault, and none will come.
                None => std::future::pending().await,
            }
        })
    }

    fn shutdown(&self) -> BoxFuture<'static, ()> {
        Box::pin(self.core.clone().stop())
    }
}

impl Core {
    async fn barrier(&self, last: &mut NotReady) -> Result<(), NotReady> {
        let mut client: Option<(u64, PeerClient)> = None;
        loop {
            if *self.stopped.borrow() {
                return Err(NotReady::Stopped);
            }
            let answer = read_index(&self.raft).await;
            let leader = match answer {
                Ok(Ok(index)) => return self.reach(index).await,
                Ok(Err(leader)) => leader,
                Err(_) => None,
            };
            let leader = leader.filter(|leader| *leader != self.node.0);
            *last = if leader.is_some() { NotReady::Deadline } else { NotReady::NoLeader };
            if let Some(leader) = leader {
                let client = match &mut client {
                    Some((to, client)) if *to == leader => client,
                    other => {
                        let new = PeerClient::new(self.transport.clone(), NodeId(leader), Lane::Read);
                        &mut other.insert((leader, new)).1
                    }
                };
                let patience = Duration::from_millis(self.timing.election_ms_max);
                if let Ok(Told::ReadIndex(Ok(index))) = client.ask(Ask::ReadIndex, patience).await {
                    return self.reach(index).await;
                }
            }
            sleep(BARRIER_PAUSE).await;
        }
    }

    async fn reach(&self, index: u64) -> Result<(), NotReady> {
        let mut applied = self.places.index.subscribe();
        let mut stopped = self.stopped.subscribe();
        tokio::select! {
            biased;
            reached = applied.wait_for(|at| *at >= index) => reached.map(drop).map_err(|_| NotReady::Stopped),
            _ = stopped.wait_for(|stopped| *stopped) => Err(NotReady::Stopped),
        }
    }

    async fn take_snapshot(&self) -> Result<u64, SnapshotError> {
        let mut metrics = self.raft.metrics();
        let wanted = metrics.borrow_watched().last_applied.as_ref().map_or(0, |id| id.index());
        let mut asked = false;
        loop {
            {
                let now = metrics.borrow_watched();
                if now.running_state.is_err() {
                    return Err(SnapshotError::Stopped);
                }
                if let Some(id) = &now.snapshot
                    && id.index() >= wanted
                {
                    return Ok(id.index());
                }
            }
            if !asked {
                self.raft.trigger().snapshot().await.map_err(|_| SnapshotError::Stopped)?;
                asked = true;
            }
            metrics.changed().await.map_err(|_| SnapshotError::Stopped)?;
        }
    }

    /// The last index that is far enough behind the snapshot.
    fn behind_snapshot(&self) -> Option<u64> {
        let metrics = self.raft.metrics();
        let snapshot = metrics.borrow_watched().snapshot.as_ref()?.index();
        snapshot.checked_sub(self.purge_keep_entries)
    }

    async fn purge(&self, upto: u64, archived: EventIndex) -> Result<(), PurgeRefused> {
        let archived = self.archive.index_of(archived).unwrap_or(0);
        if upto > archived {
            return Err(PurgeRefused::NotArchived { asked: upto, archived });
        }
        let allowed = self.behind_snapshot().unwrap_or(0);
        if upto > allowed {
            return Err(PurgeRefused::TooClose { asked: upto, allowed });
        }
        self.raft.trigger().purge_log(upto).await.map_err(|_| PurgeRefused::Stopped)?;
        let mut metrics = self.raft.metrics();
        let purged = async {
            loop {
                let now = metrics.borrow_watched().purged.as_ref().map(|id| id.index());
                if now.is_some_and(|at| at >= upto) {
                    return Ok(());
                }
                metrics.changed().await.map_err(|_| PurgeRefused::Stopped)?;
            }
        };
        within(PURGE_DEADLINE, PurgeRefused::Stopped, purged).await
    }
}
