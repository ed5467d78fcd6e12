//! The part of a node that is the same in production and in simulation.

use crate::clock::Clock;
use crate::committed::CommittedWorld;
use crate::handle::{Hub, Inner};
use crate::metrics::Metrics;
use crate::peers::Acquaintances;
use crate::{peers, reactor, sequencer, upkeep};
use forge_adapters::Registry;
use forge_event::NodeId;
use forge_log::Log;
use forge_log::network::identity::Identity;
use forge_log::network::{Inbox, Incoming, Lane, Peer, Transport};
use std::sync::{Arc, OnceLock};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Links of other nodes served at once.
const LINKS_MAX: usize = 64;

/// Where work that may take long is done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Offload {
    /// On a thread of its own.
    Threads,
    /// Where it stands: the simulator has one thread.
    Inline,
}

/// What a core is made of.
pub struct Parts {
    pub node: NodeId,
    pub identity: Arc<Identity>,
    pub log: Arc<dyn Log>,
    pub committed: Arc<CommittedWorld>,
    pub clock: Clock,
    pub metrics: Arc<Metrics>,
    pub transport: Arc<dyn Transport>,
    pub inbox: Inbox,
    pub offload: Offload,
    pub stop: CancellationToken,
}

/// A running core: its handle, its tasks, and links that strangers opened to join.
pub struct Core {
    pub hub: Hub,
    pub tasks: JoinSet<()>,
    pub joiners: mpsc::Receiver<Incoming>,
    /// Links over which other nodes give or want blobs.
    pub blob_links: mpsc::Receiver<Incoming>,
}

/// Starts sequencer, reactor, upkeep and the peers' door on the current runtime.
pub fn start(parts: Parts) -> Core {
    let Parts { node, identity, log, committed, clock, metrics, transport, inbox, offload, stop } = parts;
    let mut tasks = JoinSet::new();
    let (requests, waiting) = mpsc::channel(sequencer::COMMANDS_WAITING_MAX);
    let (forwarder, forwarding) = peers::forwarder(transport.clone());
    // Handles outlive the core, so the forwarder's own end would never come.
    let stopped = stop.clone();
    tasks.spawn(async move {
        tokio::select! { biased;
            () = stopped.cancelled() => {}
            () = forwarding => {}
        }
    });
    let families = &Registry;
    let driven = sequencer::Sequencer {
        node,
        log: log.clone(),
        committed: committed.clone(),
        clock: clock.clone(),
        families,
        metrics: metrics.clone(),
        requests: waiting,
        transport: transport.clone(),
        stop: stop.clone(),
    };
    tasks.spawn(sequencer::run(driven));
    let hub = Hub::new(Inner {
        node,
        identity,
        log,
        committed,
        clock,
        metrics,
        families,
        requests,
        forwarder,
        transport,
        acquaintances: Acquaintances::default(),
        folder: OnceLock::new(),
        blobs: OnceLock::new(),
        bucket: OnceLock::new(),
        kv: OnceLock::new(),
        rest: OnceLock::new(),
        offload,
    });
    tasks.spawn(reactor::run(hub.clone(), stop.clone()));
    tasks.spawn(upkeep::run(hub.clone(), stop.clone()));
    let (strangers, joiners) = mpsc::channel(LINKS_MAX);
    let (blobs, blob_links) = mpsc::channel(LINKS_MAX);
    tasks.spawn(door(hub.clone(), inbox, strangers, blobs, stop));
    Core { hub, tasks, joiners, blob_links }
}

/// Serves the links that other nodes open.
async fn door(
    hub: Hub,
    mut inbox: Inbox,
    strangers: mpsc::Sender<Incoming>,
    blobs: mpsc::Sender<Incoming>,
    stop: CancellationToken,
) {
    let mut links = JoinSet::new();
    loop {
        tokio::select! { biased;
            () = stop.cancelled() => return,
            Some(_) = links.join_next() => {}
            incoming = inbox.recv(), if links.len() < LINKS_MAX => {
                let Some(incoming) = incoming else { return };
                match (incoming.lane, incoming.from) {
                    (Lane::Forward, Peer::Node(_)) => drop(links.spawn(peers::serve(hub.clone(), incoming.link))),
                    // A full queue closes the link: whoever joins tries again.
                    // The same: whoever gives or wants a blob tries another node.
                    (Lane::Blob, Peer::Node(_)) => drop(blobs.try_send(incoming)),
                    (Lane::Join, _) => drop(strangers.try_send(incoming)),
                    _ => {}
                }
            }
        }
    }
}
