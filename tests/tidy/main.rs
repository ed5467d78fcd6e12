//! Repository rules. Each test states one and prints every fault it finds, one line each: `file:line: what is wrong`.

mod formats;
mod graph;
mod planted;
mod prose;
mod purity;
mod shell;
mod source;
mod tree;

/// One breach of a rule.
#[derive(Debug, PartialEq, Eq)]
pub struct Fault {
    pub path: String,
    /// From 1; 0 where the whole file is meant.
    pub line: usize,
    pub what: String,
}

impl Fault {
    pub fn at(path: &str, line: usize, what: impl Into<String>) -> Fault {
        Fault { path: path.to_owned(), line, what: what.into() }
    }

    pub fn of(path: &str, what: impl Into<String>) -> Fault {
        Fault::at(path, 0, what)
    }
}

/// Fails with all of them.
pub fn none(faults: Vec<Fault>) {
    let lines: Vec<String> = faults
        .iter()
        .map(|f| match f.line {
            0 => format!("{}: {}", f.path, f.what),
            line => format!("{}:{line}: {}", f.path, f.what),
        })
        .collect();
    assert!(lines.is_empty(), "{} faults\n{}", lines.len(), lines.join("\n"));
}
