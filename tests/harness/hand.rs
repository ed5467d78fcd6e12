//! An agent by hand: says what a good agent never says, or not when.

use forge_agent::executors::run;
use forge_agent::{AgentKey, Context, Stored};
use forge_event::{AgentId, Digest, LeaseId, seal};
use forge_protocol::{ALPN_AGENT, AgentToHub, Assembler, Assign, Hello, HubToAgent, PROTOCOL_VERSION, Seal, frame};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, Endpoint, RecvStream, SendStream};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, Error, SignatureScheme};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

/// A session that its test drives stream by stream.
pub struct Hand {
    connection: Connection,
    control: SendStream,
    agent: AgentId,
    key: AgentKey,
    /// Its chain: results so far, and the head over them.
    chain: (u64, [u8; 32]),
    /// End with this value: the hub takes that for the session's end.
    _kept: (RecvStream, Endpoint),
}

/// An attempt on its stream.
pub struct Attempt {
    pub assign: Assign,
    send: SendStream,
    recv: RecvStream,
    assembler: Assembler,
}

impl Hand {
    /// Opens the session of the agent that was enrolled into `folder`, at the first hub it knows.
    ///
    /// # Panics
    /// If it is not welcomed.
    pub async fn welcomed(folder: &Path, slots: u32) -> Hand {
        let stored = Stored::load(folder).expect("an enrolled agent's folder");
        let hub = stored.hubs[0].address.parse().expect("an address");
        let pem = std::fs::read_to_string(folder.join("agent.key")).expect("the agent's key");
        let mut endpoint = Endpoint::client(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).expect("a socket");
        endpoint.set_default_client_config(config(&pem));
        let connection = endpoint.connect(hub, "forge").expect("a name").await.expect("the hub answers");
        let (mut send, mut recv) = connection.open_bi().await.expect("the control stream");
        let hello = Hello {
            protocol: PROTOCOL_VERSION,
            agent: stored.agent,
            slots,
            capabilities: forge_agent::capabilities::detect("", None, &[]),
            position: stored.position,
            chain: stored.chain,
            held: Vec::new(),
            unacknowledged: Vec::new(),
        };
        send.write_all(&frame::encode(&AgentToHub::Hello(hello))).await.expect("said");
        let first = next(&mut recv, &mut Assembler::new()).await;
        assert!(matches!(first, HubToAgent::Welcome(_)), "{first:?}");
        let key = AgentKey::load(&folder.join("agent.key")).expect("the agent's key");
        let chain = (stored.position, stored.chain);
        Hand { connection, control: send, agent: stored.agent, key, chain, _kept: (recv, endpoint) }
    }

    /// Takes a result that was acknowledged into the chain, and signs it.
    pub async fn seal(&mut self, lease: LeaseId, digest: &Digest) {
        let (upto, before) = self.chain;
        self.chain = (upto + 1, seal::extend(&before, lease, digest, &seal::single_root(digest)));
        let (upto, head) = self.chain;
        let signature = self.key.sign(&seal::message(self.agent, upto, &head));
        let said = AgentToHub::Seal(Seal { upto, head, signature });
        self.control.write_all(&frame::encode(&said)).await.expect("the session is up");
    }

    /// The next attempt that the hub opens a stream for.
    pub async fn attempt(&self) -> Attempt {
        let (send, mut recv) = self.connection.accept_bi().await.expect("the session is up");
        let mut assembler = Assembler::new();
        match next(&mut recv, &mut assembler).await {
            HubToAgent::Assign(assign) => Attempt { assign, send, recv, assembler },
            other => panic!("{other:?} instead of an assignment"),
        }
    }
}

impl Attempt {
    /// The digest of its result, and the frame that says it.
    pub fn result(&self) -> (Digest, Vec<u8>) {
        let Assign { kind, family_version, payload, .. } = &self.assign;
        let bytes = run(kind, *family_version, payload, &mut Context::default()).expect("it computes");
        let digest = Digest::of(&bytes);
        (digest, frame::encode(&AgentToHub::Result { digest, bytes }))
    }

    pub async fn write(&mut self, bytes: &[u8]) {
        self.send.write_all(bytes).await.expect("the stream is open");
    }

    /// Ends the agent's side and gives the hub's answer.
    pub async fn answer(mut self) -> HubToAgent {
        self.send.finish().expect("the stream is open");
        next(&mut self.recv, &mut self.assembler).await
    }
}

async fn next(recv: &mut RecvStream, assembler: &mut Assembler) -> HubToAgent {
    loop {
        if let Some(message) = assembler.next().expect("frames of the hub") {
            return message;
        }
        let chunk = recv.read_chunk(usize::MAX, true).await.expect("the session is up").expect("the stream goes on");
        assembler.push(&chunk.bytes);
    }
}

fn config(pem: &str) -> ClientConfig {
    let key = rcgen::KeyPair::from_pem(pem).expect("a key");
    let certificate = rcgen::CertificateParams::default().self_signed(&key).expect("a certificate");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = rustls::ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone(provider)))
        .with_client_auth_cert(vec![certificate.der().clone()], PrivatePkcs8KeyDer::from(key.serialize_der()).into())
        .expect("a key of the certificate");
    tls.alpn_protocols = vec![ALPN_AGENT.to_vec()];
    ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).expect("suites of QUIC")))
}

/// Trusts whoever answers: that real agents do not is shown elsewhere.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 is never offered".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}
