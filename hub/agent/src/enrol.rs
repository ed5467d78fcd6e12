//! Enrolment: a one-time token becomes an agent with a key of its own.

use crate::fleet::{DialError, Fleet};
use crate::identity::{AgentKey, KeyError};
use crate::started::Started;
use crate::store::{KEY_FILE, StoreError, Stored};
use crate::tls::{Dialer, TlsError};
use forge_event::{AgentId, ProviderId, seal};
use forge_protocol::message::HubAddress;
use forge_protocol::{
    ALPN_ENROL, AgentToHub, Assembler, EnrolRefusal, HubToAgent, Token, TokenError, TokenKind, frame, limits,
};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// One hub has so long to answer: it has to commit.
const ANSWER_DEADLINE: Duration = Duration::from_secs(15);
/// Rounds over all hubs of the token, and the pause between two.
const ROUNDS: u32 = 5;
const ROUND_PAUSE: Duration = Duration::from_millis(500);

/// An agent that came into being.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Enrolled {
    pub agent: AgentId,
    pub provider: ProviderId,
}

/// No agent came into being, or it is not known.
#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error("this token admits a hub node (`forge hub init --join`), not an agent")]
    NodeToken,
    #[error("{folder} belongs to {agent} already: choose another folder")]
    Enrolled { folder: PathBuf, agent: AgentId },
    #[error("the hub refused the token: {}", .0.code())]
    Refused(EnrolRefusal),
    #[error("no hub of the token answered; the last one")]
    Unreachable(#[source] DialError),
    #[error("the hub at {address} broke off; run the same command again")]
    BrokenOff { address: String },
    #[error("cannot make {path}")]
    Folder { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Tls(#[from] TlsError),
}

impl EnrolError {
    /// The problem code, where there is one.
    pub fn code(&self) -> Option<&'static str> {
        match self {
            EnrolError::Refused(refusal) => Some(refusal.code()),
            _ => None,
        }
    }
}

/// Makes a key pair in `data`, spends `token` with it and saves who the agent is.
///
/// A refusal leaves nothing behind. Where an answer was lost the key stays: a repetition with the same folder proves
/// the same key, for which the hub gives the same agent.
///
/// # Errors
/// [`EnrolError`].
pub async fn enrol(token: &str, data: &Path) -> Result<Enrolled, EnrolError> {
    Fleet::new().enrol(token, data).await
}

pub(crate) async fn run(fleet: &Fleet, token: &str, data: &Path) -> Result<Enrolled, EnrolError> {
    let token: Token = token.parse()?;
    if token.kind != TokenKind::Agent {
        return Err(EnrolError::NodeToken);
    }
    match Stored::load(data) {
        Ok(stored) => return Err(EnrolError::Enrolled { folder: data.into(), agent: stored.agent }),
        Err(StoreError::NotEnrolled { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    let started = Started::new(data).map_err(|source| EnrolError::Folder { path: data.into(), source })?;
    let path = data.join(KEY_FILE);
    let key = if path.exists() {
        AgentKey::load(&path)?
    } else {
        let key = AgentKey::generate();
        key.save(&path)?;
        key
    };
    let mut unsure = false;
    let asked = ask_all(fleet, &Dialer::new(&key)?, &token, &mut unsure).await;
    // Where an answer was lost the key may be an agent's already, and the next try must prove the same.
    if asked.is_ok() || unsure {
        started.keep();
    }
    let answer = asked?;
    let forge_protocol::Enrolled { agent, provider, cluster, hubs } = answer;
    let hubs = if hubs.is_empty() { token.hubs } else { hubs };
    Stored { agent, provider, cluster, hubs, position: 0, chain: seal::START }.save(data)?;
    Ok(Enrolled { agent, provider })
}

/// `unsure` becomes true if a hub may have enrolled the key without our knowing.
async fn ask_all(
    fleet: &Fleet,
    dialer: &Dialer,
    token: &Token,
    unsure: &mut bool,
) -> Result<forge_protocol::Enrolled, EnrolError> {
    let mut last = EnrolError::Refused(EnrolRefusal::Unavailable);
    for round in 0..ROUNDS {
        if round > 0 {
            tokio::time::sleep(ROUND_PAUSE).await;
        }
        for hub in &token.hubs {
            match ask(fleet, dialer, token, hub).await {
                Ok(enrolled) => return Ok(enrolled),
                Err(error @ EnrolError::Refused(refusal)) if refusal != EnrolRefusal::Unavailable => return Err(error),
                Err(error) => {
                    *unsure |= matches!(error, EnrolError::BrokenOff { .. } | EnrolError::Refused(_));
                    last = error;
                }
            }
        }
    }
    Err(last)
}

async fn ask(
    fleet: &Fleet,
    dialer: &Dialer,
    token: &Token,
    hub: &HubAddress,
) -> Result<forge_protocol::Enrolled, EnrolError> {
    let connection = fleet.dial(dialer, ALPN_ENROL, hub).await.map_err(EnrolError::Unreachable)?;
    let exchange = async {
        let (mut send, mut recv) = connection.open_bi().await.ok()?;
        send.write_all(&frame::encode(&AgentToHub::Enrol { secret: token.secret })).await.ok()?;
        send.finish().ok()?;
        let bytes = recv.read_to_end(limits::FRAME_BYTES_MAX).await.ok()?;
        let mut assembler = Assembler::new();
        assembler.push(&bytes);
        assembler.next::<HubToAgent>().ok()?
    };
    let answer = tokio::time::timeout(ANSWER_DEADLINE, exchange).await.ok().flatten();
    connection.close(forge_protocol::CloseCode::Done.number().into(), b"done");
    match answer {
        Some(HubToAgent::Enrolled(enrolled)) => Ok(enrolled),
        Some(HubToAgent::EnrolRefused(refusal)) => Err(EnrolError::Refused(refusal)),
        _ => Err(EnrolError::BrokenOff { address: hub.address.clone() }),
    }
}
