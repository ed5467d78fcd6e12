//! A node purges only what it and a majority hold as verified segments; history stays whole.

use super::{Invariant, Seen, ensure};
use std::collections::BTreeMap;

#[derive(Default)]
pub struct ArchiveCoversPurge {
    /// Entries that a snapshot from a peer made superfluous on a node; it pulls the segments afterwards.
    installed: BTreeMap<u64, u64>,
}

impl Invariant for ArchiveCoversPurge {
    fn name(&self) -> &'static str {
        "archive_covers_purge"
    }

    fn see(&mut self, seen: &Seen<'_>) -> Result<(), String> {
        match seen {
            Seen::Restored { node, from_peer: true, entry, .. } => {
                let installed = self.installed.entry(*node).or_default();
                *installed = (*installed).max(*entry);
                Ok(())
            }
            Seen::Purged { node, purged, own, majority } => {
                let covered = (*own).min(*majority).max(self.installed.get(node).copied().unwrap_or(0));
                ensure(*purged <= covered, || {
                    format!("n{node} purged up to {purged}; its segments reach {own}, a majority's {majority}")
                })
            }
            Seen::HistoryBroken { node, why } => Err(format!("n{node}: {why}")),
            _ => Ok(()),
        }
    }
}
