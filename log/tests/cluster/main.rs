//! Real nodes: own threads, real files, QUIC on loopback.

#[path = "../support/machine.rs"]
mod machine;
mod rig;

use forge_event::{EventIndex, Head, NodeId};
use forge_log::network::identity::Identity;
use forge_log::network::quic::QuicTransport;
use forge_log::network::{Lane, Peer, Transport};
use forge_log::{Appended, Log, PurgeRefused, ReadError, Refusal};
use futures::StreamExt;
use machine::frame;
use rig::{Cluster, DEADLINE, Node, within};
use std::sync::Arc;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_elects_appends_fails_over_and_hands_over() {
    let cluster = Cluster::new();
    let mut nodes = cluster.three().await;
    let leader = rig::leader(&nodes).await;
    let mut head = Head::default();
    for _ in 0..50 {
        head = nodes[leader].append(head).await;
    }
    for node in &nodes {
        within(node.log.read_barrier(DEADLINE)).await.expect("every node can pass a read barrier");
        assert_eq!(node.machine.counted().head, head);
    }

    let dead = nodes.remove(leader);
    let (folder, id) = dead.stop().await;
    let leader = rig::leader(&nodes).await;
    for _ in 0..20 {
        head = nodes[leader].append(head).await;
    }

    let again = cluster.start(id, folder).await;
    within(again.log.read_barrier(DEADLINE)).await.expect("the old leader follows again");
    assert_eq!(again.machine.counted().head, head);
    nodes.push(again);

    let leader = rig::leader(&nodes).await;
    let to = (leader + 1) % nodes.len();
    within(nodes[leader].log.transfer(nodes[to].id)).await.expect("leadership can be handed over");
    let mut role = nodes[to].log.role();
    within(role.wait_for(|role| role.leads().is_some())).await.expect("the log lives");
    head = nodes[to].append(head).await;
    assert_eq!(nodes[to].machine.counted().head, head);
    let removed = nodes[leader].id;
    within(nodes[to].log.remove(removed)).await.expect("a voter can be removed");
    within(nodes[to].log.remove(removed)).await.expect("removing is idempotent");
    assert_eq!(nodes[to].log.status().members.len(), 2);
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_learner_joins_by_snapshot_and_completes_its_archive() {
    let cluster = Cluster::new();
    let first = cluster.start_new(1).await;
    within(first.log.bootstrap("n1".into())).await.expect("formed");
    let mut head = Head::default();
    for _ in 0..150 {
        head = first.append(head).await;
    }
    let mut count = first.log.segment_count();
    within(count.wait_for(|count| *count == head.events / rig::SEGMENT_LEAVES)).await.expect("the log lives");
    let segments = first.log.segments(EventIndex(0));
    let archived = segments.last().expect("segments are sealed").last;

    let snapshot = within(first.log.snapshot()).await.expect("a snapshot is taken");
    let far = first.log.purge_upto(snapshot + 1, archived).await;
    assert!(matches!(far, Err(PurgeRefused::NotArchived { .. })), "{far:?}");
    let close = first.log.purge_upto(snapshot - 1, archived).await;
    assert!(matches!(close, Err(PurgeRefused::TooClose { .. } | PurgeRefused::NotArchived { .. })), "{close:?}");
    let upto = first.log.purgeable(archived).expect("archived entries may go");
    assert_eq!(
        first.log.purge_upto(upto, EventIndex(0)).await,
        Err(PurgeRefused::NotArchived { asked: upto, archived: 0 })
    );
    within(first.log.purge_upto(upto, archived)).await.expect("purged");
    assert_eq!(first.log.status().purged, Some(upto));

    let second = cluster.start_new(2).await;
    within(first.log.add_learner(second.id, "n2".into())).await.expect("added");
    within(second.log.wait_applied(snapshot)).await;
    head = first.append(head).await;
    within(second.log.read_barrier(DEADLINE)).await.expect("a learner can pass a read barrier");
    assert_eq!(second.machine.counted().head, head);

    assert_eq!(second.log.status().snapshot, Some(snapshot), "it came by snapshot");

    let mut incomplete = second.log.incomplete();
    within(incomplete.wait_for(|incomplete| !incomplete)).await.expect("the log lives");
    let mut count = second.log.segment_count();
    within(count.wait_for(|count| *count as usize >= segments.len())).await.expect("the log lives");
    assert_eq!(second.log.segments(EventIndex(0))[..segments.len()], segments);
    for (from, to) in [(1, head.events), (1, 7), (33, 34), (head.events - 1, head.events), (40, 200)] {
        let (from, to) = (EventIndex(from), EventIndex(to));
        let bytes = rig::export(&first, from, to).await;
        assert_eq!(bytes, rig::export(&second, from, to).await, "{from} to {to}");
        rig::verify_export(&bytes);
    }
    let turns = second.log.read(EventIndex(1)).map(|turn| turn.expect("history is whole")).collect::<Vec<_>>().await;
    assert_eq!(turns.last().map(|turn| turn.head), Some(head));
    let beyond = second.log.read(EventIndex(head.events + 2)).next().await;
    assert!(matches!(beyond, Some(Err(ReadError::BeyondEnd { .. }))));

    within(first.log.promote(second.id)).await.expect("promoted");
    within(first.log.promote(second.id)).await.expect("promoting is idempotent");
    head = first.append(head).await;
    let (folder, id) = second.stop().await;
    let second = cluster.start(id, folder).await;
    within(second.log.read_barrier(DEADLINE)).await.expect("it comes back from its own snapshot and log");
    assert_eq!(second.machine.counted().head, head);
    assert!(!second.log.status().incomplete);
    first.stop().await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_strangers_turn_at_the_guessed_position_is_ignored() {
    let cluster = Cluster::new();
    let node = cluster.start_new(1).await;
    within(node.log.bootstrap("n1".into())).await.expect("formed");
    let head = node.append(Head::default()).await;
    let term = node.log.role().borrow().term;
    let mut guessed = head;
    guessed.digest.0[0] ^= 1;
    let answer = within(node.log.append(term, frame(guessed, 1, 64, 0))).await;
    assert_eq!(answer, Appended::Refused(Refusal::Ignored { head }));
    let answer = within(node.log.append(term + 1, frame(head, 1, 64, 0))).await;
    assert!(matches!(answer, Appended::Refused(Refusal::NotLeader { .. } | Refusal::RetryHere)), "{answer:?}");
    let [one, two] = [frame(head, 1, 64, 1), frame(head, 1, 64, 2)];
    let (one, two) = (node.log.append(term, one), node.log.append(term, two));
    let after = match (within(one).await, within(two).await) {
        (Appended::Committed { head, .. }, Appended::Refused(Refusal::Ignored { head: seen })) => {
            assert_eq!(head, seen);
            head
        }
        other => panic!("the first of two is taken, the second ignored: {other:?}"),
    };
    assert_eq!(node.machine.counted().head, after);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_append_without_a_majority_is_unknown_when_the_log_stops() {
    let cluster = Cluster::new();
    let mut nodes = cluster.three().await;
    let leader = rig::leader(&nodes).await;
    let leader = nodes.remove(leader);
    let head = leader.append(Head::default()).await;
    for node in nodes {
        node.stop().await;
    }
    let term = leader.log.role().borrow().term;
    let ticket = leader.log.append(term, frame(head, 1, 64, 0));
    let log = leader.log.clone();
    log.shutdown().await;
    let outcome = within(ticket).await;
    assert!(matches!(outcome, Appended::Unknown | Appended::Refused(_)), "{outcome:?}");
    let late = within(log.append(term, frame(head, 1, 64, 0))).await;
    assert!(matches!(late, Appended::Refused(Refusal::Stopped) | Appended::Unknown), "{late:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_may_join_and_nothing_else() {
    let cluster = Cluster::new();
    let mut node = cluster.start_new(1).await;
    let stranger = Arc::new(Identity::generate().expect("an identity"));
    let directory = cluster.directory();
    let (transport, _inbox) =
        QuicTransport::bind(stranger.clone(), "127.0.0.1:0".parse().expect("an address"), directory).expect("bound");
    let (address, pin) = cluster.entry(NodeId(1)).expect("the node is in the directory");

    let mut link = within(transport.join(&address, pin)).await.expect("a stranger may join");
    link.send(b"token"[..].into()).await.expect("sent");
    let mut incoming = within(node.links.recv()).await.expect("the hub gets the link");
    assert_eq!((incoming.lane, incoming.from), (Lane::Join, Peer::Stranger(stranger.public_key())));
    assert_eq!(within(incoming.link.recv()).await.expect("received").expect("a frame"), &b"token"[..]);

    assert!(within(transport.join(&address, [9; 32])).await.is_err(), "another key than the pinned one is refused");
    let mut link = within(transport.open(NodeId(1), Lane::Forward)).await.expect("opening says nothing yet");
    let refused = within(link.recv()).await;
    assert!(!matches!(refused, Ok(Some(_))), "a stranger's link is closed");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hub_link_carries_frames_both_ways() {
    let cluster = Cluster::new();
    let (one, mut two) = (cluster.start_new(1).await, cluster.start_new(2).await);
    let mut link = within(one.transport.open(two.id, Lane::Forward)).await.expect("opened");
    let large = vec![7u8; 1 << 20];
    link.send(large.clone().into()).await.expect("sent");
    let mut incoming = within(two.links.recv()).await.expect("the hub gets the link");
    assert_eq!(incoming.from, Peer::Node(one.id));
    assert_eq!(within(incoming.link.recv()).await.expect("received").expect("a frame"), large);
    incoming.link.send(b"answer"[..].into()).await.expect("sent");
    assert_eq!(within(link.recv()).await.expect("received").expect("a frame"), &b"answer"[..]);
    assert!(link.send(vec![0; (1 << 20) + 1].into()).await.is_err(), "a longer frame is refused");
    let nodes: [Node; 2] = [one, two];
    for node in nodes {
        node.stop().await;
    }
}
