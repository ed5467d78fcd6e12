//! A node's or agent's Ed25519 identity, and the TLS of links that are pinned to it.
//!
//! Links are TLS 1.3 with self-signed certificates. A certificate proves nothing but the possession
//! of its key: the pinned public key alone decides. Self-contained: nothing here knows a log.

use super::tls;
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{DecodePrivateKey, EncodePrivateKey};
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use quinn::crypto::rustls::QuicClientConfig;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, PeerMisbehaved, SignatureScheme};
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

/// An Ed25519 public key as it is pinned.
pub type PublicKey = [u8; 32];

/// Decides whether a client's proven key may connect.
pub type Admits = Arc<dyn Fn(&PublicKey) -> bool + Send + Sync>;

/// The name in certificates and client hellos; nobody looks at it.
pub const TLS_NAME: &str = "forge";
/// What stands before the key in an Ed25519 SubjectPublicKeyInfo. Source: RFC 8410.
const SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// An identity or its TLS cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    #[error("cannot read or write the key file")]
    File(#[from] io::Error),
    #[error("the key file holds no Ed25519 key in PKCS #8")]
    Key,
    #[error("no certificate can be made for the key: {0}")]
    Certificate(String),
}

/// A key pair with a self-signed certificate.
#[derive(Clone)]
pub struct Identity {
    key: SigningKey,
    certificate: CertificateDer<'static>,
    private: Arc<PrivatePkcs8KeyDer<'static>>,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("public_key", &self.public_key()).finish_non_exhaustive()
    }
}

impl Identity {
    /// A new identity, from the system's randomness.
    ///
    /// # Errors
    /// If no certificate can be made.
    pub fn generate() -> Result<Identity, IdentityError> {
        Identity::from_seed(rand::random())
    }

    /// The identity whose secret is `seed`.
    ///
    /// # Errors
    /// If no certificate can be made.
    pub fn from_seed(seed: [u8; 32]) -> Result<Identity, IdentityError> {
        Identity::from_key(SigningKey::from_bytes(&seed))
    }

    fn from_key(key: SigningKey) -> Result<Identity, IdentityError> {
        let certificate = |error: rcgen::Error| IdentityError::Certificate(error.to_string());
        let der = key.to_pkcs8_der().map_err(|_| IdentityError::Key)?;
        let private = PrivatePkcs8KeyDer::from(der.as_bytes().to_vec());
        let pair = rcgen::KeyPair::from_pkcs8_der_and_sign_algo(&private, &rcgen::PKCS_ED25519).map_err(certificate)?;
        let params = rcgen::CertificateParams::new([TLS_NAME.to_owned()]).map_err(certificate)?;
        let signed = params.self_signed(&pair).map_err(certificate)?;
        Ok(Identity { key, certificate: signed.der().clone(), private: Arc::new(private) })
    }

    /// Reads a key file.
    ///
    /// # Errors
    /// If there is none, or it holds something else.
    pub fn load(path: &Path) -> Result<Identity, IdentityError> {
        let pem = fs::read_to_string(path)?;
        let key = SigningKey::from_pkcs8_pem(&pem).map_err(|_| IdentityError::Key)?;
        Identity::from_key(key)
    }

    /// Writes a key file that only its owner may read; an existing file is left alone.
    ///
    /// # Errors
    /// If the file exists or cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), IdentityError> {
        let pem = self.key.to_pkcs8_pem(LineEnding::LF).map_err(|_| IdentityError::Key)?;
        let mut file = File::options().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(pem.as_bytes())?;
        file.sync_all()?;
        match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => Ok(File::open(folder)?.sync_all()?),
            _ => Ok(()),
        }
    }

    pub fn public_key(&self) -> PublicKey {
        self.key.verifying_key().to_bytes()
    }

    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.key.sign(message).to_bytes()
    }

    /// A server's side: every client must prove a key that `admits` admits. No 0-RTT, no resumption.
    ///
    /// # Errors
    /// If TLS refuses the certificate.
    pub fn server_config(&self, alpn: &[u8], admits: Admits) -> Result<quinn::ServerConfig, IdentityError> {
        self.server_config_of(&[alpn], admits)
    }

    /// As [`Identity::server_config`], for several protocols on one socket.
    ///
    /// # Errors
    /// If TLS refuses the certificate.
    pub fn server_config_of(&self, alpns: &[&[u8]], admits: Admits) -> Result<quinn::ServerConfig, IdentityError> {
        let provider = Arc::new(ring::default_provider());
        let verifier = Arc::new(PinnedClient { admits, provider: provider.clone() });
        let mut tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(tls_error)?
            .with_client_cert_verifier(verifier)
            .with_single_cert(vec![self.certificate.clone()], self.private.clone_key().into())
            .map_err(tls_error)?;
        tls.alpn_protocols = alpns.iter().map(|alpn| alpn.to_vec()).collect();
        tls.max_early_data_size = 0;
        // A resumed session would not look at the pins again.
        tls.send_tls13_tickets = 0;
        let tls = tls::Server::new(tls).map_err(|e| IdentityError::Certificate(e.to_string()))?;
        Ok(quinn::ServerConfig::with_crypto(Arc::new(tls)))
    }

    /// A client's side: the server must prove the key `pin`.
    ///
    /// # Errors
    /// If TLS refuses the certificate.
    pub fn client_config(&self, alpn: &[u8], pin: PublicKey) -> Result<quinn::ClientConfig, IdentityError> {
        let provider = Arc::new(ring::default_provider());
        let verifier = Arc::new(PinnedServer { pin, provider: provider.clone() });
        let mut tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(tls_error)?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_client_auth_cert(vec![self.certificate.clone()], self.private.clone_key().into())
            .map_err(tls_error)?;
        tls.alpn_protocols = vec![alpn.to_vec()];
        tls.enable_early_data = false;
        tls.resumption = rustls::client::Resumption::disabled();
        let quic = QuicClientConfig::try_from(tls).map_err(|e| IdentityError::Certificate(e.to_string()))?;
        Ok(quinn::ClientConfig::new(Arc::new(quic)))
    }
}

/// Whether `signature` is `key`'s under `message`.
pub fn verify(key: &PublicKey, message: &[u8], signature: &[u8; 64]) -> bool {
    let signature = Signature::from_bytes(signature);
    VerifyingKey::from_bytes(key).is_ok_and(|key| key.verify_strict(message, &signature).is_ok())
}

/// The key that the client of a connection proved to this server.
pub fn peer_key(connection: &quinn::Connection) -> Option<PublicKey> {
    connection.peer_identity()?.downcast::<PublicKey>().ok().map(|key| *key)
}

fn tls_error(error: Error) -> IdentityError {
    IdentityError::Certificate(error.to_string())
}

/// The Ed25519 key of a certificate.
pub(super) fn certified_key(certificate: &CertificateDer<'_>) -> Result<PublicKey, Error> {
    let info = ParsedCertificate::try_from(certificate)?.subject_public_key_info();
    let key = info.as_ref().strip_prefix(&SPKI_PREFIX).and_then(|key| key.try_into().ok());
    key.ok_or(Error::InvalidCertificate(CertificateError::BadEncoding))
}

fn refused() -> Error {
    Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure)
}

struct PinnedServer {
    pin: PublicKey,
    provider: Arc<CryptoProvider>,
}

struct PinnedClient {
    admits: Admits,
    provider: Arc<CryptoProvider>,
}

impl fmt::Debug for PinnedServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PinnedServer")
    }
}

impl fmt::Debug for PinnedClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PinnedClient")
    }
}

impl ServerCertVerifier for PinnedServer {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if certified_key(end_entity)? != self.pin {
            return Err(refused());
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}

impl ClientCertVerifier for PinnedClient {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if !(self.admits)(&certified_key(end_entity)?) {
            return Err(refused());
        }
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_saved_identity_loads_as_the_same_key_and_is_never_overwritten() {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let path = folder.path().join("node.key");
        let identity = Identity::generate().expect("made");
        identity.save(&path).expect("saved");
        assert_eq!(Identity::load(&path).expect("loaded").public_key(), identity.public_key());
        assert!(Identity::generate().expect("made").save(&path).is_err());
    }

    #[test]
    fn a_signature_holds_for_its_message_and_key_alone() {
        let identity = Identity::from_seed([1; 32]).expect("made");
        let signature = identity.sign(b"message");
        assert!(verify(&identity.public_key(), b"message", &signature));
        assert!(!verify(&identity.public_key(), b"massage", &signature));
        assert!(!verify(&Identity::from_seed([2; 32]).expect("made").public_key(), b"message", &signature));
    }
}
