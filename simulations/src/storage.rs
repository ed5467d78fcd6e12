//! What a node keeps over crashes: a disk of sectors and a folder of files, under one power switch.

use crate::dice::Dice;
use crate::lock;
use crate::trace::Trace;
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

pub(crate) const SECTOR: usize = 512;

/// A node's durable things. Cheap to clone; outlives the node's lives.
#[derive(Clone, Debug)]
pub struct Storage(Arc<Mutex<Inner>>);

#[derive(Debug)]
pub(crate) struct Inner {
    /// What survives a power cut for sure.
    pub(crate) synced: Vec<u8>,
    pub(crate) synced_length: usize,
    /// Sectors written since the last sync.
    pub(crate) pending: BTreeMap<usize, Box<[u8; SECTOR]>>,
    pub(crate) length: usize,
    pub(crate) files: BTreeMap<String, Arc<[u8]>>,
    /// Which life of the node has power; all others' calls fail.
    life: u64,
    /// The power fails within this many more operations.
    fuse: Option<u64>,
    sync_ms: (u64, u64),
    pub(crate) dice: Dice,
    trace: Trace,
}

/// A life's right to use the storage, until the power fails.
#[derive(Clone, Debug)]
pub struct Powered {
    storage: Storage,
    life: u64,
}

impl Storage {
    pub fn new(dice: Dice, trace: Trace) -> Storage {
        Storage(Arc::new(Mutex::new(Inner {
            synced: Vec::new(),
            synced_length: 0,
            pending: BTreeMap::new(),
            length: 0,
            files: BTreeMap::new(),
            life: 0,
            fuse: None,
            sync_ms: (1, 4),
            dice,
            trace,
        })))
    }

    /// Gives power to the next life.
    pub fn power_on(&self) -> Powered {
        let mut inner = lock(&self.0);
        inner.life += 1;
        Powered { storage: self.clone(), life: inner.life }
    }

    /// The power fails now: what was not synced is kept, lost or torn, sector by sector.
    pub fn cut(&self) {
        let mut inner = lock(&self.0);
        inner.fuse = None;
        inner.life += 1;
        let inner = &mut *inner;
        let grown = inner.dice.chance(500);
        let length = if inner.length > inner.synced_length && !grown { inner.synced_length } else { inner.length };
        for (sector, bytes) in std::mem::take(&mut inner.pending) {
            let at = sector * SECTOR;
            if at >= length {
                continue;
            }
            let kept = match inner.dice.below(8) {
                0..=2 => SECTOR,
                3..=5 => 0,
                _ => inner.dice.between(1, SECTOR as u64 - 1) as usize,
            };
            if kept == 0 {
                inner.trace.fired("sector lost");
            } else if kept < SECTOR {
                inner.trace.fired("sector torn");
            }
            if inner.synced.len() < at + SECTOR {
                inner.synced.resize(at + SECTOR, 0);
            }
            inner.synced[at..at + kept].copy_from_slice(&bytes[..kept]);
        }
        inner.synced.resize(length, 0);
        inner.length = length;
        inner.synced_length = length;
    }

    /// The power will fail after `operations` more writes or syncs.
    pub fn cut_after(&self, operations: u64) {
        lock(&self.0).fuse = Some(operations);
    }

    /// The power stays on after all, if it did not fail yet.
    pub fn spare(&self) {
        let fuse = &mut lock(&self.0).fuse;
        *fuse = fuse.filter(|left| *left == 0);
    }

    /// Whether the fuse blew, so that the node must be treated as crashed.
    pub fn is_blown(&self) -> bool {
        lock(&self.0).fuse == Some(0)
    }

    /// How long a sync takes from now on. Units: ms, least and most.
    pub fn set_sync(&self, sync_ms: (u64, u64)) {
        lock(&self.0).sync_ms = sync_ms;
    }

    /// How long the next sync takes.
    pub fn sync_takes(&self) -> Duration {
        let mut inner = lock(&self.0);
        let (least, most) = inner.sync_ms;
        inner.dice.ms(least, most)
    }
}

impl Powered {
    /// Counts an operation that changes something.
    pub(crate) fn change(&self) -> io::Result<MutexGuard<'_, Inner>> {
        let mut inner = self.look()?;
        match inner.fuse {
            Some(0) => Err(power_off()),
            Some(1) => {
                inner.fuse = Some(0);
                Err(power_off())
            }
            Some(left) => {
                inner.fuse = Some(left - 1);
                Ok(inner)
            }
            None => Ok(inner),
        }
    }

    /// Forgets a rename that the power cut took back.
    pub(crate) fn undo(&self, name: &str, before: Option<Arc<[u8]>>) {
        let mut inner = lock(&self.storage.0);
        match before {
            Some(bytes) => inner.files.insert(name.to_owned(), bytes),
            None => inner.files.remove(name),
        };
    }

    pub(crate) fn look(&self) -> io::Result<MutexGuard<'_, Inner>> {
        let inner = lock(&self.storage.0);
        if inner.life != self.life || inner.fuse == Some(0) { Err(power_off()) } else { Ok(inner) }
    }
}

fn power_off() -> io::Error {
    io::Error::other("the power is off")
}
