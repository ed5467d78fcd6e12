//! `forge dev`: a hub cluster and agents in one process, with a project, credits and a key.

use super::hub::ListenFlags;
use super::ready::Ready;
use anyhow::{Context, Result, anyhow};
use forge_agent::{AgentConfig, AgentHandle, Fleet};
use forge_api::key;
use forge_event::*;
use forge_hub::Hub;
use forge_hub::config::{Listen, NodeFile, write_private};
use forge_hub::init::{self, Settings};
use forge_hub::node::Node;
use forge_projections::Command;
use forge_protocol::message::{HubAddress, Secret};
use forge_protocol::token::{Token, TokenKind};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The dev project's credits.
const DEV_CREDITS: Credits = Credits(1_000_000 * 1_000_000);
/// Time for a leader to be found, and for a token to be spent.
const START_WAIT: Duration = Duration::from_secs(20);
const TOKEN_MS: DurationMs = DurationMs(15 * 60 * 1000);
/// Nodes of one dev cluster take ports this far apart.
const PORT_STEP: u16 = 10;
const STATE_FILE: &str = "dev.json";

/// What a dev cluster is made of.
#[derive(Clone, Debug)]
pub struct DevOptions {
    pub data: PathBuf,
    pub nodes: usize,
    pub agents: usize,
    pub slots: u32,
    pub flags: ListenFlags,
}

/// What a dev folder remembers.
#[derive(Serialize, Deserialize)]
struct Kept {
    project: String,
    provider: String,
    key: String,
}

/// A running dev cluster.
pub struct Dev {
    pub nodes: Vec<Node>,
    pub agents: Vec<AgentHandle>,
    pub ready: Ready,
}

impl Dev {
    /// Starts the cluster of a folder, making it if it is not there.
    ///
    /// # Errors
    /// If a node or an agent does not start.
    pub async fn start(options: &DevOptions) -> Result<Dev> {
        let mut nodes = vec![first_node(options).await?];
        let hub = nodes[0].hub.clone();
        leader(&hub).await?;
        for number in 1..options.nodes {
            nodes.push(next_node(options, &hub, number).await?);
        }
        let kept = kept(&options.data, &hub).await?;
        let agents = start_agents(options, &hub, &kept).await?;
        let ready = Ready {
            context: "dev".into(),
            urls: nodes.iter().map(Node::url).collect(),
            agents: nodes.iter().map(|n| n.listen.agents.to_string()).collect(),
            project: Some(kept.project),
            key: Some(kept.key),
            ca: None,
            data: options.data.display().to_string(),
            node: None,
        };
        Ok(Dev { nodes, agents, ready })
    }

    /// Drains agents, then nodes, the leader last.
    pub async fn stop(self) {
        let drains = self.agents.iter().map(AgentHandle::drain);
        let _ = tokio::time::timeout(Duration::from_secs(5), futures::future::join_all(drains)).await;
        let (leaders, others): (Vec<_>, Vec<_>) = self.nodes.into_iter().partition(|n| n.hub.is_leader());
        for node in others.into_iter().chain(leaders) {
            node.drain().await;
        }
    }
}

fn listen_of(options: &DevOptions, number: usize) -> Listen {
    let base = options.flags.over(Listen::default());
    let shift = PORT_STEP * number as u16;
    let moved = |at: SocketAddr| SocketAddr::new(at.ip(), if at.port() == 0 { 0 } else { at.port() + shift });
    Listen { rest: moved(base.rest), agents: moved(base.agents), peers: moved(base.peers) }
}

async fn first_node(options: &DevOptions) -> Result<Node> {
    let folder = options.data.join("n1");
    let listen = listen_of(options, 0);
    if !NodeFile::path(&folder).exists() {
        let settings = Settings { listen, advertise: None, plain_rest: true };
        init::found(&folder, "dev", settings).await?;
    }
    start_node(options, &folder, listen).await
}

async fn next_node(options: &DevOptions, hub: &Hub, number: usize) -> Result<Node> {
    let folder = options.data.join(format!("n{}", number + 1));
    let listen = listen_of(options, number);
    if !NodeFile::path(&folder).exists() {
        let token = node_token(hub).await?;
        init::join(&folder, &token, Settings { listen, advertise: None, plain_rest: true }).await?;
    }
    let node = start_node(options, &folder, listen).await?;
    let id = node.hub.node();
    let votes = async {
        while !leader_sees_voter(hub, id) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(START_WAIT, votes).await.map_err(|_| anyhow!("{id} did not become a voter in time"))?;
    Ok(node)
}

fn leader_sees_voter(hub: &Hub, node: NodeId) -> bool {
    hub.log().status().members.iter().any(|m| m.node == node && m.voter)
}

async fn start_node(options: &DevOptions, folder: &Path, listen: Listen) -> Result<Node> {
    let mut file = NodeFile::load(folder)?;
    if options.flags.listen.is_some() && listen.rest.port() != 0 {
        file.listen = listen;
    }
    Ok(Node::start(folder, file).await?)
}

async fn leader(hub: &Hub) -> Result<()> {
    let ready = async {
        while hub.leader().is_none() || hub.barrier().await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(START_WAIT, ready).await.map_err(|_| anyhow!("no leader was found in time"))
}

/// A one-time token for a node.
///
/// # Errors
/// If the cluster does not take the invitation.
pub async fn node_token(hub: &Hub) -> Result<Token> {
    let token = token(hub, TokenKind::Node);
    let expires_at = hub.clock().now().after(TOKEN_MS);
    let by = admin(hub)?;
    let invited = NodeInvited { token_digest: token.digest(), expires_at };
    fact(hub, by, invited).await.context("inviting a node")?;
    Ok(token)
}

fn token(hub: &Hub, kind: TokenKind) -> Token {
    let hubs = hub.read(|w| {
        let address = |n: &forge_projections::cluster::Node| match kind {
            TokenKind::Agent => n.addresses.agents.clone(),
            TokenKind::Node => n.addresses.peers.clone(),
        };
        w.cluster.members().map(|(_, n)| HubAddress { address: address(n), public_key: n.public_key }).collect()
    });
    Token { kind, cluster: hub.cluster(), secret: Secret(hub.clock().random()), hubs }
}

/// The genesis key acts for whoever owns the folder.
fn admin(hub: &Hub) -> Result<Option<By>> {
    let key = hub.read(|w| w.projects.keys.first().map(|(id, _)| *id));
    let key = key.ok_or_else(|| anyhow!("the cluster has no key"))?;
    Ok(Some(By { key: Some(key), idempotency: None, request: None }))
}

async fn fact(hub: &Hub, by: Option<By>, event: impl Into<Event>) -> Result<EventIndex> {
    let fact = Fact { by, event: event.into() };
    let committed = hub.command(Command::Fact(fact)).await.map_err(|e| anyhow!("the hub refused: {e:?}"))?;
    hub.reached(committed.index, START_WAIT).await;
    Ok(committed.index)
}

/// Project, provider and key of a dev folder, made at the first start.
async fn kept(data: &Path, hub: &Hub) -> Result<Kept> {
    let path = data.join(STATE_FILE);
    if let Ok(text) = std::fs::read(&path) {
        return serde_json::from_slice(&text).with_context(|| format!("reading {}", path.display()));
    }
    let by = admin(hub)?;
    let project = fact(hub, by, ProjectCreated { name: "demo".into(), quota: None, weight: 100 }).await?;
    let project = ProjectId::born_at(project);
    fact(hub, by, CreditsIssued { project, amount: DEV_CREDITS, reference: "forge dev".into() }).await?;
    let secret: [u8; key::SECRET_BYTES] = hub.clock().random();
    let created = KeyCreated {
        label: "dev".into(),
        scopes: Scope::ALL.to_vec(),
        project: Some(project),
        expires_at: None,
        digest: key::digest(&secret),
    };
    let id = KeyId::born_at(fact(hub, by, created).await?);
    let provider = ProviderId::born_at(fact(hub, by, ProviderCreated { name: "dev".into() }).await?);
    let kept =
        Kept { project: project.to_string(), provider: provider.to_string(), key: key::compose("dev", id, &secret) };
    write_private(&path, &serde_json::to_vec(&kept)?).with_context(|| format!("writing {}", path.display()))?;
    Ok(kept)
}

async fn start_agents(options: &DevOptions, hub: &Hub, kept: &Kept) -> Result<Vec<AgentHandle>> {
    let fleet = Fleet::new();
    let provider: ProviderId = kept.provider.parse().context("reading the dev folder")?;
    let mut agents = Vec::new();
    for number in 1..=options.agents {
        let folder = options.data.join(format!("a{number}"));
        if !folder.join("agent.toml").exists() {
            let token = token(hub, TokenKind::Agent);
            let expires_at = hub.clock().now().after(TOKEN_MS);
            let token_digest = token.digest();
            let created = EnrolmentCreated { provider, anchor: false, expires_at, token_digest };
            fact(hub, admin(hub)?, created).await?;
            fleet.enrol(&token.encode(), &folder).await?;
        }
        let mut config = AgentConfig::new(folder);
        config.slots = options.slots;
        agents.push(fleet.start(config).await?);
    }
    for agent in &agents {
        tokio::time::timeout(START_WAIT, agent.ready()).await.context("an agent did not join in time")??;
    }
    Ok(agents)
}
