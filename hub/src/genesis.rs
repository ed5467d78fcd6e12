//! How a cluster begins: its first node, prices, project and key, in one turn.

use crate::clock::Clock;
use crate::committed::CommittedWorld;
use forge_event::*;
use forge_log::{Appended, Log, MembershipError};
use forge_projections::decide::POLICY;
use forge_projections::{Families, Rejection, World};
use std::sync::Arc;
use std::time::Duration;

/// The project that every cluster starts with.
pub const DEFAULT_PROJECT: &str = "default";
/// Links of a node's secret chain; each entropy reveal uses one.
const CHAIN_LINKS: u32 = 1 << 16;
/// Founding takes no longer.
const FOUND_WAIT: Duration = Duration::from_secs(10);

/// What the genesis turn says.
#[derive(Clone, Debug)]
pub struct Genesis {
    pub addresses: Addresses,
    pub public_key: [u8; 32],
    pub tip: Digest,
    /// Digest of the admin key's secret.
    pub admin_key: Digest,
}

/// The cluster was not founded.
#[derive(Debug, thiserror::Error)]
pub enum FoundError {
    #[error("the log holds turns already: this folder belongs to a cluster")]
    NotEmpty,
    #[error("forming the log's first member")]
    Bootstrap(#[from] MembershipError),
    #[error("the first turn was not committed ({0:?}); remove the folder and start again")]
    NotCommitted(Appended),
    #[error("the first turn is not admitted: {0}")]
    Refused(Rejection),
    #[error("the node did not become leader of its own cluster in time")]
    Deadline,
}

/// The end of the secret chain that grows from `seed`: `CHAIN_LINKS` times BLAKE3.
pub fn chain_tip(seed: &[u8; 32]) -> Digest {
    (0..CHAIN_LINKS).fold(Digest(*seed), |link, _| Digest::of(&link.0))
}

/// The default prices: micro-credits a result, and who gets what share of a charge.
pub fn prices(families: &dyn Families) -> PolicyChanged {
    let rate = |num, den| Rate { num, den };
    let mut kinds = families.kinds();
    kinds.sort_unstable();
    PolicyChanged {
        version: 1,
        prices: kinds
            .into_iter()
            .map(|kind| (kind.into(), if kind == "null" { rate(1, 1) } else { rate(1000, 1) }))
            .collect(),
        payout: rate(90, 100),
        fee: rate(8, 100),
        verification: rate(2, 100),
    }
}

/// The genesis turn's frame, and the position of the admin key.
///
/// # Errors
/// If its facts are not admitted: a bug, or a price for a kind nobody knows.
pub fn turn(genesis: &Genesis, clock: &Clock, families: &dyn Families) -> Result<(Vec<u8>, KeyId), Rejection> {
    let node = NodeId(1);
    let at = clock.now();
    // Positions in the first turn count from 1; the project is the fourth fact, the key the fifth.
    let project = ProjectId(4);
    let facts: Vec<Fact> = vec![
        NodeAdmitted {
            node,
            invite: None,
            addresses: genesis.addresses.clone(),
            public_key: genesis.public_key,
            tip: genesis.tip,
            voter: true,
        }
        .into(),
        LeaderStarted { node, term: 1, wall: at, extend_ms: 0 }.into(),
        prices(families).into(),
        ProjectCreated { name: DEFAULT_PROJECT.into(), quota: None, weight: 100 }.into(),
        KeyCreated {
            label: "admin".into(),
            scopes: Scope::ALL.to_vec(),
            project: Some(project),
            expires_at: None,
            digest: genesis.admin_key,
        }
        .into(),
    ];
    let mut world = World::default();
    let salt = clock.random();
    world.open(at, salt);
    for fact in &facts {
        world.admit(fact, at, families)?;
        world.apply(None, &fact.event, families);
    }
    let decisions = world.decide(families);
    let turn = Turn { expected: Head::default(), at, salt, policy: POLICY, facts, decisions };
    Ok((codec::encode_turn(&turn), KeyId(5)))
}

/// Forms a cluster of this node alone and writes its first turn; gives the admin key's id.
///
/// # Errors
/// [`FoundError`]; the folder is then of no use.
pub async fn found(
    log: &Arc<dyn Log>,
    committed: &CommittedWorld,
    genesis: &Genesis,
    clock: &Clock,
    families: &dyn Families,
) -> Result<KeyId, FoundError> {
    if committed.read(|w| w.head.turns) > 0 {
        return Err(FoundError::NotEmpty);
    }
    log.bootstrap(genesis.addresses.peers.clone()).await?;
    let mut role = log.role();
    let leads = tokio::time::timeout(FOUND_WAIT, role.wait_for(|r| r.leads().is_some())).await;
    let term = leads.ok().and_then(Result::ok).map(|r| r.term).ok_or(FoundError::Deadline)?;
    let (frame, key) = turn(genesis, clock, families).map_err(FoundError::Refused)?;
    match tokio::time::timeout(FOUND_WAIT, log.append(term, frame)).await {
        Ok(Appended::Committed { .. }) => Ok(key),
        Ok(other) => Err(FoundError::NotCommitted(other)),
        Err(_) => Err(FoundError::Deadline),
    }
}
