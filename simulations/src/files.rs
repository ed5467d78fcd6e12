//! Snapshots and archive of a node: files that are there whole, or not at all.

use crate::storage::Powered;
use forge_log::files::{FileWriter, Files};
use std::io;

/// Free space of a disk that never fills up here. Units: bytes.
const FREE_BYTES: u64 = 1 << 40;

/// The files of one life of a node.
#[derive(Debug)]
pub struct VirtualFiles(pub Powered);

struct Writer {
    powered: Powered,
    name: String,
    bytes: Vec<u8>,
}

impl Files for VirtualFiles {
    fn create(&self, name: &str) -> io::Result<Box<dyn FileWriter>> {
        drop(self.0.change()?);
        Ok(Box::new(Writer { powered: self.0.clone(), name: name.into(), bytes: Vec::new() }))
    }

    fn read_at(&self, name: &str, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let inner = self.0.look()?;
        let bytes = inner.files.get(name).ok_or(io::ErrorKind::NotFound)?;
        let from = (offset as usize).min(bytes.len());
        let to = from.saturating_add(length).min(bytes.len());
        Ok(bytes[from..to].to_vec())
    }

    fn length(&self, name: &str) -> io::Result<u64> {
        let inner = self.0.look()?;
        Ok(inner.files.get(name).ok_or(io::ErrorKind::NotFound)?.len() as u64)
    }

    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        let inner = self.0.look()?;
        let prefix = format!("{folder}/");
        let names = inner.files.keys().filter_map(|name| name.strip_prefix(&prefix));
        Ok(names.filter(|name| !name.contains('/')).map(str::to_owned).collect())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.0.change()?.files.remove(name);
        Ok(())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.0.look().map(|_| FREE_BYTES)
    }

    fn reserve(&self, _bytes: u64) -> io::Result<()> {
        self.0.look().map(drop)
    }
}

impl FileWriter for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        drop(self.powered.change()?);
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn finish(self: Box<Self>) -> io::Result<()> {
        let Writer { powered, name, bytes } = *self;
        // The file's fsync.
        drop(powered.change()?);
        let (before, survives) = {
            let mut inner = powered.change()?;
            (inner.files.insert(name.clone(), bytes.into()), inner.dice.chance(500))
        };
        // The folder's fsync: without it the rename may be forgotten.
        let synced = powered.change().map(drop);
        if synced.is_err() && !survives {
            powered.undo(&name, before);
        }
        synced
    }
}
