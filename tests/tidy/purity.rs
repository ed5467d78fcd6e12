//! The pure crates cannot even name a clock, a file, a socket, a thread or a randomly seeded map.

use crate::graph::{self, Package};
use crate::source::words;
use crate::tree::{TREE, root};
use crate::{Fault, none};
use std::process::Command;

/// Folder and name of each pure crate.
pub const PURE: [(&str, &str); 4] = [
    ("log/event", "forge-event"),
    ("projections", "forge-projections"),
    ("projections/adapters", "forge-adapters"),
    ("hub/protocol", "forge-protocol"),
];

#[test]
fn pure_crates_are_no_std_and_do_not_name_std() {
    let mut faults = Vec::new();
    for (folder, _) in PURE {
        let lib = format!("{folder}/src/lib.rs");
        let source = TREE.sources.iter().find(|s| s.path == lib);
        if !source.is_some_and(|s| s.code.contains("#![no_std]")) {
            faults.push(Fault::of(&lib, "a pure crate starts with `#![no_std]`"));
        }
        let own = format!("{folder}/src/");
        for source in TREE.of_crate(folder).filter(|s| s.path.starts_with(&own)) {
            for word in ["std::", "extern crate std"] {
                let what = format!("`{word}` in a pure crate: take what it is needed for as an argument");
                faults.extend(words(&source.shipped, word).map(|(line, _)| Fault::at(&source.path, line, &*what)));
            }
        }
    }
    none(faults);
}

#[test]
fn nothing_below_a_pure_crate_links_std() {
    let mut faults = Vec::new();
    let packages = graph::packages();
    for (folder, name) in PURE {
        let manifest = format!("{folder}/Cargo.toml");
        for (package, version, features) in dependencies(name) {
            let with_std = features.split(',').find(|f| matches!(*f, "std" | "use-std"));
            if let Some(feature) = with_std {
                faults.push(Fault::of(&manifest, format!("{package} {version} comes with its feature `{feature}`")));
            }
            let found = packages.iter().find(|p| p.name == package && p.version == version);
            if !found.is_some_and(is_no_std) {
                faults.push(Fault::of(&manifest, format!("{package} {version} is not a `no_std` crate")));
            }
        }
    }
    none(faults);
}

fn is_no_std(package: &Package) -> bool {
    let Some(root) = &package.library else { return false };
    std::fs::read_to_string(root).is_ok_and(|text| text.contains("no_std"))
}

/// What a crate alone, built with its own features, links: (name, version, features).
fn dependencies(name: &str) -> Vec<(String, String, String)> {
    let output = Command::new(env!("CARGO"))
        .current_dir(root())
        .args(["tree", "--offline", "--locked", "-p", name, "-e", "normal,no-proc-macro"])
        .args(["--prefix", "none", "--no-dedupe", "-f", "{p} |{f}"])
        .output()
        .expect("cargo can be run");
    assert!(output.status.success(), "cargo tree -p {name}: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("cargo writes UTF-8");
    let mut found: Vec<(String, String, String)> = text
        .lines()
        .filter(|line| !line.is_empty())
        .map(|line| {
            let (package, features) = line.split_once('|').expect("the format has a bar");
            let mut words = package.split(' ');
            let name = words.next().expect("a package has a name");
            let version = words.next().expect("a package has a version").trim_start_matches('v');
            (name.to_owned(), version.to_owned(), features.to_owned())
        })
        .collect();
    found.sort();
    found.dedup();
    assert!(found.len() > 3, "cargo tree -p {name} names its dependencies");
    found
}
