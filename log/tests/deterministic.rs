//! Nodes in one thread and one virtual time, with the real store and real Raft: the same seed gives the same run.

#[allow(dead_code, reason = "one disk for several tests; not all of them cut the power")]
#[path = "support/disk.rs"]
mod disk;
#[path = "support/machine.rs"]
mod machine;

use disk::VirtualDisk;
use forge_event::{Head, NodeId};
use forge_log::files::{FileWriter, Files, RealFiles};
use forge_log::network::{Inbox, Incoming, Lane, Link, Peer, Transport};
use forge_log::{Appended, Disk, Executor, Log, Options, RaftLog, Refusal, RoleState, Timing, seed_this_thread};
use futures::future::BoxFuture;
use machine::{Tally, frame};
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

/// The inboxes of all nodes.
type Switch = Arc<Mutex<BTreeMap<NodeId, mpsc::Sender<Incoming>>>>;

struct Wire {
    from: NodeId,
    switch: Switch,
}

impl Transport for Wire {
    fn open(&self, to: NodeId, lane: Lane) -> BoxFuture<'static, io::Result<Link>> {
        let inbox = self.switch.lock().unwrap_or_else(PoisonError::into_inner).get(&to).cloned();
        let from = Peer::Node(self.from);
        Box::pin(async move {
            sleep(Duration::from_millis(1)).await;
            let inbox = inbox.ok_or(io::ErrorKind::NotConnected)?;
            let (here, there) = Link::pair();
            inbox.try_send(Incoming { from, lane, link: there }).map_err(|_| io::ErrorKind::NotConnected)?;
            Ok(here)
        })
    }
}

struct Node {
    log: Arc<RaftLog>,
    machine: Arc<Tally>,
    _links: Inbox,
}

async fn start(id: u64, folder: &Path, switch: &Switch) -> Node {
    let files = Arc::new(RealFiles::new(folder.join(id.to_string())));
    start_with(id, files, 0, Arc::new(Tally::default()), VirtualDisk::new(id), switch).await
}

async fn start_with(
    id: u64,
    files: Arc<dyn Files>,
    reserve_bytes: u64,
    machine: Arc<Tally>,
    disk: VirtualDisk,
    switch: &Switch,
) -> Node {
    let (sender, inbox) = mpsc::channel(64);
    switch.lock().unwrap_or_else(PoisonError::into_inner).insert(NodeId(id), sender);
    let options = Options {
        node: NodeId(id),
        disk: Disk::Backend(Box::new(disk)),
        files,
        executor: Executor::Inline { commit_latency: Arc::new(|| Duration::from_millis(1)) },
        timing: Timing::default(),
        on_fsync: None,
        reserve_bytes,
        segment_leaves: 32,
        purge_keep_entries: 5,
    };
    let transport = Arc::new(Wire { from: NodeId(id), switch: switch.clone() });
    let started = RaftLog::start_here(options, machine.clone(), transport, inbox).await;
    let (log, links) = started.expect("the log opens");
    Node { log, machine, _links: links }
}

async fn lead(nodes: &[Node]) -> usize {
    loop {
        let leads = |node: &Node| node.log.role().borrow().leads().is_some();
        if let Some(place) = nodes.iter().position(leads) {
            return place;
        }
        sleep(Duration::from_millis(7)).await;
    }
}

/// Runs a cluster through a failover; gives what happened when.
async fn scenario(folder: &Path) -> Vec<String> {
    let begun = Instant::now();
    let mut trace = Vec::new();
    let switch = Switch::default();
    let mut nodes =
        vec![start(1, folder, &switch).await, start(2, folder, &switch).await, start(3, folder, &switch).await];
    nodes[0].log.bootstrap("n1".into()).await.expect("formed");
    let place = lead(&nodes[..1]).await;
    let first = nodes[place].log.role().borrow().leads().unwrap_or(0);
    assert!(nodes[place].log.wait_applied(first).await);
    for id in [2, 3] {
        nodes[0].log.add_learner(NodeId(id), format!("n{id}")).await.expect("added");
        nodes[0].log.promote(NodeId(id)).await.expect("promoted");
    }
    let mut head = Head::default();
    for round in 0..120u8 {
        if round == 60 {
            nodes.remove(lead(&nodes).await).log.shutdown().await;
            trace.push(format!("{:?} the leader is down", begun.elapsed()));
        }
        loop {
            let place = lead(&nodes).await;
            let term = nodes[place].log.role().borrow().term;
            match nodes[place].log.append(term, frame(head, 2, 100, round)).await {
                Appended::Committed { head: after, raft_index } => {
                    head = after;
                    trace.push(format!("{:?} {raft_index} {term} {}", begun.elapsed(), head.digest));
                    break;
                }
                Appended::Refused(Refusal::RetryHere) => sleep(Duration::from_millis(5)).await,
                other => panic!("the leader takes the turn: {other:?}"),
            }
        }
    }
    for node in &nodes {
        node.log.read_barrier(Duration::from_secs(10)).await.expect("a barrier passes");
        assert_eq!(node.machine.counted().head, head);
        let mut count = node.log.segment_count();
        count.wait_for(|count| *count == head.events / 32).await.expect("the log lives");
    }
    for node in &nodes {
        node.log.shutdown().await;
        assert_eq!(node.log.role().borrow().state, RoleState::Stopped);
    }
    trace
}

fn run(seed: u64) -> Vec<String> {
    let folder = tempfile::tempdir().expect("a folder for the test");
    seed_this_thread(Some(seed));
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().start_paused(true).rng_seed(tokio::runtime::RngSeed::from_bytes(&seed.to_le_bytes()));
    let runtime = builder.build().expect("a runtime");
    let trace = runtime.block_on(scenario(folder.path()));
    seed_this_thread(None);
    trace
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in [1, 2] {
        let (one, two) = (run(seed), run(seed));
        if let Some(place) = one.iter().zip(&two).position(|(a, b)| a != b) {
            panic!("seed {seed} differs at {place}: {:?} and {:?}", one[place], two[place]);
        }
        assert_eq!(one.len(), two.len());
        assert!(one.len() > 120, "the run went through its failover");
    }
}

/// Real files on a disk that says how much is free.
struct Crowded {
    files: RealFiles,
    free: AtomicU64,
}

impl Files for Crowded {
    fn create(&self, name: &str) -> io::Result<Box<dyn FileWriter>> {
        self.files.create(name)
    }
    fn read_at(&self, name: &str, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        self.files.read_at(name, offset, length)
    }
    fn length(&self, name: &str) -> io::Result<u64> {
        self.files.length(name)
    }
    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        self.files.list(folder)
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.files.remove(name)
    }
    fn free_bytes(&self) -> io::Result<u64> {
        Ok(self.free.load(Ordering::Relaxed))
    }
    fn reserve(&self, _bytes: u64) -> io::Result<()> {
        Ok(())
    }
}

async fn one(node: &Node) -> u64 {
    node.log.bootstrap("n1".into()).await.expect("formed");
    let mut role = node.log.role();
    let role = *role.wait_for(|role| role.leads().is_some()).await.expect("the log lives");
    assert!(node.log.wait_applied(role.leads().unwrap_or(0)).await);
    role.term
}

#[tokio::test(start_paused = true)]
async fn a_crowded_disk_refuses_turns_before_it_fails() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let files = Arc::new(Crowded { files: RealFiles::new(folder.path().to_owned()), free: AtomicU64::new(1 << 30) });
    let (disk, switch) = (VirtualDisk::new(1), Switch::default());
    let node = start_with(1, files.clone(), 1 << 20, Arc::new(Tally::default()), disk, &switch).await;
    let term = one(&node).await;
    let head = match node.log.append(term, frame(Head::default(), 1, 64, 0)).await {
        Appended::Committed { head, .. } => head,
        other => panic!("there is space: {other:?}"),
    };
    let mut degraded = node.log.storage_degraded();
    files.free.store(1 << 10, Ordering::Relaxed);
    degraded.wait_for(|degraded| *degraded).await.expect("the log lives");
    let refused = node.log.append(term, frame(head, 1, 64, 0)).await;
    assert_eq!(refused, Appended::Refused(Refusal::StorageDegraded));
    files.free.store(1 << 30, Ordering::Relaxed);
    degraded.wait_for(|degraded| !degraded).await.expect("the log lives");
    let taken = node.log.append(term, frame(head, 1, 64, 0)).await;
    assert!(matches!(taken, Appended::Committed { .. }), "{taken:?}");
    node.log.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_write_error_stops_the_node_for_good() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let files: Arc<dyn Files> = Arc::new(RealFiles::new(folder.path().to_owned()));
    let (disk, switch) = (VirtualDisk::new(1), Switch::default());
    let node = start_with(1, files.clone(), 0, Arc::new(Tally::default()), disk.clone(), &switch).await;
    let term = one(&node).await;
    disk.cut_after(0);
    let lost = node.log.append(term, frame(Head::default(), 1, 64, 0)).await;
    assert_eq!(lost, Appended::Unknown);
    let fault = node.log.fatal().await;
    assert!(fault.what.contains("cannot write the log"), "{fault}");
    assert!(files.length("poisoned").is_ok(), "the next start finds the mark");
    let mut role = node.log.role();
    role.wait_for(|role| role.state == RoleState::Stopped).await.expect("the log is there");
    node.log.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_single_node_finds_its_turns_again_after_a_restart() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let files: Arc<dyn Files> = Arc::new(RealFiles::new(folder.path().to_owned()));
    let (disk, switch) = (VirtualDisk::new(1), Switch::default());
    let node = start_with(1, files.clone(), 0, Arc::new(Tally::default()), disk.clone(), &switch).await;
    let term = one(&node).await;
    let mut head = Head::default();
    for round in 0..40 {
        match node.log.append(term, frame(head, 2, 64, round)).await {
            Appended::Committed { head: after, .. } => head = after,
            other => panic!("the leader takes the turn: {other:?}"),
        }
    }
    node.log.shutdown().await;
    let node = start_with(1, files, 0, Arc::new(Tally::default()), disk, &switch).await;
    node.log.read_barrier(Duration::from_secs(10)).await.expect("it leads again");
    assert_eq!(node.machine.counted().head, head);
    assert!(node.log.role().borrow().term > term, "it does not resume its old term");
    node.log.shutdown().await;
}
