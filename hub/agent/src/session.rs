//! One connection to one hub: moves frames between streams, the machine and the slots.

use crate::agent::{AgentState, Order, Phase};
use crate::end::End;
use crate::streams::{Control, ControlError, Done, Step, step};
use crate::work::Said;
use forge_event::limits::INLINE_BYTES_MAX;
use forge_event::{Digest, LeaseId, seal};
use forge_protocol::message::Checkpoint;
use forge_protocol::{AgentToHub, CancelReason, CloseCode, Fate, HubToAgent, Outcome, Start, frame};
use futures::future::{BoxFuture, FutureExt};
use futures::stream::{FuturesUnordered, StreamExt};
use quinn::{Connection, ConnectionError, RecvStream, SendStream};
use std::collections::BTreeMap;
use std::pin::Pin;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, Sleep};

/// The hub has so long to welcome: it has to commit.
const WELCOME_DEADLINE: Duration = Duration::from_secs(20);
/// A frame on the control stream is written within this, or the connection is given up.
const WRITE_DEADLINE: Duration = Duration::from_secs(10);
/// After `Leaving` the hub closes the connection within this.
const LEAVE_DEADLINE: Duration = Duration::from_secs(10);
/// How often the load is looked at, and the chain saved.
const REPORT_INTERVAL: Duration = Duration::from_secs(5);
const SAVE_INTERVAL: Duration = Duration::from_secs(30);
/// A load that moved less is not reported. Units: permille.
const REPORT_PERMILLE: u16 = 100;

/// Serves the connection until it ends; the connection is closed behind it.
pub(crate) async fn run(connection: &Connection, state: &mut AgentState, order: &mut watch::Receiver<Order>) -> End {
    let end = match open(connection, state).await {
        Ok(live) => live.serve(order).await,
        Err(end) => end,
    };
    state.machine.handle_disconnected();
    let code = match &end {
        End::Protocol(_) => CloseCode::Protocol,
        End::Chain(_) => CloseCode::ChainFault,
        _ => CloseCode::Done,
    };
    connection.close(code.number().into(), code.phrase().as_bytes());
    end
}

/// Hello, welcome.
async fn open<'a>(connection: &'a Connection, state: &'a mut AgentState) -> Result<Live<'a>, End> {
    let hello = state.machine.hello(state.slots, state.capabilities.clone());
    let mut control = Control::default();
    let exchange = async {
        let (mut send, mut recv) = connection.open_bi().await.map_err(|e| End::of(e, false))?;
        send.write_all(&frame::encode(&AgentToHub::Hello(hello))).await.map_err(|_| End::broken(connection, false))?;
        let first = control.next(&mut recv).await.map_err(|e| e.end(connection, false))?;
        Ok((send, recv, first))
    };
    let answer = tokio::time::timeout(WELCOME_DEADLINE, exchange).await;
    let (send, recv, first) =
        answer.unwrap_or_else(|_| Err(End::Unreached("the hub did not welcome in time".into())))?;
    let HubToAgent::Welcome(welcome) = first else { return Err(End::Protocol("no welcome after hello".into())) };
    let stopped = state.machine.handle_welcome(&welcome, state.now()).map_err(End::Chain)?;
    for lease in stopped {
        state.work.cancel(lease);
    }
    state.learn(&welcome.hubs);
    state.phase.send_replace(Phase::Ready);
    tracing::debug!(agent = %state.stored.agent, epoch = welcome.epoch, "session up");
    let soon = Instant::now() + REPORT_INTERVAL;
    Ok(Live {
        connection,
        state,
        send,
        recv,
        control,
        steps: FuturesUnordered::new(),
        streams: BTreeMap::new(),
        timer: Box::pin(tokio::time::sleep_until(soon)),
        report_at: soon,
        save_at: Instant::now() + SAVE_INTERVAL,
        reported: None,
        leaving: Leaving::No,
    })
}

/// How far the agent's leaving is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Leaving {
    No,
    /// The hub was told to give no more work.
    Draining,
    /// The hub was told that this is all; it closes until then.
    Left(Instant),
}

struct Live<'a> {
    connection: &'a Connection,
    state: &'a mut AgentState,
    send: SendStream,
    recv: RecvStream,
    control: Control,
    steps: FuturesUnordered<BoxFuture<'static, Done>>,
    /// The sending side of attempts that have no answer yet.
    streams: BTreeMap<LeaseId, SendStream>,
    timer: Pin<Box<Sleep>>,
    report_at: Instant,
    save_at: Instant,
    reported: Option<u16>,
    leaving: Leaving,
}

enum Event {
    Order,
    Control(Result<HubToAgent, ControlError>),
    Step(Done),
    Said(Said),
    Stream(Result<(SendStream, RecvStream), ConnectionError>),
    Timer,
}

impl Live<'_> {
    async fn serve(mut self, order: &mut watch::Receiver<Order>) -> End {
        order.mark_changed();
        loop {
            if let Err(end) = self.send_due().await {
                return end;
            }
            let event = tokio::select! {
                biased;
                // Without a handle there are no orders any more.
                Ok(()) = order.changed() => Event::Order,
                message = self.control.next(&mut self.recv) => Event::Control(message),
                Some(done) = self.steps.next() => Event::Step(done),
                said = self.state.work.next() => Event::Said(said),
                stream = self.connection.accept_bi() => Event::Stream(stream),
                () = self.timer.as_mut() => Event::Timer,
            };
            let handled = match event {
                Event::Order => {
                    let wanted = *order.borrow_and_update();
                    match wanted {
                        Order::Stop => Err(End::Stopped),
                        Order::Drain => self.drain().await,
                        Order::Run => Ok(()),
                    }
                }
                Event::Control(message) => self.handle_control(message),
                Event::Step(done) => self.handle_step(done),
                Event::Said(Said::Checkpoint { lease, cells, result }) => self.keep(lease, cells, result).await,
                Event::Said(Said::Ended(lease, outcome)) => {
                    if self.state.machine.handle_finished(lease, outcome)
                        && let Some(send) = self.streams.remove(&lease)
                    {
                        self.answer(lease, send);
                    }
                    Ok(())
                }
                Event::Stream(Ok((send, recv))) => {
                    self.steps.push(step(Step::ReadAssign { send, recv }).boxed());
                    Ok(())
                }
                Event::Stream(Err(error)) => Err(self.over(End::of(error, true))),
                Event::Timer => self.handle_timer().await,
            };
            if let Err(end) = handled {
                return end;
            }
        }
    }

    /// After `Leaving`, any end is the one that was asked for.
    fn over(&self, end: End) -> End {
        if matches!(self.leaving, Leaving::Left(_)) { End::Left } else { end }
    }

    /// Sends what the machine has to say by now, and sets the timer for what comes later.
    async fn send_due(&mut self) -> Result<(), End> {
        let now = self.state.now();
        if let Some(due) = self.state.machine.poll_seal(now) {
            let message = seal::message(self.state.machine.agent(), due.upto, &due.head);
            let signature = self.state.key.sign(&message);
            self.say(&AgentToHub::Seal(forge_protocol::Seal { upto: due.upto, head: due.head, signature })).await?;
        }
        if self.leaving == Leaving::Draining && self.state.machine.is_idle() {
            self.say(&AgentToHub::Leaving).await?;
            self.leaving = Leaving::Left(Instant::now() + LEAVE_DEADLINE);
        }
        let seal_at = self.state.machine.seal_time().map(|at| self.state.instant(at));
        let due = match self.leaving {
            Leaving::Left(until) => self.report_at.min(until),
            Leaving::No | Leaving::Draining => self.report_at,
        };
        let due = seal_at.map_or(due, |at| at.min(due));
        // An early alarm costs one more look; setting it for each shard would cost more.
        if due < self.timer.deadline() || self.timer.is_elapsed() {
            self.timer.as_mut().reset(due);
        }
        Ok(())
    }

    async fn handle_timer(&mut self) -> Result<(), End> {
        let now = Instant::now();
        if matches!(self.leaving, Leaving::Left(until) if until <= now) {
            return Err(End::Left);
        }
        if self.save_at <= now {
            self.save_at = now + SAVE_INTERVAL;
            if self.state.machine.chain().0 != self.state.stored.position {
                self.state.save();
            }
        }
        if self.report_at <= now {
            self.report_at = now + REPORT_INTERVAL;
            let load = self.state.work.load_permille();
            if self.reported.is_none_or(|last| last.abs_diff(load) >= REPORT_PERMILLE) {
                self.reported = Some(load);
                self.say(&AgentToHub::Report { load_permille: load, speed: 0 }).await?;
            }
        }
        Ok(())
    }

    async fn drain(&mut self) -> Result<(), End> {
        if self.leaving == Leaving::No {
            self.say(&AgentToHub::Draining).await?;
            self.leaving = Leaving::Draining;
        }
        Ok(())
    }

    fn handle_control(&mut self, message: Result<HubToAgent, ControlError>) -> Result<(), End> {
        match message.map_err(|e| self.over(e.end(self.connection, true)))? {
            HubToAgent::Addresses(hubs) => {
                self.state.learn(&hubs);
                Ok(())
            }
            // The node goes down: its agents go on elsewhere, with everything they hold.
            HubToAgent::Drain => Err(End::Closed { code: CloseCode::GoingAway, was_up: true }),
            // The next welcome shows whose chain it is.
            HubToAgent::SealRejected { position } => {
                tracing::warn!(agent = %self.state.stored.agent, position, "the hub rejected a seal");
                Err(End::Closed { code: CloseCode::Rejoin, was_up: true })
            }
            other => Err(End::Protocol(format!("{other:?} on the control stream"))),
        }
    }

    fn handle_step(&mut self, done: Done) -> Result<(), End> {
        match done {
            Done::Assign { send, recv, assembler, assign } => {
                let lease = assign.lease;
                self.steps.push(step(Step::ReadReply { lease, recv, assembler }).boxed());
                match self.state.machine.handle_assign(lease) {
                    Start::Run => match self.state.work.start(assign) {
                        Some(outcome) => {
                            self.state.machine.handle_finished(lease, outcome);
                            self.answer(lease, send);
                        }
                        None => drop(self.streams.insert(lease, send)),
                    },
                    Start::Have => self.write(lease, send, frame::encode(&AgentToHub::Have), false),
                    Start::Answer => self.answer(lease, send),
                }
            }
            Done::Written { lease, send } => {
                // It may have ended while `Have` was on its way.
                if self.state.machine.answer(lease).is_some() {
                    self.answer(lease, send);
                } else {
                    self.streams.insert(lease, send);
                }
            }
            Done::Reply { lease, reply } => return self.handle_reply(lease, reply),
            // A reset says what `Cancel` says; a broken connection shows itself elsewhere.
            Done::Over { lease: Some(lease) } if self.connection.close_reason().is_none() => {
                return self.handle_reply(lease, HubToAgent::Cancel { reason: CancelReason::Ended });
            }
            Done::Over { .. } => {}
            Done::Protocol(what) => return Err(End::Protocol(what)),
        }
        Ok(())
    }

    fn handle_reply(&mut self, lease: LeaseId, reply: HubToAgent) -> Result<(), End> {
        match reply {
            HubToAgent::Ack { position, fate } => {
                if let Fate::Refused(code) = fate {
                    tracing::debug!(%lease, code = code.name(), "result refused");
                }
                self.state.machine.handle_ack(lease, position, fate, self.state.now()).map_err(End::Chain)
            }
            HubToAgent::FailureRecorded => {
                self.state.machine.handle_failure_recorded(lease);
                Ok(())
            }
            HubToAgent::Cancel { .. } => {
                self.streams.remove(&lease);
                if self.state.machine.handle_cancel(lease) {
                    self.state.work.cancel(lease);
                }
                Ok(())
            }
            other => Err(End::Protocol(format!("{other:?} on an attempt's stream"))),
        }
    }

    /// Sends the end of an attempt on its stream.
    fn answer(&mut self, lease: LeaseId, send: SendStream) {
        let bytes = match self.state.machine.answer(lease) {
            Some(Outcome::Result { digest, bytes }) => {
                frame::encode(&AgentToHub::Result { digest: *digest, bytes: bytes.clone() })
            }
            Some(Outcome::Failed { code, detail }) => {
                tracing::warn!(%lease, code, detail, "shard failed");
                frame::encode(&AgentToHub::Failed { code: code.clone(), detail: detail.clone() })
            }
            None => return,
        };
        self.write(lease, send, bytes, true);
    }

    /// Writes now what goes, and the rest beside the other streams.
    fn write(&mut self, lease: LeaseId, mut send: SendStream, bytes: Vec<u8>, finish: bool) {
        let written = match send.write(&bytes).now_or_never() {
            Some(Ok(count)) => count,
            Some(Err(_)) => return,
            None => 0,
        };
        if written == bytes.len() && finish {
            // It fails only if the hub stopped the stream, which its reading side tells.
            let _ = send.finish();
        } else {
            self.steps.push(step(Step::Write { lease, send, bytes, from: written, finish }).boxed());
        }
    }

    /// Signs and sends what an attempt has done so far.
    async fn keep(&mut self, lease: LeaseId, cells: u64, bytes: Vec<u8>) -> Result<(), End> {
        if !self.state.machine.holds(lease) || bytes.len() > INLINE_BYTES_MAX {
            return Ok(());
        }
        let agent = self.state.machine.agent();
        let signature = self.state.key.sign(&seal::checkpoint_message(agent, lease, cells, &Digest::of(&bytes)));
        self.say(&AgentToHub::Checkpoint(Checkpoint { lease, cells, bytes, signature })).await
    }

    async fn say(&mut self, message: &AgentToHub) -> Result<(), End> {
        let bytes = frame::encode(message);
        match tokio::time::timeout(WRITE_DEADLINE, self.send.write_all(&bytes)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(self.over(End::broken(self.connection, true))),
            Err(_) => Err(End::Protocol("the hub reads no control messages".into())),
        }
    }
}
