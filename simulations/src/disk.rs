//! The disk under redb: 512-byte sectors, durable at the next sync and not before.

use crate::storage::{Powered, SECTOR};
use redb::StorageBackend;
use std::io;

/// The backend of one life of a node.
#[derive(Debug)]
pub struct VirtualDisk(pub Powered);

impl StorageBackend for VirtualDisk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.look()?.length as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let inner = self.0.look()?;
        let start = offset as usize;
        if start + out.len() > inner.length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let there = inner.synced.len().saturating_sub(start).min(out.len());
        out[..there].copy_from_slice(&inner.synced[start..start + there]);
        out[there..].fill(0);
        let (first, end) = (start / SECTOR, (start + out.len()).div_ceil(SECTOR));
        for (sector, bytes) in inner.pending.range(first..end) {
            let at = sector * SECTOR;
            let (from, to) = (at.max(start), (at + SECTOR).min(start + out.len()));
            out[from - start..to - start].copy_from_slice(&bytes[from - at..to - at]);
        }
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut inner = self.0.change()?;
        let length = length as usize;
        if length < inner.length {
            // Shrinking counts as durable at once: redb does it only behind a sync.
            inner.pending.split_off(&length.div_ceil(SECTOR));
            inner.synced.truncate(length);
            inner.synced_length = inner.synced_length.min(length);
        }
        inner.length = length;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut inner = self.0.change()?;
        let inner = &mut *inner;
        for (sector, bytes) in std::mem::take(&mut inner.pending) {
            let at = sector * SECTOR;
            if inner.synced.len() < at + SECTOR {
                inner.synced.resize(at + SECTOR, 0);
            }
            inner.synced[at..at + SECTOR].copy_from_slice(&bytes[..]);
        }
        inner.synced.resize(inner.length, 0);
        inner.synced_length = inner.length;
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut inner = self.0.change()?;
        let inner = &mut *inner;
        let (mut at, mut rest) = (offset as usize, data);
        while !rest.is_empty() {
            let (sector, within) = (at / SECTOR, at % SECTOR);
            let step = rest.len().min(SECTOR - within);
            let (now, later) = rest.split_at(step);
            let synced = &inner.synced;
            let bytes = inner.pending.entry(sector).or_insert_with(|| {
                let mut bytes = Box::new([0; SECTOR]);
                let from = (sector * SECTOR).min(synced.len());
                let to = (from + SECTOR).min(synced.len());
                bytes[..to - from].copy_from_slice(&synced[from..to]);
                bytes
            });
            bytes[within..within + step].copy_from_slice(now);
            at += step;
            rest = later;
        }
        Ok(())
    }
}
