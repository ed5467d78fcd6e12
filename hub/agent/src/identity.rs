//! The agent's Ed25519 key: made here, never leaves the machine.

use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{DecodePrivateKey, EncodePrivateKey};
use ed25519_dalek::{Signer, SigningKey};
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The key file could not be made or read.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("cannot read or write the agent's key {path}")]
    Io { path: PathBuf, source: io::Error },
    #[error("{path} holds no Ed25519 key in PKCS #8 PEM")]
    Malformed { path: PathBuf },
}

/// An agent's key pair.
#[derive(Clone)]
pub struct AgentKey(SigningKey);

impl AgentKey {
    /// A new one, from the operating system's randomness.
    pub fn generate() -> AgentKey {
        let mut seed = [0u8; 32];
        rand::fill(&mut seed);
        AgentKey(SigningKey::from_bytes(&seed))
    }

    /// Writes it to a new file that only its owner can read.
    ///
    /// # Errors
    /// [`KeyError`], also if the file exists.
    pub fn save(&self, path: &Path) -> Result<(), KeyError> {
        let at = |source| KeyError::Io { path: path.into(), source };
        let pem = self.0.to_pkcs8_pem(LineEnding::LF).map_err(|_| KeyError::Malformed { path: path.into() })?;
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(path).map_err(at)?;
        file.write_all(pem.as_bytes()).and_then(|()| file.sync_all()).map_err(at)
    }

    /// Reads it back.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn load(path: &Path) -> Result<AgentKey, KeyError> {
        let pem = std::fs::read_to_string(path).map_err(|source| KeyError::Io { path: path.into(), source })?;
        SigningKey::from_pkcs8_pem(&pem).map(AgentKey).map_err(|_| KeyError::Malformed { path: path.into() })
    }

    pub fn public_key(&self) -> [u8; 32] {
        self.0.verifying_key().to_bytes()
    }

    /// An Ed25519 signature, as two halves.
    pub fn sign(&self, message: &[u8]) -> [[u8; 32]; 2] {
        let signature = self.0.sign(message);
        [*signature.r_bytes(), *signature.s_bytes()]
    }

    pub(crate) fn seed(&self) -> [u8; 32] {
        self.0.to_bytes()
    }
}

impl std::fmt::Debug for AgentKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AgentKey({})", forge_event::digest::hex(&self.public_key()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_reads_back_and_is_its_owners_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("agent.key");
        let key = AgentKey::generate();
        key.save(&path).expect("a new file");
        assert_eq!(AgentKey::load(&path).expect("a key").public_key(), key.public_key());
        assert!(key.save(&path).is_err(), "a key is never overwritten");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = std::fs::metadata(&path).expect("the file").permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }
}
