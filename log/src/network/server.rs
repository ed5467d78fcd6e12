//! What Raft answers: one task for each link that a peer opened.

use super::client::within;
use super::transport::{Inbox, Incoming, Lane, Link, Peer};
use super::wire::{
    AppendTold, Ask, Numbered, SnapshotOffer, SnapshotPart, Told, TransferRefused, VoteAsk, bad, decode_append,
    read_form, recv_message, send_message,
};
use crate::apply::{Applied, Applier, as_snapshot};
use crate::archive::Archive;
use crate::files::Files;
use crate::form::{LogIdForm, VoteForm, to_bytes};
use crate::options::Executor;
use crate::snapshot::SnapshotFile;
use crate::store::Space;
use crate::types::{LogId, Types, Vote};
use futures::{StreamExt, stream};
use openraft::errors::{LinearizableReadError, RaftError};
use openraft::raft::{TransferLeaderError, TransferLeaderRequest, VoteRequest};
use openraft::{Raft, ReadPolicy};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Appends of one link that may wait for Raft.
const APPENDS_MAX: usize = 64;
/// A peer may take this long over one step of a snapshot, an archive pull, or a vote link's next question.
const STEP: Duration = Duration::from_secs(30);
/// How long a follower without disk space holds an append back before it lets the link go.
const HOLD: Duration = Duration::from_secs(2);
/// Snapshots larger than this are refused. Units: bytes.
const SNAPSHOT_BYTES_MAX: u64 = 1 << 36;

/// Serves the links of a node.
#[derive(Clone)]
pub struct Server {
    pub raft: Raft<Types, Applier>,
    pub files: Arc<dyn Files>,
    pub executor: Executor,
    pub space: Arc<Space>,
    pub archive: Arc<Archive>,
    pub applied: watch::Sender<Applied>,
    /// Numbers snapshots on their way in.
    pub receiving: Arc<AtomicU64>,
}

impl Server {
    /// Takes links until the inbox ends; the hub's links go to `hub`.
    pub async fn run(self, mut inbox: Inbox, hub: mpsc::Sender<Incoming>) {
        let mut links = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                Some(ended) = links.join_next() => {
                    if let Err(error) = ended {
                        tracing::warn!(%error, "a peer's link ended badly");
                    }
                }
                incoming = inbox.recv() => match incoming {
                    None => return,
                    Some(incoming) => self.take(incoming, &hub, &mut links),
                }
            }
        }
    }

    fn take(&self, incoming: Incoming, hub: &mpsc::Sender<Incoming>, links: &mut JoinSet<()>) {
        if matches!(incoming.lane, Lane::Forward | Lane::Blob | Lane::Join) {
            if hub.try_send(incoming).is_err() {
                tracing::warn!("a link for the hub was dropped: too many wait");
            }
            return;
        }
        let Peer::Node(from) = incoming.from else { return };
        let (server, lane, link) = (self.clone(), incoming.lane, incoming.link);
        links.spawn(async move {
            let served = match lane {
                Lane::Append => server.appends(link).await,
                Lane::Heartbeat => server.heartbeats(link).await,
                Lane::Vote | Lane::Read => server.questions(link).await,
                Lane::Snapshot => server.snapshot(link).await,
                Lane::Archive => server.archive.clone().serve(link, server.applied.subscribe()).await,
                Lane::Forward | Lane::Blob | Lane::Join => Ok(()),
            };
            if let Err(error) = served {
                tracing::debug!(%from, ?lane, %error, "a peer's link broke");
            }
        });
    }

    /// Appends without waiting for each other; answers in order, each when its entries are on disk.
    async fn appends(&self, link: Link) -> io::Result<()> {
        let (mut sender, mut receiver) = link.split();
        let (requests, queue) = mpsc::channel(APPENDS_MAX);
        let (numbers, mut answered) = mpsc::channel::<u64>(APPENDS_MAX);
        let this = self.clone();
        let reading = async move {
            let mut expected = 0;
            while let Some(message) = recv_message(&mut *receiver).await? {
                let (number, request) = decode_append(&message)?;
                expected += 1;
                if number != expected {
                    return Err(bad("an append was lost or doubled"));
                }
                this.hold(&request.entries).await?;
                if numbers.send(number).await.is_err() || requests.send(request).await.is_err() {
                    break;
                }
            }
            io::Result::Ok(())
        };
        let input = stream::unfold(queue, |mut queue| async move { queue.recv().await.map(|r| (r, queue)) });
        let mut results = Box::pin(self.raft.stream_append(Box::pin(input)));
        let answering = async move {
            while let Some(result) = results.next().await {
                let Some(number) = answered.recv().await else { break };
                let body = match result {
                    Ok(result) => AppendTold::from(result),
                    Err(fatal) => AppendTold::Failed(fatal.to_string()),
                };
                let message = to_bytes(&Numbered { number, body });
                within(STEP, send_message(&mut *sender, &message)).await?;
            }
            io::Result::Ok(())
        };
        tokio::select! {
            biased;
            ended = answering => ended,
            Err(error) = reading => Err(error),
        }
    }

    /// Without space, entries wait here, not on the disk: heartbeats and votes have lanes of their own.
    async fn hold<T>(&self, entries: &[T]) -> io::Result<()> {
        if entries.is_empty() || !self.space.is_degraded() {
            return Ok(());
        }
        let mut degraded = self.space.degraded();
        self.space.check();
        match timeout(HOLD, degraded.wait_for(|degraded| !degraded)).await {
            Ok(_) => Ok(()),
            Err(_) => Err(io::ErrorKind::StorageFull.into()),
        }
    }

    async fn heartbeats(&self, mut link: Link) -> io::Result<()> {
        let (sender, receiver) = link.halves();
        while let Some(message) = recv_message(receiver).await? {
            let (number, request) = decode_append(&message)?;
            self.hold(&request.entries).await?;
            let (prev, last) = (request.prev_log_id, request.entries.last().map(|e| e.log_id));
            let last = last.or(prev);
            let body = match self.raft.append_entries(request).await {
                Ok(response) => AppendTold::from(response.into_stream_result(prev, last)),
                Err(error) => AppendTold::Failed(error.to_string()),
            };
            within(STEP, send_message(sender, &to_bytes(&Numbered { number, body }))).await?;
        }
        Ok(())
    }

    async fn questions(&self, mut link: Link) -> io::Result<()> {
        let (sender, receiver) = link.halves();
        while let Some(message) = recv_message(receiver).await? {
            let ask: Numbered<Ask> = read_form(&message, "a question")?;
            let body = within(STEP, self.tell(ask.body)).await.unwrap_or_else(|e| Told::Failed(e.to_string()));
            within(STEP, send_message(sender, &to_bytes(&Numbered { number: ask.number, body }))).await?;
        }
        Ok(())
    }

    async fn tell(&self, ask: Ask) -> io::Result<Told> {
        Ok(match ask {
            Ask::PreVote(ask) => told_vote(self.raft.pre_vote(vote_request(ask)).await.map_err(other)?),
            Ask::Vote(ask) => told_vote(self.raft.vote(vote_request(ask)).await.map_err(other)?),
            Ask::TransferLeader { from, to, last } => {
                let request = TransferLeaderRequest::new(from.into(), to, last.map(LogId::from));
                let answer = self.raft.handle_transfer_leader(request).await.map_err(other)?;
                Told::Transfer(answer.map_err(|refused| match refused {
                    TransferLeaderError::VoteChanged { expected, actual } => {
                        TransferRefused::Vote { expected: (&expected).into(), actual: (&actual).into() }
                    }
                    TransferLeaderError::LogNotFlushed { expected, actual } => TransferRefused::NotFlushed {
                        expected: expected.as_ref().map(LogIdForm::from),
                        actual: actual.as_ref().map(LogIdForm::from),
                    },
                }))
            }
            Ask::ReadIndex => Told::ReadIndex(read_index(&self.raft).await?),
        })
    }

    async fn snapshot(&self, mut link: Link) -> io::Result<()> {
        let (sender, receiver) = link.halves();
        let message = within(STEP, recv_message(receiver)).await?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let offer: SnapshotOffer = read_form(&message, "a snapshot's offer")?;
        if offer.bytes > SNAPSHOT_BYTES_MAX {
            return Err(bad("a snapshot longer than the limit"));
        }
        // Not among the snapshots yet: a restart must not take up what was never installed.
        let name = format!("received/{:06}.part", self.receiving.fetch_add(1, Ordering::Relaxed));
        let mut file = self.files.create(&name)?;
        let mut hasher = blake3::Hasher::new();
        let mut received = 0;
        loop {
            let message = within(STEP, recv_message(receiver)).await?.ok_or(io::ErrorKind::UnexpectedEof)?;
            match read_form(&message, "a snapshot's part")? {
                SnapshotPart::Chunk(chunk) => {
                    received += chunk.len() as u64;
                    if received > offer.bytes {
                        return Err(bad("a snapshot longer than it was said to be"));
                    }
                    hasher.update(chunk);
                    file.write(chunk)?;
                }
                SnapshotPart::End(digest) => {
                    if received != offer.bytes || hasher.finalize().as_bytes() != &digest {
                        return Err(bad("a snapshot that changed on its way"));
                    }
                    break;
                }
            }
        }
        file.finish()?;
        let installed = self.install(offer.vote.into(), &name).await;
        self.files.remove(&name)?;
        let told: Result<VoteForm, String> = installed.map(|vote| (&vote).into()).map_err(|e| e.to_string());
        within(STEP, send_message(sender, &to_bytes(&told))).await
    }

    /// Verifies a received snapshot whole, and hands it to Raft.
    async fn install(&self, vote: Vote, received: &str) -> io::Result<Vote> {
        let file = SnapshotFile { files: self.files.clone(), name: received.to_owned() };
        let read = file.clone();
        let (head, _) = self.executor.offload("forge-snapshot-check", move || read.read()).await?;
        let response = self.raft.install_full_snapshot(vote, as_snapshot(file, head)?).await.map_err(other)?;
        Ok(response.vote)
    }
}

/// The Raft index a linearizable read must wait for; `Err` with the leader if this node does not lead.
pub async fn read_index(raft: &Raft<Types, Applier>) -> io::Result<Result<u64, Option<u64>>> {
    match raft.get_read_linearizer(ReadPolicy::ReadIndex).await {
        Ok(linearizer) => Ok(Ok(linearizer.read_log_id().index())),
        Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(forward))) => Ok(Err(forward.leader_id)),
        Err(error) => Err(other(error)),
    }
}

fn vote_request(ask: VoteAsk) -> VoteRequest<Types> {
    let mut request = VoteRequest::new(ask.vote.into(), ask.last.map(LogId::from));
    request.leadership_transfer = ask.transfer;
    request
}

fn told_vote(response: openraft::raft::VoteResponse<Types>) -> Told {
    Told::Vote {
        vote: (&response.vote).into(),
        granted: response.vote_granted,
        last: response.last_log_id.as_ref().map(LogIdForm::from),
    }
}

fn other(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::other(error.to_string())
}
