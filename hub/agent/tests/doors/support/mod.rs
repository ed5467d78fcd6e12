//! A hub core over a log in memory, with its agents' door on loopback.

pub mod frames;
mod hand;

use forge_agent::Fleet;
use forge_event::*;
use forge_hub::core::{self, Offload, Parts};
use forge_hub::genesis::{self, Genesis};
use forge_hub::{Clock, Hub, Metrics, agents, committed::CommittedWorld};
use forge_log::network::identity::Identity;
use forge_log::network::{Lane, Link, Transport};
use forge_log::{Log, MemoryLog};
use forge_projections::jobs::JobState;
use forge_projections::{Command, Committed, Families};
use forge_protocol::message::Secret;
use forge_protocol::{HubAddress, Token, TokenKind};
use futures::future::BoxFuture;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub const WAIT: Duration = Duration::from_secs(60);
const ADMIN: KeyId = KeyId(5);
const PROJECT: ProjectId = ProjectId(4);

struct Alone;

impl Transport for Alone {
    fn open(&self, _: NodeId, _: Lane) -> BoxFuture<'static, io::Result<Link>> {
        Box::pin(async { Err(io::ErrorKind::NotConnected.into()) })
    }
}

pub struct Rig {
    pub hub: Hub,
    pub log: Arc<MemoryLog>,
    pub fleet: Fleet,
    pub sessions: agents::Sessions,
    address: HubAddress,
    door: tokio::task::JoinHandle<()>,
    stop: CancellationToken,
    tasks: JoinSet<()>,
    secrets: u8,
}

impl Rig {
    pub async fn start() -> Rig {
        let identity = Arc::new(Identity::from_seed([3; 32]).expect("an identity"));
        let door = agents::Door::bind(&identity, SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).expect("a socket");
        let address = HubAddress { address: door.address().to_string(), public_key: identity.public_key() };
        let committed = Arc::new(CommittedWorld::default());
        let log = MemoryLog::new(committed.clone());
        let clock = Clock::system();
        let addresses = Addresses { agents: address.address.clone(), ..Addresses::default() };
        let (public_key, tip, admin_key) = (identity.public_key(), Digest([1; 32]), Digest([2; 32]));
        let genesis = Genesis { addresses, public_key, tip, admin_key };
        let as_log: Arc<dyn Log> = log.clone();
        let families = &forge_adapters::Registry;
        let key = genesis::found(&as_log, &committed, &genesis, &clock, families).await.expect("founded");
        assert_eq!(key, ADMIN);
        let (_inbox, inbox) = mpsc::channel(1);
        let stop = CancellationToken::new();
        let parts = Parts {
            node: NodeId(1),
            identity,
            log: as_log,
            committed,
            clock,
            metrics: Arc::new(Metrics::default()),
            transport: Arc::new(Alone),
            inbox,
            offload: Offload::Threads,
            stop: stop.clone(),
        };
        let core::Core { hub, tasks, .. } = core::start(parts);
        let sessions = door.sessions();
        let door = tokio::spawn(door.run(hub.clone(), stop.clone()));
        let mut rig = Rig { hub, log, fleet: Fleet::new(), sessions, address, door, stop, tasks, secrets: 0 };
        let credits = CreditsIssued { project: PROJECT, amount: Credits(1_000_000_000_000), reference: "test".into() };
        rig.commit(credits).await;
        rig
    }

    pub async fn commit(&mut self, event: impl Into<Event>) -> Committed {
        let by = Some(By { key: Some(ADMIN), ..By::default() });
        self.hub.command(Command::Fact(Fact { by, event: event.into() })).await.expect("committed")
    }

    /// A token for an agent of a new provider.
    pub async fn token(&mut self) -> String {
        let provider = ProviderId::born_at(self.commit(ProviderCreated { name: "provider".into() }).await.index);
        self.secrets += 1;
        let secret = Secret([self.secrets; 32]);
        let hubs = vec![self.address.clone()];
        let token = Token { kind: TokenKind::Agent, cluster: self.hub.cluster(), secret, hubs };
        let expires_at = self.hub.clock().now().after(DurationMs(600_000));
        self.commit(EnrolmentCreated { provider, anchor: false, expires_at, token_digest: token.digest() }).await;
        token.encode()
    }

    pub async fn enrol(&mut self, folder: &Path) -> AgentId {
        let token = self.token().await;
        self.fleet.enrol(&token, folder).await.expect("enrolled").agent
    }

    pub async fn submit(&mut self, kind: &str, spec: serde_json::Value) -> JobId {
        self.submit_cut(kind, spec, None).await
    }

    /// The same, with so many cells a shard.
    pub async fn submit_cut(&mut self, kind: &str, spec: serde_json::Value, shard_cells: Option<u64>) -> JobId {
        let family = forge_adapters::Registry.newest(kind).expect("a kind");
        let checked = family.check_spec(&spec, shard_cells).expect("a good spec");
        let job = JobSubmitted {
            project: PROJECT,
            kind: kind.into(),
            family_version: family.version(),
            name: None,
            labels: vec![],
            spec: checked.spec,
            shard_cells,
            requirements: Requirements::default(),
            limits: Limits::default(),
            priority: 5,
            allow_wait: true,
            verify: None,
            inputs: checked.inputs,
        };
        JobId::born_at(self.commit(job).await.index)
    }

    pub async fn until(&self, what: &str, holds: impl Fn(&forge_projections::World) -> bool) {
        let mut applied = self.hub.applied();
        let wait = async {
            loop {
                applied.borrow_and_update();
                if self.hub.read(&holds) {
                    return;
                }
                applied.changed().await.expect("the hub runs");
            }
        };
        tokio::time::timeout(WAIT, wait).await.unwrap_or_else(|_| panic!("{what} never came true"));
    }

    pub async fn succeeded(&self, job: JobId) {
        self.until("the job's success", |w| {
            let job = w.jobs.jobs.get(&job).expect("a job");
            assert!(job.error.is_none(), "{:?}", job.error);
            job.state == JobState::Succeeded
        })
        .await;
    }

    /// How many events of the log are so.
    pub fn count(&self, is: impl Fn(&Event) -> bool) -> usize {
        self.log
            .turns()
            .iter()
            .flat_map(|t| t.turn.events().filter(|(_, e)| is(e)).map(|_| ()).collect::<Vec<_>>())
            .count()
    }

    pub async fn stop(mut self) {
        self.stop.cancel();
        tokio::time::timeout(WAIT, self.door).await.expect("the door closes in time").expect("it did not panic");
        self.tasks.shutdown().await;
    }
}
