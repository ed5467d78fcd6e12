//! A node's core on a log in memory: one job from submission to result, through commands alone.

use forge_event::*;
use forge_hub::committed::CommittedWorld;
use forge_hub::core::{self, Core, Offload, Parts};
use forge_hub::history::{self, Search, Term};
use forge_hub::kv::Kv;
use forge_hub::{Clock, Hub, Metrics, genesis};
use forge_log::network::identity::Identity;
use forge_log::network::{Lane, Link, Transport};
use forge_log::{Log, MemoryLog, ReadTurn};
use forge_projections::export::job_of;
use forge_projections::jobs::JobState;
use forge_projections::{Command, CommandError, Delivery, Fate, Rejection};
use futures::TryStreamExt;
use futures::future::BoxFuture;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

struct NoPeers;

impl Transport for NoPeers {
    fn open(&self, _: NodeId, _: Lane) -> BoxFuture<'static, std::io::Result<Link>> {
        Box::pin(async { Err(std::io::ErrorKind::NotConnected.into()) })
    }
}

async fn founded() -> Core {
    founded_on(u64::MAX).await
}

/// On a log that seals segments of so many events.
async fn founded_on(segment_leaves: u64) -> Core {
    let committed = Arc::new(CommittedWorld::default());
    let log: Arc<dyn Log> = MemoryLog::sealing(committed.clone(), segment_leaves);
    let clock = Clock::system();
    let first = genesis::Genesis {
        addresses: Addresses::default(),
        public_key: [1; 32],
        tip: Digest::of(b"tip"),
        admin_key: Digest::of(b"key"),
    };
    let (frame, _) = genesis::turn(&first, &clock, &forge_adapters::Registry).expect("genesis is admitted");
    log.append(1, frame).await;
    let (_, inbox) = tokio::sync::mpsc::channel(1);
    core::start(Parts {
        node: NodeId(1),
        identity: Arc::new(Identity::generate().expect("an identity")),
        log,
        committed,
        clock,
        metrics: Arc::new(Metrics::default()),
        transport: Arc::new(NoPeers),
        inbox,
        offload: Offload::Threads,
        stop: CancellationToken::new(),
    })
}

fn by(idempotency: Option<&str>, request: &str) -> Option<By> {
    let key = Some(KeyId(5));
    let idempotency = idempotency.map(|i| Digest::of(i.as_bytes()));
    Some(By { key, idempotency, request: Some(Digest::of(request.as_bytes())) })
}

async fn fact(hub: &Hub, by: Option<By>, event: impl Into<Event>) -> Result<EventIndex, CommandError> {
    let fact = Fact { by, event: event.into() };
    hub.command(Command::Fact(fact)).await.map(|c| c.index)
}

fn job(shards: u32) -> JobSubmitted {
    let spec = format!(r#"{{"shards":{shards},"sleep_us":0,"payload_bytes":0}}"#);
    JobSubmitted {
        project: ProjectId(4),
        kind: "null".into(),
        family_version: 1,
        name: None,
        labels: vec![],
        spec: spec.into_bytes(),
        shard_cells: None,
        requirements: Requirements::default(),
        limits: Limits::default(),
        priority: 5,
        allow_wait: false,
        verify: None,
        inputs: vec![],
    }
}

async fn give_credits(hub: &Hub) {
    let credits = CreditsIssued { project: ProjectId(4), amount: Credits(1_000_000), reference: "test".into() };
    fact(hub, by(None, "c"), credits).await.expect("credits");
}

async fn until<R>(hub: &Hub, mut look: impl FnMut(&forge_projections::World) -> Option<R>) -> R {
    let mut applied = hub.applied();
    let found = async {
        loop {
            if let Some(found) = hub.read(&mut look) {
                return found;
            }
            applied.changed().await.expect("the core runs");
        }
    };
    tokio::time::timeout(Duration::from_secs(20), found).await.expect("it happens in time")
}

async fn an_agent(hub: &Hub) -> (AgentId, Epoch) {
    let provider = fact(hub, by(None, "v"), ProviderCreated { name: "v".into() }).await.expect("a provider");
    let token_digest = Digest::of(b"token");
    let expires_at = hub.clock().now().after(DurationMs(60_000));
    let enrolment = EnrolmentCreated { provider: ProviderId(provider.0), anchor: false, expires_at, token_digest };
    fact(hub, by(None, "e"), enrolment).await.expect("an enrolment");
    let enrolled = hub.command(Command::Enrol { token: token_digest, public_key: [7; 32] }).await.expect("enrols");
    let agent = AgentId::born_at(enrolled.index);
    let capabilities = Capabilities { cpu_class: "avx2".into(), ..Capabilities::default() };
    let join = Command::Join { agent, node: NodeId(1), slots: 4, capabilities };
    hub.command(join).await.expect("joins");
    (agent, 1)
}

#[tokio::test]
async fn a_job_goes_from_submission_to_result() {
    let core = founded().await;
    let hub = &core.hub;
    let (agent, epoch) = an_agent(hub).await;
    let again = hub.command(Command::Enrol { token: Digest::of(b"token"), public_key: [8; 32] }).await;
    assert_eq!(again, Err(CommandError::Rejected(Rejection::EnrolmentSpent)));
    give_credits(hub).await;

    let submitted = fact(hub, by(Some("once"), "body"), job(20)).await.expect("a job");
    let replay = fact(hub, by(Some("once"), "body"), job(20)).await.expect("the same job");
    assert_eq!(submitted, replay);
    let other = fact(hub, by(Some("once"), "other body"), job(21)).await;
    assert_eq!(other, Err(CommandError::Rejected(Rejection::IdempotencyKeyReuse { first: submitted })));

    let id = JobId::born_at(submitted);
    let mut done = 0;
    while done < 20 {
        let leases: Vec<LeaseId> = until(hub, |w| {
            let held: Vec<LeaseId> = w.scheduler.leases.iter().flat_map(|(_, grant)| grant.leases()).collect();
            (!held.is_empty()).then_some(held)
        })
        .await;
        let deliveries = leases
            .iter()
            .map(|lease| Delivery {
                lease: *lease,
                digest: Digest::of(b""),
                root: None,
                bytes: 0,
                inline: Some(vec![]),
                checks: Checks { version: 1, bits: 0 },
            })
            .collect();
        let delivered = hub.command(Command::Deliver { agent, epoch, deliveries }).await.expect("delivers");
        assert!(delivered.recorded.iter().all(|r| r.fate == Fate::Accepted));
        done += leases.len();
        let (upto, head) = hub.read(|w| w.agents.agents.get(&agent).map(|a| (a.position, a.chain))).expect("enrolled");
        let seal = ResultsSealed { agent, upto, head, signature: [[0; 32]; 2] };
        fact(hub, None, seal).await.expect("seals");
    }
    let (state, result) = until(hub, |w| {
        let job = w.jobs.jobs.get(&id)?;
        job.state.is_final().then(|| (job.state, job.result.clone()))
    })
    .await;
    assert_eq!(state, JobState::Succeeded);
    let document = result.and_then(|r| r.document).expect("a document");
    assert_eq!(&document[..], br#"{"kind":"null","format":1,"shards":20}"#);
    assert_eq!(hub.read(|w| w.accounting.sum()), 0);
    let escrow = hub.read(|w| w.projects.projects.get(&ProjectId(4)).map(|p| p.escrow));
    assert_eq!(escrow, Some(0));
}

#[tokio::test]
async fn history_is_passed_over_where_it_speaks_of_something_else() {
    let core = founded_on(16).await;
    let hub = &core.hub;
    let folder = tempfile::tempdir().expect("a folder");
    hub.remembers_in(Kv::open(&folder.path().join("kv.redb")).expect("a disk"));
    give_credits(hub).await;
    let name = |n: u64| ProviderCreated { name: format!("v{n}") };
    let id = JobId::born_at(fact(hub, by(None, "j"), job(1)).await.expect("a job"));
    for n in 0..60 {
        fact(hub, by(None, "v"), name(n)).await.expect("a provider");
    }
    fact(hub, by(None, "c"), JobCancelRequested { job: id, reason: None }).await.expect("it can be cancelled");
    for n in 60..120 {
        fact(hub, by(None, "v"), name(n)).await.expect("a provider");
    }
    let all: Vec<ReadTurn> = hub.log().read(EventIndex(1)).try_collect().await.expect("history");
    let turns = async |search| -> Vec<u64> {
        let found: Vec<ReadTurn> = hub.history(EventIndex(0), search).try_collect().await.expect("history");
        found.iter().map(|read| read.head.turns).collect()
    };
    let job = || Search::default().and([Term::Job(id)]);
    assert_eq!(turns(job()).await.len(), all.len(), "nothing is indexed yet");

    tokio::spawn(history::index(hub.clone(), CancellationToken::new()));
    let sealed = hub.log().segments(EventIndex(0)).len();
    assert!(sealed >= 7, "{sealed} segments");
    let known = async || {
        while hub.metrics().kv_segments.get() != sealed as i64 {
            tokio::time::sleep(Duration::from_millis(5)).await
        }
    };
    tokio::time::timeout(Duration::from_secs(20), known()).await.expect("it is indexed in time");
    let found = turns(job()).await;
    let speaks = |read: &&ReadTurn| read.turn.events().any(|(index, event)| job_of(index, event) == Some(id));
    let theirs: Vec<u64> = all.iter().filter(speaks).map(|read| read.head.turns).collect();
    assert!(theirs.len() >= 3 && theirs.iter().all(|turn| found.contains(turn)), "{theirs:?} in {found:?}");
    assert!(found.is_sorted() && found.len() < all.len() / 2, "{} of {} turns are read", found.len(), all.len());

    let forth: Vec<_> = hub.stretches(EventIndex(0), job()).collect();
    let mut back: Vec<_> = hub.stretches(EventIndex(0), job()).rev().collect();
    back.reverse();
    assert_eq!(forth, back);
    let behind = hub.log().segments(EventIndex(0)).last().map_or(0, |last| last.last.0) + 1;
    let elsewhere = job().and([Term::Type("agent.joined"), Term::Type("agent.lost")]);
    assert_eq!(hub.stretches(EventIndex(0), elsewhere).collect::<Vec<_>>(), [behind..=u64::MAX]);
    let one_of = job().and([Term::Type("agent.joined"), Term::Type("job.submitted")]);
    assert_eq!(hub.stretches(EventIndex(0), one_of).count(), 2, "its birth, and what is not sealed");
}
