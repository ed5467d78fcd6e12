//! TLS of a server's links that keeps, once a link is up, what the link still needs.
//!
//! The session that comes with QUIC holds rustls' connection for as long as the link lives: handshake buffers, the
//! client's certificate in three copies, the keys of a record layer that QUIC does not have, and the keys of a key update
//! that is seldom near. Here the connection is dropped when the handshake is over, and later keys are derived when used.

use super::identity::{PublicKey, certified_key};
use bytes::BytesMut;
use quinn::crypto::rustls::{HandshakeData, NoInitialCipherSuite, QuicServerConfig};
use quinn::crypto::{self, CryptoError, ExportKeyingMaterialError, HeaderKey, KeyPair, Keys, UnsupportedVersion};
use quinn::{ConnectionId, Side, TransportErrorCode};
use quinn_proto::TransportError;
use quinn_proto::transport_parameters::TransportParameters;
use rustls::quic::{KeyChange, PacketKey, PacketKeySet, Secrets, ServerConnection, Version};
use rustls::{AlertDescription, ServerConfig};
use std::any::Any;
use std::sync::{Arc, OnceLock};

/// QUIC version 1. Source: RFC 9000, section 15.
const QUIC_V1: u32 = 1;

/// The TLS of a server, as QUIC takes it.
pub(super) struct Server {
    tls: Arc<ServerConfig>,
    /// Gives what does not depend on a session: initial keys and retry tags.
    quic: QuicServerConfig,
}

impl Server {
    /// # Errors
    /// If the provider lacks the suite that protects QUIC's first packets.
    ///
    /// # Panics
    /// If `tls` takes early data or sends tickets: a session here has nothing left to answer them with.
    pub(super) fn new(tls: ServerConfig) -> Result<Server, NoInitialCipherSuite> {
        assert!(tls.max_early_data_size == 0 && tls.send_tls13_tickets == 0, "links are neither early nor resumed");
        let tls = Arc::new(tls);
        Ok(Server { quic: QuicServerConfig::try_from(tls.clone())?, tls })
    }
}

impl crypto::ServerConfig for Server {
    fn initial_keys(&self, version: u32, dst_cid: &ConnectionId) -> Result<Keys, UnsupportedVersion> {
        if version != QUIC_V1 {
            return Err(UnsupportedVersion);
        }
        self.quic.initial_keys(version, dst_cid)
    }

    fn retry_tag(&self, version: u32, orig_dst_cid: &ConnectionId, packet: &[u8]) -> [u8; 16] {
        self.quic.retry_tag(version, orig_dst_cid, packet)
    }

    fn start_session(self: Arc<Self>, _version: u32, params: &TransportParameters) -> Box<dyn crypto::Session> {
        let mut bytes = Vec::new();
        params.write(&mut bytes);
        let tls = ServerConnection::new(self.tls.clone(), Version::V1, bytes);
        let tls = tls.expect("whatever it could refuse, making the configuration refused");
        let handshake = Handshake { tls, is_known: false };
        Box::new(Session { server: self, stage: Stage::Handshake(Box::new(handshake)), later: None, is_given: false })
    }
}

/// One link's TLS.
struct Session {
    server: Arc<Server>,
    stage: Stage,
    /// Known once the keys before any key update are.
    later: Option<Arc<Generation>>,
    /// QUIC has `later`.
    is_given: bool,
}

enum Stage {
    Handshake(Box<Handshake>),
    Established { protocol: Option<Vec<u8>>, peer: Option<PublicKey> },
}

struct Handshake {
    tls: ServerConnection,
    /// It was told that the protocol is known.
    is_known: bool,
}

impl Handshake {
    /// The key that the client proves.
    fn peer(&self) -> Option<PublicKey> {
        certified_key(self.tls.peer_certificates()?.first()?).ok()
    }

    fn protocol(&self) -> Option<Vec<u8>> {
        self.tls.alpn_protocol().map(<[u8]>::to_vec)
    }
}

impl crypto::Session for Session {
    fn initial_keys(&self, dst_cid: &ConnectionId, _side: Side) -> Keys {
        crypto::ServerConfig::initial_keys(&*self.server, QUIC_V1, dst_cid).expect("version 1 has initial keys")
    }

    fn handshake_data(&self) -> Option<Box<dyn Any>> {
        let protocol = match &self.stage {
            Stage::Handshake(handshake) if !handshake.is_known => return None,
            Stage::Handshake(handshake) => handshake.protocol(),
            Stage::Established { protocol, .. } => protocol.clone(),
        };
        Some(Box::new(HandshakeData { protocol, server_name: None }))
    }

    /// A [`PublicKey`].
    fn peer_identity(&self) -> Option<Box<dyn Any>> {
        let peer = match &self.stage {
            Stage::Handshake(handshake) => handshake.peer(),
            Stage::Established { peer, .. } => *peer,
        };
        peer.map(|key| Box::new(key) as Box<dyn Any>)
    }

    fn early_crypto(&self) -> Option<(Box<dyn HeaderKey>, Box<dyn crypto::PacketKey>)> {
        None
    }

    fn early_data_accepted(&self) -> Option<bool> {
        None
    }

    fn is_handshaking(&self) -> bool {
        matches!(&self.stage, Stage::Handshake(handshake) if handshake.tls.is_handshaking())
    }

    fn read_handshake(&mut self, bytes: &[u8]) -> Result<bool, TransportError> {
        let Stage::Handshake(handshake) = &mut self.stage else {
            // A client may send nothing there: key updates are QUIC's own, tickets are the server's. Source: RFC 9001,
            // sections 4.4 and 6.
            let code = TransportErrorCode::crypto(AlertDescription::UnexpectedMessage.into());
            return Err(TransportError { code, frame: None, reason: "a TLS message behind the handshake".into() });
        };
        let tls = &mut handshake.tls;
        if let Err(error) = tls.read_hs(bytes) {
            let alert = tls.alert().map(|alert| TransportErrorCode::crypto(alert.into()));
            let code = alert.unwrap_or(TransportErrorCode::PROTOCOL_VIOLATION);
            return Err(TransportError { code, frame: None, reason: error.to_string() });
        }
        let was_known = handshake.is_known;
        handshake.is_known |= handshake.tls.alpn_protocol().is_some() || !handshake.tls.is_handshaking();
        Ok(handshake.is_known && !was_known)
    }

    fn transport_parameters(&self) -> Result<Option<TransportParameters>, TransportError> {
        // Taken with the client's first flight.
        let Stage::Handshake(handshake) = &self.stage else { return Ok(None) };
        let Some(mut bytes) = handshake.tls.quic_transport_parameters() else { return Ok(None) };
        Ok(Some(TransportParameters::read(Side::Server, &mut bytes)?))
    }

    fn write_handshake(&mut self, out: &mut Vec<u8>) -> Option<Keys> {
        let Stage::Handshake(handshake) = &mut self.stage else { return None };
        let keys = match handshake.tls.write_hs(out) {
            Some(KeyChange::Handshake { keys }) => keys,
            Some(KeyChange::OneRtt { keys, next }) => {
                self.later = Some(Arc::new(Generation::new(next, Limits::of(&*keys.local.packet))));
                keys
            }
            None => {
                if !handshake.tls.is_handshaking() && out.is_empty() {
                    self.stage = Stage::Established { protocol: handshake.protocol(), peer: handshake.peer() };
                }
                return None;
            }
        };
        Some(Keys {
            header: KeyPair { local: Box::new(keys.local.header), remote: Box::new(keys.remote.header) },
            packet: KeyPair { local: Box::new(keys.local.packet), remote: Box::new(keys.remote.packet) },
        })
    }

    fn next_1rtt_keys(&mut self) -> Option<KeyPair<Box<dyn crypto::PacketKey>>> {
        let last = self.later.take()?;
        let later = if self.is_given { Arc::new(last.following()) } else { last };
        (self.later, self.is_given) = (Some(later.clone()), true);
        let key = |is_local| Box::new(Later { generation: later.clone(), is_local });
        Some(KeyPair { local: key(true), remote: key(false) })
    }

    fn is_valid_retry(&self, _orig_dst_cid: &ConnectionId, _header: &[u8], _payload: &[u8]) -> bool {
        // Servers send them.
        false
    }

    fn export_keying_material(
        &self,
        _output: &mut [u8],
        _label: &[u8],
        _context: &[u8],
    ) -> Result<(), ExportKeyingMaterialError> {
        // Nobody binds anything to a link.
        Err(ExportKeyingMaterialError)
    }
}

/// The keys between two key updates, derived when the first packet needs them.
struct Generation {
    secrets: Secrets,
    limits: Limits,
    derived: OnceLock<Box<Derived>>,
}

struct Derived {
    keys: PacketKeySet,
    /// Secrets of the generation that follows.
    next: Secrets,
}

impl Generation {
    fn new(secrets: Secrets, limits: Limits) -> Generation {
        Generation { secrets, limits, derived: OnceLock::new() }
    }

    fn derived(&self) -> &Derived {
        self.derived.get_or_init(|| {
            let mut next = self.secrets.clone();
            let keys = next.next_packet_keys();
            Box::new(Derived { keys, next })
        })
    }

    fn following(&self) -> Generation {
        Generation::new(self.derived().next.clone(), self.limits)
    }
}

/// What all keys of a suite have in common: QUIC asks for it before it uses a key.
#[derive(Clone, Copy)]
struct Limits {
    tag_bytes: usize,
    confidentiality_packets: u64,
    integrity_packets: u64,
}

impl Limits {
    fn of(key: &dyn PacketKey) -> Limits {
        Limits {
            tag_bytes: key.tag_len(),
            confidentiality_packets: key.confidentiality_limit(),
            integrity_packets: key.integrity_limit(),
        }
    }
}

/// A key of a generation.
struct Later {
    generation: Arc<Generation>,
    is_local: bool,
}

impl Later {
    fn key(&self) -> &impl crypto::PacketKey {
        let PacketKeySet { local, remote } = &self.generation.derived().keys;
        if self.is_local { local } else { remote }
    }
}

impl crypto::PacketKey for Later {
    fn encrypt(&self, packet: u64, bytes: &mut [u8], header_len: usize) {
        self.key().encrypt(packet, bytes, header_len);
    }

    fn decrypt(&self, packet: u64, header: &[u8], payload: &mut BytesMut) -> Result<(), CryptoError> {
        self.key().decrypt(packet, header, payload)
    }

    fn tag_len(&self) -> usize {
        self.generation.limits.tag_bytes
    }

    fn confidentiality_limit(&self) -> u64 {
        self.generation.limits.confidentiality_packets
    }

    fn integrity_limit(&self) -> u64 {
        self.generation.limits.integrity_packets
    }
}

#[cfg(test)]
mod tests {
    use super::super::identity::{Identity, TLS_NAME, peer_key};
    use quinn::{Connection, Endpoint};
    use std::sync::Arc;

    const ALPN: &[u8] = b"test/1";

    /// A client's and a server's end of one link.
    async fn link(server: &Identity, client: &Identity) -> (Endpoint, Endpoint, Connection, Connection) {
        let any = "127.0.0.1:0".parse().expect("an address");
        let config = server.server_config(ALPN, Arc::new(|_| true)).expect("a configuration");
        let listening = Endpoint::server(config, any).expect("a socket");
        let dialling = Endpoint::client(any).expect("a socket");
        let config = client.client_config(ALPN, server.public_key()).expect("a configuration");
        let address = listening.local_addr().expect("bound");
        let accept = async { listening.accept().await.expect("a client").await.expect("a link") };
        let dial = async { dialling.connect_with(config, address, TLS_NAME).expect("a dial").await.expect("a link") };
        let (ours, theirs) = tokio::join!(accept, dial);
        (listening, dialling, ours, theirs)
    }

    async fn say(from: &Connection, to: &Connection, what: &[u8]) {
        let mut send = from.open_uni().await.expect("a stream");
        send.write_all(what).await.expect("written");
        send.finish().expect("open");
        let mut recv = to.accept_uni().await.expect("a stream");
        assert_eq!(recv.read_to_end(64).await.expect("read"), what);
    }

    #[tokio::test]
    async fn a_link_knows_its_client_and_protocol_when_the_handshake_is_forgotten() {
        let (server, client) = (Identity::generate().expect("made"), Identity::generate().expect("made"));
        let (_listening, _dialling, ours, theirs) = link(&server, &client).await;
        say(&theirs, &ours, b"up").await;
        assert_eq!(peer_key(&ours), Some(client.public_key()));
        let known = ours.handshake_data().expect("known").downcast::<super::HandshakeData>().expect("its type");
        assert_eq!(known.protocol.as_deref(), Some(ALPN));
    }

    #[tokio::test]
    async fn keys_are_updated_from_both_sides() {
        let (server, client) = (Identity::generate().expect("made"), Identity::generate().expect("made"));
        let (_listening, _dialling, ours, theirs) = link(&server, &client).await;
        for round in 0..6_u8 {
            say(&theirs, &ours, &[round]).await;
            say(&ours, &theirs, &[round]).await;
            if round % 2 == 0 { ours.force_key_update() } else { theirs.force_key_update() }
        }
        say(&theirs, &ours, b"still").await;
        assert_eq!(ours.close_reason(), None);
    }
}
