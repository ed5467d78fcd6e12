//! What a reader finds: a README a room, a module doc a file, files that can be read in one sitting.

use crate::tree::{TREE, root};
use crate::{Fault, none};

/// A file longer than this is named.
const LINES_WANTED_MAX: usize = 500;
/// A file longer than this is refused.
const LINES_MAX: usize = 700;
const HEADINGS: [&str; 5] = ["Duty", "Map", "Invariants", "Deliberately absent", "Decisions"];

#[test]
fn no_file_is_too_long_to_read() {
    let mut faults = Vec::new();
    for source in &TREE.sources {
        let lines = source.text.lines().count();
        if lines > LINES_MAX {
            faults.push(Fault::of(&source.path, format!("{lines} lines, at most {LINES_MAX} are allowed")));
        } else if lines > LINES_WANTED_MAX {
            println!("{}: {lines} lines wants splitting", source.path);
        }
    }
    none(faults);
}

#[test]
fn every_file_says_what_it_is() {
    let said = |text: &str| text.lines().find(|l| !l.trim().is_empty()).is_some_and(|l| l.starts_with("//! "));
    let silent = TREE.sources.iter().filter(|s| !s.path.contains("/fixtures/") && !said(&s.text));
    none(silent.map(|s| Fault::at(&s.path, 1, "starts without a module doc (`//! …`)")).collect());
}

#[test]
fn every_room_has_its_readme() {
    let mut faults = Vec::new();
    for folder in &TREE.crates {
        let path = format!("{folder}/README.md");
        let Some(file) = TREE.file(&path) else {
            faults.push(Fault::of(&path, "is missing"));
            continue;
        };
        let headings: Vec<&str> =
            file.text.lines().filter(|l| l.starts_with('#')).map(|l| l.trim_start_matches('#').trim()).collect();
        let missing = HEADINGS.iter().filter(|h| !headings.contains(h));
        faults.extend(missing.map(|h| Fault::of(&path, format!("the heading `{h}` is missing"))));
        let mut order: Vec<usize> = HEADINGS.iter().filter_map(|h| headings.iter().position(|f| f == h)).collect();
        let found = order.clone();
        order.sort_unstable();
        if found != order {
            faults.push(Fault::of(&path, "the five headings stand in another order"));
        }
    }
    none(faults);
}

#[test]
fn the_root_readme_gives_the_two_commands() {
    let Some(file) = TREE.file("README.md") else { return none(vec![Fault::of("README.md", "is missing")]) };
    let commands = ["cargo run --release -- demo", "cargo test --workspace"];
    let first_screen: Vec<&str> = file.text.lines().take(40).collect();
    let missing = commands.iter().filter(|c| !first_screen.iter().any(|l| l.contains(**c)));
    none(missing.map(|c| Fault::of("README.md", format!("`{c}` is not on the first screen"))).collect());
}

#[test]
fn links_between_documents_lead_somewhere() {
    let mut faults = Vec::new();
    for file in TREE.files.iter().filter(|f| f.path.ends_with(".md")) {
        let folder = root().join(&file.path);
        let folder = folder.parent().expect("a file lies in a folder");
        for (at, line) in file.text.lines().enumerate() {
            for (start, _) in line.match_indices("](") {
                let target = line[start + 2..].split([')', '#', ' ']).next().unwrap_or_default();
                let local = !target.is_empty() && !target.contains("://") && !target.starts_with('/');
                if local && !folder.join(target).exists() {
                    faults.push(Fault::at(&file.path, at + 1, format!("the link to {target} is dead")));
                }
            }
        }
    }
    none(faults);
}

#[test]
fn no_file_names_a_machine() {
    // Put together here, so that this file does not find itself.
    let marks: Vec<String> = ["home", "root", "work", "Users"].iter().map(|f| format!("/{f}/")).collect();
    let mut faults = Vec::new();
    for file in &TREE.files {
        for (at, line) in file.text.lines().enumerate() {
            for mark in &marks {
                let starts_path = line.match_indices(mark.as_str()).any(|(p, _)| {
                    let before = line[..p].chars().next_back();
                    before
                        .is_none_or(|c| !(c.is_alphanumeric() || matches!(c, '/' | '_' | '-' | '.' | '}' | '$' | ')')))
                });
                if starts_path {
                    faults.push(Fault::at(&file.path, at + 1, format!("names a path of some machine ({mark}…)")));
                }
            }
            for host in ["index-url", "extra-index", "replace-with", "registry-index"] {
                let says = line.contains(host) && file.path != "tests/tidy/prose.rs";
                if says {
                    faults.push(Fault::at(&file.path, at + 1, format!("chooses a registry (`{host}`)")));
                }
            }
        }
    }
    none(faults);
}
