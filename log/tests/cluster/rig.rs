//! Nodes for tests.

use crate::machine::{Tally, frame};
use forge_event::archive::Reader;
use forge_event::{EventIndex, Head, NodeId};
use forge_log::network::Inbox;
use forge_log::network::identity::{Identity, PublicKey};
use forge_log::network::quic::{Directory, QuicTransport};
use forge_log::{Appended, Log, Options, RaftLog, Refusal};
use futures::StreamExt;
use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tempfile::TempDir;
use tokio::time::timeout;

/// Nothing in these tests takes longer on a busy machine.
pub const DEADLINE: Duration = Duration::from_secs(30);
/// Short segments, so that a few turns fill some.
pub const SEGMENT_LEAVES: u64 = 32;

pub async fn within<T>(work: impl Future<Output = T>) -> T {
    timeout(DEADLINE, work).await.expect("it happens within the deadline")
}

/// Keys and addresses, shared by all nodes of a test.
#[derive(Default)]
pub struct Book(Mutex<BTreeMap<NodeId, (String, PublicKey)>>);

impl Book {
    fn get(&self, node: NodeId) -> Option<(String, PublicKey)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&node).cloned()
    }
}

impl Directory for Book {
    fn pin(&self, node: NodeId) -> Option<PublicKey> {
        self.get(node).map(|(_, key)| key)
    }

    fn address(&self, node: NodeId) -> Option<String> {
        self.get(node).map(|(address, _)| address)
    }

    fn node_of(&self, key: &PublicKey) -> Option<NodeId> {
        let book = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        book.iter().find(|(_, (_, pinned))| pinned == key).map(|(node, _)| *node)
    }
}

pub struct Cluster {
    book: Arc<Book>,
    pub segment_leaves: u64,
}

pub struct Node {
    pub id: NodeId,
    pub log: Arc<RaftLog>,
    pub machine: Arc<Tally>,
    pub transport: Arc<QuicTransport>,
    pub links: Inbox,
    folder: TempDir,
}

impl Cluster {
    pub fn new() -> Cluster {
        Cluster { book: Arc::default(), segment_leaves: SEGMENT_LEAVES }
    }

    pub fn directory(&self) -> Arc<dyn Directory> {
        self.book.clone()
    }

    pub fn entry(&self, node: NodeId) -> Option<(String, PublicKey)> {
        self.book.get(node)
    }

    pub async fn start_new(&self, id: u64) -> Node {
        self.start(NodeId(id), tempfile::tempdir().expect("a folder for the node")).await
    }

    pub async fn start(&self, id: NodeId, folder: TempDir) -> Node {
        let identity = Arc::new(Identity::from_seed([id.0 as u8; 32]).expect("an identity"));
        let key = identity.public_key();
        let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
        let (transport, inbox) = QuicTransport::bind(identity, any, self.book.clone()).expect("a free port");
        let address = transport.local_addr().expect("bound").to_string();
        self.book.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id, (address, key));
        let machine = Arc::new(Tally::default());
        let mut options = Options::production(id, folder.path().to_owned());
        options.reserve_bytes = 1 << 20;
        options.segment_leaves = self.segment_leaves;
        options.purge_keep_entries = 5;
        let started = RaftLog::start(options, machine.clone(), transport.clone(), inbox).await;
        let (log, links) = started.expect("the log opens");
        Node { id, log, machine, transport, links, folder }
    }

    /// Three voters.
    pub async fn three(&self) -> Vec<Node> {
        let nodes = vec![self.start_new(1).await, self.start_new(2).await, self.start_new(3).await];
        within(nodes[0].log.bootstrap("n1".into())).await.expect("formed");
        let mut role = nodes[0].log.role();
        let role = *within(role.wait_for(|role| role.leads().is_some())).await.expect("the log lives");
        // No change of members before the leader's first own entry is committed.
        within(nodes[0].log.wait_applied(role.leads().unwrap_or(0))).await;
        for node in &nodes[1..] {
            within(nodes[0].log.add_learner(node.id, "address".into())).await.expect("added");
            within(nodes[0].log.promote(node.id)).await.expect("promoted");
        }
        nodes
    }
}

impl Node {
    /// Appends one turn as the leader; tries again while the leader cannot take it yet.
    pub async fn append(&self, head: Head) -> Head {
        let append = async {
            loop {
                let mut role = self.log.role();
                let term = role.wait_for(|role| role.leads().is_some()).await.expect("the log lives").term;
                match self.log.append(term, frame(head, 3, 64, 1)).await {
                    Appended::Committed { head, .. } => return head,
                    Appended::Refused(Refusal::RetryHere) => tokio::time::sleep(Duration::from_millis(5)).await,
                    other => panic!("a leader takes the turn: {other:?}"),
                }
            }
        };
        within(append).await
    }

    pub async fn stop(self) -> (TempDir, NodeId) {
        self.log.shutdown().await;
        self.transport.close();
        (self.folder, self.id)
    }
}

/// Waits until one of the nodes leads; gives its place.
pub async fn leader(nodes: &[Node]) -> usize {
    let waits = nodes.iter().enumerate().map(|(place, node)| {
        let mut role = node.log.role();
        Box::pin(async move { role.wait_for(|role| role.leads().is_some()).await.map(|_| place) })
    });
    let (place, ..) = within(futures::future::select_all(waits)).await;
    place.expect("the log lives")
}

pub async fn export(node: &Node, from: EventIndex, to: EventIndex) -> Vec<u8> {
    let parts = node.log.export(from, to).map(|part| part.expect("history is whole")).collect::<Vec<_>>();
    within(parts).await.concat()
}

/// An export is an archive file that verifies.
pub fn verify_export(bytes: &[u8]) {
    let mut reader = Reader::new(bytes).expect("a header");
    while let Some(step) = reader.next() {
        step.expect("a turn that verifies");
    }
}
