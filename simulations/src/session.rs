//! The hub's side of an agent's connection: as `forge_hub::agents`, with virtual streams for QUIC's.
//!
//! The machine, the admission of what is presented, the submissions and the edge checks are the hub's own.

use crate::lock;
use crate::network::{Connection, End};
use crate::trace::{Kind, Trace};
use forge_event::*;
use forge_hub::Hub;
use forge_hub::agents::{checkpoint, hubs, presented, submit};
use forge_hub::effects::dispatch::Dispatcher;
use forge_log::CommittedTurn;
use forge_log::network::identity::verify;
use forge_projections::{Command, World};
use forge_protocol::{
    Action, AgentToHub, CancelReason, Checkpoint, CloseCode, Delivery, HubSession, HubToAgent, Now, Seal, SubmissionId,
    Verdict, Welcome, frame,
};
use futures::future::{BoxFuture, FutureExt};
use futures::stream::{FuturesUnordered, StreamExt};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The agent has so long to say hello; this node has so long to fold what the leader committed.
const HELLO_WAIT: Duration = Duration::from_secs(5);
/// The stream that the agent opens first.
pub const CONTROL: u64 = 0;
/// How often a node gives a lease of somebody else to an agent that takes what it is given. Units: ms.
const SLOPPY_MS: u64 = 400;

/// Leases that were given to an agent although they are somebody else's: each once, whatever node does it.
pub type Stolen = Arc<Mutex<BTreeSet<LeaseId>>>;

/// Serves a connection to its end in the log. A `sloppy` node also opens leases that are not the agent's.
pub async fn serve(hub: Hub, connection: Connection, sloppy: Option<Stolen>, trace: Trace, stop: CancellationToken) {
    let turns = hub.subscribe();
    match join(&hub, &connection).await {
        Ok(joined) => Live::new(&hub, connection, turns, joined, sloppy, trace).run(stop).await,
        Err(code) => connection.close(code.number()),
    }
}

struct Joined {
    agent: AgentId,
    key: [u8; 32],
    epoch: Epoch,
    index: EventIndex,
    position: u64,
}

async fn join(hub: &Hub, connection: &Connection) -> Result<Joined, CloseCode> {
    let first = tokio::time::timeout(HELLO_WAIT, connection.recv()).await;
    let Ok(Ok((CONTROL, bytes))) = first else { return Err(CloseCode::Protocol) };
    let Ok(Some((AgentToHub::Hello(hello), _))) = frame::take(&bytes) else { return Err(CloseCode::Protocol) };
    let agent = hello.agent;
    let known = |world: &World| world.agents.agents.get(&agent).map(|a| a.public_key);
    if hub.read(known).is_none() {
        hub.barrier().await.map_err(|_| CloseCode::Unavailable)?;
    }
    let key = hub.read(known).ok_or(CloseCode::Unknown)?;
    let (slots, capabilities) = (hello.slots, hello.capabilities.clone());
    let joined = hub.command(Command::Join { agent, node: hub.node(), slots, capabilities }).await;
    let index = joined.map_err(|_| CloseCode::Unavailable)?.index;
    if !hub.reached(index, HELLO_WAIT).await {
        return Err(CloseCode::Unavailable);
    }
    let welcome = hub.read(|world| {
        let known = world.agents.agents.get(&agent)?;
        known.session.filter(|s| s.joined == index && s.node == hub.node())?;
        Some(Welcome {
            epoch: known.epoch,
            position: known.position,
            chain: known.chain,
            sealed: known.sealed,
            fates: presented::judge(world, agent, known, &hello),
            hubs: hubs(world),
        })
    });
    let welcome = welcome.ok_or(CloseCode::Rejoin)?;
    let (epoch, position) = (welcome.epoch, welcome.position);
    // Told or not, the session is in the log.
    let _ = connection.send(CONTROL, frame::encode(&HubToAgent::Welcome(welcome)));
    Ok(Joined { agent, key, epoch, index, position })
}

struct Live<'a> {
    hub: &'a Hub,
    connection: Connection,
    turns: Option<Receiver<Arc<CommittedTurn>>>,
    joined: Joined,
    machine: HubSession,
    dispatcher: Dispatcher,
    streams: BTreeMap<LeaseId, u64>,
    leases: BTreeMap<u64, LeaseId>,
    next_stream: u64,
    submissions: FuturesUnordered<BoxFuture<'static, (SubmissionId, Verdict)>>,
    /// The checkpoint that is being recorded.
    keeping: FuturesUnordered<BoxFuture<'static, ()>>,
    started: Instant,
    /// When to give the agent somebody else's lease, and which it had; `None` on an honest node.
    sloppy: Option<(Instant, Stolen)>,
    trace: Trace,
    ended: bool,
}

enum Event {
    Stop,
    Message(Result<(u64, bytes::Bytes), End>),
    Turn(Result<Arc<CommittedTurn>, RecvError>),
    Verdict(SubmissionId, Verdict),
    Sloppy,
    Timer,
}

impl<'a> Live<'a> {
    fn new(
        hub: &'a Hub,
        connection: Connection,
        turns: Receiver<Arc<CommittedTurn>>,
        joined: Joined,
        sloppy: Option<Stolen>,
        trace: Trace,
    ) -> Live<'a> {
        let started = Instant::now();
        Live {
            hub,
            connection,
            turns: Some(turns),
            joined,
            machine: HubSession::new(),
            dispatcher: Dispatcher::default(),
            streams: BTreeMap::new(),
            leases: BTreeMap::new(),
            next_stream: CONTROL + 1,
            submissions: FuturesUnordered::new(),
            keeping: FuturesUnordered::new(),
            started,
            sloppy: sloppy.map(|stolen| (started + Duration::from_millis(SLOPPY_MS), stolen)),
            trace,
            ended: false,
        }
    }

    async fn run(mut self, stop: CancellationToken) {
        self.look_again();
        loop {
            self.settle();
            if self.ended {
                return;
            }
            let retry_at = self.machine.retry_time().map(|at| self.started + Duration::from_millis(at.0));
            let sloppy_at = self.sloppy.as_ref().map(|(at, _)| *at);
            let connected = self.turns.is_some();
            let event = tokio::select! {
                biased;
                () = stop.cancelled() => Event::Stop,
                message = self.connection.recv(), if connected && self.machine.has_room() => Event::Message(message),
                turn = next_turn(&mut self.turns), if connected => Event::Turn(turn),
                Some((id, verdict)) = self.submissions.next(), if !self.submissions.is_empty() => Event::Verdict(id, verdict),
                Some(()) = self.keeping.next(), if !self.keeping.is_empty() => Event::Timer,
                () = sleep_until(sloppy_at), if connected && sloppy_at.is_some() => Event::Sloppy,
                () = sleep_until(retry_at), if retry_at.is_some() => Event::Timer,
            };
            match event {
                Event::Stop => {
                    self.connection.close(CloseCode::GoingAway.number());
                    return;
                }
                Event::Message(Ok((CONTROL, bytes))) => self.handle_control(&bytes),
                Event::Message(Ok((stream, bytes))) => self.handle_answer(stream, &bytes),
                Event::Message(Err(_)) => self.disconnected(LostReason::Disconnected),
                Event::Turn(Ok(turn)) => self.handle_turn(&turn),
                Event::Turn(Err(RecvError::Lagged(_))) => self.look_again(),
                Event::Turn(Err(RecvError::Closed)) => return,
                Event::Verdict(id, verdict) => {
                    let now = self.now();
                    self.machine.handle_verdict(id, verdict, now);
                }
                Event::Sloppy => self.give_away(),
                Event::Timer => {}
            }
        }
    }

    fn now(&self) -> Now {
        Now(self.started.elapsed().as_millis() as u64 + 1)
    }

    fn settle(&mut self) {
        while let Some(action) = self.machine.poll_action() {
            match action {
                Action::Open(lease) => self.open(lease),
                Action::Ack { lease, position, fate } => {
                    self.joined.position = self.joined.position.max(position);
                    self.end_stream(lease, &HubToAgent::Ack { position, fate });
                }
                Action::FailureRecorded { lease } => self.end_stream(lease, &HubToAgent::FailureRecorded),
                Action::Cancel { lease, reason } => self.end_stream(lease, &HubToAgent::Cancel { reason }),
                Action::SealRejected { position } => {
                    let _ = self.connection.send(CONTROL, frame::encode(&HubToAgent::SealRejected { position }));
                }
                Action::Close(code) => {
                    self.connection.close(code.number());
                    match code {
                        CloseCode::Done | CloseCode::Rejoin | CloseCode::Superseded | CloseCode::Unknown => {
                            self.ended = true;
                        }
                        _ => self.disconnected(LostReason::Protocol),
                    }
                }
            }
        }
        let now = self.now();
        while let Some((id, submission)) = self.machine.poll_submission(now) {
            let submitted = submit::submit(self.hub.clone(), self.joined.agent, self.joined.epoch, submission);
            self.submissions.push(async move { (id, submitted.await) }.boxed());
        }
    }

    fn open(&mut self, lease: LeaseId) {
        let Some(assign) = self.dispatcher.assign(self.hub, lease, Timestamp(0)) else {
            self.machine.handle_failed(lease, "not-dispatchable".into());
            return;
        };
        let stream = self.next_stream;
        self.next_stream += 1;
        self.streams.insert(lease, stream);
        self.leases.insert(stream, lease);
        // A dead connection shows itself where it is read.
        let _ = self.connection.send(stream, frame::encode(&HubToAgent::Assign(assign)));
    }

    fn end_stream(&mut self, lease: LeaseId, message: &HubToAgent) {
        if let Some(stream) = self.streams.remove(&lease) {
            self.leases.remove(&stream);
            let _ = self.connection.send(stream, frame::encode(message));
        }
    }

    fn handle_control(&mut self, bytes: &[u8]) {
        match frame::take(bytes) {
            Ok(Some((AgentToHub::Seal(seal), _))) => self.handle_seal(seal),
            Ok(Some((AgentToHub::Checkpoint(checkpoint), _))) => self.handle_checkpoint(checkpoint),
            Ok(Some((AgentToHub::Draining, _))) => self.machine.handle_draining(),
            Ok(Some((AgentToHub::Leaving, _))) => self.machine.handle_leaving(),
            Ok(Some((AgentToHub::Report { .. }, _))) => {}
            _ => self.broke_protocol(),
        }
    }

    fn handle_seal(&mut self, seal: Seal) {
        if seal.upto > self.joined.position {
            return self.broke_protocol();
        }
        let message = seal::message(self.joined.agent, seal.upto, &seal.head);
        let mut signature = [0; 64];
        signature[..32].copy_from_slice(&seal.signature[0]);
        signature[32..].copy_from_slice(&seal.signature[1]);
        if verify(&self.joined.key, &message, &signature) {
            self.machine.handle_seal(seal);
        } else {
            self.broke_protocol();
        }
    }

    fn handle_checkpoint(&mut self, checkpoint: Checkpoint) {
        if !self.keeping.is_empty() || !self.machine.holds(checkpoint.lease) {
            return;
        }
        match checkpoint::read(self.hub, (self.joined.agent, self.joined.epoch), &self.joined.key, checkpoint) {
            Ok(Some(fact)) => {
                self.trace.fired("checkpoint taken");
                self.keeping.push(checkpoint::keep(self.hub.clone(), fact).boxed());
            }
            Ok(None) => {}
            Err(_) => self.broke_protocol(),
        }
    }

    fn handle_answer(&mut self, stream: u64, bytes: &[u8]) {
        let Some(lease) = self.leases.get(&stream).copied() else { return };
        match frame::take(bytes) {
            Ok(Some((AgentToHub::Have, _))) => {}
            Ok(Some((AgentToHub::Result { digest, bytes }, _))) => self.handle_result(lease, digest, bytes),
            Ok(Some((AgentToHub::Failed { code, .. }, _))) => drop(self.machine.handle_failed(lease, code)),
            _ => self.broke_protocol(),
        }
    }

    fn handle_result(&mut self, lease: LeaseId, digest: Digest, bytes: Vec<u8>) {
        let fits = Digest::of(&bytes) == digest;
        let checks = if fits { self.dispatcher.check(self.hub, lease, &bytes) } else { None };
        match checks {
            Some(checks) => drop(self.machine.handle_result(Delivery { lease, digest, bytes, checks })),
            None => drop(self.machine.handle_failed(lease, "digest-mismatch".into())),
        }
    }

    fn handle_turn(&mut self, turn: &CommittedTurn) {
        let (agent, epoch) = (self.joined.agent, self.joined.epoch);
        for (index, event) in turn.turn.events() {
            match event {
                forge_event::Event::ShardAssigned(e) if e.agent == agent && e.epoch == epoch => {
                    for shard in e.shards.iter() {
                        self.machine.handle_assigned(index, LeaseId { job: e.job, shard, attempt: e.attempt });
                    }
                }
                forge_event::Event::LeaseExpired(e) if e.agent == agent => {
                    self.leases_ended(index, (e.job, e.attempt, &e.shards), CancelReason::Expired);
                }
                forge_event::Event::LeaseRevoked(e) if e.agent == agent => {
                    self.leases_ended(index, (e.job, e.attempt, &e.shards), CancelReason::Revoked(e.reason));
                }
                forge_event::Event::AgentJoined(e) if e.agent == agent && index > self.joined.index => {
                    self.look_again();
                }
                forge_event::Event::ShardResumed(_) => self.trace.fired("shard resumed"),
                forge_event::Event::AgentLost(e) if e.agent == agent => self.look_again(),
                forge_event::Event::NodeLost(e) if e.node == self.hub.node() => self.look_again(),
                _ => {}
            }
        }
    }

    fn leases_ended(
        &mut self,
        index: EventIndex,
        (job, attempt, shards): (JobId, AttemptNumber, &Runs),
        reason: CancelReason,
    ) {
        for shard in shards.iter() {
            self.machine.handle_ended(index, LeaseId { job, shard, attempt }, reason);
        }
    }

    /// Reads the state: is the session still the agent's, and which leases are live?
    fn look_again(&mut self) {
        let (agent, node, index) = (self.joined.agent, self.hub.node(), self.joined.index);
        let seen = self.hub.read(|world| {
            let known = world.agents.agents.get(&agent).ok_or(CloseCode::Unknown)?;
            if !known.session.is_some_and(|s| s.node == node && s.joined == index) {
                let later = known.epoch > self.joined.epoch;
                return Err(if later { CloseCode::Superseded } else { CloseCode::Rejoin });
            }
            let leases = world.scheduler.leases.of(agent).iter().flat_map(|grant| grant.leases());
            Ok((EventIndex(world.head.events), leases.collect::<Vec<_>>()))
        });
        match seen {
            Ok((as_of, leases)) => self.machine.handle_live(as_of, leases),
            Err(code) => {
                self.connection.close(code.number());
                self.ended = true;
            }
        }
    }

    /// Opens a lease of another agent, as a node with a bug would: the leader has to fence it.
    fn give_away(&mut self) {
        let Some((at, stolen)) = &mut self.sloppy else { return };
        *at = Instant::now() + Duration::from_millis(SLOPPY_MS);
        let (agent, mut stolen) = (self.joined.agent, lock(stolen));
        let found = self.hub.read(|world| {
            let others = world.scheduler.leases.iter().filter(|(holder, _)| *holder != agent);
            let mut leases = others.flat_map(|(_, grant)| grant.leases());
            leases.find(|lease| !stolen.contains(lease)).map(|lease| (lease, EventIndex(world.head.events + 1)))
        });
        if let Some((lease, index)) = found {
            stolen.insert(lease);
            self.trace.fired("lease stolen");
            self.trace.note(Kind::Session, agent.0, lease.job.0, &[]);
            self.machine.handle_assigned(index, lease);
        }
    }

    fn broke_protocol(&mut self) {
        self.connection.close(CloseCode::Protocol.number());
        self.disconnected(LostReason::Protocol);
    }

    fn disconnected(&mut self, reason: LostReason) {
        if self.turns.take().is_some() {
            self.streams.clear();
            self.leases.clear();
            self.machine.handle_disconnected(reason);
        }
    }
}

async fn next_turn(turns: &mut Option<Receiver<Arc<CommittedTurn>>>) -> Result<Arc<CommittedTurn>, RecvError> {
    match turns {
        Some(turns) => turns.recv().await,
        None => std::future::pending().await,
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
