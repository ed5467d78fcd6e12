//! Links over QUIC: one connection from each node to each other node, one stream for each link.

use super::identity::{Identity, IdentityError, PublicKey, TLS_NAME, peer_key};
use super::transport::{
    FRAME_BYTES_MAX, FrameReceiver, FrameSender, INBOX_LINKS_MAX, Inbox, Incoming, Lane, Link, Peer, Transport,
};
use bytes::{Buf, Bytes, BytesMut};
use forge_event::NodeId;
use futures::future::BoxFuture;
use quinn::{
    AckFrequencyConfig, Connection, Endpoint, EndpointConfig, MtuDiscoveryConfig, RecvStream, SendStream, TokioRuntime,
    TransportConfig, VarInt,
};
use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::lookup_host;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};

/// Application protocol of links between nodes.
pub const ALPN: &[u8] = b"forge-peer/1";
/// Deadline of a connection attempt.
const CONNECT_DEADLINE: Duration = Duration::from_secs(2);
/// A new stream must say its lane within this.
const HELLO_DEADLINE: Duration = Duration::from_secs(2);
/// A peer that is silent for this long is gone.
const IDLE_MAX_MS: u32 = 3_000;
const KEEP_ALIVE: Duration = Duration::from_millis(500);
/// First and longest pause after a failed attempt.
const BACKOFF_MIN: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(1);
/// Links that one peer may have open.
const STREAMS_MAX: u32 = 256;
/// Connections of nodes that are not pinned yet.
const STRANGERS_MAX: usize = 32;
/// Requests for a connection that may wait.
const WAITING_MAX: usize = 256;
/// Longest datagram that links try and take: that of a jumbo frame. Discovery settles at what the path carries.
const DATAGRAM_BYTES_MAX: u16 = 8_952;
/// Received packets that one acknowledgement may cover, and how long it may wait.
const UNACKNOWLEDGED_MAX: u32 = 10;
const ACK_DELAY: Duration = Duration::from_millis(5);
/// What arrives and nobody has read yet, in the kernel. Units: bytes.
const SOCKET_BYTES: usize = 4 << 20;
const STREAM_WINDOW_BYTES: u32 = 4 << 20;
const WINDOW_BYTES: u32 = 64 << 20;
const READ_BYTES: usize = 256 * 1024;
const LENGTH_BYTES: usize = 4;

/// What the transport asks about nodes; answers may change at any time.
pub trait Directory: Send + Sync + 'static {
    /// The node's pinned key.
    fn pin(&self, node: NodeId) -> Option<PublicKey>;
    /// Where it listens for peers, as `host:port`.
    fn address(&self, node: NodeId) -> Option<String>;
    /// The node whose pinned key this is.
    fn node_of(&self, key: &PublicKey) -> Option<NodeId>;
}

/// Links of a real node.
pub struct QuicTransport {
    dialer: Dialer,
    peers: Mutex<HashMap<NodeId, mpsc::Sender<Waiting>>>,
}

type Waiting = oneshot::Sender<io::Result<Connection>>;

#[derive(Clone)]
struct Dialer {
    endpoint: Endpoint,
    identity: Arc<Identity>,
    directory: Arc<dyn Directory>,
    /// The runtime that serves the sockets; links may be opened from others.
    runtime: tokio::runtime::Handle,
}

impl QuicTransport {
    /// Listens for peers; must be called in a tokio runtime, which then serves all links.
    ///
    /// # Errors
    /// If the address cannot be bound.
    pub fn bind(
        identity: Arc<Identity>,
        listen: SocketAddr,
        directory: Arc<dyn Directory>,
    ) -> io::Result<(Arc<QuicTransport>, Inbox)> {
        // Who may say what is decided for each stream: a stranger may join, and nothing else.
        let mut server = identity.server_config(ALPN, Arc::new(|_| true)).map_err(tls)?;
        server.transport_config(Arc::new(transport()));
        let mut config = EndpointConfig::default();
        config.max_udp_payload_size(DATAGRAM_BYTES_MAX).map_err(io::Error::other)?;
        let socket = socket(listen)?;
        let endpoint = Endpoint::new(config, Some(server), socket, Arc::new(TokioRuntime))?;
        let (inbox, incoming) = mpsc::channel(INBOX_LINKS_MAX);
        let runtime = tokio::runtime::Handle::current();
        runtime.spawn(accept(endpoint.clone(), directory.clone(), inbox));
        let dialer = Dialer { endpoint, identity, directory, runtime };
        Ok((Arc::new(QuicTransport { dialer, peers: Mutex::new(HashMap::new()) }), incoming))
    }

    /// Where it listens.
    ///
    /// # Errors
    /// If the socket is gone.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.dialer.endpoint.local_addr()
    }

    /// A joiner's link to its inviter, whose key is in the token.
    ///
    /// # Errors
    /// If nobody with that key answers there.
    pub async fn join(&self, address: &str, pin: PublicKey) -> io::Result<Link> {
        let connection = self.dialer.connect(address, pin).await?;
        open(&connection, Lane::Join).await
    }

    /// Closes every connection; links break.
    pub fn close(&self) {
        self.dialer.endpoint.close(VarInt::from_u32(0), b"shutting down");
    }

    /// Asks for a connection to a node: the present one, or a new one.
    fn ask(&self, to: NodeId) -> io::Result<oneshot::Receiver<io::Result<Connection>>> {
        let queue = {
            let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
            let queue = peers.entry(to).or_insert_with(|| {
                let (queue, waiting) = mpsc::channel(WAITING_MAX);
                self.dialer.runtime.spawn(self.dialer.clone().keep(to, waiting));
                queue
            });
            queue.clone()
        };
        let (done, connection) = oneshot::channel();
        queue.try_send(done).map_err(|_| io::Error::from(io::ErrorKind::WouldBlock))?;
        Ok(connection)
    }
}

impl Dialer {
    /// Keeps the connection to one node: dials when it is wanted, with a pause after a failure.
    async fn keep(self, to: NodeId, mut waiting: mpsc::Receiver<Waiting>) {
        let mut present: Option<(Connection, PublicKey)> = None;
        let mut pause = BACKOFF_MIN;
        let mut not_before = Instant::now();
        while let Some(done) = waiting.recv().await {
            let pin = self.directory.pin(to);
            present = present.filter(|(c, key)| c.close_reason().is_none() && Some(*key) == pin);
            let result = match (&present, pin, self.directory.address(to)) {
                (Some((connection, _)), _, _) => Ok(connection.clone()),
                (None, Some(_), Some(_)) if Instant::now() < not_before => Err(io::ErrorKind::NotConnected.into()),
                (None, Some(pin), Some(address)) => self.connect(&address, pin).await.inspect(|connection| {
                    present = Some((connection.clone(), pin));
                }),
                (None, _, _) => Err(io::Error::new(io::ErrorKind::NotFound, format!("{to} is not in the directory"))),
            };
            if result.is_ok() {
                pause = BACKOFF_MIN;
            } else if Instant::now() >= not_before {
                not_before = Instant::now() + pause;
                pause = (pause * 2).min(BACKOFF_MAX);
            }
            // The one who asked may have given up.
            let _ = done.send(result);
        }
    }

    async fn connect(&self, address: &str, pin: PublicKey) -> io::Result<Connection> {
        let mut config = self.identity.client_config(ALPN, pin).map_err(tls)?;
        config.transport_config(Arc::new(transport()));
        let dial = async {
            let address = lookup_host(address).await?.next().ok_or(io::ErrorKind::AddrNotAvailable)?;
            let connecting = self.endpoint.connect_with(config, address, TLS_NAME).map_err(io::Error::other)?;
            connecting.await.map_err(io::Error::from)
        };
        timeout(CONNECT_DEADLINE, dial).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl Transport for QuicTransport {
    fn open(&self, to: NodeId, lane: Lane) -> BoxFuture<'static, io::Result<Link>> {
        let asked = self.ask(to);
        Box::pin(async move {
            let connection = asked?.await.unwrap_or_else(|_| Err(io::ErrorKind::NotConnected.into()))?;
            open(&connection, lane).await
        })
    }
}

fn transport() -> TransportConfig {
    let mut transport = TransportConfig::default();
    let mut discovery = MtuDiscoveryConfig::default();
    discovery.upper_bound(DATAGRAM_BYTES_MAX);
    let mut frequency = AckFrequencyConfig::default();
    frequency.ack_eliciting_threshold(VarInt::from_u32(UNACKNOWLEDGED_MAX)).max_ack_delay(Some(ACK_DELAY));
    transport
        .mtu_discovery_config(Some(discovery))
        .ack_frequency_config(Some(frequency))
        .max_concurrent_bidi_streams(VarInt::from_u32(STREAMS_MAX))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .max_idle_timeout(Some(VarInt::from_u32(IDLE_MAX_MS).into()))
        .keep_alive_interval(Some(KEEP_ALIVE))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW_BYTES))
        .receive_window(VarInt::from_u32(WINDOW_BYTES))
        .send_window(u64::from(WINDOW_BYTES))
        .datagram_receive_buffer_size(None);
    transport
}

/// A socket with room for what arrives while this thread is at something else; the system may give less.
fn socket(listen: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(listen)?;
    let options = socket2::SockRef::from(&socket);
    options.set_recv_buffer_size(SOCKET_BYTES)?;
    options.set_send_buffer_size(SOCKET_BYTES)?;
    Ok(socket)
}

async fn open(connection: &Connection, lane: Lane) -> io::Result<Link> {
    let opened = timeout(CONNECT_DEADLINE, async {
        let (mut send, recv) = connection.open_bi().await.map_err(io::Error::from)?;
        send.write_all(&[code(lane)]).await.map_err(io::Error::from)?;
        io::Result::Ok(link(send, recv))
    });
    opened.await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

async fn accept(endpoint: Endpoint, directory: Arc<dyn Directory>, inbox: mpsc::Sender<Incoming>) {
    let strangers = Arc::new(AtomicUsize::new(0));
    while let Some(incoming) = endpoint.accept().await {
        let (directory, inbox, strangers) = (directory.clone(), inbox.clone(), strangers.clone());
        tokio::spawn(async move {
            let Ok(Ok(connection)) = timeout(CONNECT_DEADLINE, async { incoming.await }).await else { return };
            let Some(key) = peer_key(&connection) else { return };
            let stranger = directory.node_of(&key).is_none();
            if stranger && strangers.fetch_add(1, Ordering::Relaxed) >= STRANGERS_MAX {
                strangers.fetch_sub(1, Ordering::Relaxed);
                connection.close(VarInt::from_u32(1), b"too many nodes join at once");
                return;
            }
            serve(&connection, &key, &*directory, &inbox).await;
            if stranger {
                strangers.fetch_sub(1, Ordering::Relaxed);
            }
        });
    }
}

/// Takes the streams of a connection until it closes.
async fn serve(connection: &Connection, key: &PublicKey, directory: &dyn Directory, inbox: &mpsc::Sender<Incoming>) {
    while let Ok((send, mut recv)) = connection.accept_bi().await {
        let mut hello = [0];
        let Ok(Ok(())) = timeout(HELLO_DEADLINE, recv.read_exact(&mut hello)).await else { continue };
        // Asked for each stream: a pin may be gone, or there at last.
        let from = match (lane(hello[0]), directory.node_of(key)) {
            (Some(Lane::Join), _) => Peer::Stranger(*key),
            (Some(_), Some(node)) => Peer::Node(node),
            _ => {
                connection.close(VarInt::from_u32(2), b"this key is not pinned here");
                return;
            }
        };
        let Some(lane) = lane(hello[0]) else { return };
        let incoming = Incoming { from, lane, link: link(send, recv) };
        if inbox.try_send(incoming).is_err() {
            tracing::warn!(?from, ?lane, "a link was refused: too many wait");
        }
    }
}

const LANES: [(Lane, u8); 9] = [
    (Lane::Heartbeat, 1),
    (Lane::Append, 2),
    (Lane::Vote, 3),
    (Lane::Snapshot, 4),
    (Lane::Archive, 5),
    (Lane::Read, 6),
    (Lane::Forward, 7),
    (Lane::Blob, 8),
    (Lane::Join, 9),
];

fn code(lane: Lane) -> u8 {
    LANES.iter().find(|(l, _)| *l == lane).map(|(_, code)| *code).expect("every lane has a code")
}

fn lane(code: u8) -> Option<Lane> {
    LANES.iter().find(|(_, c)| *c == code).map(|(lane, _)| *lane)
}

fn link(send: SendStream, recv: RecvStream) -> Link {
    Link::new(Box::new(Sender(send)), Box::new(Receiver { recv, buffer: BytesMut::new() }))
}

/// A frame on a stream is its length, four bytes little-endian, and its bytes.
struct Sender(SendStream);

struct Receiver {
    recv: RecvStream,
    buffer: BytesMut,
}

impl FrameSender for Sender {
    fn send(&mut self, frame: Bytes) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(async move {
            if frame.len() > FRAME_BYTES_MAX {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "a frame is longer than a link takes"));
            }
            let length = u32::try_from(frame.len()).map_err(io::Error::other)?;
            let mut parts = [Bytes::copy_from_slice(&length.to_le_bytes()), frame];
            self.0.write_all_chunks(&mut parts).await.map_err(io::Error::from)
        })
    }
}

impl Receiver {
    /// The first whole frame of the buffer.
    fn whole(&mut self) -> io::Result<Option<Bytes>> {
        let Some(length) = self.buffer.first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
        let length = u32::from_le_bytes(*length) as usize;
        if length > FRAME_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a frame is longer than a link takes"));
        }
        if let Some(missing) = (LENGTH_BYTES + length).checked_sub(self.buffer.len()).filter(|missing| *missing > 0) {
            // Once, not by doubling; but nobody has memory for the asking.
            self.buffer.reserve(missing.min(READ_BYTES));
            return Ok(None);
        }
        self.buffer.advance(LENGTH_BYTES);
        Ok(Some(self.buffer.split_to(length).freeze()))
    }
}

impl FrameReceiver for Receiver {
    fn recv(&mut self) -> BoxFuture<'_, io::Result<Option<Bytes>>> {
        Box::pin(async move {
            loop {
                if let Some(frame) = self.whole()? {
                    return Ok(Some(frame));
                }
                match self.recv.read_chunk(READ_BYTES, true).await.map_err(io::Error::from)? {
                    Some(chunk) => self.buffer.extend_from_slice(&chunk.bytes),
                    None if self.buffer.is_empty() => return Ok(None),
                    None => return Err(io::ErrorKind::UnexpectedEof.into()),
                }
            }
        })
    }
}

fn tls(error: IdentityError) -> io::Error {
    io::Error::other(error)
}
