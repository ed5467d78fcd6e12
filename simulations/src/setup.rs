//! A cluster of three with agents and money, before any fault.

use crate::agents::{self, Agent};
use crate::clock::{self, Skew};
use crate::dice::Dice;
use crate::network::Network;
use crate::node::Cluster;
use crate::oracle::Oracle;
use crate::plan::{NODES, Plan, Temper};
use crate::trace::Trace;
use forge_adapters::Registry;
use forge_event::*;
use forge_hub::Hub;
use forge_hub::genesis::{self, Genesis};
use forge_log::Log;
use forge_log::network::identity::Identity;
use forge_projections::Command;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// The admin key and project of every genesis turn.
pub const ADMIN: KeyId = KeyId(5);
pub const PROJECT: ProjectId = ProjectId(4);
/// What the project can spend. Units: micro-credits.
const CREDITS: u128 = 1_000_000_000_000;
/// Forming the cluster takes no longer. Units: virtual time.
const FORM_WAIT: Duration = Duration::from_secs(60);

/// By the admin key, under the idempotency key of `what`.
pub fn by(what: &str) -> By {
    let digest = Digest::of(what.as_bytes());
    By { key: Some(ADMIN), idempotency: Some(digest), request: Some(digest) }
}

/// Forms a cluster of all nodes; gives the number of the agents' enrolments.
///
/// # Errors
/// What did not happen in time.
pub async fn form(cluster: &Cluster, plan: &Plan) -> Result<(), String> {
    tokio::time::timeout(FORM_WAIT, form_at_leisure(cluster, plan)).await.map_err(|_| "the cluster did not form")?
}

fn addresses(node: u64) -> Addresses {
    Addresses { rest: format!("n{node}:7400"), agents: format!("n{node}:7401"), peers: format!("n{node}:7402") }
}

async fn form_at_leisure(cluster: &Cluster, plan: &Plan) -> Result<(), String> {
    for node in 1..=NODES {
        if !cluster.start(node).await {
            return Err(format!("n{node} does not start on an empty disk"));
        }
    }
    let (log, committed) = (cluster.log(1).ok_or("n1 is gone")?, cluster.committed(1).ok_or("n1 is gone")?);
    let log: Arc<dyn Log> = log;
    let founding = Genesis {
        addresses: addresses(1),
        public_key: cluster.identity(1).public_key(),
        tip: Digest::of(b"tip 1"),
        admin_key: Digest::of(b"admin"),
    };
    let clock = clock::skewed(Instant::now(), Skew::default(), Dice::of(plan.seed, "genesis"));
    let key = genesis::found(&log, &committed, &founding, &clock, &Registry).await.map_err(|e| e.to_string())?;
    assert_eq!(key, ADMIN, "the admin key is the fifth event of every log");
    for node in 2..=NODES {
        let token = Digest::of(format!("token {node}").as_bytes());
        let expires_at = Timestamp(clock::START_MS + 86_400_000);
        admin(cluster, &format!("invite {node}"), NodeInvited { token_digest: token, expires_at }.into()).await?;
        let (public_key, tip) = (cluster.identity(node).public_key(), Digest::of(format!("tip {node}").as_bytes()));
        command(cluster, Command::AdmitNode { token, addresses: addresses(node), public_key, tip }).await?;
    }
    loop {
        let status = log.status();
        if status.members.iter().filter(|m| m.voter).count() as u64 == NODES && !status.changing {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let money = CreditsIssued { project: PROJECT, amount: Credits(CREDITS), reference: "start".into() };
    admin(cluster, "money", money.into()).await?;
    Ok(())
}

/// Enrols the plan's agents and gives them their drivers.
///
/// # Errors
/// What was refused.
pub async fn agents(
    cluster: &Cluster,
    plan: &Plan,
    network: &Network,
    oracle: &Oracle,
    trace: &Trace,
    released: &watch::Receiver<bool>,
) -> Result<Vec<Agent>, String> {
    let mut providers = Vec::new();
    for name in ["one", "two"] {
        let index = admin(cluster, &format!("provider {name}"), ProviderCreated { name: name.into() }.into()).await?;
        providers.push(ProviderId::born_at(index));
    }
    let mut all = Vec::new();
    for (number, temper) in (1..).zip(&plan.tempers) {
        let mut dice = Dice::of(plan.seed, &format!("agent {number}"));
        let token_digest = Digest::of(format!("agent token {number}").as_bytes());
        let expires_at = Timestamp(clock::START_MS + 86_400_000);
        let provider = *dice.pick(&providers);
        let enrolment = EnrolmentCreated { provider, anchor: false, expires_at, token_digest };
        admin(cluster, &format!("enrolment {number}"), enrolment.into()).await?;
        let mut secret = [0; 32];
        dice.fill(&mut secret);
        let identity = Identity::from_seed(secret).map_err(|e| e.to_string())?;
        let enrol = Command::Enrol { token: token_digest, public_key: identity.public_key() };
        let id = AgentId::born_at(command(cluster, enrol).await?);
        let is_liar = *temper == Temper::Liar;
        if is_liar {
            cluster.add_liar(number);
        }
        all.push(Agent {
            number,
            id,
            identity: Arc::new(identity),
            behaviour: agents::behaviour(*temper, plan.stall_for_ever),
            slots: dice.between(1, 4) as u32,
            is_liar,
            network: network.clone(),
            oracle: oracle.clone(),
            trace: trace.clone(),
            dice,
            released: released.clone(),
        });
    }
    Ok(all)
}

async fn admin(cluster: &Cluster, what: &str, event: Event) -> Result<EventIndex, String> {
    command(cluster, Command::Fact(Fact { by: Some(by(what)), event })).await
}

async fn command(cluster: &Cluster, wish: Command) -> Result<EventIndex, String> {
    let hub: Hub = cluster.hub(1).ok_or("n1 is gone")?.0;
    hub.command(wish.clone()).await.map(|c| c.index).map_err(|error| format!("{wish:?}: {error:?}"))
}
