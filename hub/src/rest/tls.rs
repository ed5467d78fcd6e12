//! TLS for REST: a small CA of the cluster's own, and each node's certificate from it.

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The CA's certificate in a data folder: what clients trust.
pub const CA_FILE: &str = "ca.pem";
/// The CA's key in a data folder, mode 0600.
pub const CA_KEY_FILE: &str = "ca.key";
const CA_NAME: &str = "Forge Hub REST CA";

/// TLS could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("making a certificate for {names:?}")]
    Certificate { names: Vec<String>, source: rcgen::Error },
    #[error("the REST CA cannot be read: {why}")]
    Malformed { why: String },
    #[error("{path}")]
    File { path: PathBuf, source: io::Error },
    #[error("the TLS configuration is refused")]
    Config(#[source] rustls::Error),
}

/// The cluster's REST CA. It vouches for REST certificates only; links between nodes and agents are pinned.
#[derive(Clone)]
pub struct RestCa {
    certificate: String,
    key: String,
}

impl std::fmt::Debug for RestCa {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RestCa")
    }
}

impl RestCa {
    /// A new CA.
    ///
    /// # Errors
    /// If the crypto library refuses.
    pub fn generate() -> Result<RestCa, TlsError> {
        let failed = |source| TlsError::Certificate { names: vec![CA_NAME.into()], source };
        let key = KeyPair::generate().map_err(failed)?;
        let certificate = authority().self_signed(&key).map_err(failed)?;
        Ok(RestCa { certificate: certificate.pem(), key: key.serialize_pem() })
    }

    /// What [`RestCa::certificate_pem`] and [`RestCa::key_pem`] gave, as handed from node to node.
    pub fn from_pem(certificate: String, key: String) -> RestCa {
        RestCa { certificate, key }
    }

    /// Reads the CA of a data folder.
    ///
    /// # Errors
    /// If a file cannot be read.
    pub fn load(folder: &Path) -> Result<RestCa, TlsError> {
        let read = |name: &str| {
            let path = folder.join(name);
            std::fs::read_to_string(&path).map_err(|source| TlsError::File { path, source })
        };
        Ok(RestCa { certificate: read(CA_FILE)?, key: read(CA_KEY_FILE)? })
    }

    /// Writes both files with mode 0600.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn save(&self, folder: &Path) -> Result<(), TlsError> {
        for (name, text) in [(CA_FILE, &self.certificate), (CA_KEY_FILE, &self.key)] {
            let path = folder.join(name);
            private_file(&path, text).map_err(|source| TlsError::File { path, source })?;
        }
        Ok(())
    }

    pub fn certificate_pem(&self) -> &str {
        &self.certificate
    }

    pub fn key_pem(&self) -> &str {
        &self.key
    }

    /// A fresh certificate for a node that is reached by these hosts (names or addresses, without ports).
    ///
    /// # Errors
    /// If the CA or a name is malformed.
    pub fn issue(&self, hosts: &[String]) -> Result<RestTls, TlsError> {
        let failed = |source| TlsError::Certificate { names: hosts.to_vec(), source };
        let signer = KeyPair::from_pem(&self.key).map_err(|e| TlsError::Malformed { why: e.to_string() })?;
        let issuer = Issuer::new(authority(), signer);
        let key = KeyPair::generate().map_err(failed)?;
        let mut params = CertificateParams::new(hosts.to_vec()).map_err(failed)?;
        params.distinguished_name.push(DnType::CommonName, "Forge Hub REST");
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        validity(&mut params);
        let certificate = params.signed_by(&key, &issuer).map_err(failed)?;
        let key =
            PrivateKeyDer::try_from(key.serialize_der()).map_err(|why| TlsError::Malformed { why: why.into() })?;
        RestTls::new(vec![certificate.der().clone()], key)
    }
}

/// Every REST CA's name and use; its key tells it from others.
fn authority() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.distinguished_name.push(DnType::CommonName, CA_NAME);
    validity(&mut params);
    params
}

/// Long enough to outlive a cluster that is not looked after; nodes make a new certificate at every start.
fn validity(params: &mut CertificateParams) {
    params.not_before = rcgen::date_time_ymd(2026, 1, 1);
    params.not_after = rcgen::date_time_ymd(2046, 1, 1);
}

fn private_file(path: &Path, text: &str) -> io::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// A node's certificate and key, ready to serve.
#[derive(Clone, Debug)]
pub struct RestTls(Arc<ServerConfig>);

impl RestTls {
    /// Serves with this chain (leaf first) and key.
    ///
    /// # Errors
    /// If they do not belong together.
    pub fn new(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Result<RestTls, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.map_err(TlsError::Config)?.with_no_client_auth().with_single_cert(chain, key);
        let mut config = config.map_err(TlsError::Config)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(RestTls(Arc::new(config)))
    }

    /// Serves with the operator's own PEM files.
    ///
    /// # Errors
    /// If they cannot be read or do not belong together.
    pub fn from_files(chain: &Path, key: &Path) -> Result<RestTls, TlsError> {
        let malformed = |e: rustls::pki_types::pem::Error| TlsError::Malformed { why: e.to_string() };
        let certificates = CertificateDer::pem_file_iter(chain).map_err(malformed)?;
        let certificates: Vec<_> = certificates.collect::<Result<_, _>>().map_err(malformed)?;
        RestTls::new(certificates, PrivateKeyDer::from_pem_file(key).map_err(malformed)?)
    }

    pub(super) fn config(&self) -> Arc<ServerConfig> {
        self.0.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_saved_ca_issues_for_names_and_addresses() {
        let folder = std::env::temp_dir().join(format!("forge-ca-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        RestCa::generate().and_then(|ca| ca.save(&folder)).expect("saves");
        let ca = RestCa::load(&folder).expect("loads");
        let mode = std::os::unix::fs::PermissionsExt::mode(
            &std::fs::metadata(folder.join(CA_KEY_FILE)).expect("there").permissions(),
        );
        assert_eq!(mode & 0o777, 0o600);
        std::fs::remove_dir_all(&folder).expect("removes");
        assert!(ca.issue(&["127.0.0.1".into(), "::1".into(), "hub.example.org".into()]).is_ok());
        assert!(ca.issue(&["not a name ü".into()]).is_err());
    }
}
