//! An agent made of the protocol alone, whose first result waits half-way until the test lets it go on.

use super::Rig;
use super::frames::read;
use forge_agent::AgentKey;
use forge_agent::capabilities::detect;
use forge_event::*;
use forge_log::network::identity::Identity;
use forge_protocol::limits::{ATTEMPT_STREAMS_MAX, KEEP_ALIVE_MS};
use forge_protocol::*;
use quinn::{Connection, Endpoint, RecvStream, SendStream, TransportConfig};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, oneshot};
use tokio::task::JoinHandle;

/// What the streams of an agent share.
struct Shared {
    machine: AgentSession,
    control: SendStream,
    key: AgentKey,
    /// The machine's clock: each acknowledgement moves it so far that a seal is due. Units: milliseconds.
    now: u64,
}

/// An agent by hand, at work until it is dropped.
pub struct Hand {
    pub agent: AgentId,
    connection: Connection,
    /// Lets the first result go on.
    pub release: oneshot::Sender<()>,
    /// The lease whose result waits, once half of it is sent.
    pub stalled: oneshot::Receiver<LeaseId>,
    _endpoint: Endpoint,
    _work: JoinHandle<()>,
}

impl Rig {
    /// Enrols an agent that answers every shard of `null` with zeros, at once; its first result it sends half.
    pub async fn by_hand(&mut self, folder: &Path) -> Hand {
        let agent = self.enrol(folder).await;
        let path = folder.join("agent.key");
        let (identity, key) = (Identity::load(&path).expect("a key"), AgentKey::load(&path).expect("a key"));
        let mut config = identity.client_config(ALPN_AGENT, self.address.public_key).expect("TLS");
        let mut transport = TransportConfig::default();
        transport
            .max_concurrent_bidi_streams(ATTEMPT_STREAMS_MAX.into())
            .keep_alive_interval(Some(Duration::from_millis(KEEP_ALIVE_MS)));
        config.transport_config(Arc::new(transport));
        let endpoint = Endpoint::client(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).expect("a socket");
        let at = self.address.address.parse().expect("an address");
        let connection = endpoint.connect_with(config, at, "forge").expect("a name").await.expect("a handshake");
        let mut machine = AgentSession::new(agent, 0, seal::START);
        let (mut control, mut recv) = connection.open_bi().await.expect("a stream");
        let hello = AgentToHub::Hello(machine.hello(1, detect("test", None, &[])));
        control.write_all(&frame::encode(&hello)).await.expect("written");
        let HubToAgent::Welcome(welcome) = read(&mut recv, &mut Assembler::new()).await else { panic!("no welcome") };
        machine.handle_welcome(&welcome, Now(0)).expect("a new agent");
        let shared = Arc::new(Mutex::new(Shared { machine, control, key, now: 0 }));
        let ((release, released), (half, stalled)) = (oneshot::channel(), oneshot::channel());
        let work = tokio::spawn(work(connection.clone(), recv, shared, (half, released)));
        Hand { agent, connection, release, stalled, _endpoint: endpoint, _work: work }
    }
}

impl Hand {
    /// The connection is up, and was never replaced.
    pub fn is_connected(&self) -> bool {
        self.connection.close_reason().is_none()
    }
}

type Stall = (oneshot::Sender<LeaseId>, oneshot::Receiver<()>);

/// Takes streams until the connection ends; nothing waits for an earlier stream.
async fn work(connection: Connection, _control: RecvStream, shared: Arc<Mutex<Shared>>, stall: Stall) {
    let mut stall = Some(stall);
    while let Ok((send, recv)) = connection.accept_bi().await {
        tokio::spawn(attempt(send, recv, shared.clone(), stall.take()));
    }
}

/// One attempt from its assignment to the seal over it.
async fn attempt(mut send: SendStream, mut recv: RecvStream, shared: Arc<Mutex<Shared>>, stall: Option<Stall>) {
    let mut assembler = Assembler::new();
    let HubToAgent::Assign(assign) = read(&mut recv, &mut assembler).await else { panic!("no assignment") };
    let payload = forge_adapters::null::Payload::decode(&assign.payload).expect("a shard of null");
    let bytes = vec![0; payload.payload_bytes as usize];
    let digest = Digest::of(&bytes);
    {
        let mut shared = shared.lock().await;
        assert_eq!(shared.machine.handle_assign(assign.lease), Start::Run);
        assert!(shared.machine.handle_finished(assign.lease, Outcome::of(bytes.clone())));
    }
    let result = frame::encode(&AgentToHub::Result { digest, bytes });
    let (first, rest) = result.split_at(result.len() / 2);
    send.write_all(first).await.expect("written");
    if let Some((half, released)) = stall {
        half.send(assign.lease).expect("the test waits for it");
        // A test that is over drops its end.
        let Ok(()) = released.await else { return };
    }
    send.write_all(rest).await.expect("written");
    send.finish().expect("open");
    let HubToAgent::Ack { position, fate } = read(&mut recv, &mut assembler).await else { panic!("no answer") };
    let mut shared = shared.lock().await;
    shared.now += 1000;
    let now = shared.now;
    shared.machine.handle_ack(assign.lease, position, fate, Now(now)).expect("the hub's chain is ours");
    if let Some(SealDue { upto, head }) = shared.machine.poll_seal(Now(now + 500)) {
        let signature = shared.key.sign(&seal::message(shared.machine.agent(), upto, &head));
        let seal = frame::encode(&AgentToHub::Seal(Seal { upto, head, signature }));
        shared.control.write_all(&seal).await.expect("written");
    }
}
