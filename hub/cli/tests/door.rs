//! The program as scripts see it: exit codes, one line to be ready, a cluster by commands alone.

use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Nothing that a test waits for takes longer on a loaded machine with two cores.
const PATIENCE: Duration = Duration::from_secs(60);

/// A folder of its own for contexts and data.
struct Place(TempDir);

impl Place {
    fn new() -> Place {
        Place(tempfile::tempdir().expect("a folder"))
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().expect("temporary folders have UTF-8 names").into()
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_forge"));
        for name in ["FORGE_URL", "FORGE_KEY", "FORGE_CA", "FORGE_CONTEXT"] {
            command.env_remove(name);
        }
        command.env("FORGE_CONFIG_DIR", self.path("contexts")).args(words).stdin(Stdio::null());
        command
    }

    /// Runs to the end: exit code, stdout, stderr.
    fn run(&self, words: &[&str]) -> (i32, String, String) {
        let Output { status, stdout, stderr } = self.command(words).output().expect("it runs");
        let text = |bytes| String::from_utf8(bytes).expect("text");
        (status.code().expect("it ended by itself"), text(stdout), text(stderr))
    }

    /// The JSON of a command that succeeds.
    #[track_caller]
    fn json(&self, words: &[&str]) -> Value {
        let (code, out, err) = self.run(&[words, &["-o", "json"]].concat());
        assert_eq!(code, 0, "{words:?}: {err}");
        serde_json::from_str(&out).expect("one document")
    }

    /// Asks until `seen` of the answer.
    #[track_caller]
    fn until(&self, words: &[&str], seen: impl Fn(&Value) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !seen(&self.json(words)) {
            assert!(Instant::now() < deadline, "{words:?} never showed it: {}", self.json(words));
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn start(&self, words: &[&str]) -> Running {
        let child = self.command(words).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let mut child = child.expect("it starts");
        let out = BufReader::new(child.stdout.take().expect("its output is piped"));
        Running { child, out }
    }
}

/// A program that stays; killed when dropped.
struct Running {
    child: Child,
    out: BufReader<ChildStdout>,
}

impl Running {
    fn line(&mut self) -> Value {
        let mut line = String::new();
        self.out.read_line(&mut line).expect("its output can be read");
        serde_json::from_str(&line).unwrap_or_else(|e| panic!("{line:?}: {e}"))
    }

    /// Sends a signal and gives the exit code.
    fn signalled(mut self, signal: &str) -> Option<i32> {
        let sent = Command::new("kill").args([signal, &self.child.id().to_string()]).status();
        assert!(sent.expect("kill runs").success());
        self.child.wait().expect("it can be waited for").code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn every_end_of_a_command_has_its_exit_code() {
    let place = Place::new();
    let data = place.path("dev");
    let mut dev = place.start(&["dev", "--agents", "1", "--listen", "127.0.0.1:0", "--data", &data, "-o", "json"]);
    let ready = dev.line();
    assert_eq!((&ready["ready"], &ready["context"], &ready["ca"]), (&true.into(), &"dev".into(), &Value::Null));
    let code = |words: &[&str]| place.run(words).0;
    let submit = |words: &[&str]| {
        let job = place.json(&[&["submit", "null"], words].concat());
        job["id"].as_str().expect("an id").to_owned()
    };
    assert_eq!(code(&["submit", "null", "shards=3", "--name", "quick", "--wait"]), 0);
    assert_eq!(code(&["job", "show", "quick"]), 0);
    assert_eq!(code(&["job", "list", "-o", "xml"]), 2);
    let failed = submit(&["shards=3", "--max-credits", "0.000001"]);
    assert_eq!(code(&["job", "wait", &failed]), 3);
    let endless = submit(&["shards=1000000", "sleep_us=100000"]);
    assert_eq!(code(&["job", "wait", &endless, "--timeout", "1ms"]), 124);
    for follower in [&["job", "events", &endless, "--follow"][..], &["job", "watch", &endless], &["log", "tail"]] {
        let mut follows = place.start(&[follower, &["-o", "json"]].concat());
        assert_eq!(follows.line()["specversion"], "1.0");
        assert_eq!(follows.signalled("-INT"), Some(130), "{follower:?}");
    }
    assert_eq!(place.json(&["job", "show", "last"])["id"], *endless, "Ctrl-C cancels nothing");
    assert_eq!(code(&["job", "result", &endless]), 7);
    assert_eq!(code(&["job", "cancel", &endless]), 0);
    assert_eq!(code(&["job", "wait", &endless]), 4);
    assert_eq!(code(&["job", "show", "j999999"]), 5);
    assert_eq!(code(&["job", "list", "--key", "fk_dev_k1_nonsense"]), 6);
    assert_eq!(code(&["job", "list", "--url", "http://127.0.0.1:1"]), 8);
    for noun in ["agents", "project", "provider"] {
        assert_eq!(code(&[noun, "show", "last"]), 0, "`last` stands for the youngest {noun}");
    }
    let (candidates, _, said) = place.run(&["project", "show", "de"]);
    assert!(candidates == 2 && said.contains("demo") && said.contains("default"), "{said}");
    let (code, _, said) = place.run(&["job", "show", "j999999", "-o", "json"]);
    let problem: Value = serde_json::from_str(&said).expect("the problem alone");
    assert_eq!((code, problem["code"].as_str()), (5, Some("not-found")));
    assert_eq!(dev.signalled("-TERM"), Some(0));
}

#[test]
fn a_log_that_is_not_as_it_was_ends_verification_with_9() {
    let place = Place::new();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/log.forge");
    let log = std::fs::read(golden).expect("the golden log is checked in");
    let mut reader = forge_event::archive::Reader::new(&log).expect("an archive");
    let mut frames = Vec::new();
    while let Some(step) = reader.next() {
        let step = step.expect("it is sound");
        frames.push(step.offset..step.offset + step.frame.len());
    }
    let (third, fourth) = (frames[2].clone(), frames[3].clone());
    let mut flipped = log.clone();
    flipped[third.start + 12] ^= 1;
    let swapped = [&log[..third.start], &log[fourth.clone()], &log[third.clone()], &log[fourth.end..]].concat();
    let left_out = [&log[..third.start], &log[third.end..]].concat();
    let cases =
        [("checksum", flipped), ("truncated", log[..fourth.end].to_vec()), ("chain", swapped), ("chain", left_out)];
    let file = place.path("log.forge");
    std::fs::write(&file, &log).expect("written");
    assert_eq!(place.json(&["log", "verify", &file])["ok"], true);
    for (code, bad) in cases {
        std::fs::write(&file, bad).expect("written");
        let (exit, out, _) = place.run(&["log", "verify", &file, "-o", "json"]);
        let said: Value = serde_json::from_str(&out).expect("one document");
        assert_eq!((exit, &said["ok"], said["error"]["code"].as_str()), (9, &false.into(), Some(code)), "{said}");
        let all = ["index", "turn", "offset", "last_good_index"];
        assert!(all.iter().all(|f| said["error"][f].is_u64()), "{said}");
    }
}

#[test]
fn a_cluster_is_founded_grown_handed_over_and_mended_by_commands() {
    let place = Place::new();
    let folders = ["d1", "d2", "d3"].map(|name| place.path(name));
    let listen = ["--listen", "127.0.0.1:0"];
    let init = |folder: &str, more: &[&str]| {
        place.run(&[&["hub", "init", "--data", folder, "-o", "json"], &listen[..], more].concat())
    };
    let run = |folder: &str| {
        let mut node = place.start(&["hub", "run", "--data", folder, "-o", "json"]);
        let ready = node.line();
        assert!(ready["ready"] == true && ready.get("key").is_none(), "{ready}");
        (node, ready["url"].as_str().expect("a url").to_owned())
    };
    assert_eq!(init(&folders[0], &[]).0, 0);
    assert_eq!(init(&folders[0], &[]).0, 2, "a node's folder is not taken twice");
    let (_first, url) = run(&folders[0]);
    let key = std::fs::read_to_string(format!("{}/admin.key", folders[0])).expect("the first key");
    let ca = format!("{}/ca.pem", folders[0]);
    let add = ["context", "add", "c", "--url", &url, "--key", key.trim(), "--ca", &ca];
    assert_eq!(place.run(&add).0, 0);
    assert_eq!(place.run(&["context", "use", "c"]).0, 0);
    let token = |words: &[&str]| {
        let made = place.json(words);
        assert!(made["expires_at"].is_string(), "{made}");
        made["token"].as_str().expect("a token").to_owned()
    };
    let member = |body: &Value, id: &str| {
        let members = body["members"].as_array().expect("members").iter();
        members.into_iter().find(|m| m["id"] == id).cloned().unwrap_or_default()
    };
    let joined = token(&["cluster", "add"]);
    assert_eq!(init(&folders[1], &["--join", &joined]).0, 0);
    let (code, _, said) = init(&folders[2], &["--join", &joined]);
    assert!(code == 6 && said.contains("enrolment-spent"), "{said}");
    assert!(!Path::new(&folders[2]).exists(), "a refused join leaves nothing");
    let (second, _) = run(&folders[1]);
    place.until(&["cluster", "status"], |body| member(body, "n2")["role"] == "follower");
    assert_eq!(place.json(&["cluster", "transfer", "n2"])["leader"], "n2");
    // The context knows n1 alone: what follows goes through a follower.
    assert_eq!(place.json(&["cluster", "transfer", "n1"])["leader"], "n1");
    let replacement = token(&["cluster", "replace", "n2", "--yes"]);
    assert_eq!(init(&folders[2], &["--join", &replacement]).0, 0);
    let (_third, _) = run(&folders[2]);
    place.until(&["cluster", "status"], |body| member(body, "n3")["role"] == "follower");
    place.until(&["cluster", "status"], |body| member(body, "n2").is_null());
    assert_eq!(second.signalled("-TERM"), Some(0), "a node that was removed still ends in good order");
    assert_eq!(place.run(&["cluster", "remove", "n9", "--yes"]).0, 5);
}
