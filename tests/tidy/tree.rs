//! The repository as text: every file that a checkout holds, and the Rust sources among them.

use crate::source;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

/// A text file.
pub struct File {
    /// From the repository's root, with slashes.
    pub path: String,
    pub text: String,
}

/// A Rust source.
pub struct Source {
    pub path: String,
    pub text: String,
    /// `text` with comments and literals blanked; same length, same lines.
    pub code: String,
    /// `code` without what is compiled for tests only.
    pub shipped: String,
}

pub struct Tree {
    pub files: Vec<File>,
    pub sources: Vec<Source>,
    /// Folders of the workspace's crates, from the root.
    pub crates: Vec<String>,
}

pub static TREE: LazyLock<Tree> = LazyLock::new(read);

/// The repository's root.
pub fn root() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().expect("the tests crate lies in the repository").to_owned()
}

impl Tree {
    pub fn file(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|f| f.path == path)
    }

    /// Sources below a folder, but not those of a crate below it.
    pub fn of_crate<'t>(&'t self, folder: &'t str) -> impl Iterator<Item = &'t Source> {
        self.sources.iter().filter(move |s| self.crate_of(&s.path) == folder)
    }

    /// The crate that a path belongs to: the longest that holds it.
    pub fn crate_of(&self, path: &str) -> &str {
        let holds = |c: &&String| path.strip_prefix(c.as_str()).is_some_and(|rest| rest.starts_with('/'));
        self.crates.iter().filter(holds).max_by_key(|c| c.len()).map_or("", String::as_str)
    }
}

fn read() -> Tree {
    let root = root();
    let mut files = Vec::new();
    walk(&root, &root, &mut files);
    files.sort_by(|a, b| a.path.cmp(&b.path));
    let manifest = |f: &File| f.path.strip_suffix("/Cargo.toml").map(str::to_owned);
    let crates = files.iter().filter_map(manifest).collect();
    let rust = files.iter().filter(|f| f.path.ends_with(".rs"));
    let sources = rust.map(|f| source(&f.path, &f.text)).collect();
    Tree { files, sources, crates }
}

pub fn source(path: &str, text: &str) -> Source {
    let code = source::blank(text);
    let test_file = path.contains("/tests/") || path.starts_with("tests/") || path.ends_with("/tests.rs");
    let shipped = if test_file { blank_all(&code) } else { source::without_tests(&code) };
    Source { path: path.to_owned(), text: text.to_owned(), code, shipped }
}

fn blank_all(code: &str) -> String {
    code.chars().map(|c| if c == '\n' { c } else { ' ' }).collect()
}

fn walk(root: &Path, folder: &Path, files: &mut Vec<File>) {
    let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    for entry in entries {
        let path = entry.expect("the folder can be listed").path();
        let name = path.file_name().and_then(|n| n.to_str()).expect("file names are UTF-8");
        if path.is_dir() {
            let ours = !name.starts_with('.') || name == ".ci" || name == ".cargo";
            let built = name == "target" || name == "__pycache__";
            if ours && !built {
                walk(root, &path, files);
            }
        } else if let Ok(text) = fs::read_to_string(&path) {
            let path = path.strip_prefix(root).expect("it lies below the root").to_str().expect("paths are UTF-8");
            files.push(File { path: path.to_owned(), text });
        }
    }
}
