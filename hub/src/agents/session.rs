//! One agent's session: one task that drives `HubSession` against streams, the leader and the state.

use super::checkpoint::{self, is_signed};
use super::join::{Joined, join};
use super::listener::close;
use super::router::{Registered, Routed, Sessions};
use super::streams::{Control, ControlError, Done, Step, answer, step};
use super::work::{Alarm, Work};
use super::{presented, streams, submit};
use crate::effects::dispatch::Dispatcher;
use crate::handle::Hub;
use forge_event::*;
use forge_protocol::limits::{ATTEMPT_STREAMS_MAX, CODE_BYTES_MAX};
use forge_protocol::{
    Action, AgentToHub, CancelReason, Checkpoint, CloseCode, Delivery, HubSession, HubToAgent, Now, Seal, SubmissionId,
    Verdict, frame,
};
use futures::future::FutureExt;
use quinn::{Connection, RecvStream, SendStream};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// A frame on the control stream is written within this, or the connection is given up.
const CONTROL_WAIT: Duration = Duration::from_secs(10);

/// Serves a connection whose client proved `key`, to its end in the log.
pub(super) async fn serve(
    hub: Hub,
    sessions: Sessions,
    connection: Connection,
    key: [u8; 32],
    stop: CancellationToken,
) {
    // Boxed: what joining needs goes when it is done, instead of staying room in the session.
    let joining = Box::pin(join(&hub, &sessions, &connection, &key));
    let joined = tokio::select! {
        biased;
        () = stop.cancelled() => Err(CloseCode::GoingAway),
        joined = joining => joined,
    };
    match joined {
        Ok(joined) => {
            hub.metrics().sessions.inc();
            tracing::debug!(agent = %joined.agent, epoch = joined.epoch, "agent session up");
            // By reference: a future that takes a value has room for it twice.
            let mut live = Live::new(&hub, connection, key, joined);
            live.run(&stop).await;
            hub.metrics().sessions.dec();
        }
        Err(code) => close(&connection, code),
    }
}

/// The sending side of an attempt that the agent works on.
struct Stream {
    send: SendStream,
    since: Instant,
}

struct Live<'a> {
    hub: &'a Hub,
    connection: Connection,
    key: [u8; 32],
    agent: AgentId,
    epoch: Epoch,
    joined: EventIndex,
    machine: HubSession,
    dispatcher: Dispatcher,
    /// `None` once the connection is gone.
    registered: Option<Registered>,
    control: Control,
    control_send: SendStream,
    streams: BTreeMap<LeaseId, Stream>,
    steps: Work<Done>,
    submissions: Work<(SubmissionId, Verdict)>,
    /// Deadlines of leases whose stream is about to be opened.
    deadlines: BTreeMap<LeaseId, Timestamp>,
    /// Position of the last result that the agent can know of.
    position: u64,
    scratch: Vec<u8>,
    started: Instant,
    /// When a session that has nothing to do gives back what it took; `None`: it did, or has something to do.
    rest_at: Option<Instant>,
    alarm: Alarm,
    /// A checkpoint is on its way into the log.
    keeping: bool,
    ended: bool,
}

/// A session without work for so long gives back the memory of busier times: most agents are idle most of the time.
const REST_AFTER: Duration = Duration::from_secs(2);

enum Event {
    Stop,
    Control(Result<AgentToHub, ControlError>),
    Routed(Option<Routed>),
    Step(Done),
    Verdict(SubmissionId, Verdict),
    Timer,
    /// Everything that was ready is taken in: act on it.
    Settle,
}

impl<'a> Live<'a> {
    fn new(hub: &'a Hub, connection: Connection, key: [u8; 32], joined: Joined) -> Live<'a> {
        let Joined { agent, epoch, index, control, send, registered, position } = joined;
        Live {
            hub,
            connection,
            key,
            agent,
            epoch,
            joined: index,
            machine: HubSession::new(),
            dispatcher: Dispatcher::default(),
            registered: Some(registered),
            control,
            control_send: send,
            streams: BTreeMap::new(),
            steps: Work::new(),
            submissions: Work::new(),
            deadlines: BTreeMap::new(),
            position,
            scratch: Vec::new(),
            started: Instant::now(),
            rest_at: None,
            alarm: Alarm::default(),
            keeping: false,
            ended: false,
        }
    }

    async fn run(&mut self, stop: &CancellationToken) {
        let stopped = stop.cancelled();
        tokio::pin!(stopped);
        let mut settled = false;
        self.look_again();
        while !self.ended {
            let retry_at = self.machine.retry_time().map(|at| self.started + Duration::from_millis(at.0));
            let timer_at = retry_at.or(self.rest_at);
            let connected = self.registered.is_some();
            let reads = connected && self.machine.has_room() && !self.steps.is_empty();
            let event = tokio::select! {
                biased;
                () = &mut stopped => Event::Stop,
                message = self.control.next(), if connected => Event::Control(message),
                routed = Registered::next(&mut self.registered), if connected => Event::Routed(routed),
                Some(done) = self.steps.next(), if reads => Event::Step(done),
                Some((id, verdict)) = self.submissions.next(), if !self.submissions.is_empty() => Event::Verdict(id, verdict),
                () = std::future::ready(()), if !settled => Event::Settle,
                () = self.alarm.ring(timer_at), if timer_at.is_some() => Event::Timer,
            };
            settled = matches!(event, Event::Settle);
            match event {
                Event::Stop => {
                    close(&self.connection, CloseCode::GoingAway);
                    return;
                }
                Event::Control(message) => self.handle_control(message),
                Event::Routed(routed) => self.handle_routed(routed),
                Event::Step(done) => self.handle_step(done),
                Event::Verdict(id, verdict) => {
                    let now = self.now();
                    self.machine.handle_verdict(id, verdict, now);
                }
                Event::Timer => self.rest(),
                Event::Settle => {
                    self.settle().await;
                    self.rest_at = (!self.is_idle()).then(|| Instant::now() + REST_AFTER).or(self.rest_at);
                }
            }
        }
    }

    fn is_idle(&self) -> bool {
        self.streams.is_empty() && self.steps.is_empty() && self.submissions.is_empty() && self.machine.is_idle()
    }

    /// Gives back the memory of busier times, if it is time to.
    fn rest(&mut self) {
        if self.rest_at.is_none_or(|at| Instant::now() < at) {
            return;
        }
        // Who is at work now sets a new time as it settles.
        self.rest_at = None;
        if self.is_idle() {
            self.streams = BTreeMap::new();
            self.scratch = Vec::new();
            self.dispatcher = Dispatcher::default();
            self.machine.rest();
            self.control.rest();
            self.steps.clear();
            self.submissions.clear();
            self.registered.as_ref().inspect(|registered| registered.rest());
            self.alarm.clear();
        }
    }

    fn now(&self) -> Now {
        Now(self.started.elapsed().as_millis() as u64 + 1)
    }

    /// Acts on what the machine decided, then hands in what waits.
    async fn settle(&mut self) {
        while let Some(action) = self.machine.poll_action() {
            self.act(action).await;
        }
        self.deadlines.clear();
        let now = self.now();
        while let Some((id, submission)) = self.machine.poll_submission(now) {
            let submitted = submit::submit(self.hub.clone(), self.agent, self.epoch, submission);
            self.submissions.push(async move { (id, submitted.await) });
        }
    }

    async fn act(&mut self, action: Action) {
        match action {
            Action::Open(lease) => self.open(lease),
            Action::Ack { lease, position, fate } => {
                self.position = self.position.max(position);
                let metrics = self.hub.metrics();
                metrics.results.inc();
                if fate != forge_protocol::Fate::Accepted {
                    metrics.results_refused.inc();
                }
                if let Some(stream) = self.streams.remove(&lease) {
                    metrics.shard.record(stream.since.elapsed());
                    self.finish(lease, stream.send, &HubToAgent::Ack { position, fate });
                }
            }
            Action::FailureRecorded { lease } => self.end_stream(lease, &HubToAgent::FailureRecorded),
            Action::Cancel { lease, reason } => self.end_stream(lease, &HubToAgent::Cancel { reason }),
            Action::SealRejected { position } => {
                tracing::warn!(agent = %self.agent, position, "a seal does not continue the agent's chain");
                Box::pin(self.say(&HubToAgent::SealRejected { position })).await;
            }
            Action::Close(code) => {
                close(&self.connection, code);
                match code {
                    // Its end is in the log, or is not this session's to tell.
                    CloseCode::Done | CloseCode::Rejoin | CloseCode::Superseded | CloseCode::Unknown => {
                        self.ended = true;
                    }
                    _ => self.disconnected(LostReason::Protocol),
                }
            }
        }
    }

    fn open(&mut self, lease: LeaseId) {
        let deadline = self.deadlines.get(&lease).copied().unwrap_or_default();
        let Some(assign) = self.dispatcher.assign(self.hub, lease, deadline) else {
            tracing::error!(%lease, "a lease of a job that this node cannot dispatch");
            self.machine.handle_failed(lease, "not-dispatchable".into());
            return;
        };
        self.scratch.clear();
        frame::put(&HubToAgent::Assign(assign), &mut self.scratch);
        match self.connection.open_bi().now_or_never() {
            Some(Ok((send, recv))) => self.assign(lease, send, recv),
            // The connection is gone, which the control stream tells.
            Some(Err(_)) => {}
            None => {
                let connection = self.connection.clone();
                self.push(Step::Open { connection, lease, frame: self.scratch.clone() });
            }
        }
    }

    /// Sends the assignment in `scratch`.
    fn assign(&mut self, lease: LeaseId, mut send: SendStream, recv: RecvStream) {
        let since = Instant::now();
        match send.write(&self.scratch).now_or_never() {
            Some(Ok(count)) if count == self.scratch.len() => {
                self.streams.insert(lease, Stream { send, since });
                self.push(Step::Read { lease, recv });
            }
            Some(Err(_)) => {}
            partly => {
                let from = partly.map_or(0, |written| written.unwrap_or(0));
                self.push(Step::Write { lease, send, recv: Some(recv), frame: self.scratch.clone(), from });
            }
        }
    }

    /// Sends the last frame of an attempt's stream.
    fn finish(&mut self, lease: LeaseId, mut send: SendStream, message: &HubToAgent) {
        self.scratch.clear();
        frame::put(message, &mut self.scratch);
        match send.write(&self.scratch).now_or_never() {
            // It fails only for a stream that the agent stopped.
            Some(Ok(count)) if count == self.scratch.len() => drop(send.finish()),
            Some(Err(_)) => {}
            partly => {
                let from = partly.map_or(0, |written| written.unwrap_or(0));
                self.push(Step::Write { lease, send, recv: None, frame: self.scratch.clone(), from });
            }
        }
    }

    fn end_stream(&mut self, lease: LeaseId, message: &HubToAgent) {
        if let Some(stream) = self.streams.remove(&lease) {
            self.finish(lease, stream.send, message);
        }
    }

    fn push(&mut self, work: Step) {
        self.steps.push(step(work));
    }

    async fn say(&mut self, message: &HubToAgent) {
        let bytes = frame::encode(message);
        let said = tokio::time::timeout(CONTROL_WAIT, self.control_send.write_all(&bytes)).await;
        if said.is_err() {
            close(&self.connection, CloseCode::Protocol);
        }
    }

    fn handle_control(&mut self, message: Result<AgentToHub, ControlError>) {
        match message {
            Ok(AgentToHub::Seal(seal)) => self.handle_seal(seal),
            Ok(AgentToHub::Report { load_permille, speed }) => {
                if let Some(registered) = &self.registered {
                    registered.report(load_permille, speed);
                }
            }
            Ok(AgentToHub::Checkpoint(checkpoint)) => self.handle_checkpoint(checkpoint),
            Ok(AgentToHub::Draining) => self.machine.handle_draining(),
            Ok(AgentToHub::Leaving) => self.machine.handle_leaving(),
            Ok(other) => self.broke_protocol(&format!("{other:?} on the control stream")),
            Err(ControlError::Frame(error)) => self.broke_protocol(&error.to_string()),
            Err(ControlError::Lost) => self.disconnected(LostReason::Disconnected),
        }
    }

    fn handle_seal(&mut self, seal: Seal) {
        // No agent can seal what nobody acknowledged; looking first keeps a flood of seals cheap.
        if seal.upto > self.position {
            return self.broke_protocol("a seal over results that were not acknowledged");
        }
        let message = seal::message(self.agent, seal.upto, &seal.head);
        if !is_signed(&self.key, &message, &seal.signature) {
            return self.broke_protocol("a seal whose signature does not fit");
        }
        self.machine.handle_seal(seal);
    }

    /// Keeps what an attempt has done so far, if nothing speaks against it: no attempt depends on it.
    fn handle_checkpoint(&mut self, checkpoint: Checkpoint) {
        // One at a time: an agent that floods gains nothing.
        if self.keeping || !self.machine.holds(checkpoint.lease) {
            return;
        }
        match checkpoint::read(self.hub, (self.agent, self.epoch), &self.key, checkpoint) {
            Ok(Some(fact)) => {
                self.keeping = true;
                self.push(Step::Keep { hub: self.hub.clone(), fact: Box::new(fact) });
            }
            Ok(None) => {}
            Err(what) => self.broke_protocol(what),
        }
    }

    fn handle_routed(&mut self, routed: Option<Routed>) {
        match routed {
            Some(Routed::Assigned { index, epoch, job, attempt, shards, deadline }) if epoch == self.epoch => {
                for shard in shards.iter() {
                    let lease = LeaseId { job, shard, attempt };
                    self.deadlines.insert(lease, deadline);
                    self.machine.handle_assigned(index, lease);
                }
            }
            Some(Routed::Assigned { .. }) => {}
            Some(Routed::Ended { index, job, attempt, shards, reason }) => {
                for shard in shards.iter() {
                    self.machine.handle_ended(index, LeaseId { job, shard, attempt }, reason);
                }
            }
            Some(Routed::LookAgain) => self.look_again(),
            Some(Routed::Hubs) => self.tell_hubs(),
            None => self.end(CloseCode::Superseded),
        }
        if self.registered.as_ref().is_some_and(Registered::missed) {
            self.look_again();
        }
    }

    /// Reads the state: is the session still the agent's, and which leases are live?
    fn look_again(&mut self) {
        let (who, place) = ((self.agent, self.epoch), (self.hub.node(), self.joined));
        let seen = self.hub.read(|world| presented::live(world, who, place));
        match seen {
            Ok((as_of, leases)) => {
                self.machine.handle_live(as_of, leases.iter().map(|(lease, _)| *lease));
                self.deadlines.extend(leases);
            }
            Err(code) => self.end(code),
        }
    }

    fn tell_hubs(&mut self) {
        let hubs = self.hub.read(super::hubs);
        let bytes = frame::encode(&HubToAgent::Addresses(hubs));
        // A few hundred bytes on a stream that is nearly always empty; an agent that reads nothing learns them later.
        let written = self.control_send.write(&bytes).now_or_never();
        if !matches!(written, Some(Ok(count)) if count == bytes.len()) {
            close(&self.connection, CloseCode::Unavailable);
        }
    }

    fn handle_step(&mut self, done: Done) {
        match done {
            Done::Opened { lease, mut send, recv, frame } => {
                if self.machine.holds(lease) {
                    self.scratch = frame;
                    self.assign(lease, send, recv);
                } else {
                    // It fails only if the stream is over already.
                    let _ = send.reset(CloseCode::Cancelled.number().into());
                }
            }
            Done::Assigned { lease, send, recv } => {
                if self.machine.holds(lease) {
                    self.streams.insert(lease, Stream { send, since: Instant::now() });
                    self.push(Step::Read { lease, recv });
                } else {
                    self.finish(lease, send, &HubToAgent::Cancel { reason: CancelReason::Ended });
                }
            }
            Done::Answered { lease, bytes } => self.handle_answer(lease, &bytes),
            Done::Checked { lease, outcome: Ok((bytes, checks)) } => {
                let digest = Digest::of(&bytes);
                self.machine.handle_result(Delivery { lease, digest, bytes, checks });
            }
            Done::Checked { lease, outcome: Err(code) } => drop(self.machine.handle_failed(lease, code.into())),
            Done::Kept => self.keeping = false,
            Done::Broken { lease } => drop(self.machine.handle_failed(lease, "stream-broken".into())),
            Done::Over => {}
        }
    }

    fn handle_answer(&mut self, lease: LeaseId, bytes: &[u8]) {
        match answer(bytes) {
            Ok(Some(AgentToHub::Result { digest, bytes })) => self.handle_result(lease, digest, bytes),
            Ok(Some(AgentToHub::Failed { mut code, detail })) => {
                tracing::info!(agent = %self.agent, %lease, code, detail, "an agent reports a failed shard");
                code.retain(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
                code.truncate(CODE_BYTES_MAX);
                self.machine.handle_failed(lease, code);
            }
            // Cancelled there, or given up: the lease is free for others.
            Ok(None) => drop(self.machine.handle_failed(lease, "no-answer".into())),
            Ok(Some(other)) => self.broke_protocol(&format!("{other:?} on an attempt's stream")),
            Err(error) => self.broke_protocol(&error.to_string()),
        }
    }

    fn handle_result(&mut self, lease: LeaseId, digest: Digest, bytes: Vec<u8>) {
        let fitting = streams::fits(&digest, &bytes);
        let checks = fitting.and_then(|()| self.dispatcher.check(self.hub, lease, &bytes).ok_or("not-dispatchable"));
        let deeper = matches!(checks, Ok(c) if c.bits == 0).then(|| self.dispatcher.deeper(self.hub, lease)).flatten();
        match checks {
            Ok(checks) if deeper.is_some() => {
                let deeper = Box::new(deeper.expect("just looked at"));
                self.push(Step::Check { lease, hub: self.hub.clone(), deeper, result: bytes, checks });
            }
            Ok(checks) => drop(self.machine.handle_result(Delivery { lease, digest, bytes, checks })),
            Err(code) => drop(self.machine.handle_failed(lease, code.into())),
        }
    }

    fn broke_protocol(&mut self, what: &str) {
        tracing::warn!(agent = %self.agent, what, "an agent broke the protocol");
        close(&self.connection, CloseCode::Protocol);
        self.disconnected(LostReason::Protocol);
    }

    /// The connection is over; what is left is to tell the log.
    fn disconnected(&mut self, reason: LostReason) {
        if self.registered.take().is_some() {
            tracing::debug!(agent = %self.agent, reason = reason.name(), "agent session over");
            self.streams.clear();
            self.steps.clear();
            self.machine.handle_disconnected(reason);
        }
    }

    /// The session ended in the log; the connection follows.
    fn end(&mut self, code: CloseCode) {
        close(&self.connection, code);
        self.ended = true;
    }
}

const _: () = assert!(ATTEMPT_STREAMS_MAX >= 2 * forge_projections::agents::WINDOW_MAX, "acknowledged streams linger");
