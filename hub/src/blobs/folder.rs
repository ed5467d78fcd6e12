//! Blobs as files: `ab/<hex of the digest>`, written aside, synced, renamed.
//!
//! Blocking; callers offload.

use crate::clock::changed_at;
use forge_event::{Digest, Timestamp};
use forge_log::files::GrowingFile;
use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Bytes that are read and hashed at once.
const CHUNK_BYTES: usize = 1 << 20;
/// An upload that nobody went on with is forgotten after this.
const PART_AGE_MAX: Duration = Duration::from_secs(24 * 3600);

/// A folder of blobs.
#[derive(Debug)]
pub struct Folder {
    root: PathBuf,
    /// Uploads under way: one writer each.
    open: Mutex<BTreeSet<String>>,
}

/// An upload did not become a blob.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    #[error("the bytes are not those of the digest: they hash to {found}")]
    Mismatch { found: Digest },
    #[error("another upload of it is under way")]
    Busy,
    #[error("the upload stands at byte {at}")]
    Offset { at: u64 },
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Folder {
    /// Opens or makes the folder.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn open(root: PathBuf) -> io::Result<Folder> {
        fs::create_dir_all(root.join("incoming"))?;
        Ok(Folder { root, open: Mutex::default() })
    }

    /// Where a blob's file is, if it is here.
    pub fn path(&self, digest: &Digest) -> PathBuf {
        let hex = digest.hex();
        self.root.join(&hex[..2]).join(hex)
    }

    fn part(&self, owner: &str, digest: &Digest) -> PathBuf {
        self.root.join("incoming").join(format!("{owner}-{}.part", digest.hex()))
    }

    /// Length of a blob; `None` if it is not here. Units: bytes.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn bytes(&self, digest: &Digest) -> io::Result<Option<u64>> {
        match fs::metadata(self.path(digest)) {
            Ok(meta) => Ok(Some(meta.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Fills `buffer` from byte `first` of a blob.
    ///
    /// # Errors
    /// `NotFound` if it is not here, `UnexpectedEof` if it ends before.
    pub fn read(&self, digest: &Digest, first: u64, buffer: &mut [u8]) -> io::Result<()> {
        let mut file = File::open(self.path(digest))?;
        file.seek(SeekFrom::Start(first))?;
        file.read_exact(buffer)
    }

    /// Uploads of an owner that are under way.
    pub fn uploads(&self, owner: &str) -> usize {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let of_owner = self.root.join("incoming").join(format!("{owner}-")).display().to_string();
        open.iter().filter(|name| name.starts_with(&of_owner)).count()
    }

    /// Whether an owner's upload of a blob is under way.
    pub fn is_busy(&self, owner: &str, digest: &Digest) -> bool {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.contains(&self.part(owner, digest).display().to_string())
    }

    /// How far an upload has come; 0 if there is none. Units: bytes.
    pub fn uploaded(&self, owner: &str, digest: &Digest) -> u64 {
        fs::metadata(self.part(owner, digest)).map_or(0, |meta| meta.len())
    }

    /// Gives up what there is of an upload that is not under way.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn forget(&self, owner: &str, digest: &Digest) -> io::Result<()> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let part = self.part(owner, digest);
        if open.contains(&part.display().to_string()) {
            return Ok(());
        }
        match fs::remove_file(part) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Begins or goes on with an upload: `owner` keeps those of different projects apart.
    ///
    /// # Errors
    /// [`UploadError::Busy`], [`UploadError::Offset`] if it does not stand at `from`, or the disk fails.
    pub fn upload(&self, owner: &str, digest: Digest, from: u64) -> Result<Upload<'_>, UploadError> {
        let path = self.part(owner, &digest);
        let name = path.display().to_string();
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if !open.insert(name.clone()) {
            return Err(UploadError::Busy);
        }
        drop(open);
        let taken = Taken { folder: self, name };
        let mut file = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(&path)?;
        let at = file.metadata()?.len();
        if from == 0 && at > 0 {
            // A whole upload starts anew.
            file.set_len(0)?;
        } else if from != at {
            return Err(UploadError::Offset { at });
        }
        let mut hasher = blake3::Hasher::new();
        if from > 0 {
            hash_into(&mut hasher, &mut file)?;
        }
        Ok(Upload { digest, path, file: GrowingFile::new(file), hasher, bytes: from, taken })
    }

    /// Keeps bytes that come in parts; gives their digest and length.
    ///
    /// # Errors
    /// The first one of `parts`, or of the disk.
    pub fn keep<E: From<io::Error>>(
        &self,
        parts: &mut dyn Iterator<Item = Result<Vec<u8>, E>>,
    ) -> Result<(Digest, u64), E> {
        static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
        let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let path = self.root.join("incoming").join(format!("own-{}-{number}.tmp", std::process::id()));
        let aside = Aside(path);
        let mut file = GrowingFile::new(File::create(&aside.0)?);
        let (mut hasher, mut bytes) = (blake3::Hasher::new(), 0);
        for part in parts {
            let part = part?;
            hasher.update(&part);
            file.write_all(&part)?;
            bytes += part.len() as u64;
        }
        file.sync_all()?;
        let digest = Digest(*hasher.finalize().as_bytes());
        self.settle(&aside.0, &digest)?;
        Ok((digest, bytes))
    }

    /// Gives a finished file its name for good.
    fn settle(&self, from: &Path, digest: &Digest) -> io::Result<()> {
        let to = self.path(digest);
        let parent = to.parent().expect("a blob lies in a folder");
        fs::create_dir_all(parent)?;
        fs::rename(from, &to)?;
        File::open(parent)?.sync_all()?;
        File::open(&self.root)?.sync_all()
    }

    /// Reads a whole blob and says whether it still is what its name says; `None` if it is not here.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn is_whole(&self, digest: &Digest) -> io::Result<Option<bool>> {
        let mut file = match File::open(self.path(digest)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut hasher = blake3::Hasher::new();
        hash_into(&mut hasher, &mut file)?;
        Ok(Some(hasher.finalize().as_bytes() == &digest.0))
    }

    /// Removes a blob's file.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn remove(&self, digest: &Digest) -> io::Result<()> {
        match fs::remove_file(self.path(digest)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Every blob here, with the age of its file as of `now`.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn list(&self, now: Timestamp) -> io::Result<Vec<(Digest, Duration)>> {
        let mut found = Vec::new();
        for shelf in fs::read_dir(&self.root)? {
            let shelf = shelf?;
            if shelf.file_name().len() != 2 {
                continue;
            }
            for file in fs::read_dir(shelf.path())? {
                let file = file?;
                let name = file.file_name();
                let digest = name.to_str().and_then(forge_event::digest::unhex::<32>).map(Digest);
                let Some(digest) = digest else { continue };
                found.push((digest, age(&file.metadata()?, now)));
            }
        }
        Ok(found)
    }

    /// Forgets uploads that nobody goes on with.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn sweep(&self, now: Timestamp) -> io::Result<()> {
        for file in fs::read_dir(self.root.join("incoming"))? {
            let file = file?;
            let busy = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            if !busy.contains(&file.path().display().to_string()) && age(&file.metadata()?, now) > PART_AGE_MAX {
                fs::remove_file(file.path())?;
            }
        }
        Ok(())
    }
}

/// Nothing, where the file says that it is younger than `now`.
fn age(meta: &fs::Metadata, now: Timestamp) -> Duration {
    Duration::from_millis(now.since(changed_at(meta)).0)
}

fn hash_into(hasher: &mut blake3::Hasher, file: &mut File) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(()),
            count => hasher.update(&buffer[..count]),
        };
    }
}

/// Removes a file that did not get its name.
struct Aside(PathBuf);

impl Drop for Aside {
    fn drop(&mut self) {
        // After the rename there is nothing here.
        let _ = fs::remove_file(&self.0);
    }
}

/// The right to write an upload.
#[derive(Debug)]
struct Taken<'f> {
    folder: &'f Folder,
    name: String,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.folder.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.name);
    }
}

/// Bytes on their way in. Dropped, it stays for a resume.
#[derive(Debug)]
pub struct Upload<'f> {
    digest: Digest,
    path: PathBuf,
    file: GrowingFile,
    hasher: blake3::Hasher,
    bytes: u64,
    taken: Taken<'f>,
}

impl Upload<'_> {
    /// Bytes so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// # Errors
    /// If the disk fails.
    pub fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hasher.update(bytes);
        self.file.write_all(bytes)?;
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    /// Makes it a blob, if it is what the digest says; else nothing is kept.
    ///
    /// # Errors
    /// [`UploadError::Mismatch`], or the disk fails.
    pub fn finish(self) -> Result<u64, UploadError> {
        let found = Digest(*self.hasher.finalize().as_bytes());
        if found != self.digest {
            fs::remove_file(&self.path)?;
            return Err(UploadError::Mismatch { found });
        }
        self.file.sync_all()?;
        self.taken.folder.settle(&self.path, &self.digest)?;
        Ok(self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> Folder {
        let root = std::env::temp_dir().join(format!("forge-blobs-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        Folder::open(root).expect("a temporary folder")
    }

    #[test]
    fn an_upload_goes_on_where_it_stopped() {
        let folder = folder("resume");
        let bytes: Vec<u8> = (0..3_000_000u32).map(|n| (n * 7) as u8).collect();
        let digest = Digest::of(&bytes);
        let mut first = folder.upload("p3", digest, 0).expect("it begins");
        first.append(&bytes[..1_000_001]).expect("it is written");
        assert!(matches!(folder.upload("p3", digest, 0), Err(UploadError::Busy)), "one writer at a time");
        folder.forget("p3", &digest).expect("a disk");
        drop(first);
        let other = Digest::of(b"given up");
        folder.upload("p3", other, 0).and_then(|mut part| Ok(part.append(b"given")?)).expect("it is written");
        folder.forget("p3", &other).expect("a disk");
        assert_eq!(folder.uploaded("p3", &other), 0);
        assert_eq!((folder.uploaded("p3", &digest), folder.uploaded("p4", &digest)), (1_000_001, 0));
        assert!(matches!(folder.upload("p3", digest, 5), Err(UploadError::Offset { at: 1_000_001 })));
        let mut rest = folder.upload("p3", digest, 1_000_001).expect("it goes on");
        rest.append(&bytes[1_000_001..]).expect("it is written");
        assert_eq!(rest.finish().expect("it is whole"), 3_000_000);
        let mut read = vec![0; 10];
        folder.read(&digest, 2_999_990, &mut read).expect("it is here");
        assert_eq!((read.as_slice(), folder.is_whole(&digest).expect("a disk")), (&bytes[2_999_990..], Some(true)));
        let _ = fs::remove_dir_all(&folder.root);
    }

    #[test]
    fn wrong_bytes_leave_nothing() {
        let folder = folder("wrong");
        let digest = Digest::of(b"right");
        let mut upload = folder.upload("p3", digest, 0).expect("it begins");
        upload.append(b"wrong").expect("it is written");
        assert!(matches!(upload.finish(), Err(UploadError::Mismatch { .. })));
        assert_eq!((folder.uploaded("p3", &digest), folder.bytes(&digest).expect("a disk")), (0, None));
        let _ = fs::remove_dir_all(&folder.root);
    }

    #[test]
    fn a_flipped_byte_is_seen() {
        let folder = folder("flip");
        let mut parts = [Ok::<_, io::Error>(b"some ".to_vec()), Ok(b"bytes".to_vec())].into_iter();
        let (digest, bytes) = folder.keep(&mut parts).expect("it is kept");
        assert_eq!((digest, bytes), (Digest::of(b"some bytes"), 10));
        fs::write(folder.path(&digest), b"some bites").expect("a disk");
        assert_eq!(folder.is_whole(&digest).expect("a disk"), Some(false));
        assert_eq!(folder.list(Timestamp(0)).expect("a disk"), [(digest, Duration::ZERO)]);
        folder.remove(&digest).expect("a disk");
        assert_eq!(folder.is_whole(&digest).expect("a disk"), None);
        let _ = fs::remove_dir_all(&folder.root);
    }
}
