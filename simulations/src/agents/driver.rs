//! An agent's process: connections, streams, work and seals around `forge_protocol::AgentSession`.

use super::Behaviour;
use crate::dice::Dice;
use crate::invariants::Seen;
use crate::network::{Connection, Network};
use crate::oracle::Oracle;
use crate::plan::NODES;
use crate::session::CONTROL;
use crate::trace::{Kind, Trace};
use crate::work;
use bytes::Bytes;
use forge_event::{AgentId, Capabilities, Digest, LeaseId, seal};
use forge_log::network::identity::Identity;
use forge_protocol::message::Assign;
use forge_protocol::{AgentSession, AgentToHub, Checkpoint, HubToAgent, Now, Outcome, Seal, Start, frame};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// The hub has so long to welcome.
const WELCOME_WAIT: Duration = Duration::from_secs(12);
/// A shard that is never finished has half of it done in half this time.
const HALF_OF_FOR_EVER_MS: u64 = 200;
/// How often a second session is thought of.
const DOUBLE_EVERY: Duration = Duration::from_millis(1_500);

/// What an agent is made of.
pub(crate) struct Agent {
    pub number: u64,
    pub id: AgentId,
    pub identity: Arc<Identity>,
    pub behaviour: Box<dyn Behaviour>,
    pub slots: u32,
    /// It is given leases that are not its own, perhaps again and again: what it computes says nothing.
    pub is_liar: bool,
    pub network: Network,
    pub oracle: Oracle,
    pub trace: Trace,
    pub dice: Dice,
    /// True once the faults are over.
    pub released: watch::Receiver<bool>,
}

/// A shard under way; `None` finishes when the agent is released, if ever.
struct Work {
    assign: Assign,
    done_at: Option<Instant>,
    /// When it has a checkpoint to hand over.
    half_at: Option<Instant>,
}

struct Process {
    agent: Agent,
    machine: AgentSession,
    life: u64,
    work: BTreeMap<LeaseId, Work>,
    /// Streams of this connection.
    streams: BTreeMap<LeaseId, u64>,
    leases: BTreeMap<u64, LeaseId>,
    started: Instant,
}

/// Why a connection is over.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Over {
    /// Try again soon.
    Again,
    /// It broke the connection itself.
    Left,
    /// The hub's account is not its own: it must not go on.
    Fault,
}

/// Runs an agent for ever.
pub(crate) async fn run(agent: Agent) {
    let machine = AgentSession::new(agent.id, 0, seal::START);
    let (work, streams, leases) = Default::default();
    let mut process = Process { agent, machine, life: 0, work, streams, leases, started: Instant::now() };
    loop {
        let node = process.agent.dice.between(1, NODES);
        let over = match process.agent.network.dial(process.agent.number, node).await {
            Ok(connection) => process.serve(connection).await,
            Err(_) => Over::Again,
        };
        process.machine.handle_disconnected();
        process.streams.clear();
        process.leases.clear();
        let pause = match over {
            Over::Fault => return,
            Over::Again => process.agent.dice.ms(30, 400),
            Over::Left => process.leave(),
        };
        tokio::time::sleep(pause).await;
    }
}

impl Process {
    fn now(&self) -> Now {
        Now(self.started.elapsed().as_millis() as u64 + 1)
    }

    /// How long it stays away after it broke its connection; it may forget everything.
    fn leave(&mut self) -> Duration {
        let Agent { id, behaviour, dice, trace, .. } = &mut self.agent;
        trace.fired("agent left");
        if behaviour.forgets(dice) {
            trace.fired("agent crashed");
            self.machine = AgentSession::new(*id, 0, seal::START);
            self.work.clear();
            self.life += 1;
        }
        behaviour.stays_away(dice)
    }

    fn fault(&self, detail: String) -> Over {
        self.agent.oracle.see(&Seen::ChainFault { agent: self.agent.number, detail });
        Over::Fault
    }

    async fn serve(&mut self, connection: Connection) -> Over {
        let hello = self.machine.hello(self.agent.slots, capabilities());
        let resumed = hello.held.len() + hello.unacknowledged.len();
        if connection.send(CONTROL, frame::encode(&AgentToHub::Hello(hello))).is_err() {
            return Over::Again;
        }
        let welcome = match tokio::time::timeout(WELCOME_WAIT, connection.recv()).await {
            Ok(Ok((CONTROL, bytes))) => match frame::take(&bytes) {
                Ok(Some((HubToAgent::Welcome(welcome), _))) => welcome,
                _ => return Over::Again,
            },
            _ => return Over::Again,
        };
        let now = self.now();
        match self.machine.handle_welcome(&welcome, now) {
            Ok(stopped) => stopped.iter().for_each(|lease| drop(self.work.remove(lease))),
            Err(fault) => return self.fault(fault.to_string()),
        }
        self.agent.trace.note(Kind::Session, self.agent.number, welcome.epoch, &[]);
        if resumed > 0 {
            self.agent.trace.fired("leases resumed");
        }
        let mut released = self.agent.released.clone();
        let Agent { behaviour, dice, .. } = &mut self.agent;
        let is_released = *released.borrow_and_update();
        let leaves_at = behaviour.leaves_after(is_released, dice).map(|after| Instant::now() + after);
        let mut double_at = Instant::now() + DOUBLE_EVERY;
        loop {
            if self.send_seal(&connection).is_err() {
                return Over::Again;
            }
            let next = self.next_alarm();
            tokio::select! {
                biased;
                message = connection.recv() => {
                    let Ok((stream, bytes)) = message else { return Over::Again };
                    match self.handle(&connection, stream, &bytes) {
                        Ok(true) => {}
                        Ok(false) => return Over::Again,
                        Err(why) => return self.fault(why),
                    }
                }
                () = sleep_until(next) => {
                    self.checkpoints_due(&connection);
                    self.finish_due(&connection);
                }
                () = sleep_until(leaves_at) => return Over::Left,
                () = tokio::time::sleep_until(double_at) => {
                    double_at = Instant::now() + DOUBLE_EVERY;
                    self.double().await;
                }
                Ok(()) = released.changed() => self.release(),
            }
        }
    }

    /// When work or a seal is due.
    fn next_alarm(&self) -> Option<Instant> {
        let seal = self.machine.seal_time().map(|at| self.started + Duration::from_millis(at.0));
        self.work.values().flat_map(|w| [w.done_at, w.half_at]).flatten().chain(seal).min()
    }

    /// The faults are over: what was stalled may go on.
    fn release(&mut self) {
        let Agent { behaviour, dice, .. } = &mut self.agent;
        for work in self.work.values_mut().filter(|w| w.done_at.is_none()) {
            work.done_at = behaviour.takes_ms(0, true, dice).map(|ms| Instant::now() + Duration::from_millis(ms));
        }
    }

    fn send_seal(&mut self, connection: &Connection) -> std::io::Result<()> {
        let now = self.now();
        let Some(due) = self.machine.poll_seal(now) else { return Ok(()) };
        let signature = halves(&self.agent.identity.sign(&seal::message(self.agent.id, due.upto, &due.head)));
        let seal = Seal { upto: due.upto, head: due.head, signature };
        connection.send(CONTROL, frame::encode(&AgentToHub::Seal(seal)))
    }

    /// Acts on a message; false: the connection is of no use any more.
    fn handle(&mut self, connection: &Connection, stream: u64, bytes: &Bytes) -> Result<bool, String> {
        let Ok(Some((message, _))) = frame::take::<HubToAgent>(bytes) else { return Ok(false) };
        match message {
            HubToAgent::Assign(assign) => self.assigned(connection, stream, assign),
            HubToAgent::Ack { position, fate } => {
                let Some(lease) = self.leases.remove(&stream) else { return Ok(true) };
                self.streams.remove(&lease);
                self.work.remove(&lease);
                let now = self.now();
                self.machine.handle_ack(lease, position, fate, now).map_err(|fault| fault.to_string())?;
            }
            HubToAgent::FailureRecorded => {
                if let Some(lease) = self.leases.remove(&stream) {
                    self.streams.remove(&lease);
                    self.machine.handle_failure_recorded(lease);
                }
            }
            HubToAgent::Cancel { .. } => {
                if let Some(lease) = self.leases.remove(&stream) {
                    self.streams.remove(&lease);
                    self.machine.handle_cancel(lease);
                    self.work.remove(&lease);
                }
            }
            HubToAgent::Addresses(_) => {}
            HubToAgent::SealRejected { .. } | HubToAgent::Drain => return Ok(false),
            HubToAgent::Welcome(_) | HubToAgent::Enrolled(_) | HubToAgent::EnrolRefused(_) => return Ok(false),
        }
        Ok(true)
    }

    fn assigned(&mut self, connection: &Connection, stream: u64, assign: Assign) {
        let lease = assign.lease;
        self.streams.insert(lease, stream);
        self.leases.insert(stream, lease);
        match self.machine.handle_assign(lease) {
            Start::Run => {
                if !self.agent.is_liar {
                    self.agent.oracle.see(&Seen::Computed { agent: self.agent.number, life: self.life, lease });
                }
                self.agent.trace.note(Kind::Computed, self.agent.number, lease.job.0, &lease.shard.to_le_bytes());
                let released = *self.agent.released.borrow();
                let honest = work::takes_ms(&assign.kind, &assign.payload);
                let takes = self.agent.behaviour.takes_ms(honest, released, &mut self.agent.dice);
                let done_at = takes.map(|ms| Instant::now() + Duration::from_millis(ms));
                // Half of it is done after half the time; what will never end has come so far too.
                let half_at = Instant::now() + Duration::from_millis(takes.unwrap_or(HALF_OF_FOR_EVER_MS) / 2);
                let half_at = (!self.agent.is_liar && assign.kind == "monte_carlo").then_some(half_at);
                self.work.insert(lease, Work { assign, done_at, half_at });
            }
            Start::Have => drop(connection.send(stream, frame::encode(&AgentToHub::Have))),
            Start::Answer => self.answer(connection, lease),
        }
    }

    fn checkpoints_due(&mut self, connection: &Connection) {
        let now = Instant::now();
        for (lease, work) in self.work.iter_mut().filter(|(_, w)| w.half_at.is_some_and(|at| at <= now)) {
            work.half_at = None;
            let Some((cells, bytes)) = work::half(&work.assign.kind, &work.assign.payload) else { continue };
            let message = seal::checkpoint_message(self.agent.id, *lease, cells, &Digest::of(&bytes));
            let signature = halves(&self.agent.identity.sign(&message));
            let checkpoint = Checkpoint { lease: *lease, cells, bytes, signature };
            // A dead connection shows itself where it is read.
            let _ = connection.send(CONTROL, frame::encode(&AgentToHub::Checkpoint(checkpoint)));
        }
    }

    fn finish_due(&mut self, connection: &Connection) {
        let now = Instant::now();
        let due = self.work.iter().filter(|(_, w)| w.done_at.is_some_and(|at| at <= now));
        let due: Vec<LeaseId> = due.map(|(lease, _)| *lease).collect();
        for lease in due {
            let Some(Work { assign, .. }) = self.work.remove(&lease) else { continue };
            let outcome = match work::compute(&assign.kind, &assign.payload) {
                Some(honest) => Outcome::of(self.agent.behaviour.result(honest, &mut self.agent.dice)),
                None => Outcome::Failed { code: "bad-payload".into(), detail: String::new() },
            };
            if self.machine.handle_finished(lease, outcome) {
                self.answer(connection, lease);
            }
        }
    }

    /// Sends the end of an attempt, if its stream is open.
    fn answer(&mut self, connection: &Connection, lease: LeaseId) {
        let Some(stream) = self.streams.get(&lease).copied() else { return };
        let bytes = match self.machine.answer(lease) {
            Some(Outcome::Result { digest, bytes }) => {
                frame::encode(&AgentToHub::Result { digest: *digest, bytes: bytes.clone() })
            }
            Some(Outcome::Failed { code, detail }) => {
                frame::encode(&AgentToHub::Failed { code: code.clone(), detail: detail.clone() })
            }
            None => return,
        };
        if self.agent.behaviour.repeats(&mut self.agent.dice) {
            self.agent.trace.fired("result sent twice");
            let _ = connection.send(stream, bytes.clone());
        }
        // A dead connection shows itself where it is read.
        let _ = connection.send(stream, bytes);
    }

    /// Opens a second session and drops it: the log ends the first one.
    async fn double(&mut self) {
        if *self.agent.released.borrow() || !self.agent.behaviour.doubles(&mut self.agent.dice) {
            return;
        }
        let node = self.agent.dice.between(1, NODES);
        let Ok(ghost) = self.agent.network.dial(self.agent.number, node).await else { return };
        self.agent.trace.fired("session doubled");
        let hello = self.machine.hello(self.agent.slots, capabilities());
        let _ = ghost.send(CONTROL, frame::encode(&AgentToHub::Hello(hello)));
        let _ = tokio::time::timeout(Duration::from_millis(200), ghost.recv()).await;
    }
}

/// A signature as it travels.
fn halves(signature: &[u8; 64]) -> [[u8; 32]; 2] {
    let (mut first, mut second) = ([0; 32], [0; 32]);
    first.copy_from_slice(&signature[..32]);
    second.copy_from_slice(&signature[32..]);
    [first, second]
}

fn capabilities() -> Capabilities {
    Capabilities { cpu_class: "avx2".into(), mem_bytes: 1 << 30, region: "sim".into(), ..Capabilities::default() }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
