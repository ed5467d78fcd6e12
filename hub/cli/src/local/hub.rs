//! `forge hub init`, `forge hub run`.

use super::ready::{self, Ready};
use super::signal;
use anyhow::{Context, Result};
use forge_hub::config::{Listen, NodeFile};
use forge_hub::init::{self, Settings};
use forge_hub::node::{Node, STORAGE_EXIT};
use forge_protocol::token::Token;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Listening flags, as `init` and `run` take them.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct ListenFlags {
    /// REST: ADDR:PORT, port 0 for any free one
    #[arg(long, value_name = "ADDR:PORT")]
    pub listen: Option<SocketAddr>,
    /// Agents (QUIC): ADDR:PORT
    #[arg(long, value_name = "ADDR:PORT")]
    pub listen_agents: Option<SocketAddr>,
    /// Other nodes (QUIC): ADDR:PORT
    #[arg(long, value_name = "ADDR:PORT")]
    pub listen_peers: Option<SocketAddr>,
    /// Host that others are told instead of the listening address
    #[arg(long, value_name = "HOST")]
    pub advertise: Option<String>,
}

impl ListenFlags {
    /// These flags over `base`: port 0 for REST means port 0 for the others too, unless they are given.
    pub fn over(&self, base: Listen) -> Listen {
        let any = self.listen.is_some_and(|l| l.port() == 0);
        let other = |given: Option<SocketAddr>, base: SocketAddr| {
            given.unwrap_or_else(|| match self.listen {
                Some(rest) => SocketAddr::new(rest.ip(), if any { 0 } else { base.port() }),
                None => base,
            })
        };
        Listen {
            rest: self.listen.unwrap_or(base.rest),
            agents: other(self.listen_agents, base.agents),
            peers: other(self.listen_peers, base.peers),
        }
    }
}

/// A node's folder was made.
pub struct Made {
    pub node: String,
    pub cluster: Option<String>,
    pub data: PathBuf,
    pub admin_key: Option<PathBuf>,
    pub ca: PathBuf,
}

/// Makes a node's folder.
///
/// # Errors
/// [`init::InitError`], or a token that is none.
pub async fn init(
    data: &Path,
    cluster_name: &str,
    join: Option<&str>,
    flags: &ListenFlags,
    plain_rest: bool,
) -> Result<Made> {
    let settings = Settings { listen: flags.over(Listen::default()), advertise: flags.advertise.clone(), plain_rest };
    let ca = data.join(forge_hub::rest::CA_FILE);
    match join {
        None => {
            let founded = init::found(data, cluster_name, settings).await?;
            Ok(Made {
                node: founded.node.to_string(),
                cluster: Some(founded.cluster.to_string()),
                data: data.to_owned(),
                admin_key: Some(data.join(init::ADMIN_KEY_FILE)),
                ca,
            })
        }
        Some(token) => {
            let token: Token = token.parse().context("reading the join token")?;
            let node = init::join(data, &token, settings).await?;
            Ok(Made { node: node.to_string(), cluster: None, data: data.to_owned(), admin_key: None, ca })
        }
    }
}

/// The node's settings, with flags over them.
///
/// # Errors
/// If the folder has no readable settings.
pub fn settings(data: &Path, flags: &ListenFlags) -> Result<NodeFile> {
    let mut file = NodeFile::load(data)?;
    file.listen = flags.over(file.listen);
    file.advertise = flags.advertise.clone().or(file.advertise);
    Ok(file)
}

/// Runs a node until SIGTERM or SIGINT; prints the ready line once REST listens. Gives the exit code.
///
/// # Errors
/// If the node does not start.
pub async fn run(data: &Path, flags: &ListenFlags, json: bool) -> Result<i32> {
    let ended = signal::ended().context("installing signal handlers")?;
    let node = Node::start(data, settings(data, flags)?).await?;
    let line = Ready {
        context: node.name.clone(),
        urls: vec![node.url()],
        agents: vec![node.listen.agents.to_string()],
        project: None,
        key: None,
        ca: node.ca_pem.as_ref().map(|_| data.join(forge_hub::rest::CA_FILE).display().to_string()),
        data: data.display().to_string(),
        node: Some(node.hub.node().to_string()),
    };
    if json {
        ready::print(&line.to_json()).context("writing the ready line")?;
    } else {
        eprintln!(" node {}  REST {}  agents {}/udp", node.hub.node(), node.url(), node.listen.agents);
    }
    tokio::select! { biased;
        fault = node.fatal() => {
            eprintln!("error: {fault}");
            eprintln!("  fix: this node's storage is set aside; run `forge cluster replace {}` and join with a new folder", node.hub.node());
            Ok(STORAGE_EXIT)
        }
        () = ended => {
            node.drain().await;
            Ok(0)
        }
    }
}
