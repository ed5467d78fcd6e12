//! A process of the test binary `forge-test-process`.

use serde_json::Value;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::LazyLock;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{ChildStdin, ChildStdout, Command};

/// A process says its line, or ends, within this time.
const WAIT: Duration = Duration::from_secs(40);

/// The binary lies beside the folder that the running test binary lies in.
static PROGRAM: LazyLock<PathBuf> = LazyLock::new(|| {
    let own = std::env::current_exe().expect("a test knows its own binary");
    let folder = own.parent().and_then(|deps| deps.parent()).expect("test binaries lie in target/<profile>/deps");
    folder.join(format!("forge-test-process{}", std::env::consts::EXE_SUFFIX))
});

/// A running process; killed when dropped.
pub struct Child {
    what: String,
    process: tokio::process::Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Child {
    /// Starts it.
    pub fn start(words: &[&str]) -> Child {
        Child::start_with(words, &[])
    }

    /// Starts it with more in its environment.
    pub fn start_with(words: &[&str], environment: &[(String, String)]) -> Child {
        let mut command = Command::new(&*PROGRAM);
        command.envs(environment.iter().map(|(name, value)| (name, value)));
        command.args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let what = words.join(" ");
        let mut process = command.spawn().unwrap_or_else(|e| panic!("{}: {e}", PROGRAM.display()));
        let input = process.stdin.take().expect("its input is piped");
        let output = process.stdout.take().expect("its output is piped");
        Child { what, process, input, output: BufReader::new(output) }
    }

    /// Starts it and waits for its end: its exit code and its answer.
    pub async fn run(words: &[&str]) -> (i32, Value) {
        let mut child = Child::start(words);
        let said = child.line().await;
        let code = child.ended().await.code().expect("it ended by itself");
        (code, said.unwrap_or(Value::Null))
    }

    /// Starts what cannot start: gives what it says of that.
    ///
    /// # Panics
    /// If it does start.
    pub async fn fails(words: &[&str], environment: &[(String, String)]) -> String {
        let mut command = Command::new(&*PROGRAM);
        command.args(words).envs(environment.iter().map(|(name, value)| (name, value)));
        let run = command.stdin(Stdio::piped()).kill_on_drop(true).output();
        let run = tokio::time::timeout(WAIT, run).await.expect("it ends in time").expect("it can be run");
        assert!(!run.status.success(), "it started");
        String::from_utf8_lossy(&run.stderr).into_owned()
    }

    /// The next line of its output; `None` if it ended instead.
    async fn line(&mut self) -> Option<Value> {
        let mut line = String::new();
        let read = tokio::time::timeout(WAIT, self.output.read_line(&mut line)).await;
        read.unwrap_or_else(|_| panic!("`{}` said nothing in time", self.what)).expect("its output can be read");
        serde_json::from_str(&line).ok()
    }

    /// The line that says it is ready.
    ///
    /// # Panics
    /// If it ends instead.
    pub async fn ready(&mut self) -> Value {
        let said = self.line().await;
        said.unwrap_or_else(|| panic!("`{}` ended instead of getting ready", self.what))
    }

    /// Ends it as a power cut would.
    pub async fn kill(mut self) {
        self.process.kill().await.expect("it can be killed");
    }

    /// Ends it in good order.
    pub async fn drain(mut self) -> ExitStatus {
        self.input.write_all(b"drain\n").await.expect("it reads its input");
        self.ended().await
    }

    async fn ended(&mut self) -> ExitStatus {
        let ended = tokio::time::timeout(WAIT, self.process.wait()).await;
        ended.unwrap_or_else(|_| panic!("`{}` did not end in time", self.what)).expect("it can be waited for")
    }
}
