//! One direction of a link or connection: messages in streams, each in its own order.

use super::votes::Votes;
use super::{Flight, Network, Place};
use crate::lock;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Messages under way before the sender has to wait.
const FLYING_MAX: usize = 256;

/// How a pipe ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// By its sender, behind everything it sent; with its code.
    Closed(u32),
    Broken,
}

/// Which side of a link its messages come from, where that is looked at.
pub(super) enum Side {
    Plain,
    Asks(Arc<Votes>),
    Answers(Arc<Votes>),
}

/// Messages from one place to another.
pub struct Pipe {
    network: Network,
    pub(super) number: u64,
    pub(super) from: Place,
    pub(super) to: Place,
    /// Its messages carry numbers: they may be lost or doubled without the pipe breaking.
    pub(super) is_numbered: bool,
    pub(super) side: Side,
    state: Mutex<State>,
    arrived: Notify,
    room: Notify,
}

#[derive(Default)]
struct State {
    flying: BTreeMap<(Instant, u64), (u64, Bytes)>,
    /// The last arrival of each stream.
    last: BTreeMap<u64, Instant>,
    sent: u64,
    latest_taken: u64,
    end: Option<(Instant, End)>,
}

impl Pipe {
    pub(super) fn new(network: Network, number: u64, from: Place, to: Place, is_numbered: bool, side: Side) -> Pipe {
        let (state, arrived, room) = (Mutex::default(), Notify::new(), Notify::new());
        Pipe { network, number, from, to, is_numbered, side, state, arrived, room }
    }

    /// Ends it at `at`, unless it ends before.
    pub(super) fn end(&self, end: End, at: Instant) {
        let mut state = lock(&self.state);
        if state.end.is_none_or(|(before, _)| at < before) {
            state.end = Some((at, end));
        }
        drop(state);
        self.arrived.notify_one();
        self.room.notify_one();
    }

    /// Closes it behind everything that was sent.
    pub fn close(&self, code: u32) {
        let mut state = lock(&self.state);
        let last = state.flying.last_key_value().map(|((at, _), _)| *at);
        let at = last.unwrap_or_else(Instant::now).max(Instant::now() + Duration::from_millis(1));
        if state.end.is_none() {
            state.end = Some((at, End::Closed(code)));
        }
        drop(state);
        self.arrived.notify_one();
    }

    /// Puts a message on its way.
    ///
    /// # Errors
    /// If the pipe has ended here.
    pub fn put(&self, stream: u64, message: Bytes) -> io::Result<()> {
        if self.has_ended() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        self.network.note_promise(self, &message);
        let flight = self.network.fly(self, &message);
        let now = Instant::now();
        let mut state = lock(&self.state);
        let mut arrive = |after: Duration, message: Bytes| {
            // A stream keeps its order, unless its messages are numbered.
            let floor = state.last.get(&stream).copied().filter(|_| !self.is_numbered).unwrap_or(now);
            let at = (now + after).max(floor);
            state.last.insert(stream, at);
            state.sent += 1;
            let key = (at, state.sent);
            state.flying.insert(key, (stream, message));
        };
        match flight {
            Flight::Arrives { after } => arrive(after, message),
            Flight::Twice { after, again } => {
                arrive(after, message.clone());
                arrive(again, message);
            }
            Flight::Lost => {}
            Flight::Cut { dead_in } => {
                drop(state);
                self.end(End::Broken, now + dead_in);
                return Ok(());
            }
        }
        drop(state);
        self.arrived.notify_one();
        Ok(())
    }

    /// As [`Pipe::put`], once there is room.
    pub(super) async fn send(&self, message: Bytes) -> io::Result<()> {
        while lock(&self.state).flying.len() >= FLYING_MAX && !self.has_ended() {
            self.room.notified().await;
        }
        self.put(0, message)
    }

    fn has_ended(&self) -> bool {
        lock(&self.state).end.is_some_and(|(at, end)| at <= Instant::now() || matches!(end, End::Closed(_)))
    }

    /// The next message with its stream. Cancel safe; one receiver.
    pub async fn take(&self) -> Result<(u64, Bytes), End> {
        loop {
            let next = match self.poll_take() {
                Ok(taken) => return taken,
                Err(next) => next,
            };
            tokio::select! {
                biased;
                () = self.arrived.notified() => {}
                () = sleep_until(next) => {}
            }
        }
    }

    /// A message or the end if one is due, else when to look again.
    fn poll_take(&self) -> Result<Result<(u64, Bytes), End>, Option<Instant>> {
        let now = Instant::now();
        let mut state = lock(&self.state);
        let first = state.flying.first_key_value().map(|((at, _), _)| *at);
        if let Some((at, end)) = state.end
            && at <= now
            && (end == End::Broken || first.is_none_or(|first| first > now))
        {
            return Ok(Err(end));
        }
        if first.is_some_and(|at| at <= now)
            && let Some(((_, number), (stream, message))) = state.flying.pop_first()
        {
            let overtaken = number < state.latest_taken;
            state.latest_taken = state.latest_taken.max(number);
            drop(state);
            self.room.notify_one();
            self.network.note_arrived(self, &message);
            if overtaken {
                self.network.note_reordered();
            }
            return Ok(Ok((stream, message)));
        }
        Err(first.into_iter().chain(state.end.map(|(at, _)| at)).min())
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
