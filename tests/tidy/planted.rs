//! Planted bugs must fit the code they are planted in: a patch that does not apply proves nothing.

use crate::{Fault, none, tree};
use std::fs;
use std::path::Path;

/// The lines that a hunk expects, as a patch program looks for them.
fn expected(patch: &str) -> Vec<(String, Vec<Vec<String>>)> {
    let mut files: Vec<(String, Vec<Vec<String>>)> = Vec::new();
    for line in patch.lines() {
        if let Some(path) = line.strip_prefix("--- a/") {
            files.push((path.to_owned(), Vec::new()));
        } else if let Some((_, hunks)) = files.last_mut() {
            match (line.as_bytes().first(), hunks.last_mut()) {
                (Some(b'@'), _) => hunks.push(Vec::new()),
                (Some(b' ' | b'-'), Some(hunk)) if !line.starts_with("---") => hunk.push(line[1..].to_owned()),
                _ => {}
            }
        }
    }
    files
}

#[test]
fn every_planted_bug_fits_the_code() {
    let folder = tree::root().join("simulations/planted");
    let mut faults = Vec::new();
    for entry in fs::read_dir(&folder).expect("planted bugs are kept").map(|e| e.expect("it can be read")) {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.ends_with(".patch") {
            continue;
        }
        let patch = fs::read_to_string(entry.path()).expect("a patch is text");
        let files = expected(&patch);
        if files.iter().all(|(_, hunks)| hunks.is_empty()) {
            faults.push(Fault::of(&name, "it changes nothing"));
        }
        for (path, hunks) in files {
            let source = fs::read_to_string(tree::root().join(Path::new(&path))).unwrap_or_default();
            let source: Vec<&str> = source.lines().collect();
            for hunk in hunks {
                let fits = source.windows(hunk.len().max(1)).any(|lines| lines.iter().zip(&hunk).all(|(a, b)| a == b));
                if !fits {
                    faults.push(Fault::of(&name, format!("{path} has no such lines: {}", hunk.join(" / "))));
                }
            }
        }
    }
    none(faults);
}
