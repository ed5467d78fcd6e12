//! A disk of 512-byte sectors that loses power: what was not synced is kept, lost or torn, sector by sector.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const SECTOR: usize = 512;

/// A handle; clones share the disk.
#[derive(Clone, Debug)]
pub struct VirtualDisk(Arc<Mutex<Platter>>);

#[derive(Debug)]
struct Platter {
    synced: Vec<u8>,
    /// Sectors written since the last sync.
    pending: BTreeMap<usize, Vec<u8>>,
    length: usize,
    rng: StdRng,
    /// The power fails within this many more writes or syncs.
    fuse: Option<u64>,
    dead: bool,
}

impl Platter {
    /// What was synced at `at`; zeros behind the end.
    fn copy_synced(&self, at: usize, out: &mut [u8]) {
        let there = self.synced.len().saturating_sub(at).min(out.len());
        out.fill(0);
        if there > 0 {
            out[..there].copy_from_slice(&self.synced[at..at + there]);
        }
    }
}

impl VirtualDisk {
    pub fn new(seed: u64) -> VirtualDisk {
        let rng = StdRng::seed_from_u64(seed);
        let (synced, pending) = (Vec::new(), BTreeMap::new());
        VirtualDisk(Arc::new(Mutex::new(Platter { synced, pending, length: 0, rng, fuse: None, dead: false })))
    }

    fn platter(&self) -> MutexGuard<'_, Platter> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The power fails after `operations` more writes or syncs.
    pub fn cut_after(&self, operations: u64) {
        self.platter().fuse = Some(operations);
    }

    pub fn is_dead(&self) -> bool {
        self.platter().dead
    }

    /// Power returns: each sector that was not synced was kept, lost or torn.
    pub fn restart(&self) {
        let mut platter = self.platter();
        let platter = &mut *platter;
        for (sector, bytes) in std::mem::take(&mut platter.pending) {
            let at = sector * SECTOR;
            let keep = match platter.rng.random_range(0..5) {
                0 | 1 => SECTOR,
                2 | 3 => 0,
                _ => platter.rng.random_range(1..SECTOR),
            };
            if platter.synced.len() < at + SECTOR {
                platter.synced.resize(at + SECTOR, 0);
            }
            platter.synced[at..at + keep].copy_from_slice(&bytes[..keep]);
        }
        platter.length = platter.synced.len();
        platter.fuse = None;
        platter.dead = false;
    }

    /// Flips one bit of what is on the disk, somewhere in its length.
    pub fn flip(&self, bit: u64) {
        let mut platter = self.platter();
        let bits = platter.synced.len() as u64 * 8;
        if bits > 0 {
            let bit = bit % bits;
            platter.synced[(bit / 8) as usize] ^= 1 << (bit % 8);
        }
    }

    /// A copy of what is on the disk, as another disk.
    pub fn image(&self) -> VirtualDisk {
        let platter = self.platter();
        let copy = VirtualDisk::new(0);
        {
            let mut to = copy.platter();
            to.synced = platter.synced.clone();
            to.length = platter.length;
        }
        copy
    }

    fn operate(&self) -> io::Result<MutexGuard<'_, Platter>> {
        let mut platter = self.platter();
        if let Some(fuse) = &mut platter.fuse {
            if *fuse == 0 {
                platter.dead = true;
            } else {
                *fuse -= 1;
            }
        }
        if platter.dead { Err(io::Error::other("the power is off")) } else { Ok(platter) }
    }
}

impl redb::StorageBackend for VirtualDisk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.platter().length as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let platter = self.platter();
        if platter.dead {
            return Err(io::Error::other("the power is off"));
        }
        let mut at = offset as usize;
        let mut rest = out;
        while !rest.is_empty() {
            let (sector, within) = (at / SECTOR, at % SECTOR);
            let step = rest.len().min(SECTOR - within);
            let (now, later) = rest.split_at_mut(step);
            match platter.pending.get(&sector) {
                Some(bytes) => now.copy_from_slice(&bytes[within..within + step]),
                None => platter.copy_synced(at, now),
            }
            at += step;
            rest = later;
        }
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut platter = self.operate()?;
        let length = length as usize;
        if length < platter.length {
            let first = length.div_ceil(SECTOR);
            platter.pending.split_off(&first);
            platter.synced.truncate(length);
        }
        platter.length = length;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut platter = self.operate()?;
        let platter = &mut *platter;
        for (sector, bytes) in std::mem::take(&mut platter.pending) {
            let at = sector * SECTOR;
            if platter.synced.len() < at + SECTOR {
                platter.synced.resize(at + SECTOR, 0);
            }
            platter.synced[at..at + SECTOR].copy_from_slice(&bytes);
        }
        let length = platter.length;
        platter.synced.resize(length.max(platter.synced.len()), 0);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut platter = self.operate()?;
        let mut at = offset as usize;
        let mut rest = data;
        while !rest.is_empty() {
            let (sector, within) = (at / SECTOR, at % SECTOR);
            let step = rest.len().min(SECTOR - within);
            let (now, later) = rest.split_at(step);
            if !platter.pending.contains_key(&sector) {
                let mut bytes = vec![0; SECTOR];
                platter.copy_synced(sector * SECTOR, &mut bytes);
                platter.pending.insert(sector, bytes);
            }
            if let Some(bytes) = platter.pending.get_mut(&sector) {
                bytes[within..within + step].copy_from_slice(now);
            }
            at += step;
            rest = later;
        }
        Ok(())
    }
}
