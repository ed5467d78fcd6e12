//! TLS 1.3 towards hubs: own self-signed certificate, the hub's public key pinned.

use crate::congestion::TolerantConfig;
use crate::identity::AgentKey;
use forge_protocol::limits::{ATTEMPT_STREAMS_MAX, IDLE_TIMEOUT_MS, KEEP_ALIVE_MS};
use quinn::crypto::rustls::QuicClientConfig;
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};
use std::sync::Arc;
use std::time::Duration;

/// Name in the ClientHello; nobody checks it, the pinned key is all that counts.
pub(crate) const SERVER_NAME: &str = "forge";
/// DER before the 32 bytes of an Ed25519 SubjectPublicKeyInfo. Source: RFC 8410 §4.
const SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
/// DER before the 32 bytes of an Ed25519 private key. Source: RFC 8410 §7.
const PKCS8_PREFIX: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
/// Unread bytes of one stream, and of all. Units: bytes.
const STREAM_WINDOW_BYTES: u32 = 256 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 2 * 1024 * 1024;

/// TLS could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("cannot make the agent's certificate")]
    Certificate(#[from] rcgen::Error),
    #[error("cannot set up TLS 1.3")]
    Tls(#[from] Error),
    #[error("no cipher suite of this build can carry QUIC")]
    Quic(#[from] quinn::crypto::rustls::NoInitialCipherSuite),
}

/// An agent's certificate and key, to dial with.
#[derive(Clone)]
pub(crate) struct Dialer {
    certificate: CertificateDer<'static>,
    key: Arc<PrivateKeyDer<'static>>,
    provider: Arc<CryptoProvider>,
    transport: Arc<quinn::TransportConfig>,
}

impl Dialer {
    pub(crate) fn new(key: &AgentKey) -> Result<Dialer, TlsError> {
        let der = PrivatePkcs8KeyDer::from([&PKCS8_PREFIX[..], &key.seed()].concat());
        let pair = rcgen::KeyPair::from_pkcs8_der_and_sign_algo(&der, &rcgen::PKCS_ED25519)?;
        let certificate = rcgen::CertificateParams::new(vec![SERVER_NAME.into()])?.self_signed(&pair)?;
        Ok(Dialer {
            certificate: certificate.der().clone(),
            key: Arc::new(der.into()),
            provider: Arc::new(rustls::crypto::ring::default_provider()),
            transport: Arc::new(transport()),
        })
    }

    /// A configuration that connects to the holder of `pin` and to nobody else.
    pub(crate) fn config(&self, alpn: &[u8], pin: [u8; 32]) -> Result<quinn::ClientConfig, TlsError> {
        let verifier = Pinned { pin, provider: Arc::clone(&self.provider) };
        let mut tls = rustls::ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_auth_cert(vec![self.certificate.clone()], self.key.clone_key())?;
        tls.alpn_protocols = vec![alpn.to_vec()];
        // Every session proves both keys anew; without tickets there is no 0-RTT either.
        tls.resumption = Resumption::disabled();
        let mut config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?));
        config.transport_config(Arc::clone(&self.transport));
        Ok(config)
    }
}

fn transport() -> quinn::TransportConfig {
    let mut transport = quinn::TransportConfig::default();
    let idle = quinn::VarInt::from_u32(IDLE_TIMEOUT_MS as u32);
    transport
        .max_concurrent_bidi_streams(quinn::VarInt::from_u32(ATTEMPT_STREAMS_MAX))
        .max_concurrent_uni_streams(quinn::VarInt::from_u32(0))
        .stream_receive_window(quinn::VarInt::from_u32(STREAM_WINDOW_BYTES))
        .receive_window(quinn::VarInt::from_u32(CONNECTION_WINDOW_BYTES))
        .send_window(u64::from(CONNECTION_WINDOW_BYTES))
        .datagram_receive_buffer_size(None)
        .congestion_controller_factory(Arc::new(TolerantConfig::default()))
        .keep_alive_interval(Some(Duration::from_millis(KEEP_ALIVE_MS)))
        .max_idle_timeout(Some(idle.into()));
    transport
}

/// Takes the one certificate whose key is pinned: no CA, no names, no expiry.
#[derive(Debug)]
struct Pinned {
    pin: [u8; 32],
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let key = ParsedCertificate::try_from(end_entity)?.subject_public_key_info();
        if key.as_ref() == [&SPKI_PREFIX[..], &self.pin].concat() {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(CertificateError::ApplicationVerificationFailure.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 is never offered".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}
