//! One agent's life: connect, serve a session, reconnect elsewhere, until it is drained or stopped.

use crate::blobs::Blobs;
use crate::capabilities;
use crate::config::AgentConfig;
use crate::end::End;
use crate::fleet::Fleet;
use crate::identity::AgentKey;
use crate::session;
use crate::store::Stored;
use crate::tls::Dialer;
use crate::work::Work;
use forge_event::{AgentId, Capabilities};
use forge_protocol::message::HubAddress;
use forge_protocol::{ALPN_AGENT, AgentSession, ChainFault, CloseCode, Now};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// First and longest pause before another hub is tried; the true pause is random below it.
const PAUSE_MIN: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// An agent that drains gives up when no hub can be reached for so long.
const DRAIN_DIAL_DEADLINE: Duration = Duration::from_secs(15);

/// Why an agent ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stopped {
    #[error("drained")]
    Drained,
    #[error("stopped")]
    Stopped,
    #[error("drained without a hub: what was not delivered is given to other agents")]
    Undelivered,
    #[error("the agent is not enrolled any longer: enrol it anew")]
    Unknown,
    #[error("another process runs as the same agent; it took over the session")]
    Superseded,
    #[error("{0}")]
    Chain(ChainFault),
    #[error("the agent's task panicked")]
    Panicked,
}

/// What its owner wants of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Order {
    Run,
    Drain,
    Stop,
}

/// How it stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Phase {
    Connecting,
    Ready,
    Ended(Stopped),
}

/// A running agent. Dropping the handle does not stop it.
#[derive(Debug)]
pub struct AgentHandle {
    agent: AgentId,
    orders: watch::Sender<Order>,
    phase: watch::Receiver<Phase>,
    task: JoinHandle<()>,
}

impl AgentHandle {
    pub fn agent_id(&self) -> AgentId {
        self.agent
    }

    /// Waits until a session is up.
    ///
    /// # Errors
    /// [`Stopped`] if the agent ended before.
    pub async fn ready(&self) -> Result<(), Stopped> {
        let mut phase = self.phase.clone();
        match phase.wait_for(|p| *p != Phase::Connecting).await.as_deref() {
            Ok(Phase::Ended(why)) => Err(why.clone()),
            Ok(_) => Ok(()),
            Err(_) => Err(Stopped::Panicked),
        }
    }

    /// Takes no more work, finishes and delivers what it holds, seals, leaves.
    pub async fn drain(&self) -> Stopped {
        self.orders.send_if_modified(|order| {
            let modified = *order == Order::Run;
            if modified {
                *order = Order::Drain;
            }
            modified
        });
        self.ended().await
    }

    /// Ends at once; what it holds is given to other agents after a grace period.
    pub fn stop(&self) {
        self.orders.send_replace(Order::Stop);
    }

    /// Waits for its end.
    pub async fn ended(&self) -> Stopped {
        let mut phase = self.phase.clone();
        match phase.wait_for(|p| matches!(p, Phase::Ended(_))).await.as_deref() {
            Ok(Phase::Ended(why)) => why.clone(),
            _ => Stopped::Panicked,
        }
    }

    /// Ends it without a word to the hub, as a crash would. For tests.
    pub fn abort(&self) {
        self.task.abort();
    }
}

/// Everything of an agent that outlives its sessions.
pub(crate) struct AgentState {
    pub machine: AgentSession,
    pub work: Work,
    pub key: AgentKey,
    pub stored: Stored,
    pub folder: PathBuf,
    pub slots: u32,
    pub capabilities: Capabilities,
    pub phase: watch::Sender<Phase>,
    started: Instant,
}

impl AgentState {
    /// Now, on the machine's clock.
    pub(crate) fn now(&self) -> Now {
        Now(self.started.elapsed().as_millis() as u64)
    }

    /// The instant of a point on the machine's clock.
    pub(crate) fn instant(&self, at: Now) -> Instant {
        self.started + Duration::from_millis(at.0)
    }

    /// Saves hubs and chain; a failure is logged, the agent goes on.
    pub(crate) fn save(&mut self) {
        (self.stored.position, self.stored.chain) = self.machine.chain();
        if let Err(error) = self.stored.save(&self.folder) {
            tracing::warn!(agent = %self.stored.agent, %error, "cannot save the agent's folder");
        }
    }

    /// Takes over the hub addresses it was told.
    pub(crate) fn learn(&mut self, hubs: &[HubAddress]) {
        if !hubs.is_empty() && self.stored.hubs != hubs {
            self.stored.hubs = hubs.to_vec();
            self.save();
        }
    }
}

pub(crate) fn spawn(fleet: Fleet, dialer: Dialer, key: AgentKey, stored: Stored, config: AgentConfig) -> AgentHandle {
    let (orders, order) = watch::channel(Order::Run);
    let (phase_sender, phase) = watch::channel(Phase::Connecting);
    let agent = stored.agent;
    let slots = config.slots.max(1);
    let blobs = Blobs::new(config.data.join(crate::blobs::FOLDER), tokio::runtime::Handle::current());
    let state = AgentState {
        machine: AgentSession::new(agent, stored.position, stored.chain),
        work: Work::new(&config, fleet.pool(), Arc::new(blobs)),
        key,
        stored,
        folder: config.data,
        slots,
        capabilities: capabilities::detect(&config.region, config.gpu, &config.software),
        phase: phase_sender,
        started: Instant::now(),
    };
    let task = tokio::spawn(live(fleet, dialer, state, order));
    AgentHandle { agent, orders, phase, task }
}

async fn live(fleet: Fleet, dialer: Dialer, mut state: AgentState, mut order: watch::Receiver<Order>) {
    let why = serve(&fleet, &dialer, &mut state, &mut order).await;
    state.work.abandon();
    state.save();
    tracing::info!(agent = %state.stored.agent, %why, "agent ended");
    state.phase.send_replace(Phase::Ended(why));
}

async fn serve(fleet: &Fleet, dialer: &Dialer, state: &mut AgentState, order: &mut watch::Receiver<Order>) -> Stopped {
    let mut pauses = Pauses::default();
    let mut next = random_below(state.stored.hubs.len());
    let mut unreached_since = Instant::now();
    loop {
        match *order.borrow_and_update() {
            Order::Stop => return Stopped::Stopped,
            Order::Drain if state.machine.is_idle() => return Stopped::Drained,
            Order::Drain if unreached_since.elapsed() > DRAIN_DIAL_DEADLINE => return Stopped::Undelivered,
            Order::Drain | Order::Run => {}
        }
        let hub = state.stored.hubs[next % state.stored.hubs.len()].clone();
        let dialled = tokio::select! {
            biased;
            Ok(()) = order.changed() => continue,
            dialled = fleet.dial(dialer, ALPN_AGENT, &hub) => dialled,
        };
        let end = match dialled {
            Ok(connection) => session::run(&connection, state, order).await,
            Err(error) => End::Unreached(error.to_string()),
        };
        if end.was_up() {
            unreached_since = Instant::now();
            pauses = Pauses::default();
        }
        state.phase.send_if_modified(|p| std::mem::replace(p, Phase::Connecting) == Phase::Ready);
        match &end {
            End::Left => return Stopped::Drained,
            End::Stopped => return Stopped::Stopped,
            End::Chain(fault) => return Stopped::Chain(*fault),
            End::Closed { code: CloseCode::Unknown, .. } => return Stopped::Unknown,
            End::Closed { code: CloseCode::Superseded, .. } => return Stopped::Superseded,
            // The session is to be had again where it was.
            End::Closed { code: CloseCode::Rejoin, .. } => {}
            _ => next += 1,
        }
        tracing::debug!(agent = %state.stored.agent, hub = hub.address, %end, "session over, connecting again");
        tokio::select! {
            biased;
            Ok(()) = order.changed() => {}
            () = tokio::time::sleep(pauses.next()) => {}
        }
    }
}

/// Exponential pauses with full jitter, so that agents of a lost node do not come back all at once.
struct Pauses(Duration);

impl Default for Pauses {
    fn default() -> Self {
        Pauses(PAUSE_MIN)
    }
}

impl Pauses {
    fn next(&mut self) -> Duration {
        let below = self.0;
        self.0 = (self.0 * 2).min(PAUSE_MAX);
        Duration::from_millis(random_below(below.as_millis() as usize) as u64)
    }
}

fn random_below(bound: usize) -> usize {
    rand::random_range(0..bound.max(1))
}
