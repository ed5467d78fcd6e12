//! The asking side: one link to the leader, commands pipelined on it.

use super::{Answered, Asked, FORWARDED_MAX, FRAME_BYTES, FRAME_COMMANDS_MAX, Purpose, items};
use bytes::Bytes;
use forge_event::NodeId;
use forge_log::network::{Lane, Link, Transport};
use forge_projections::{Command, CommandError, Committed};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// Opening a link to the leader takes no longer.
const OPEN_WAIT: Duration = Duration::from_secs(2);

type Answer = Result<Committed, CommandError>;

struct Forward {
    to: NodeId,
    command: Command,
    answer: oneshot::Sender<Answer>,
}

/// Sends commands to whoever leads.
#[derive(Clone, Debug)]
pub struct Forwarder(mpsc::Sender<Forward>);

impl Forwarder {
    /// The leader's answer.
    pub async fn forward(&self, to: NodeId, command: Command) -> Answer {
        let (answer, answered) = oneshot::channel();
        self.0.try_send(Forward { to, command, answer }).map_err(|_| CommandError::Overloaded)?;
        answered.await.unwrap_or(Err(CommandError::Unknown))
    }
}

/// A forwarder and the task that serves it; the task ends when every forwarder is gone.
pub fn forwarder(transport: Arc<dyn Transport>) -> (Forwarder, impl Future<Output = ()> + Send) {
    let (sender, receiver) = mpsc::channel(FORWARDED_MAX);
    (Forwarder(sender), run(transport, receiver))
}

async fn run(transport: Arc<dyn Transport>, mut forwards: mpsc::Receiver<Forward>) {
    let mut next = None;
    loop {
        let Some(forward) = (match next.take() {
            Some(forward) => Some(forward),
            None => forwards.recv().await,
        }) else {
            return;
        };
        let to = forward.to;
        let open = async {
            let mut link = transport.open(to, Lane::Forward).await?;
            link.send(Purpose::Commands.frame()).await.map(|()| link)
        };
        match tokio::time::timeout(OPEN_WAIT, open).await {
            Ok(Ok(link)) => next = talk(link, to, forward, &mut forwards).await,
            _ => drop(forward.answer.send(Err(CommandError::NoLeader))),
        }
    }
}

/// Talks to one leader until the link breaks or commands go elsewhere; gives the first that does.
async fn talk(link: Link, to: NodeId, first: Forward, forwards: &mut mpsc::Receiver<Forward>) -> Option<Forward> {
    let (mut sender, mut receiver) = link.split();
    let mut waiting: BTreeMap<u64, oneshot::Sender<Answer>> = BTreeMap::new();
    let mut number = 0;
    let mut pending = Some(first);
    loop {
        let mut frame = Vec::new();
        let mut count = 0;
        while let Some(forward) = pending.take() {
            if forward.to != to {
                // What is in the frame goes out first.
                let sent = frame.is_empty() || sender.send(Bytes::from(frame)).await.is_ok();
                return sent.then_some(forward);
            }
            number += 1;
            let asked = Asked { number, command: forward.command };
            match postcard::to_stdvec(&asked) {
                Ok(bytes) => {
                    frame.extend_from_slice(&bytes);
                    waiting.insert(number, forward.answer);
                }
                Err(_) => drop(forward.answer.send(Err(CommandError::Internal))),
            }
            count += 1;
            let room = count < FRAME_COMMANDS_MAX && frame.len() < FRAME_BYTES && waiting.len() < FORWARDED_MAX;
            pending = room.then(|| forwards.try_recv().ok()).flatten();
        }
        if !frame.is_empty() && sender.send(Bytes::from(frame)).await.is_err() {
            // Those who wait learn that nobody knows, as their senders are dropped.
            return None;
        }
        tokio::select! { biased;
            frame = receiver.recv() => {
                let Ok(Some(frame)) = frame else { return None };
                let Ok(answers) = items::<Answered>(&frame) else { return None };
                for Answered { number, answer } in answers {
                    if let Some(waiting) = waiting.remove(&number) {
                        let _ = waiting.send(answer);
                    }
                }
            }
            forward = forwards.recv(), if waiting.len() < FORWARDED_MAX => match forward {
                Some(forward) => pending = Some(forward),
                None if waiting.is_empty() => return None,
                None => {}
            },
        }
    }
}
