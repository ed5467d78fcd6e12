//! The agent against a small hub over real QUIC on loopback.

use super::support::WAIT;
use super::support::frames::read;
use ed25519_dalek::{Signature, SigningKey, VerifyingKey};
use forge_agent::{AgentConfig, AgentHandle, Context, ExecError, Executor, Fleet, Registry, Stopped, enrol};
use forge_event::*;
use forge_protocol::limits::FRAME_BYTES_MAX;
use forge_protocol::message::Secret;
use forge_protocol::*;
use quinn::{Connection, Endpoint, RecvStream, SendStream, ServerConfig, TransportConfig};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, SignatureScheme};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use tempfile::TempDir;

const AGENT: AgentId = AgentId(37);

/// Takes any client key, as a hub does before it looks the key up.
#[derive(Debug)]
struct AnyKey;

impl ClientCertVerifier for AnyKey {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        panic!("TLS 1.2 was never offered")
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        let algorithms = rustls::crypto::ring::default_provider().signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}

/// A hub of one connection at a time.
struct FakeHub {
    endpoint: Endpoint,
    address: HubAddress,
}

impl FakeHub {
    fn start(seed: u8) -> FakeHub {
        FakeHub::start_with(seed, TransportConfig::default())
    }

    fn start_with(seed: u8, transport: TransportConfig) -> FakeHub {
        let key = SigningKey::from_bytes(&[seed; 32]);
        let prefix: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
        let der = PrivatePkcs8KeyDer::from([&prefix[..], &[seed; 32]].concat());
        let pair = rcgen::KeyPair::from_pkcs8_der_and_sign_algo(&der, &rcgen::PKCS_ED25519).expect("a key");
        let params = rcgen::CertificateParams::new(vec!["forge".into()]).expect("a name");
        let certificate = params.self_signed(&pair).expect("a certificate").der().clone();
        let mut tls = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("TLS 1.3")
            .with_client_cert_verifier(Arc::new(AnyKey))
            .with_single_cert(vec![certificate], der.into())
            .expect("a pair");
        tls.alpn_protocols = vec![ALPN_AGENT.to_vec(), ALPN_ENROL.to_vec()];
        let crypto = quinn::crypto::rustls::QuicServerConfig::try_from(tls).expect("a QUIC suite");
        let mut config = ServerConfig::with_crypto(Arc::new(crypto));
        config.transport_config(Arc::new(transport));
        let endpoint = Endpoint::server(config, SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).expect("a socket");
        let address = endpoint.local_addr().expect("bound").to_string();
        FakeHub { endpoint, address: HubAddress { address, public_key: key.verifying_key().to_bytes() } }
    }

    async fn accept(&self) -> Connection {
        let incoming = tokio::time::timeout(WAIT, self.endpoint.accept()).await.expect("in time").expect("open");
        incoming.await.expect("a handshake")
    }

    fn token(&self) -> String {
        let hubs = vec![self.address.clone()];
        Token { kind: TokenKind::Agent, cluster: Digest([1; 32]), secret: Secret([5; 32]), hubs }.encode()
    }

    async fn answer_enrolment(&self, answer: HubToAgent) {
        let connection = self.accept().await;
        let (mut send, mut recv) = connection.accept_bi().await.expect("a stream");
        let bytes = recv.read_to_end(FRAME_BYTES_MAX).await.expect("a frame");
        let (message, _) = frame::take::<AgentToHub>(&bytes).expect("whole").expect("one");
        assert_eq!(message, AgentToHub::Enrol { secret: Secret([5; 32]) });
        send.write_all(&frame::encode(&answer)).await.expect("written");
        send.finish().expect("open");
        connection.closed().await;
    }

    async fn enrol(&self, data: &Path) {
        let hubs = vec![self.address.clone()];
        let enrolled = Enrolled { agent: AGENT, provider: ProviderId(12), cluster: Digest([1; 32]), hubs };
        let token = self.token();
        let (answer, ()) = tokio::join!(enrol(&token, data), self.answer_enrolment(HubToAgent::Enrolled(enrolled)));
        assert_eq!(answer.expect("enrolled").agent, AGENT);
    }

    /// Enrols an agent whose data is in `folder`, and starts it as `config` says.
    async fn agent(&self, folder: &TempDir, config: AgentConfig) -> AgentHandle {
        self.enrol(folder.path()).await;
        Fleet::new().start(config).await.expect("started")
    }

    /// The next session, of an agent that presents nothing and is welcome.
    async fn session(&self, log: &Log) -> Session {
        let mut session = Session::accept(self).await;
        session.welcome(log, vec![]).await;
        session
    }
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

fn plain(folder: &TempDir) -> AgentConfig {
    AgentConfig::new(folder.path())
}

/// The hub's end of one session.
struct Session {
    connection: Connection,
    control_send: SendStream,
    control: RecvStream,
    assembler: Assembler,
    hello: Hello,
}

impl Session {
    async fn accept(hub: &FakeHub) -> Session {
        let connection = hub.accept().await;
        let (control_send, mut control) = connection.accept_bi().await.expect("the control stream");
        let mut assembler = Assembler::new();
        let AgentToHub::Hello(hello) = read(&mut control, &mut assembler).await else { panic!("hello comes first") };
        Session { connection, control_send, control, assembler, hello }
    }

    async fn welcome(&mut self, log: &Log, fates: Vec<(LeaseId, Presented)>) {
        let (position, chain) = (log.position, log.chain);
        let welcome = Welcome { epoch: 1, position, chain, sealed: log.sealed, fates, hubs: vec![] };
        self.say(&HubToAgent::Welcome(welcome)).await;
    }

    async fn say(&mut self, message: &HubToAgent) {
        self.control_send.write_all(&frame::encode(message)).await.expect("written");
    }

    async fn heard(&mut self) -> AgentToHub {
        loop {
            let message = read(&mut self.control, &mut self.assembler).await;
            if !matches!(message, AgentToHub::Report { .. }) {
                return message;
            }
        }
    }

    async fn open(&self, assign: Assign) -> (SendStream, RecvStream) {
        let (mut send, recv) = self.connection.open_bi().await.expect("a stream");
        send.write_all(&frame::encode(&HubToAgent::Assign(assign))).await.expect("written");
        (send, recv)
    }

    async fn sealed(&mut self, log: &mut Log, key: [u8; 32]) {
        while log.sealed < log.position {
            let AgentToHub::Seal(seal) = self.heard().await else { panic!("a seal was due") };
            assert!(seal.upto <= log.position);
            let message = seal::message(AGENT, seal.upto, &seal.head);
            let signature = Signature::from_components(seal.signature[0], seal.signature[1]);
            VerifyingKey::from_bytes(&key).expect("a key").verify_strict(&message, &signature).expect("signed");
            if seal.upto == log.position {
                assert_eq!(seal.head, log.chain);
            }
            log.sealed = seal.upto;
        }
    }
}

/// What the hub's log would hold of the agent.
#[derive(Default)]
struct Log {
    position: u64,
    chain: [u8; 32],
    sealed: u64,
}

impl Log {
    fn record(&mut self, lease: LeaseId, digest: Digest) -> u64 {
        self.chain = seal::extend(&self.chain, lease, &digest, &seal::single_root(&digest));
        self.position += 1;
        self.position
    }
}

fn lease(shard: ShardIndex) -> LeaseId {
    LeaseId { job: JobId(9), shard, attempt: 1 }
}

fn assign(kind: &str, shard: ShardIndex, payload: Vec<u8>) -> Assign {
    Assign { lease: lease(shard), kind: kind.into(), family_version: 1, deadline: Timestamp(0), payload, blobs: None }
}

fn null(shard: ShardIndex) -> Assign {
    null_of(shard, 0)
}

fn null_of(shard: ShardIndex, payload_bytes: u32) -> Assign {
    assign("null", shard, forge_adapters::null::Payload { sleep_us: 0, payload_bytes }.encode().to_vec())
}

async fn result_of(recv: &mut RecvStream, assembler: &mut Assembler) -> (Digest, Vec<u8>) {
    match read(recv, assembler).await {
        AgentToHub::Result { digest, bytes } => {
            assert_eq!(Digest::of(&bytes), digest);
            (digest, bytes)
        }
        other => panic!("{other:?} instead of a result"),
    }
}

async fn acknowledge(send: &mut SendStream, position: u64) {
    let ack = HubToAgent::Ack { position, fate: Fate::Accepted };
    send.write_all(&frame::encode(&ack)).await.expect("written");
    send.finish().expect("open");
}

fn key_of(folder: &TempDir) -> [u8; 32] {
    forge_agent::AgentKey::load(&folder.path().join("agent.key")).expect("the key").public_key()
}

#[tokio::test]
async fn shards_are_run_acknowledged_sealed_and_the_agent_drains() {
    let hub = FakeHub::start(1);
    let folder = folder();
    let agent = hub.agent(&folder, plain(&folder)).await;
    let mut log = Log::default();
    let mut session = hub.session(&log).await;
    agent.ready().await.expect("up");
    let mut streams = vec![];
    for shard in 0..200 {
        streams.push((shard, session.open(null(shard)).await));
    }
    for (shard, (send, recv)) in &mut streams {
        let (digest, bytes) = result_of(recv, &mut Assembler::new()).await;
        assert_eq!(bytes, b"");
        let position = log.record(lease(*shard), digest);
        acknowledge(send, position).await;
    }
    session.sealed(&mut log, key_of(&folder)).await;
    let (stopped, ()) = tokio::join!(agent.drain(), async {
        assert_eq!(session.heard().await, AgentToHub::Draining);
        assert_eq!(session.heard().await, AgentToHub::Leaving);
        session.connection.close(CloseCode::Done.number().into(), b"done");
    });
    assert_eq!(stopped, Stopped::Drained);
}

/// Ends when the bit that its payload names is set, and counts its starts.
struct Gate {
    opened: Arc<AtomicU32>,
    starts: Arc<AtomicU32>,
}

impl Executor for Gate {
    fn kind(&self) -> &str {
        "gate"
    }

    fn version(&self) -> u16 {
        1
    }

    fn run(&self, payload: &[u8], context: &mut Context) -> Result<Vec<u8>, ExecError> {
        self.starts.fetch_add(1, Ordering::SeqCst);
        loop {
            if context.cancelled() {
                return Err(ExecError { code: ExecError::CANCELLED, detail: String::new() });
            }
            if self.opened.load(Ordering::SeqCst) & (1 << payload[0]) != 0 {
                return Ok(payload.to_vec());
            }
            std::thread::yield_now();
        }
    }
}

/// An agent of one slot that has no executor but the gate; what opens it, and how often it was started.
fn gated(folder: &TempDir) -> (AgentConfig, Arc<AtomicU32>, Arc<AtomicU32>) {
    let (opened, starts) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let gate = Gate { opened: opened.clone(), starts: starts.clone() };
    let config = AgentConfig { slots: 1, registry: Registry::empty().with(gate), ..plain(folder) };
    (config, opened, starts)
}

#[tokio::test]
async fn a_lease_resumes_in_the_next_session_without_being_computed_again() {
    let hub = FakeHub::start(2);
    let folder = folder();
    let (config, opened, starts) = gated(&folder);
    let agent = hub.agent(&folder, config).await;
    let mut log = Log::default();
    let first = hub.session(&log).await;
    let (_send, mut recv) = first.open(assign("gate", 1, vec![7])).await;
    let (_send2, mut recv2) = first.open(assign("gate", 2, vec![8])).await;
    opened.fetch_or(1 << 7, Ordering::SeqCst);
    // One of the two ends and is not acknowledged, the other goes on.
    let mut assembler = Assembler::new();
    let (digest, _) = result_of(&mut recv, &mut assembler).await;
    drop((recv, &mut recv2));
    first.connection.close(CloseCode::GoingAway.number().into(), b"");

    let mut second = Session::accept(&hub).await;
    assert_eq!(second.hello.unacknowledged, [(lease(1), digest)]);
    assert_eq!(second.hello.held, [lease(2)]);
    let recorded = Presented::Recorded { position: log.record(lease(1), digest), fate: Fate::Accepted };
    second.welcome(&log, vec![(lease(2), Presented::Live), (lease(1), recorded)]).await;
    let (mut send, mut recv) = second.open(assign("gate", 2, vec![8])).await;
    let mut assembler = Assembler::new();
    assert_eq!(read::<AgentToHub>(&mut recv, &mut assembler).await, AgentToHub::Have);
    opened.fetch_or(1 << 8, Ordering::SeqCst);
    let (digest, bytes) = result_of(&mut recv, &mut assembler).await;
    assert_eq!(bytes, [8]);
    acknowledge(&mut send, log.record(lease(2), digest)).await;
    second.sealed(&mut log, key_of(&folder)).await;
    assert_eq!(starts.load(Ordering::SeqCst), 2);
    agent.stop();
    assert_eq!(agent.ended().await, Stopped::Stopped);
}

#[tokio::test]
async fn a_result_that_the_hub_reads_half_holds_up_no_other() {
    // A fraction of a result: most of what the hub does not read stays with the agent.
    let mut transport = TransportConfig::default();
    transport.stream_receive_window((8 * 1024_u32).into());
    let hub = FakeHub::start_with(9, transport);
    let folder = folder();
    let agent = hub.agent(&folder, plain(&folder)).await;
    let mut log = Log::default();
    let mut session = hub.session(&log).await;
    let (mut stalled_send, mut stalled) = session.open(null_of(0, 20_000)).await;
    let mut half = Assembler::new();
    half.push(&stalled.read_chunk(4096, true).await.expect("readable").expect("not over").bytes);
    let mut streams = vec![];
    for shard in 1..40 {
        streams.push((shard, session.open(null_of(shard, 20_000)).await));
    }
    // From the last to the first: none waits for its turn either.
    for (shard, (send, recv)) in streams.iter_mut().rev() {
        let (digest, _) = result_of(recv, &mut Assembler::new()).await;
        acknowledge(send, log.record(lease(*shard), digest)).await;
    }
    let (digest, bytes) = result_of(&mut stalled, &mut half).await;
    assert_eq!(bytes.len(), 20_000);
    acknowledge(&mut stalled_send, log.record(lease(0), digest)).await;
    session.sealed(&mut log, key_of(&folder)).await;
    agent.stop();
    agent.ended().await;
}

#[tokio::test]
async fn a_cancelled_attempt_frees_its_slot() {
    let hub = FakeHub::start(3);
    let folder = folder();
    let (config, opened, _) = gated(&folder);
    let agent = hub.agent(&folder, config).await;
    let log = Log::default();
    let session = hub.session(&log).await;
    let (mut send, _recv) = session.open(assign("gate", 1, vec![1])).await;
    let (mut reset, _recv_reset) = session.open(assign("gate", 2, vec![2])).await;
    let cancel = HubToAgent::Cancel { reason: CancelReason::Expired };
    send.write_all(&frame::encode(&cancel)).await.expect("written");
    send.finish().expect("open");
    reset.reset(CloseCode::Cancelled.number().into()).expect("open");
    let (_send, mut recv) = session.open(assign("gate", 3, vec![3])).await;
    opened.fetch_or(1 << 3, Ordering::SeqCst);
    let (_, bytes) = result_of(&mut recv, &mut Assembler::new()).await;
    assert_eq!(bytes, [3]);
    agent.stop();
    agent.ended().await;
}

#[tokio::test]
async fn what_cannot_be_run_is_reported() {
    let hub = FakeHub::start(4);
    let folder = folder();
    let agent = hub.agent(&folder, plain(&folder)).await;
    let session = hub.session(&Log::default()).await;
    for (kind, payload, expected) in [("nonsense", vec![], "unknown-kind"), ("monte_carlo", vec![1], "bad-payload")] {
        let (mut send, mut recv) = session.open(assign(kind, 1, payload)).await;
        match read(&mut recv, &mut Assembler::new()).await {
            AgentToHub::Failed { code, .. } => assert_eq!(code, expected),
            other => panic!("{other:?} instead of a failure"),
        }
        send.write_all(&frame::encode(&HubToAgent::FailureRecorded)).await.expect("written");
        send.finish().expect("open");
        // The agent reads it before it takes the same lease again.
        let _ = send.stopped().await;
    }
    agent.stop();
    agent.ended().await;
}

#[tokio::test]
async fn a_hub_with_another_key_is_not_spoken_to() {
    let (hub, other) = (FakeHub::start(5), FakeHub::start(6));
    let folder = folder();
    let address = HubAddress { public_key: other.address.public_key, ..hub.address.clone() };
    let token =
        Token { kind: TokenKind::Agent, cluster: Digest([1; 32]), secret: Secret([5; 32]), hubs: vec![address] };
    let token = token.encode();
    let refused = async {
        while let Some(incoming) = hub.endpoint.accept().await {
            assert!(incoming.await.is_err(), "the agent broke off the handshake");
        }
    };
    tokio::select! {
        biased;
        () = refused => panic!("the endpoint is open"),
        answer = enrol(&token, folder.path()) => assert!(answer.is_err()),
    }
}

#[tokio::test]
async fn a_spent_token_is_refused_with_its_code() {
    let hub = FakeHub::start(7);
    let folder = folder();
    let token = hub.token();
    let refusal = hub.answer_enrolment(HubToAgent::EnrolRefused(EnrolRefusal::Spent));
    let (answer, ()) = tokio::join!(enrol(&token, folder.path()), refusal);
    assert_eq!(answer.expect_err("refused").code(), Some("enrolment-spent"));
}

#[tokio::test]
async fn a_removed_agent_does_not_come_back() {
    let hub = FakeHub::start(8);
    let folder = folder();
    let agent = hub.agent(&folder, plain(&folder)).await;
    let session = Session::accept(&hub).await;
    session.connection.close(CloseCode::Unknown.number().into(), b"");
    assert_eq!(agent.ended().await, Stopped::Unknown);
    assert_eq!(agent.ready().await, Err(Stopped::Unknown));
}
