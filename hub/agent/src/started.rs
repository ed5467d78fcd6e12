//! A folder in the making: what was put there goes again, unless it is kept.

use crate::store::KEY_FILE;
use std::io;
use std::path::{Path, PathBuf};

/// Removes on drop the key it found missing at the start, and the folders it made.
pub(crate) struct Started {
    key: Option<PathBuf>,
    /// Deepest first.
    folders: Vec<PathBuf>,
    keep: bool,
}

impl Started {
    /// Makes the folder, with those it lies in.
    ///
    /// # Errors
    /// The file system's.
    pub fn new(folder: &Path) -> io::Result<Started> {
        let missing = |f: &&Path| !f.as_os_str().is_empty() && !f.exists();
        let folders = folder.ancestors().take_while(missing).map(Path::to_owned).collect();
        let key = Some(folder.join(KEY_FILE)).filter(|key| !key.exists());
        let started = Started { key, folders, keep: false };
        std::fs::create_dir_all(folder).map(|()| started)
    }

    /// Leaves everything where it is.
    pub fn keep(mut self) {
        self.keep = true;
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        if self.keep {
            return;
        }
        if let Some(key) = &self.key {
            let _ = std::fs::remove_file(key);
        }
        for folder in &self.folders {
            // Somebody else's files stay, and so does their folder.
            let _ = std::fs::remove_dir(folder);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_there_before_stays() {
        let base = tempfile::tempdir().expect("a folder");
        let deep = base.path().join("a/b");
        drop(Started::new(&deep).expect("made"));
        assert!(base.path().exists() && !base.path().join("a").exists());
        let started = Started::new(&deep).expect("made");
        std::fs::write(deep.join("mine"), "x").expect("written");
        std::fs::write(deep.join(KEY_FILE), "x").expect("written");
        drop(started);
        assert!(deep.join("mine").exists() && !deep.join(KEY_FILE).exists());
        Started::new(&deep).expect("made").keep();
        std::fs::write(deep.join(KEY_FILE), "x").expect("written");
        drop(Started::new(&deep).expect("made"));
        assert!(deep.join(KEY_FILE).exists(), "an older key is nobody's to remove");
    }
}
