//! A UDP path that loses and delays datagrams: stands before a server's door, and knows nothing of what it carries.
//!
//! Every client of the path gets an upstream socket of its own, so the server sees as many addresses as there are
//! clients. Whether a datagram is lost is drawn from the seed, the client's number and the direction: each direction
//! of each client loses the same ones of its datagrams in every run. Nothing is reordered, altered or duplicated.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Clients of one path; datagrams of further ones are dropped, and counted as overflown.
const CLIENTS_MAX: usize = 4096;
/// Datagrams under way in one direction of one client; further ones are dropped, and counted as overflown.
const UNDER_WAY_MAX: usize = 4096;
/// Longest datagram that is carried whole. Units: bytes.
const DATAGRAM_BYTES_MAX: usize = 65_536;
/// What the dice of two clients, or of two directions, must not share.
const DICE_STRIDE: u64 = 0x9e37_79b9_7f4a_7c15;

/// A path that carries datagrams between clients and one server until it is dropped.
#[derive(Debug)]
pub struct Lossy {
    shared: Arc<Shared>,
    address: SocketAddr,
    // Ends its tasks, and so the path.
    _tasks: JoinSet<()>,
}

/// What a path did so far, both directions together. Units: datagrams.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Counts {
    pub carried: u64,
    /// Lost as the dice wanted.
    pub dropped: u64,
    /// Lost because too many were under way: the path was too slow, which is no loss that was asked for.
    pub overflown: u64,
}

#[derive(Debug)]
struct Shared {
    front: UdpSocket,
    server: SocketAddr,
    seed: u64,
    delay: Duration,
    /// A draw below this is a loss; 2³² is certainty.
    loss: AtomicU64,
    clients: AtomicU32,
    carried: AtomicU64,
    dropped: AtomicU64,
    overflown: AtomicU64,
}

/// A datagram, and when it arrives at the other end.
struct UnderWay {
    due: Instant,
    bytes: Vec<u8>,
}

/// One direction of one client.
struct Direction {
    shared: Arc<Shared>,
    dice: StdRng,
    queue: mpsc::Sender<UnderWay>,
}

impl Lossy {
    /// Opens a path from `listen` to `server` that loses nothing yet; each direction takes `delay`.
    /// Needs a tokio runtime.
    ///
    /// # Errors
    /// If `listen` cannot be bound.
    pub async fn open(listen: SocketAddr, server: SocketAddr, seed: u64, delay: Duration) -> io::Result<Lossy> {
        let front = UdpSocket::bind(listen).await?;
        let address = front.local_addr()?;
        let shared = Arc::new(Shared {
            front,
            server,
            seed,
            delay,
            loss: AtomicU64::new(0),
            clients: AtomicU32::new(0),
            carried: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            overflown: AtomicU64::new(0),
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(take_in(shared.clone()));
        Ok(Lossy { shared, address, _tasks: tasks })
    }

    /// Where clients find it.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Loses this part of all datagrams from now on, in each direction. Units: 0 to 1.
    pub fn lose(&self, part: f64) {
        let threshold = (part.clamp(0.0, 1.0) * (1u64 << 32) as f64) as u64;
        self.shared.loss.store(threshold, Ordering::Relaxed);
    }

    pub fn counts(&self) -> Counts {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let Shared { carried, dropped, overflown, .. } = &*self.shared;
        Counts { carried: read(carried), dropped: read(dropped), overflown: read(overflown) }
    }
}

impl Direction {
    /// A direction, and the task's end of its queue.
    fn new(shared: &Arc<Shared>, client: u32, back: bool) -> (Direction, mpsc::Receiver<UnderWay>) {
        let stream = u64::from(client) * 2 + u64::from(back) + 1;
        let dice = StdRng::seed_from_u64(shared.seed.wrapping_add(stream.wrapping_mul(DICE_STRIDE)));
        let (queue, receiver) = mpsc::channel(UNDER_WAY_MAX);
        (Direction { shared: shared.clone(), dice, queue }, receiver)
    }

    /// Takes a datagram in: loses it, or lets it be under way.
    fn carry(&mut self, bytes: &[u8]) {
        // Drawn for each datagram, so that the loss of one stretch does not move the draws of the next.
        let draw = u64::from(self.dice.random::<u32>());
        let shared = &self.shared;
        if draw < shared.loss.load(Ordering::Relaxed) {
            shared.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let due = Instant::now() + shared.delay;
        let count = match self.queue.try_send(UnderWay { due, bytes: bytes.to_vec() }) {
            Ok(()) => &shared.carried,
            Err(_) => &shared.overflown,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }
}

/// Reads what clients send. The tasks of the clients are this one's, and end with it.
async fn take_in(shared: Arc<Shared>) {
    let mut clients: HashMap<SocketAddr, Direction> = HashMap::new();
    let mut tasks = JoinSet::new();
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    loop {
        // An error is one client's: the kernel says here that nobody listens where its last answer went.
        let Ok((length, from)) = shared.front.recv_from(&mut buffer).await else { continue };
        if let Some(direction) = clients.get_mut(&from) {
            direction.carry(&buffer[..length]);
            continue;
        }
        let upstream = if clients.len() < CLIENTS_MAX { upstream(shared.server).await.ok() } else { None };
        let Some(upstream) = upstream else {
            shared.overflown.fetch_add(1, Ordering::Relaxed);
            continue;
        };
        let upstream = Arc::new(upstream);
        let number = shared.clients.fetch_add(1, Ordering::Relaxed);
        let (mut there, queue) = Direction::new(&shared, number, false);
        tasks.spawn(deliver_to_server(upstream.clone(), queue));
        let (back, queue) = Direction::new(&shared, number, true);
        tasks.spawn(take_answers(upstream, back));
        tasks.spawn(deliver_to_client(shared.clone(), from, queue));
        there.carry(&buffer[..length]);
        clients.insert(from, there);
    }
}

async fn upstream(server: SocketAddr) -> io::Result<UdpSocket> {
    let any = match server {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((std::net::Ipv6Addr::UNSPECIFIED, 0)),
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(server).await?;
    Ok(socket)
}

async fn take_answers(upstream: Arc<UdpSocket>, mut back: Direction) {
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    loop {
        // A server that is gone for a moment is an error here, and no end.
        if let Ok(length) = upstream.recv(&mut buffer).await {
            back.carry(&buffer[..length]);
        }
    }
}

async fn deliver_to_server(upstream: Arc<UdpSocket>, mut queue: mpsc::Receiver<UnderWay>) {
    while let Some(bytes) = arrived(&mut queue).await {
        // What a real network does with a datagram that nobody takes: nothing.
        let _ = upstream.send(&bytes).await;
    }
}

async fn deliver_to_client(shared: Arc<Shared>, client: SocketAddr, mut queue: mpsc::Receiver<UnderWay>) {
    while let Some(bytes) = arrived(&mut queue).await {
        let _ = shared.front.send_to(&bytes, client).await;
    }
}

/// The next datagram, when it is due.
async fn arrived(queue: &mut mpsc::Receiver<UnderWay>) -> Option<Vec<u8>> {
    let UnderWay { due, bytes } = queue.recv().await?;
    if due > Instant::now() {
        tokio::time::sleep_until(due).await;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
    const WAIT: Duration = Duration::from_secs(20);

    async fn heard(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
        let mut buffer = [0; 64];
        let (length, from) =
            tokio::time::timeout(WAIT, socket.recv_from(&mut buffer)).await.expect("in time").expect("a datagram");
        (buffer[..length].to_vec(), from)
    }

    /// Which of 1,000 datagrams are lost in a direction.
    async fn lost(seed: u64, client: u32, back: bool) -> Vec<u32> {
        let path = Lossy::open(ANY, ANY, seed, Duration::ZERO).await.expect("a path");
        path.lose(0.02);
        let (mut direction, _queue) = Direction::new(&path.shared, client, back);
        let mut lost = |number: &u32| {
            let before = path.counts().dropped;
            direction.carry(&number.to_le_bytes());
            path.counts().dropped > before
        };
        (0..1000).filter(|number| lost(number)).collect()
    }

    #[tokio::test]
    async fn the_seed_says_which_datagrams_of_a_direction_are_lost() {
        let first = lost(7, 0, false).await;
        assert!((8..40).contains(&first.len()), "two of a hundred, about: {}", first.len());
        assert_eq!(first, lost(7, 0, false).await);
        for other in [lost(8, 0, false).await, lost(7, 1, false).await, lost(7, 0, true).await] {
            assert_ne!(first, other);
        }
    }

    #[tokio::test]
    async fn what_is_not_lost_goes_both_ways_in_order() {
        let server = UdpSocket::bind(ANY).await.expect("a socket");
        let to = server.local_addr().expect("bound");
        let path = Lossy::open(ANY, to, 1, Duration::from_millis(1)).await.expect("a path");
        let clients = [UdpSocket::bind(ANY).await.expect("a socket"), UdpSocket::bind(ANY).await.expect("a socket")];
        let mut seen = Vec::new();
        for (number, client) in clients.iter().enumerate() {
            client.send_to(&[number as u8], path.address()).await.expect("sent");
            let (bytes, from) = heard(&server).await;
            assert_eq!(bytes, [number as u8]);
            seen.push(from);
        }
        assert_ne!(seen[0], seen[1], "each client has a socket of its own");
        for (client, from) in clients.iter().zip(&seen) {
            for number in 0..20 {
                server.send_to(&[number], from).await.expect("sent");
            }
            for number in 0..20 {
                assert_eq!(heard(client).await, (vec![number], path.address()));
            }
        }
        assert_eq!(path.counts(), Counts { carried: 42, dropped: 0, overflown: 0 });
    }

    #[tokio::test]
    async fn nothing_arrives_where_everything_is_lost() {
        let server = UdpSocket::bind(ANY).await.expect("a socket");
        let to = server.local_addr().expect("bound");
        let path = Lossy::open(ANY, to, 3, Duration::ZERO).await.expect("a path");
        let client = UdpSocket::bind(ANY).await.expect("a socket");
        path.lose(1.0);
        for _ in 0..50 {
            client.send_to(b"x", path.address()).await.expect("sent");
        }
        while path.counts().dropped < 50 {
            tokio::task::yield_now().await;
        }
        path.lose(0.0);
        client.send_to(b"y", path.address()).await.expect("sent");
        assert_eq!(heard(&server).await.0, b"y");
    }
}
