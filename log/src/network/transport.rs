//! Ordered duplexes of frames between nodes.

use bytes::Bytes;
use forge_event::NodeId;
use futures::future::BoxFuture;
use std::io;
use tokio::sync::mpsc;

/// A link refuses longer frames. Units: bytes.
pub const FRAME_BYTES_MAX: usize = 1 << 20;
/// Incoming links that may wait for their user.
pub const INBOX_LINKS_MAX: usize = 256;
/// Frames that may wait in each direction of an in-memory link.
const PAIR_FRAMES_MAX: usize = 64;

/// What a link is for. One never waits for another.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Lane {
    Heartbeat,
    Append,
    Vote,
    Snapshot,
    Archive,
    /// Read indices for linearizable reads of followers.
    Read,
    /// The hub's: commands on their way to the leader.
    Forward,
    /// The hub's: blob bytes.
    Blob,
    /// The hub's: a node that is not pinned yet proves its token.
    Join,
}

/// Who is at the other end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Peer {
    /// A node whose key is pinned.
    Node(NodeId),
    /// Anybody, with the Ed25519 key it proved; only on [`Lane::Join`].
    Stranger([u8; 32]),
}

/// Sends frames in order.
pub trait FrameSender: Send + Sync + 'static {
    /// # Errors
    /// If the link is broken; a frame sent before may or may not have arrived.
    fn send(&mut self, frame: Bytes) -> BoxFuture<'_, io::Result<()>>;
}

/// Receives frames in order.
pub trait FrameReceiver: Send + Sync + 'static {
    /// `None` when the other end closed in good order.
    ///
    /// # Errors
    /// If the link is broken.
    fn recv(&mut self) -> BoxFuture<'_, io::Result<Option<Bytes>>>;
}

/// One end of an ordered duplex of frames.
pub struct Link {
    sender: Box<dyn FrameSender>,
    receiver: Box<dyn FrameReceiver>,
}

impl Link {
    pub fn new(sender: Box<dyn FrameSender>, receiver: Box<dyn FrameReceiver>) -> Link {
        Link { sender, receiver }
    }

    /// The two ends of a link in memory.
    pub fn pair() -> (Link, Link) {
        let (to_b, at_b) = mpsc::channel(PAIR_FRAMES_MAX);
        let (to_a, at_a) = mpsc::channel(PAIR_FRAMES_MAX);
        (Link::new(Box::new(to_b), Box::new(at_a)), Link::new(Box::new(to_a), Box::new(at_b)))
    }

    /// # Errors
    /// See [`FrameSender::send`].
    pub async fn send(&mut self, frame: Bytes) -> io::Result<()> {
        self.sender.send(frame).await
    }

    /// # Errors
    /// See [`FrameReceiver::recv`].
    pub async fn recv(&mut self) -> io::Result<Option<Bytes>> {
        self.receiver.recv().await
    }

    /// Both halves at once.
    pub fn halves(&mut self) -> (&mut dyn FrameSender, &mut dyn FrameReceiver) {
        (&mut *self.sender, &mut *self.receiver)
    }

    pub fn split(self) -> (Box<dyn FrameSender>, Box<dyn FrameReceiver>) {
        (self.sender, self.receiver)
    }
}

impl FrameSender for mpsc::Sender<Bytes> {
    fn send(&mut self, frame: Bytes) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(async move { mpsc::Sender::send(self, frame).await.map_err(|_| io::ErrorKind::BrokenPipe.into()) })
    }
}

impl FrameReceiver for mpsc::Receiver<Bytes> {
    fn recv(&mut self) -> BoxFuture<'_, io::Result<Option<Bytes>>> {
        Box::pin(async move { Ok(mpsc::Receiver::recv(self).await) })
    }
}

/// A link that another node opened.
pub struct Incoming {
    pub from: Peer,
    pub lane: Lane,
    pub link: Link,
}

/// Where a transport puts the links that others open.
pub type Inbox = mpsc::Receiver<Incoming>;

/// Opens links to nodes by id.
pub trait Transport: Send + Sync + 'static {
    /// # Errors
    /// If the node's address or key is not known, or it does not answer as that node in time.
    fn open(&self, to: NodeId, lane: Lane) -> BoxFuture<'static, io::Result<Link>>;
}
