//! Stories about the projections: verbs in, a golden transcript of decisions out.
//!
//! `UPDATE_SCRIPTS=1 cargo test -p forge-projections --test it scripts` writes the transcripts anew.
//! The verbs stand in `scripts/README.md`.

use crate::script::Player;
use std::path::Path;

/// Runs a script; gives it back with its transcript as played.
fn play(text: &str) -> String {
    let mut player = Player::new();
    let mut played = String::new();
    let mut blocks = text.split("\n\n").peekable();
    while let Some(block) = blocks.next() {
        let verbs = block.split("\n----").next().unwrap_or_default();
        played.push_str(verbs.trim_end());
        let acts = verbs.lines().any(|l| !l.trim().is_empty() && !l.starts_with('#'));
        if acts {
            played.push_str("\n----\n");
            for line in verbs.lines().filter(|l| !l.trim().is_empty() && !l.starts_with('#')) {
                player.line(line);
            }
            for line in player.take() {
                played.push_str(&line);
                played.push('\n');
            }
        } else {
            played.push('\n');
        }
        if blocks.peek().is_some() {
            played.push('\n');
        }
    }
    player.end();
    played
}

#[test]
fn every_script_plays_as_its_transcript_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts");
    let mut paths: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|e| e.unwrap().path()).collect();
    paths.retain(|p| p.extension().is_some_and(|e| e == "txt"));
    paths.sort();
    assert!(paths.len() >= 15, "the stories are there");
    let mut differ = Vec::new();
    for path in paths {
        let text = std::fs::read_to_string(&path).unwrap();
        let played = play(&text);
        if std::env::var_os("UPDATE_SCRIPTS").is_some() {
            std::fs::write(&path, &played).unwrap();
        } else if played != text {
            let at = played.lines().zip(text.lines()).position(|(a, b)| a != b).unwrap_or(0);
            let line = |t: &str| t.lines().nth(at).unwrap_or("").to_string();
            differ.push(format!("{}:{}: played {:?}", path.display(), at + 1, line(&played)));
        }
    }
    assert!(differ.is_empty(), "UPDATE_SCRIPTS=1 rewrites them if the change is meant:\n{}", differ.join("\n"));
}
