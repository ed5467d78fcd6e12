//! Where a store lies: the journal and redb's pages, in two files or on one device that a caller supplied.

use super::journal::{BLOCK_BYTES, Device};
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Half of a journal that is a file. Units: bytes.
pub const HALF_BYTES: usize = 4 << 20;
/// Half of a journal on a supplied device: so little that a simulation turns it over again and again. Units: bytes.
pub const HALF_BYTES_SUPPLIED: usize = 64 << 10;

const JOURNAL_BYTES_SUPPLIED: u64 = 2 * HALF_BYTES_SUPPLIED as u64;

/// The journal's file beside redb's.
pub fn journal_path(redb: &Path) -> PathBuf {
    redb.with_extension("journal")
}

/// A journal in a file of its own, so that an fsync of it writes nothing else.
#[derive(Debug)]
pub struct JournalFile(File);

impl JournalFile {
    /// Makes an empty journal. Its blocks are written once: only then does writing to them change no metadata. One by
    /// one: the kernel caches what it is given at once as one piece, and goes through all of a piece to write a block of it.
    pub fn create(path: &Path) -> io::Result<()> {
        let mut file = File::create(path)?;
        for _ in 0..2 * HALF_BYTES / BLOCK_BYTES {
            file.write_all(&[0; BLOCK_BYTES])?;
        }
        file.sync_all()
    }

    /// # Errors
    /// `InvalidData` if it is not there, or of another length: what it held is lost.
    pub fn open(path: &Path) -> io::Result<JournalFile> {
        let bad = |why: String| io::Error::new(io::ErrorKind::InvalidData, format!("the log's journal {why}"));
        let length = match fs::metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(bad("is missing".into())),
            other => other?.len(),
        };
        if length != 2 * HALF_BYTES as u64 {
            return Err(bad(format!("has {length} bytes, not {}", 2 * HALF_BYTES)));
        }
        let file = File::options().read(true).write(true).open(path)?;
        // Reading ahead would cache it in large pieces.
        #[cfg(target_os = "linux")]
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::Random)?;
        Ok(JournalFile(file))
    }
}

impl Device for JournalFile {
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(out, offset)
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}

/// A device that a caller supplied: the journal, and redb's pages behind it.
#[derive(Clone, Debug)]
pub struct Supplied(Arc<dyn redb::StorageBackend>);

impl Supplied {
    /// Lays the journal out if the device is new.
    pub fn open(device: Box<dyn redb::StorageBackend>) -> io::Result<Supplied> {
        let device: Arc<dyn redb::StorageBackend> = device.into();
        if device.len()? < JOURNAL_BYTES_SUPPLIED {
            device.set_len(JOURNAL_BYTES_SUPPLIED)?;
            device.sync_data()?;
        }
        Ok(Supplied(device))
    }
}

impl Device for Supplied {
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read(offset, out)
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write(offset, bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}

/// redb's part of it.
impl redb::StorageBackend for Supplied {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.len()?.saturating_sub(JOURNAL_BYTES_SUPPLIED))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read(JOURNAL_BYTES_SUPPLIED + offset, out)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.0.set_len(JOURNAL_BYTES_SUPPLIED + length)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write(JOURNAL_BYTES_SUPPLIED + offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.0.close()
    }
}
