//! The agent's data folder: `agent.key` and `agent.toml`.

use forge_event::digest::{hex, unhex};
use forge_event::{AgentId, Digest, ProviderId};
use forge_protocol::HubAddress;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};

/// File of the key pair.
pub(crate) const KEY_FILE: &str = "agent.key";
const FILE: &str = "agent.toml";

/// The folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("{path} is not an enrolled agent's folder: run `forge agent enrol TOKEN --data {path}` first")]
    NotEnrolled { path: PathBuf },
    #[error("cannot read or write {path}")]
    Io { path: PathBuf, source: io::Error },
    #[error("{path} is damaged: {why}")]
    Damaged { path: PathBuf, why: String },
}

/// What survives a restart.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stored {
    pub agent: AgentId,
    pub provider: ProviderId,
    /// Id of the cluster.
    pub cluster: Digest,
    /// Every hub it was told of.
    pub hubs: Vec<HubAddress>,
    /// Its chain over acknowledged results, as saved last.
    pub position: u64,
    pub chain: [u8; 32],
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    agent: String,
    provider: String,
    cluster: String,
    position: u64,
    chain: String,
    hub: Vec<Hub>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Hub {
    address: String,
    public_key: String,
}

impl Stored {
    /// Reads the folder.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn load(folder: &Path) -> Result<Stored, StoreError> {
        let path = folder.join(FILE);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                return Err(StoreError::NotEnrolled { path: folder.into() });
            }
            Err(source) => return Err(StoreError::Io { path, source }),
        };
        let damaged = |why: String| StoreError::Damaged { path: path.clone(), why };
        let file: File = toml::from_str(&text).map_err(|e| damaged(e.to_string()))?;
        let key = |text: &str| unhex::<32>(text).ok_or_else(|| damaged(format!("{text:?} is not 64 hex digits")));
        let hubs =
            file.hub.iter().map(|h| Ok(HubAddress { address: h.address.clone(), public_key: key(&h.public_key)? }));
        Ok(Stored {
            agent: file.agent.parse().map_err(|e| damaged(format!("{e}")))?,
            provider: file.provider.parse().map_err(|e| damaged(format!("{e}")))?,
            cluster: Digest(key(&file.cluster)?),
            hubs: hubs.collect::<Result<_, _>>()?,
            position: file.position,
            chain: key(&file.chain)?,
        })
    }

    /// Writes the folder: aside, then renamed, so that a reader never sees half of it.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn save(&self, folder: &Path) -> Result<(), StoreError> {
        let hub = |h: &HubAddress| Hub { address: h.address.clone(), public_key: hex(&h.public_key) };
        let file = File {
            agent: self.agent.to_string(),
            provider: self.provider.to_string(),
            cluster: self.cluster.hex(),
            position: self.position,
            chain: hex(&self.chain),
            hub: self.hubs.iter().map(hub).collect(),
        };
        let path = folder.join(FILE);
        let text =
            toml::to_string(&file).map_err(|e| StoreError::Damaged { path: path.clone(), why: e.to_string() })?;
        let aside = folder.join(format!("{FILE}.tmp"));
        let written = std::fs::write(&aside, text).and_then(|()| std::fs::rename(&aside, &path));
        written.map_err(|source| StoreError::Io { path, source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_reads_back_as_written() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(matches!(Stored::load(folder.path()), Err(StoreError::NotEnrolled { .. })));
        let stored = Stored {
            agent: AgentId(37),
            provider: ProviderId(12),
            cluster: Digest([3; 32]),
            hubs: vec![HubAddress { address: "127.0.0.1:7401".into(), public_key: [9; 32] }],
            position: 300,
            chain: [7; 32],
        };
        stored.save(folder.path()).expect("a file");
        assert_eq!(Stored::load(folder.path()).expect("the file"), stored);
    }
}
