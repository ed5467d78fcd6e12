//! How the impure shell is written: bounded, biased, and on one clock.

use crate::source::words;
use crate::tree::{Source, TREE, source};
use crate::{Fault, none};

/// Files of the hub that may read the machine's clock or its randomness, and why.
const CLOCKS: [(&str, &str); 1] = [("hub/src/clock.rs", "the one place that does")];

/// Every use of a word in shipped code.
fn uses(sources: &[&Source], word: &str, what: &str) -> Vec<Fault> {
    let found = |s: &&Source| -> Vec<Fault> {
        words(&s.shipped, word).map(|(line, _)| Fault::at(&s.path, line, format!("`{word}`: {what}"))).collect()
    };
    sources.iter().flat_map(found).collect()
}

fn all() -> Vec<&'static Source> {
    TREE.sources.iter().collect()
}

#[test]
fn shipped_code_does_not_unwrap() {
    none(uses(&all(), ".unwrap()", "say in an `expect` why it holds, or return an error"));
}

#[test]
fn every_channel_is_bounded() {
    let mut faults = uses(&all(), "unbounded_channel", "a channel has a named limit");
    faults.extend(uses(&all(), "mpsc::unbounded", "a channel has a named limit"));
    none(faults);
}

#[test]
fn every_select_is_biased() {
    none(TREE.sources.iter().flat_map(unbiased).collect());
}

fn unbiased(source: &Source) -> Vec<Fault> {
    let selects = words(&source.code, "select!").filter(|(_, at)| {
        let body = source.code[at + "select!".len()..].trim_start();
        body.strip_prefix(['{', '(']).is_some_and(|b| !b.trim_start().starts_with("biased;"))
    });
    selects.map(|(line, _)| Fault::at(&source.path, line, "`select!` without `biased;` draws lots")).collect()
}

#[test]
fn the_hub_has_one_clock_and_one_source_of_chance() {
    let ours = |s: &&Source| TREE.crate_of(&s.path) == "hub" && !CLOCKS.iter().any(|(path, _)| *path == s.path);
    let sources: Vec<&Source> = TREE.sources.iter().filter(ours).collect();
    let mut faults = Vec::new();
    for word in ["SystemTime", "UNIX_EPOCH", "rand::", "getrandom", "OsRng", "jiff::Timestamp::now", "Zoned::now"] {
        faults.extend(uses(&sources, word, "only hub/src/clock.rs reads the clock and draws"));
    }
    // Tokio's Instant is for deadlines: it stands still when the simulation says so. The standard one never does.
    for source in sources {
        let std_instant = words(&source.shipped, "Instant::now").filter(|_| names_std_instant(&source.shipped));
        faults.extend(
            std_instant.map(|(line, _)| Fault::at(&source.path, line, "`std::time::Instant::now`: use tokio's")),
        );
    }
    none(faults);
}

/// Whether `Instant` here is the standard library's.
fn names_std_instant(code: &str) -> bool {
    let imports = code.split(';').filter(|s| s.contains("std::time::"));
    imports.into_iter().any(|s| words(s, "Instant").next().is_some())
}

#[test]
fn no_test_is_ignored_and_nothing_is_left_to_do() {
    let mut faults = Vec::new();
    for source in &TREE.sources {
        for (word, what) in [("#[ignore", "an ignored test"), ("todo!", "`todo!`"), ("dbg!", "`dbg!`")] {
            let found = words(&source.code, word).filter(|(_, at)| !source.code[*at..].starts_with("#[ignored"));
            faults.extend(found.map(|(line, _)| Fault::at(&source.path, line, what)));
        }
    }
    none(faults);
}

#[test]
fn these_rules_see_a_breach() {
    let bad = source(
        "hub/src/x.rs",
        "//! X\nuse std::time::{Duration, Instant};\nfn f() { tokio::select! { a = b => {} } Instant::now(); c.unwrap() }\n\
         #[cfg(test)]\nmod tests { fn g() { d.unwrap() } }\n",
    );
    assert_eq!(unbiased(&bad).len(), 1);
    assert!(names_std_instant(&bad.shipped));
    let unwraps = uses(&[&bad], ".unwrap()", "");
    assert_eq!((unwraps.len(), unwraps[0].line), (1, 3));
    let good = source("hub/src/y.rs", "use tokio::time::Instant; fn f() { select! { biased; a = b => {} } }");
    assert!(unbiased(&good).is_empty() && !names_std_instant(&good.shipped));
}
