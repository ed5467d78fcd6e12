//! The processes of a bench: hubs and agents, each hub with a folder of its own.

use crate::machine;
use crate::rest::Rest;
use anyhow::{Context, Result, anyhow, bail};
use forge_event::{KeyId, NodeId, ProjectId};
use futures::stream::{self, StreamExt, TryStreamExt};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// A process is ready within this time.
const READY_WAIT: Duration = Duration::from_secs(30);
/// Many agents together enrol, and join, within this time.
const FLEET_WAIT: Duration = Duration::from_secs(600);
/// Between two looks at something that takes its time.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// Up to so many agents each have a process of their own.
const OWN_PROCESS_AGENTS_MAX: usize = 16;
/// Processes that share more agents than that.
const FLEETS: usize = 4;
/// Invitations asked for at once.
const INVITES_AT_ONCE: usize = 16;
/// How long one long poll for a job waits.
const POLL: Duration = Duration::from_secs(20);

/// A process of this binary that speaks in JSON lines; killed when dropped.
pub struct Process {
    pub child: Child,
    pub pid: u32,
    input: Option<ChildStdin>,
    lines: Lines<BufReader<ChildStdout>>,
    log: PathBuf,
}

impl Process {
    /// Starts `forge <arguments>`; what it says on stderr goes to a file in `folder`.
    ///
    /// # Errors
    /// If it does not start.
    pub fn start(folder: &Path, arguments: &[&str]) -> Result<Process> {
        std::fs::create_dir_all(folder).context("making a folder")?;
        let log = folder.join("stderr.log");
        let errors = std::fs::File::options().create(true).append(true).open(&log).context("making a log file")?;
        let mut command = forge()?;
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(errors);
        let mut child = command.spawn().context("starting this program")?;
        let out = child.stdout.take().ok_or_else(|| anyhow!("the process has no stdout"))?;
        let pid = child.id().ok_or_else(|| anyhow!("the process has ended"))?;
        let input = child.stdin.take();
        Ok(Process { child, pid, input, lines: BufReader::new(out).lines(), log })
    }

    /// The next line it says.
    ///
    /// # Errors
    /// If it says nothing in time, or ends.
    pub async fn line(&mut self, within: Duration) -> Result<Value> {
        let Ok(Ok(Some(line))) = tokio::time::timeout(within, self.lines.next_line()).await else {
            let said = std::fs::read_to_string(&self.log).unwrap_or_default();
            bail!("a process of the bench did not become ready: {}", said.trim());
        };
        serde_json::from_str(&line).with_context(|| format!("reading the line {line}"))
    }

    /// Says a line to it.
    ///
    /// # Errors
    /// If it does not read.
    pub async fn say(&mut self, line: &str) -> Result<()> {
        let input = self.input.as_mut().ok_or_else(|| anyhow!("the process reads nothing"))?;
        input.write_all(format!("{line}\n").as_bytes()).await.context("speaking to a process")?;
        input.flush().await.context("speaking to a process")
    }
}

fn forge() -> Result<Command> {
    let mut command = Command::new(std::env::current_exe().context("finding this program")?);
    for name in ["FORGE_URL", "FORGE_KEY", "FORGE_CA", "FORGE_CONTEXT"] {
        command.env_remove(name);
    }
    command.kill_on_drop(true);
    Ok(command)
}

/// Runs a verb to its end.
async fn done(arguments: &[&str]) -> Result<()> {
    let output = forge()?.args(arguments).stdin(Stdio::null()).output().await.context("starting this program")?;
    if !output.status.success() {
        bail!("`forge {}` failed: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().ok_or_else(|| anyhow!("the folder's name is not UTF-8"))
}

/// A hub's process.
pub struct Hub {
    pub process: Process,
    pub data: PathBuf,
    pub node: NodeId,
    pub url: String,
    /// Where it listens for peers.
    pub peers: String,
    /// Where it listens for agents, whatever it tells them.
    pub agents: SocketAddr,
}

/// A cluster of processes and their agents.
pub struct House {
    folder: PathBuf,
    kind: Hubs,
    pub hubs: Vec<Hub>,
    pub fleets: Vec<Process>,
    pub project: ProjectId,
    pub key: KeyId,
    secret: String,
    ca: PathBuf,
}

/// How a bench runs its hubs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Hubs {
    /// As `forge hub run`.
    Plain,
    /// The same, with writers in the process that wait for orders on stdin.
    Writing,
}

async fn run_hub(data: &Path, hubs: Hubs) -> Result<Hub> {
    let verb: &[&str] = match hubs {
        Hubs::Plain => &["hub", "run", "-o", "json", "--data"],
        Hubs::Writing => &["bench-hub", "--data"],
    };
    let mut process = Process::start(data, &[verb, &[text(data)?]].concat())?;
    let ready = process.line(READY_WAIT).await?;
    let said = |name: &str| ready[name].as_str().map(str::to_owned).ok_or_else(|| anyhow!("no {name} in {ready}"));
    let settings = forge_hub::config::NodeFile::load(data)?;
    let node = said("node")?.parse().map_err(|e| anyhow!("a node's id: {e}"))?;
    let listen = settings.listen;
    let (url, peers) = (said("url")?, listen.peers.to_string());
    Ok(Hub { process, data: data.to_owned(), node, url, peers, agents: listen.agents })
}

impl House {
    /// Starts `nodes` hubs in `folder`, with a project that has credits.
    ///
    /// # Errors
    /// If a process does not start or does not answer.
    pub async fn start(folder: &Path, nodes: usize) -> Result<House> {
        House::start_with(folder, nodes, Hubs::Plain).await
    }

    /// As [`House::start`], with hubs of a kind.
    ///
    /// # Errors
    /// As there.
    pub async fn start_with(folder: &Path, nodes: usize, kind: Hubs) -> Result<House> {
        House::found(folder, nodes, kind, &[]).await
    }

    /// As [`House::start`], with one hub that tells agents the same port of another host.
    ///
    /// # Errors
    /// As there.
    pub async fn start_behind(folder: &Path, host: &str) -> Result<House> {
        House::found(folder, 1, Hubs::Plain, &["--advertise", host]).await
    }

    async fn found(folder: &Path, nodes: usize, kind: Hubs, more: &[&str]) -> Result<House> {
        let first = folder.join("n1");
        let verb = ["hub", "init", "--data", text(&first)?, "--cluster-name", "bench", "--listen", "127.0.0.1:0"];
        done(&[&verb, more].concat()).await?;
        let hub = run_hub(&first, kind).await?;
        let secret = std::fs::read_to_string(first.join("admin.key")).context("reading the admin key")?;
        let secret = secret.trim().to_owned();
        let key = forge_api::key::parse(&secret).map_err(|e| anyhow!("reading the admin key: {e:?}"))?.id;
        let mut house = House {
            folder: folder.to_owned(),
            kind,
            hubs: vec![hub],
            fleets: Vec::new(),
            project: ProjectId(0),
            key,
            secret,
            ca: first.join("ca.pem"),
        };
        for number in 2..=nodes {
            house.grow(number).await?;
        }
        let rest = house.rest()?;
        let projects = rest.get("/v1/projects").await?;
        let project = projects["data"][0]["id"].as_str().ok_or_else(|| anyhow!("there is no project"))?;
        house.project = project.parse().map_err(|e| anyhow!("a project's id: {e}"))?;
        let credits = json!({"amount": "1000000000.000000", "reference": "bench"});
        rest.post(&format!("/v1/projects/{project}/credits"), credits).await?;
        Ok(house)
    }

    async fn grow(&mut self, number: usize) -> Result<()> {
        let data = self.folder.join(format!("n{number}"));
        let invite = self.rest()?.post("/v1/cluster/members", json!({})).await?;
        let token = invite["token"].as_str().ok_or_else(|| anyhow!("an invitation has no token"))?;
        done(&["hub", "init", "--data", text(&data)?, "--join", token, "--listen", "127.0.0.1:0"]).await?;
        self.hubs.push(run_hub(&data, self.kind).await?);
        self.settled(number).await
    }

    /// Waits until the leader sees so many healthy voters.
    ///
    /// # Errors
    /// If that does not happen in time.
    pub async fn settled(&self, voters: usize) -> Result<()> {
        let started = Instant::now();
        let mut seen = Value::Null;
        while started.elapsed() < READY_WAIT {
            let leader = self.leader().await?;
            let url = self.hubs.iter().find(|h| h.node == leader).map(|h| h.url.clone());
            if let Some(url) = url
                && let Ok(text) = self.rest()?.text_of(&url, "/v1/cluster").await
            {
                seen = serde_json::from_str(&text).unwrap_or_default();
                let members = seen["members"].as_array().cloned().unwrap_or_default();
                let healthy = members.iter().filter(|m| m["role"] != "learner" && m["state"] == "ok").count();
                // A node that came back under load is behind for a moment; it must not be counted on before.
                let near = members.iter().all(|m| m["lag"].as_u64().unwrap_or(0) < 200);
                if healthy == voters && near {
                    return Ok(());
                }
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        bail!("the cluster did not settle with {voters} voters: {seen}")
    }

    /// A client that knows every node.
    ///
    /// # Errors
    /// If the CA cannot be read.
    pub fn rest(&self) -> Result<Rest> {
        Rest::new(self.hubs.iter().map(|h| h.url.clone()).collect(), self.secret.clone(), &self.ca)
    }

    /// Who leads.
    ///
    /// # Errors
    /// If nobody does in time.
    pub async fn leader(&self) -> Result<NodeId> {
        let rest = self.rest()?;
        let started = Instant::now();
        while started.elapsed() < READY_WAIT {
            let cluster = rest.get("/v1/cluster").await?;
            if let Some(leader) = cluster["leader"].as_str() {
                return leader.parse().map_err(|e| anyhow!("a node's id: {e}"));
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        bail!("the cluster has no leader")
    }

    /// Enrols `count` agents, each with its own key and a folder of its own, in separate processes; they wait for
    /// [`House::join_agents`].
    ///
    /// # Errors
    /// If one is not enrolled.
    pub async fn enrol_agents(&mut self, count: usize, slots: u32) -> Result<()> {
        if count == 0 {
            return Ok(());
        }
        let rest = self.rest()?;
        let provider = rest.post("/v1/providers", json!({"name": "bench"})).await?;
        let provider = &provider["id"];
        let invite = |_| {
            let body = json!({"provider": provider, "ttl": "1h", "anchor": false});
            let rest = &rest;
            async move {
                let invited = rest.post("/v1/agents/enrolments", body).await?;
                invited["token"].as_str().map(str::to_owned).ok_or_else(|| anyhow!("an enrolment has no token"))
            }
        };
        let tokens: Vec<String> =
            stream::iter(0..count).map(invite).buffer_unordered(INVITES_AT_ONCE).try_collect().await?;
        let shared = if count <= OWN_PROCESS_AGENTS_MAX { 1 } else { count.div_ceil(FLEETS) };
        for (number, tokens) in tokens.chunks(shared).enumerate() {
            let data = self.folder.join(format!("a{}", number + 1));
            std::fs::create_dir_all(&data).context("making a folder")?;
            std::fs::write(data.join(crate::fleet::TOKENS_FILE), tokens.join("\n")).context("writing tokens")?;
            let (count, slots) = (tokens.len().to_string(), slots.to_string());
            let arguments = ["bench-agents", "--data", text(&data)?, "--count", &count, "--slots", &slots];
            self.fleets.push(Process::start(&data, &arguments)?);
        }
        for fleet in &mut self.fleets {
            fleet.line(FLEET_WAIT).await.context("enrolling agents")?;
        }
        Ok(())
    }

    /// Lets the enrolled agents join; gives how long it took until each had a session.
    ///
    /// # Errors
    /// If one does not join in time.
    pub async fn join_agents(&mut self) -> Result<Duration> {
        let started = Instant::now();
        for fleet in &mut self.fleets {
            fleet.say("go").await?;
        }
        for fleet in &mut self.fleets {
            fleet.line(FLEET_WAIT).await.context("joining agents")?;
        }
        Ok(started.elapsed())
    }

    /// Processes of this bench, this one included.
    pub fn processes(&self) -> usize {
        self.hubs.len() + self.fleets.len() + 1
    }

    /// CPU time of all hubs so far. Units: microseconds.
    ///
    /// # Errors
    /// If a hub is gone.
    pub fn hub_cpu_us(&self) -> Result<u64> {
        self.hubs.iter().map(|h| machine::cpu_us(h.process.pid)).sum()
    }

    /// A counter, gauge or summary line of each hub's metrics; 0 where it is absent.
    ///
    /// # Errors
    /// If a hub does not answer.
    pub async fn metric(&self, name: &str) -> Result<Vec<f64>> {
        let rest = self.rest()?;
        let mut found = Vec::new();
        for hub in &self.hubs {
            let text = rest.text_of(&hub.url, "/metrics").await?;
            let value = text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok());
            found.push(value.unwrap_or(0.0));
        }
        Ok(found)
    }

    /// Fsyncs of all nodes' Raft logs since they started.
    ///
    /// # Errors
    /// If a hub does not answer.
    pub async fn fsyncs(&self) -> Result<u64> {
        Ok(self.metric("forge_log_fsyncs_total").await?.iter().sum::<f64>() as u64)
    }

    /// Submits a null job; gives its id.
    ///
    /// # Errors
    /// The hub's problem.
    pub async fn submit_null(&self, rest: &Rest, shards: u64, sleep_us: u64) -> Result<String> {
        self.submit_null_of(rest, shards, sleep_us, 0).await
    }

    /// As [`House::submit_null`], with results of so many bytes.
    ///
    /// # Errors
    /// The hub's problem.
    pub async fn submit_null_of(&self, rest: &Rest, shards: u64, sleep_us: u64, bytes: u64) -> Result<String> {
        let spec = json!({"shards": shards, "sleep_us": sleep_us, "payload_bytes": bytes});
        let job = rest.post("/v1/jobs", json!({"kind": "null", "spec": spec})).await?;
        job["id"].as_str().map(str::to_owned).ok_or_else(|| anyhow!("the job has no id"))
    }

    /// Waits for a job's success.
    ///
    /// # Errors
    /// If it ends in another way, or not within `limit`.
    pub async fn succeeded(&self, rest: &Rest, id: &str, limit: Duration) -> Result<()> {
        let started = Instant::now();
        loop {
            // The hub answers as soon as the job ends: no polling interval is in the figures.
            let path = format!("/v1/jobs/{id}?until=terminal&wait={}ms", POLL.as_millis());
            let job = rest.get(&path).await?;
            match job["state"].as_str() {
                Some("succeeded") => return Ok(()),
                Some("failed" | "cancelled") => bail!("{id} ended as {}: {}", job["state"], job["error"]),
                _ if started.elapsed() > limit => bail!("{id} is still {} after {limit:?}", job["state"]),
                _ => {}
            }
        }
    }

    /// The whole log in the archive format, from whichever node answers.
    ///
    /// # Errors
    /// The hub's problem.
    pub async fn export(&self) -> Result<Vec<u8>> {
        self.rest()?.bytes("/v1/log/export?format=forge").await
    }

    /// Kills the process of a node with SIGKILL.
    ///
    /// # Errors
    /// If it is not one of ours.
    pub async fn kill(&mut self, node: NodeId) -> Result<Instant> {
        let hub = self.hubs.iter_mut().find(|h| h.node == node);
        let hub = hub.ok_or_else(|| anyhow!("{node} is not a process of this bench"))?;
        let at = Instant::now();
        hub.process.child.kill().await.context("killing a hub")?;
        Ok(at)
    }

    /// Starts a killed node again.
    ///
    /// # Errors
    /// If it does not start.
    pub async fn restart(&mut self, node: NodeId) -> Result<()> {
        let at = self.hubs.iter().position(|h| h.node == node);
        let at = at.ok_or_else(|| anyhow!("{node} is not a process of this bench"))?;
        self.hubs[at] = run_hub(&self.hubs[at].data.clone(), self.kind).await?;
        Ok(())
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }
}
