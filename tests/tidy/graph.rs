//! Which room may know which, and the pins that the graph stands on.

use crate::purity::PURE;
use crate::source::words;
use crate::tree::{TREE, root};
use crate::{Fault, none};
use serde_json::Value;
use std::collections::BTreeSet;
use std::process::Command;
use std::sync::LazyLock;

/// A package of the build graph.
pub struct Package {
    pub id: String,
    pub name: String,
    pub version: String,
    /// Root source file of its library.
    pub library: Option<String>,
}

static METADATA: LazyLock<Value> = LazyLock::new(|| {
    let said = cargo(&["-vV"]);
    let said = String::from_utf8_lossy(&said);
    let host = said.lines().find_map(|line| line.strip_prefix("host: ")).expect("cargo says what it runs on");
    // What other platforms need was never fetched on a fresh machine.
    let metadata = ["metadata", "--offline", "--locked", "--format-version", "1", "--filter-platform", host];
    serde_json::from_slice(&cargo(&metadata)).expect("cargo writes JSON")
});

fn cargo(arguments: &[&str]) -> Vec<u8> {
    let output = Command::new(env!("CARGO")).current_dir(root()).args(arguments).output().expect("cargo can be run");
    assert!(output.status.success(), "cargo {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

pub fn packages() -> Vec<Package> {
    let packages = list(&METADATA["packages"]).iter().map(|p| {
        let is_library = |t: &&Value| list(&t["kind"]).iter().any(|k| matches!(text(k), "lib" | "rlib"));
        let library = list(&p["targets"]).iter().find(is_library).map(|t| text(&t["src_path"]).to_owned());
        Package {
            id: text(&p["id"]).into(),
            name: text(&p["name"]).into(),
            version: text(&p["version"]).into(),
            library,
        }
    });
    packages.collect()
}

/// Everything that `name` is built with, its dev-dependencies' own aside; with them if `dev`.
fn reaches(name: &str, dev: bool) -> BTreeSet<String> {
    let packages = packages();
    let id = |name: &str| packages.iter().find(|p| p.name == name).map(|p| p.id.clone());
    let start = id(name).unwrap_or_else(|| panic!("{name} is a package"));
    let (mut seen, mut open) = (BTreeSet::new(), vec![start.clone()]);
    while let Some(at) = open.pop() {
        let node = list(&METADATA["resolve"]["nodes"]).iter().find(|n| text(&n["id"]) == at);
        for dep in node.map_or(&[][..], |n| list(&n["deps"])) {
            let shipped = list(&dep["dep_kinds"]).iter().any(|k| text(&k["kind"]) != "dev");
            if (shipped || (dev && at == start)) && seen.insert(text(&dep["pkg"]).to_owned()) {
                open.push(text(&dep["pkg"]).to_owned());
            }
        }
    }
    packages.into_iter().filter(|p| seen.contains(&p.id)).map(|p| p.name).collect()
}

#[test]
fn rooms_know_only_whom_they_may() {
    // (room, its folder, what it must never reach, whether its tests may not either)
    let walls: [(&str, &str, &[&str], bool); 4] = [
        ("forge-hub", "hub", &["forge-agent", "forge-cli", "forge-simulations"], true),
        ("forge-log", "log", &["forge-projections", "forge-adapters", "forge-protocol", "forge-hub"], true),
        ("forge-agent", "hub/agent", &["forge-hub", "forge-log", "openraft", "redb"], false),
        ("forge-api", "hub/api", &["forge-hub", "forge-log", "openraft", "tokio"], false),
    ];
    let mut faults = Vec::new();
    for (room, folder, forbidden, dev) in walls {
        let reached = reaches(room, dev);
        let manifest = format!("{folder}/Cargo.toml");
        let bad = forbidden.iter().filter(|name| reached.contains(**name));
        faults.extend(bad.map(|name| Fault::of(&manifest, format!("{room} depends on {name}"))));
    }
    for (folder, room) in PURE {
        let pure: Vec<&str> = PURE.iter().map(|(_, name)| *name).collect();
        let manifest = format!("{folder}/Cargo.toml");
        let impure =
            reaches(room, false).into_iter().filter(|n| n.starts_with("forge-") && !pure.contains(&n.as_str()));
        faults.extend(impure.map(|name| Fault::of(&manifest, format!("the pure {room} depends on {name}"))));
    }
    none(faults);
}

#[test]
fn openraft_is_named_only_inside_the_log() {
    let mut faults = Vec::new();
    let outside = |path: &str| TREE.crate_of(path) != "log";
    for file in TREE.files.iter().filter(|f| f.path.ends_with("/Cargo.toml") && outside(&f.path)) {
        for (at, line) in file.text.lines().enumerate().filter(|(_, l)| l.trim_start().starts_with("openraft")) {
            faults.push(Fault::at(&file.path, at + 1, format!("only log/ may have `{}`", line.trim())));
        }
    }
    for source in TREE.sources.iter().filter(|s| outside(&s.path)) {
        for name in ["openraft", "openraft_rt", "openraft_rt_tokio"] {
            let found = words(&source.code, name);
            faults.extend(found.map(|(line, _)| Fault::at(&source.path, line, format!("`{name}` outside log/"))));
        }
    }
    none(faults);
}

#[test]
fn every_crate_takes_the_houses_lints_and_licence() {
    let mut faults = Vec::new();
    for folder in &TREE.crates {
        let path = format!("{folder}/Cargo.toml");
        let Some(file) = TREE.file(&path) else { continue };
        let squeezed: String = file.text.split_whitespace().collect();
        for (wanted, what) in [
            ("[lints]workspace=true", "`[lints] workspace = true` is missing"),
            ("license.workspace=true", "`license.workspace = true` is missing"),
            ("publish.workspace=true", "`publish.workspace = true` is missing"),
        ] {
            if !squeezed.contains(wanted) {
                faults.push(Fault::of(&path, what));
            }
        }
    }
    let root = TREE.file("Cargo.toml").map_or("", |f| f.text.as_str());
    if !root.contains("license = \"MIT OR Apache-2.0\"") {
        faults.push(Fault::of("Cargo.toml", "the licence is not `MIT OR Apache-2.0`"));
    }
    for folder in &TREE.crates {
        if !root.contains(&format!("\"{folder}\"")) {
            faults.push(Fault::of("Cargo.toml", format!("{folder} is not a member by name")));
        }
    }
    none(faults);
}

#[test]
fn pins_and_flags_stand() {
    let mut faults = Vec::new();
    let manifest = TREE.file("Cargo.toml").map_or("", |f| f.text.as_str());
    for (at, line) in manifest.lines().enumerate().filter(|(_, l)| l.starts_with("openraft")) {
        if !line.contains("\"=0.10.0-alpha.37\"") {
            faults.push(Fault::at("Cargo.toml", at + 1, "openraft is pinned with `=0.10.0-alpha.37`"));
        }
    }
    if !manifest.contains("openraft = ") {
        faults.push(Fault::of("Cargo.toml", "openraft has no pin"));
    }
    let flags = TREE.file(".cargo/config.toml").map_or("", |f| f.text.as_str());
    if !flags.contains("\"--cfg\", \"tokio_unstable\"") {
        faults.push(Fault::of(".cargo/config.toml", "`--cfg tokio_unstable` is missing from `[build] rustflags`"));
    }
    if !manifest.contains("overflow-checks = true") {
        faults.push(Fault::of("Cargo.toml", "overflow checks stay on in release builds"));
    }
    none(faults);
}

#[test]
fn every_dependency_comes_from_the_public_registry() {
    let lock = &TREE.file("Cargo.lock").expect("Cargo.lock is checked in").text;
    let wanted = "source = \"registry+https://github.com/rust-lang/crates.io-index\"";
    let faults = lock.lines().enumerate().filter(|(_, l)| l.starts_with("source = ") && *l != wanted);
    none(faults.map(|(at, l)| Fault::at("Cargo.lock", at + 1, l)).collect());
}
