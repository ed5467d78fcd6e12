//! What Raft sends: each kind of message on its own lane, each under its deadline.

use super::transport::{Lane, Link, Transport};
use super::wire::{
    AppendTold, Ask, Numbered, SnapshotOffer, SnapshotPart, Told, TransferRefused, VoteAsk, bad, encode_append,
    read_form, recv_message, send_message,
};
use crate::form::{LogIdForm, VoteForm, to_bytes};
use crate::snapshot::SnapshotFile;
use crate::types::{LogId, Types, Vote};
use forge_event::NodeId;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt, stream};
use openraft::alias::SnapshotOf;
use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult, TransferLeaderError,
    TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::timeout;

/// Appends that may be on their way to a peer.
const IN_FLIGHT_MAX: usize = 64;
/// A request that only tells what is committed waits this long for one with entries, which tells it as well: a lone
/// writer's next turn mostly comes sooner, and then each peer is spoken to once a turn instead of twice.
const COMMIT_WAIT: Duration = Duration::from_millis(2);
/// A follower may take this many time-to-lives for an append: it fsyncs before it answers.
const APPEND_PATIENCE: u32 = 8;
/// Bytes of a snapshot in one message.
const CHUNK_BYTES: usize = 256 * 1024;

/// Makes clients, one for each peer and purpose.
pub struct Network {
    pub transport: Arc<dyn Transport>,
}

/// Talks to one peer for one purpose.
pub struct PeerClient {
    transport: Arc<dyn Transport>,
    to: NodeId,
    /// Heartbeats go one by one on a kept link; other appends are pipelined.
    lane: Lane,
    kept: Option<Link>,
    number: u64,
}

impl RaftNetworkFactory<Types> for Network {
    type Network = PeerClient;

    async fn new_client(&mut self, target: u64, _node: &openraft::BasicNode) -> PeerClient {
        PeerClient::new(self.transport.clone(), NodeId(target), Lane::Append)
    }

    async fn new_heartbeat_client(&mut self, target: u64, _node: &openraft::BasicNode) -> PeerClient {
        PeerClient::new(self.transport.clone(), NodeId(target), Lane::Heartbeat)
    }

    async fn new_snapshot_client(&mut self, target: u64, _node: &openraft::BasicNode) -> PeerClient {
        PeerClient::new(self.transport.clone(), NodeId(target), Lane::Snapshot)
    }
}

impl PeerClient {
    pub fn new(transport: Arc<dyn Transport>, to: NodeId, lane: Lane) -> Self {
        PeerClient { transport, to, lane, kept: None, number: 0 }
    }

    /// One message there, one back, on the kept link of `lane`; the link is dropped with whatever goes wrong.
    async fn exchange(&mut self, lane: Lane, message: Vec<u8>) -> io::Result<bytes::Bytes> {
        let mut link = match self.kept.take() {
            Some(link) => link,
            None => self.transport.open(self.to, lane).await?,
        };
        let (sender, receiver) = link.halves();
        send_message(sender, &message).await?;
        let answer = recv_message(receiver).await?.ok_or(io::ErrorKind::UnexpectedEof)?;
        self.kept = Some(link);
        Ok(answer)
    }

    /// Asks on the vote lane.
    pub async fn ask(&mut self, ask: Ask, deadline: Duration) -> io::Result<Told> {
        self.number += 1;
        let number = self.number;
        let lane = if matches!(ask, Ask::ReadIndex) { Lane::Read } else { Lane::Vote };
        let message = to_bytes(&Numbered { number, body: ask });
        let answer = within(deadline, self.exchange(lane, message)).await?;
        let told: Numbered<Told> = read_form(&answer, "an answer")?;
        if told.number != number {
            self.kept = None;
            return Err(bad("an answer to another question"));
        }
        match told.body {
            Told::Failed(why) => Err(io::Error::other(why)),
            told => Ok(told),
        }
    }

    async fn ask_vote(&mut self, ask: Ask, deadline: Duration) -> io::Result<VoteResponse<Types>> {
        match self.ask(ask, deadline).await? {
            Told::Vote { vote, granted, last } => {
                Ok(VoteResponse::new(Vote::from(vote), last.map(LogId::from), granted))
            }
            _ => Err(bad("an answer that is no vote")),
        }
    }

    async fn append_one(
        &mut self,
        request: &AppendEntriesRequest<Types>,
        deadline: Duration,
    ) -> io::Result<StreamAppendResult<Types>> {
        self.number += 1;
        let number = self.number;
        let message = encode_append(number, request);
        let answer = within(deadline, self.exchange(Lane::Heartbeat, message)).await?;
        let told: Numbered<AppendTold> = read_form(&answer, "an answer to an append")?;
        if told.number != number {
            self.kept = None;
            return Err(bad("an answer to another append"));
        }
        told.body.into_result()
    }

    async fn send_snapshot(&self, vote: Vote, snapshot: SnapshotFile) -> io::Result<Vote> {
        let mut link = self.transport.open(self.to, Lane::Snapshot).await?;
        let (sender, receiver) = link.halves();
        let bytes = snapshot.files.length(&snapshot.name)?;
        send_message(sender, &to_bytes(&SnapshotOffer { vote: VoteForm::from(&vote), bytes })).await?;
        let mut hasher = blake3::Hasher::new();
        let mut at = 0;
        while at < bytes {
            let chunk = snapshot.files.read_at(&snapshot.name, at, CHUNK_BYTES)?;
            if chunk.is_empty() {
                return Err(bad("a snapshot shorter than it was"));
            }
            at += chunk.len() as u64;
            hasher.update(&chunk);
            send_message(sender, &to_bytes(&SnapshotPart::Chunk(&chunk))).await?;
        }
        send_message(sender, &to_bytes(&SnapshotPart::End(*hasher.finalize().as_bytes()))).await?;
        let answer = recv_message(receiver).await?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let told: Result<VoteForm, String> = read_form(&answer, "an answer to a snapshot")?;
        told.map(Vote::from).map_err(io::Error::other)
    }
}

impl RaftNetworkV2<Types> for PeerClient {
    type SnapshotData = SnapshotFile;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        let result = self.append_one(&request, option.soft_ttl()).await.map_err(unreachable)?;
        Ok(result.into())
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        option: RPCOption,
    ) -> BoxFuture<'s, Result<BoxStream<'s, Result<StreamAppendResult<Types>, RPCError<Types>>>, RPCError<Types>>>
    where
        S: Stream<Item = AppendEntriesRequest<Types>> + Send + Unpin + 'static,
    {
        if self.lane == Lane::Heartbeat {
            let deadline = option.soft_ttl();
            let one_by_one = stream::unfold((self, Some(input)), move |(client, input)| async move {
                let mut input = input?;
                let request = input.next().await?;
                let result = client.append_one(&request, deadline).await;
                let input = matches!(result, Ok(Ok(_))).then_some(input);
                Some((result.map_err(unreachable), (client, input)))
            });
            return Box::pin(async move { Ok(one_by_one.boxed()) });
        }
        Box::pin(async move {
            let patience = option.hard_ttl() * APPEND_PATIENCE;
            let link = within(patience, self.transport.open(self.to, Lane::Append)).await.map_err(unreachable)?;
            Ok(pipeline(link, input, patience).map(|item| item.map_err(unreachable)).boxed())
        })
    }

    async fn vote(
        &mut self,
        request: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        self.ask_vote(Ask::Vote(vote_ask(&request)), option.soft_ttl()).await.map_err(unreachable)
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        self.ask_vote(Ask::PreVote(vote_ask(&request)), option.soft_ttl()).await.map_err(unreachable)
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: SnapshotOf<Types, SnapshotFile>,
        cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        let send = within(option.hard_ttl(), self.send_snapshot(vote, snapshot.snapshot));
        tokio::select! {
            biased;
            closed = cancel => Err(closed.into()),
            sent = send => match sent {
                Ok(vote) => Ok(SnapshotResponse::new(vote)),
                Err(error) => Err(StreamingError::Unreachable(Unreachable::new(&error))),
            }
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<Types>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<Types>, RPCError<Types>> {
        let ask = Ask::TransferLeader {
            from: request.from_leader().into(),
            to: *request.to_node_id(),
            last: request.last_log_id().map(LogIdForm::from),
        };
        match self.ask(ask, option.soft_ttl()).await.map_err(unreachable)? {
            Told::Transfer(told) => Ok(told.map_err(|refused| match refused {
                TransferRefused::Vote { expected, actual } => {
                    TransferLeaderError::VoteChanged { expected: expected.into(), actual: actual.into() }
                }
                TransferRefused::NotFlushed { expected, actual } => TransferLeaderError::LogNotFlushed {
                    expected: expected.map(LogId::from),
                    actual: actual.map(LogId::from),
                },
            })),
            _ => Err(unreachable(bad("an answer that is no transfer"))),
        }
    }
}

fn vote_ask(request: &VoteRequest<Types>) -> VoteAsk {
    VoteAsk {
        vote: (&request.vote).into(),
        last: request.last_log_id.as_ref().map(LogIdForm::from),
        transfer: request.leadership_transfer,
    }
}

/// Ends the sending half when the receiving half is dropped.
struct Sending(AbortHandle);

impl Drop for Sending {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Sends `input` without waiting for answers; gives the answers in order.
///
/// Shape: one answer for each request, until the first that is not a match, or an error; then it ends.
fn pipeline<S>(
    link: Link,
    input: S,
    patience: Duration,
) -> impl Stream<Item = io::Result<StreamAppendResult<Types>>> + Send
where
    S: Stream<Item = AppendEntriesRequest<Types>> + Send + Unpin + 'static,
{
    let (mut sender, receiver) = link.split();
    // A place in this channel is a request on its way; it is taken before the request goes out.
    let (in_flight, requests) = mpsc::channel(IN_FLIGHT_MAX);
    let sending = tokio::spawn(async move {
        let mut input = input.fuse();
        let mut number = 0;
        while let Some(mut request) = input.next().await {
            while request.entries.is_empty()
                && let Ok(Some(next)) = timeout(COMMIT_WAIT, input.next()).await
            {
                if in_flight.send(OnItsWay::WithNext(request.prev_log_id)).await.is_err() {
                    return;
                }
                request = next;
            }
            number += 1;
            if in_flight.send(OnItsWay::Numbered(number)).await.is_err() {
                return;
            }
            let sent = within(patience, send_message(&mut *sender, &encode_append(number, &request))).await;
            if let Err(error) = sent {
                tracing::debug!(%error, "an append could not be sent");
                return;
            }
        }
    });
    let state = Some((receiver, requests, Sending(sending.abort_handle())));
    let answers = stream::unfold(state, move |state| async move {
        let (mut receiver, mut requests, sending) = state?;
        let mut results = Vec::new();
        let number: u64 = loop {
            match requests.recv().await? {
                OnItsWay::WithNext(matching) => results.push(Ok(Ok(matching))),
                OnItsWay::Numbered(number) => break number,
            }
        };
        let result = async {
            let answer = within(patience, recv_message(&mut *receiver)).await?;
            let answer = answer.ok_or(io::ErrorKind::UnexpectedEof)?;
            let told: Numbered<AppendTold> = read_form(&answer, "an answer to an append")?;
            if told.number != number {
                return Err(bad("an append was lost or doubled"));
            }
            told.body.into_result()
        }
        .await;
        let state = matches!(result, Ok(Ok(_))).then_some((receiver, requests, sending));
        if state.is_none() {
            // What did not reach the peer was not answered by it either.
            results.clear();
        }
        results.push(result);
        Some((stream::iter(results), state))
    });
    answers.flatten()
}

/// A request that waits for its answer.
enum OnItsWay {
    /// Sent under this number.
    Numbered(u64),
    /// Not sent: the next one says the same and more. Where the peer's log matches, once that one is answered.
    WithNext(Option<LogId>),
}

/// `work` under a deadline.
pub async fn within<T>(deadline: Duration, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(deadline, work).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

fn unreachable(error: io::Error) -> RPCError<Types> {
    RPCError::Unreachable(Unreachable::new(&error))
}
