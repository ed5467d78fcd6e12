//! A node's settings: `node.toml` in its data folder, written by `hub init`, overridden by flags.

use forge_event::NodeId;
use serde::{Deserialize, Serialize};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Default ports: REST tcp, agents udp, peers udp.
pub const REST_PORT: u16 = 7400;
pub const AGENTS_PORT: u16 = 7401;
pub const PEERS_PORT: u16 = 7402;

/// Where a node listens.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Listen {
    pub rest: SocketAddr,
    pub agents: SocketAddr,
    pub peers: SocketAddr,
}

impl Default for Listen {
    fn default() -> Self {
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        Listen { rest: at(REST_PORT), agents: at(AGENTS_PORT), peers: at(PEERS_PORT) }
    }
}

/// A node known from the token it was invited with.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Seed {
    pub node: String,
    pub peers: String,
    /// Ed25519, hex.
    pub public_key: String,
}

/// `[blobs]`: blobs lie in an S3-compatible object store instead of on the nodes. The same on every node of a cluster.
///
/// Credentials are no part of it: they come from the environment (`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`,
/// `AWS_SESSION_TOKEN`, or a role as the platform gives it), and are never written down.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct BlobStore {
    /// E.g. `https://s3.example.org`; Amazon's, of the region, without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    pub bucket: String,
    #[serde(default = "region")]
    pub region: String,
    /// In front of every key, e.g. `compute/blobs`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub prefix: String,
    /// What this node keeps on its disk of what it read and wrote, beyond what is in use. Units: bytes.
    #[serde(default = "cache_bytes")]
    pub cache_bytes: u64,
}

fn region() -> String {
    "us-east-1".into()
}

fn cache_bytes() -> u64 {
    16 << 30
}

/// `node.toml`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct NodeFile {
    /// `n1`, …
    pub node: String,
    pub cluster_name: String,
    pub listen: Listen,
    /// Host that others are told; the listening address without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advertise: Option<String>,
    /// REST without TLS; only loopback addresses may.
    #[serde(default)]
    pub plain_rest: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub seeds: Vec<Seed>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blobs: Option<BlobStore>,
}

/// A node's settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("{path} does not exist; run `forge hub init --data {folder}` first")]
    Missing { path: PathBuf, folder: PathBuf },
    #[error("{path} cannot be read")]
    Read { path: PathBuf, source: io::Error },
    #[error("{path} cannot be written")]
    Write { path: PathBuf, source: io::Error },
    #[error("{path} is not what `forge hub init` writes: {why}")]
    Malformed { path: PathBuf, why: String },
}

impl NodeFile {
    pub fn path(folder: &Path) -> PathBuf {
        folder.join("node.toml")
    }

    /// # Errors
    /// If the file is missing, unreadable or has fields this program does not know.
    pub fn load(folder: &Path) -> Result<NodeFile, ConfigError> {
        let path = NodeFile::path(folder);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                return Err(ConfigError::Missing { path, folder: folder.to_owned() });
            }
            Err(source) => return Err(ConfigError::Read { path, source }),
        };
        toml::from_str(&text).map_err(|e| ConfigError::Malformed { path, why: e.message().to_owned() })
    }

    /// # Errors
    /// If the file cannot be written.
    pub fn save(&self, folder: &Path) -> Result<(), ConfigError> {
        let path = NodeFile::path(folder);
        let text = toml::to_string(self).expect("settings are plain values");
        write_private(&path, text.as_bytes()).map_err(|source| ConfigError::Write { path, source })
    }

    /// # Errors
    /// If the id is not one.
    pub fn node(&self, folder: &Path) -> Result<NodeId, ConfigError> {
        let malformed =
            |_| ConfigError::Malformed { path: NodeFile::path(folder), why: "`node` is not a node id".into() };
        self.node.parse().map_err(malformed)
    }

    /// What others are told.
    pub fn addresses(&self) -> forge_event::Addresses {
        let told = |at: SocketAddr| match &self.advertise {
            Some(host) => format!("{host}:{}", at.port()),
            None => at.to_string(),
        };
        forge_event::Addresses {
            rest: told(self.listen.rest),
            agents: told(self.listen.agents),
            peers: told(self.listen.peers),
        }
    }
}

/// Writes a file that only its owner may read, at once or not at all.
///
/// # Errors
/// The file system's.
pub fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let aside = path.with_extension("tmp");
    let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&aside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&aside, path)
}
