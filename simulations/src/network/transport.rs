//! Links between nodes as the log wants them, and connections of agents.

use super::pipe::Side;
use super::votes::Votes;
use super::{End, Network, Pipe, Place};
use crate::lock;
use bytes::Bytes;
use forge_event::NodeId;
use forge_log::network::{FrameReceiver, FrameSender, Incoming, Lane, Link, Peer, Transport};
use futures::future::BoxFuture;
use std::io;
use std::sync::Arc;

/// Whoever is not there is waited for so long. Units: ms.
const CONNECT_MS: (u64, u64) = (100, 500);

/// A node's way out.
pub struct NodeTransport {
    pub network: Network,
    pub node: u64,
    pub life: u64,
}

struct Sending(Arc<Pipe>);

struct Receiving(Arc<Pipe>);

impl Drop for Sending {
    fn drop(&mut self) {
        self.0.close(0);
    }
}

impl FrameSender for Sending {
    fn send(&mut self, frame: Bytes) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(self.0.send(frame))
    }
}

impl Drop for Receiving {
    fn drop(&mut self) {
        self.0.end(End::Broken, tokio::time::Instant::now());
    }
}

impl FrameReceiver for Receiving {
    fn recv(&mut self) -> BoxFuture<'_, io::Result<Option<Bytes>>> {
        Box::pin(async move {
            match self.0.take().await {
                Ok((_, frame)) => Ok(Some(frame)),
                Err(End::Closed(_)) => Ok(None),
                Err(End::Broken) => Err(io::ErrorKind::ConnectionReset.into()),
            }
        })
    }
}

/// Whether a lane's messages carry numbers that its two sides check.
fn is_numbered(lane: Lane) -> bool {
    matches!(lane, Lane::Heartbeat | Lane::Append | Lane::Vote | Lane::Read)
}

impl Transport for NodeTransport {
    fn open(&self, to: NodeId, lane: Lane) -> BoxFuture<'static, io::Result<Link>> {
        let (network, from, life) = (self.network.clone(), self.node, self.life);
        Box::pin(async move {
            let (here, there) = (Place::Node(from), Place::Node(to.0));
            network.handshake(here, there).await?;
            let alive = |inner: &super::Inner| inner.doors.get(&from).is_some_and(|d| d.life == life);
            if !alive(&lock(&network.0)) {
                return Err(io::ErrorKind::NotConnected.into());
            }
            let numbered = is_numbered(lane);
            let (asks, answers) = match lane {
                Lane::Vote => {
                    let votes = Arc::new(Votes::default());
                    (Side::Asks(votes.clone()), Side::Answers(votes))
                }
                _ => (Side::Plain, Side::Plain),
            };
            let out = network.pipe(here, there, numbered, asks);
            let back = network.pipe(there, here, numbered, answers);
            let theirs = Link::new(Box::new(Sending(back.clone())), Box::new(Receiving(out.clone())));
            let ours = Link::new(Box::new(Sending(out)), Box::new(Receiving(back)));
            let incoming = Incoming { from: Peer::Node(NodeId(from)), lane, link: theirs };
            let inner = lock(&network.0);
            let door = inner.doors.get(&to.0).ok_or(io::ErrorKind::ConnectionRefused)?;
            let taken = door.links.try_send(incoming);
            drop(inner);
            match taken {
                Ok(()) => Ok(ours),
                Err(refused) => {
                    drop(refused);
                    Err(io::ErrorKind::ConnectionRefused.into())
                }
            }
        })
    }
}

/// One end of an agent's connection: streams by number, each in its own order.
pub struct Connection {
    pub agent: u64,
    out: Arc<Pipe>,
    back: Arc<Pipe>,
}

impl Connection {
    /// # Errors
    /// If the connection is over.
    pub fn send(&self, stream: u64, message: Vec<u8>) -> io::Result<()> {
        self.out.put(stream, message.into())
    }

    /// The next message with its stream. Cancel safe.
    ///
    /// # Errors
    /// How the connection ended.
    pub async fn recv(&self) -> Result<(u64, Bytes), End> {
        self.back.take().await
    }

    /// Closes it with a code, behind what was sent.
    pub fn close(&self, code: u32) {
        self.out.close(code);
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.out.close(0);
        self.back.end(End::Broken, tokio::time::Instant::now());
    }
}

impl Network {
    /// A round trip, or the time it takes to give up.
    async fn handshake(&self, from: Place, to: Place) -> io::Result<()> {
        let (up, wait) = {
            let mut inner = lock(&self.0);
            let inner = &mut *inner;
            let there = match to {
                Place::Node(node) => inner.doors.contains_key(&node),
                _ => true,
            };
            let up = there && !inner.cut.contains(&(from, to)) && !inner.cut.contains(&(to, from));
            let (least, most) = inner.weather.delay_ms;
            (up, if up { inner.dice.ms(2 * least, 2 * most) } else { inner.dice.ms(CONNECT_MS.0, CONNECT_MS.1) })
        };
        tokio::time::sleep(wait).await;
        if up { Ok(()) } else { Err(io::ErrorKind::TimedOut.into()) }
    }

    /// An agent's connection to a node.
    ///
    /// # Errors
    /// If the node is not there, or too busy.
    pub async fn dial(&self, agent: u64, node: u64) -> io::Result<Connection> {
        let (here, there) = (Place::Agent(agent), Place::Node(node));
        self.handshake(here, there).await?;
        let (out, back) = (self.pipe(here, there, false, Side::Plain), self.pipe(there, here, false, Side::Plain));
        let theirs = Connection { agent, out: back.clone(), back: out.clone() };
        let ours = Connection { agent, out, back };
        let inner = lock(&self.0);
        let door = inner.doors.get(&node).ok_or(io::ErrorKind::ConnectionRefused)?;
        let taken = door.agents.try_send(theirs);
        drop(inner);
        match taken {
            Ok(()) => Ok(ours),
            Err(refused) => {
                drop(refused);
                Err(io::ErrorKind::ConnectionRefused.into())
            }
        }
    }
}
