//! Files beside the Raft log: snapshots, archive segments, markers.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// A file that is being written ends so until it is finished.
const UNFINISHED: &str = ".tmp";
const RESERVE_FILE: &str = "reserve";
/// A file that grows is synced each time it grew by this much. Units: bytes.
const UNSYNCED_BYTES_MAX: usize = 512 << 10;

/// A folder of immutable files. Names are relative, with `/` between a folder and its file.
///
/// Calls may block; they run where `Executor` says.
pub trait Files: Send + Sync + 'static {
    /// Starts a file beside its final place; nobody sees it before [`FileWriter::finish`].
    fn create(&self, name: &str) -> io::Result<Box<dyn FileWriter>>;

    /// Up to `length` bytes from `offset`; fewer only at the end of the file.
    fn read_at(&self, name: &str, offset: u64, length: usize) -> io::Result<Vec<u8>>;

    /// Bytes of a finished file; `NotFound` if there is none.
    fn length(&self, name: &str) -> io::Result<u64>;

    /// Names of the finished files of a folder, ascending, without the folder; empty if there is no folder.
    fn list(&self, folder: &str) -> io::Result<Vec<String>>;

    /// Removes a file for good; fine if there is none.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Free space of the disk. Units: bytes.
    fn free_bytes(&self) -> io::Result<u64>;

    /// Holds `bytes` of the disk back for later; 0 gives them free.
    fn reserve(&self, bytes: u64) -> io::Result<()>;
}

/// A file being written.
pub trait FileWriter: Send {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Makes it durable, then visible: fsync, rename, fsync of the folder.
    fn finish(self: Box<Self>) -> io::Result<()>;
}

/// A folder of the file system.
pub struct RealFiles {
    root: PathBuf,
}

impl RealFiles {
    /// The folder is made when the first file is.
    pub fn new(root: PathBuf) -> Self {
        RealFiles { root }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }
}

impl Files for RealFiles {
    fn create(&self, name: &str) -> io::Result<Box<dyn FileWriter>> {
        let path = self.path(name);
        let aside = self.path(&format!("{name}{UNFINISHED}"));
        make_folder(parent(&path))?;
        let file = GrowingFile::new(File::create(&aside)?);
        Ok(Box::new(RealWriter { file, aside, path, finished: false }))
    }

    fn read_at(&self, name: &str, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let mut file = File::open(self.path(name))?;
        file.seek(SeekFrom::Start(offset))?;
        let mut bytes = Vec::with_capacity(length.min(1 << 20));
        file.take(length as u64).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn length(&self, name: &str) -> io::Result<u64> {
        Ok(fs::metadata(self.path(name))?.len())
    }

    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(self.path(folder)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other?,
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry?;
            if let Ok(name) = entry.file_name().into_string()
                && entry.file_type()?.is_file()
                && !name.ends_with(UNFINISHED)
            {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let path = self.path(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
            Ok(()) => File::open(parent(&path))?.sync_all(),
        }
    }

    fn free_bytes(&self) -> io::Result<u64> {
        make_folder(&self.root)?;
        let disk = rustix::fs::statvfs(&self.root)?;
        Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
    }

    fn reserve(&self, bytes: u64) -> io::Result<()> {
        if bytes == 0 {
            return self.remove(RESERVE_FILE);
        }
        make_folder(&self.root)?;
        let file = File::options().create(true).truncate(false).write(true).open(self.path(RESERVE_FILE))?;
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, bytes)?;
        file.sync_all()
    }
}

fn parent(path: &Path) -> &Path {
    path.parent().expect("a file of a folder has a parent")
}

/// Makes a folder with its parents, each durable in its own parent.
fn make_folder(folder: &Path) -> io::Result<()> {
    if folder.as_os_str().is_empty() || folder.is_dir() {
        return Ok(());
    }
    if let Some(above) = folder.parent() {
        make_folder(above)?;
    }
    match fs::create_dir(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    match folder.parent() {
        Some(above) if !above.as_os_str().is_empty() => File::open(above)?.sync_all(),
        _ => Ok(()),
    }
}

/// A file that reaches the disk while it grows.
///
/// The flush of a large file in one piece would hold up every other sync of its disk, those of the Raft log before all.
#[derive(Debug)]
pub struct GrowingFile {
    file: File,
    unsynced: usize,
}

impl GrowingFile {
    /// Writes go on where the file stands.
    pub fn new(file: File) -> GrowingFile {
        GrowingFile { file, unsynced: 0 }
    }

    /// Makes all of it durable.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn sync_all(&self) -> io::Result<()> {
        self.file.sync_all()
    }
}

impl Write for GrowingFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let piece = &bytes[..bytes.len().min(UNSYNCED_BYTES_MAX - self.unsynced)];
        let written = self.file.write(piece)?;
        self.unsynced += written;
        if self.unsynced == UNSYNCED_BYTES_MAX {
            self.file.sync_data()?;
            self.unsynced = 0;
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct RealWriter {
    file: GrowingFile,
    aside: PathBuf,
    path: PathBuf,
    finished: bool,
}

impl FileWriter for RealWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)
    }

    fn finish(mut self: Box<Self>) -> io::Result<()> {
        self.file.sync_all()?;
        fs::rename(&self.aside, &self.path)?;
        self.finished = true;
        File::open(parent(&self.path))?.sync_all()
    }
}

impl Drop for RealWriter {
    fn drop(&mut self) {
        if !self.finished {
            // Best effort: an unfinished file is never listed, and the next one of its name overwrites it.
            let _ = fs::remove_file(&self.aside);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_seen_when_it_is_finished_and_not_before() {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let files = RealFiles::new(folder.path().join("deep/er"));
        let mut writer = files.create("a/one").expect("created");
        writer.write(b"bytes").expect("written");
        assert!(files.list("a").expect("listed").is_empty());
        assert!(files.length("a/one").is_err());
        writer.finish().expect("finished");
        assert_eq!(files.list("a").expect("listed"), ["one"]);
        assert_eq!(files.read_at("a/one", 2, 99).expect("read"), b"tes");
        files.remove("a/one").expect("removed");
        files.remove("a/one").expect("removed twice");
        assert!(files.list("a").expect("listed").is_empty());
        assert!(files.free_bytes().expect("asked") > 0);
    }

    #[test]
    fn a_file_that_is_synced_while_it_grows_has_every_byte() {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let path = folder.path().join("large");
        let bytes: Vec<u8> = (0..3 * UNSYNCED_BYTES_MAX + 7).map(|n| (n % 251) as u8).collect();
        let mut file = GrowingFile::new(File::create(&path).expect("created"));
        for part in bytes.chunks(UNSYNCED_BYTES_MAX / 3 + 1) {
            file.write_all(part).expect("written");
        }
        file.sync_all().expect("synced");
        assert!(fs::read(&path).expect("read") == bytes);
    }
}
