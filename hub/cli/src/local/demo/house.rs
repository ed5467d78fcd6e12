//! The processes of the demo: hubs and agents, each with a folder of its own.

use crate::client::{Ask, Client};
use crate::contexts::Context;
use anyhow::{Context as _, Result, anyhow, bail};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// A process is ready within this time.
const READY_WAIT: Duration = Duration::from_secs(20);
/// Between two looks at something that takes its time.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// A started process; killed when dropped.
pub struct Process {
    pub child: Child,
    pub ready: Value,
}

/// A cluster of processes.
pub struct House {
    folder: PathBuf,
    pub hubs: Vec<Process>,
    pub agents: Vec<Process>,
    pub project: String,
    key: String,
    ca: PathBuf,
}

fn forge() -> Result<Command> {
    let mut command = Command::new(std::env::current_exe().context("finding this program")?);
    for name in ["FORGE_URL", "FORGE_KEY", "FORGE_CA", "FORGE_CONTEXT"] {
        command.env_remove(name);
    }
    command.stdin(Stdio::null()).kill_on_drop(true);
    Ok(command)
}

/// Runs a verb to its end; gives the JSON it printed.
async fn ask(arguments: &[&str]) -> Result<Value> {
    let output = forge()?.args(arguments).args(["-o", "json"]).output().await.context("starting this program")?;
    if !output.status.success() {
        bail!("`forge {}` failed: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    serde_json::from_slice(&output.stdout).with_context(|| format!("reading what `forge {}` said", arguments.join(" ")))
}

/// Starts a verb that prints a ready line and goes on.
async fn start(folder: &Path, arguments: &[&str]) -> Result<Process> {
    let log = std::fs::File::create(folder.join("stderr.log")).context("making a log file")?;
    let mut command = forge()?;
    command.args(arguments).args(["-o", "json"]).stdout(Stdio::piped()).stderr(log);
    let mut child = command.spawn().context("starting this program")?;
    let out = child.stdout.take().ok_or_else(|| anyhow!("the process has no stdout"))?;
    let mut lines = BufReader::new(out).lines();
    let line = tokio::time::timeout(READY_WAIT, lines.next_line()).await;
    let Ok(Ok(Some(line))) = line else {
        let said = std::fs::read_to_string(folder.join("stderr.log")).unwrap_or_default();
        bail!("`forge {}` did not become ready: {}", arguments.join(" "), said.trim());
    };
    Ok(Process { child, ready: serde_json::from_str(&line).context("reading a ready line")? })
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().ok_or_else(|| anyhow!("the folder's name is not UTF-8"))
}

impl House {
    /// Starts `nodes` hubs and `agents` agents in `folder`, with a project that has credits.
    ///
    /// # Errors
    /// If a process does not start or does not answer.
    pub async fn start(folder: &Path, nodes: usize, agents: usize) -> Result<House> {
        let first = folder.join("n1");
        std::fs::create_dir_all(&first).context("making a folder")?;
        ask(&["hub", "init", "--data", text(&first)?, "--cluster-name", "demo", "--listen", "127.0.0.1:0"]).await?;
        let hub = start(&first, &["hub", "run", "--data", text(&first)?]).await?;
        let key = std::fs::read_to_string(first.join("admin.key")).context("reading the admin key")?.trim().to_owned();
        let mut house = House {
            folder: folder.to_owned(),
            hubs: vec![hub],
            agents: Vec::new(),
            project: String::new(),
            key,
            ca: first.join("ca.pem"),
        };
        for number in 2..=nodes {
            house.grow(number).await?;
        }
        house.settle_project().await?;
        house.enrol(agents).await?;
        Ok(house)
    }

    async fn grow(&mut self, number: usize) -> Result<()> {
        let data = self.folder.join(format!("n{number}"));
        std::fs::create_dir_all(&data).context("making a folder")?;
        let token = self.client()?.json(Ask::post("/v1/cluster/members", json!({}))).await?;
        let token = token["token"].as_str().ok_or_else(|| anyhow!("an invitation has no token"))?.to_owned();
        ask(&["hub", "init", "--data", text(&data)?, "--join", &token, "--listen", "127.0.0.1:0"]).await?;
        self.hubs.push(start(&data, &["hub", "run", "--data", text(&data)?]).await?);
        let voters = async {
            loop {
                let cluster = self.client()?.json(Ask::get("/v1/cluster")).await?;
                let members = cluster["members"].as_array().cloned().unwrap_or_default();
                if members.iter().filter(|m| m["role"] != "learner").count() == number {
                    return anyhow::Ok(());
                }
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        };
        tokio::time::timeout(READY_WAIT, voters).await.map_err(|_| anyhow!("node {number} did not become a voter"))?
    }

    async fn settle_project(&mut self) -> Result<()> {
        let client = self.client()?;
        let projects = client.json(Ask::get("/v1/projects")).await?;
        let project = projects["data"][0]["id"].as_str().ok_or_else(|| anyhow!("there is no project"))?.to_owned();
        let credits = json!({"amount": "1000.000000", "reference": "demo"});
        client.json(Ask::post(format!("/v1/projects/{project}/credits"), credits)).await?;
        self.project = project;
        Ok(())
    }

    async fn enrol(&mut self, agents: usize) -> Result<()> {
        let client = self.client()?;
        let provider = client.json(Ask::post("/v1/providers", json!({"name": "demo"}))).await?;
        for number in 1..=agents {
            let data = self.folder.join(format!("a{number}"));
            std::fs::create_dir_all(&data).context("making a folder")?;
            let body = json!({"provider": provider["id"], "ttl": "15m", "anchor": false});
            let invited = client.json(Ask::post("/v1/agents/enrolments", body)).await?;
            let token = invited["token"].as_str().ok_or_else(|| anyhow!("an enrolment has no token"))?;
            ask(&["agent", "enrol", token, "--data", text(&data)?]).await?;
            self.agents.push(start(&data, &["agent", "run", "--data", text(&data)?, "--slots", "1"]).await?);
        }
        Ok(())
    }

    /// A client that knows every node that still runs.
    ///
    /// # Errors
    /// If the CA cannot be read.
    pub fn client(&self) -> Result<Client> {
        let urls = self.hubs.iter().filter_map(|h| h.ready["url"].as_str().map(str::to_owned)).collect();
        let context = Context { urls, key: Some(self.key.clone()), project: None, ca: Some(self.ca.clone()) };
        Ok(Client::new("demo".into(), context, None, false)?)
    }

    /// Kills the leader's process with SIGKILL; gives its id.
    ///
    /// # Errors
    /// If no leader is known.
    pub async fn kill_leader(&mut self) -> Result<String> {
        let cluster = self.client()?.json(Ask::get("/v1/cluster")).await?;
        let leader = cluster["leader"].as_str().ok_or_else(|| anyhow!("the cluster has no leader"))?.to_owned();
        let at = self.hubs.iter().position(|h| h.ready["node"] == leader.as_str());
        let at = at.ok_or_else(|| anyhow!("the leader {leader} is not one of the demo's processes"))?;
        let mut hub = self.hubs.remove(at);
        hub.child.kill().await.context("killing the leader")?;
        Ok(leader)
    }

    /// Submits a job; gives its id.
    ///
    /// # Errors
    /// The hub's problem.
    pub async fn submit(&self, body: Value) -> Result<String> {
        let job = self.client()?.json(Ask::post("/v1/jobs", body)).await?;
        job["id"].as_str().map(str::to_owned).ok_or_else(|| anyhow!("the job has no id"))
    }

    /// The job as it stands.
    ///
    /// # Errors
    /// The hub's problem.
    pub async fn job(&self, id: &str) -> Result<Value> {
        Ok(self.client()?.json(Ask::get(format!("/v1/jobs/{id}"))).await?)
    }

    /// The result's bytes and the digest in the header.
    ///
    /// # Errors
    /// The hub's problem.
    pub async fn result(&self, id: &str) -> Result<(Vec<u8>, String)> {
        let answer = self.client()?.ask(Ask::get(format!("/v1/jobs/{id}/result"))).await?;
        let digest = answer.header("forge-result-digest").unwrap_or_default().to_owned();
        Ok((answer.bytes, digest))
    }

    /// The whole log in the archive format.
    ///
    /// # Errors
    /// The hub's problem.
    pub async fn export(&self) -> Result<Vec<u8>> {
        let ask = Ask::get("/v1/log/export?format=forge").waiting(READY_WAIT);
        Ok(self.client()?.ask(ask).await?.bytes)
    }
}
