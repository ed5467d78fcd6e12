//! Messages between nodes, and how they travel as frames.
//!
//! A message is one frame or more: the first byte of a frame says whether another follows. Every
//! request carries a number that its answer echoes, so that a lost or doubled frame is noticed.

use super::transport::{FRAME_BYTES_MAX, FrameReceiver, FrameSender};
use crate::form::{LogIdForm, VoteForm, decode_entry, entry_pieces, from_bytes, to_bytes};
use crate::types::{LogId, Types, Vote};
use bytes::{Buf, Bytes};
use openraft::raft::{AppendEntriesRequest, StreamAppendError, StreamAppendResult};
use serde::{Deserialize, Serialize};
use std::io;

/// A longer message is refused. Units: bytes.
const MESSAGE_BYTES_MAX: usize = 8 << 20;
const LAST: u8 = 0;
const MORE: u8 = 1;

/// Sends a message in as many frames as it takes.
///
/// # Errors
/// If the link is broken.
pub async fn send_message(sender: &mut dyn FrameSender, message: &[u8]) -> io::Result<()> {
    let mut parts = message.chunks(FRAME_BYTES_MAX - 1).peekable();
    loop {
        let part = parts.next().unwrap_or(&[]);
        let last = parts.peek().is_none();
        let mut frame = Vec::with_capacity(part.len() + 1);
        frame.push(if last { LAST } else { MORE });
        frame.extend_from_slice(part);
        sender.send(frame.into()).await?;
        if last {
            return Ok(());
        }
    }
}

/// Receives a message; `None` when the other end closed in good order.
///
/// # Errors
/// If the link is broken, or the message is longer than any should be.
pub async fn recv_message(receiver: &mut dyn FrameReceiver) -> io::Result<Option<Bytes>> {
    let mut whole: Vec<u8> = Vec::new();
    loop {
        let Some(mut frame) = receiver.recv().await? else {
            return if whole.is_empty() { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
        };
        let kind = if frame.has_remaining() { frame.get_u8() } else { u8::MAX };
        match kind {
            LAST if whole.is_empty() => return Ok(Some(frame)),
            LAST | MORE => {}
            _ => return Err(bad("a frame that is no part of a message")),
        }
        if whole.len() + frame.len() > MESSAGE_BYTES_MAX {
            return Err(bad("a message longer than the limit"));
        }
        whole.extend_from_slice(&frame);
        if kind == LAST {
            return Ok(Some(whole.into()));
        }
    }
}

/// A request that is answered by one message.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Ask {
    PreVote(VoteAsk),
    Vote(VoteAsk),
    TransferLeader {
        from: VoteForm,
        to: u64,
        last: Option<LogIdForm>,
    },
    /// The Raft index that a linearizable read must wait for.
    ReadIndex,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct VoteAsk {
    pub vote: VoteForm,
    pub last: Option<LogIdForm>,
    pub transfer: bool,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Told {
    Vote {
        vote: VoteForm,
        granted: bool,
        last: Option<LogIdForm>,
    },
    Transfer(Result<(), TransferRefused>),
    /// `Err` with the leader as far as the asked node knows.
    ReadIndex(Result<u64, Option<u64>>),
    /// The asked node cannot serve; it says why.
    Failed(String),
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum TransferRefused {
    Vote { expected: VoteForm, actual: VoteForm },
    NotFlushed { expected: Option<LogIdForm>, actual: Option<LogIdForm> },
}

/// A message with its number.
#[derive(Serialize, Deserialize)]
pub struct Numbered<T> {
    pub number: u64,
    pub body: T,
}

/// What stands before the entries of an append.
#[derive(Serialize, Deserialize)]
struct AppendHead {
    number: u64,
    vote: VoteForm,
    prev: Option<LogIdForm>,
    commit: Option<LogIdForm>,
    /// Length of each entry, which follow.
    lengths: Vec<u32>,
}

/// What an append did.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum AppendTold {
    /// Everything up to here matches and is on disk.
    Matched(Option<LogIdForm>),
    Conflict(LogIdForm),
    HigherVote(VoteForm),
    Failed(String),
}

/// The bytes of an append.
pub fn encode_append(number: u64, request: &AppendEntriesRequest<Types>) -> Vec<u8> {
    let pieces: Vec<(Vec<u8>, &[u8])> = request.entries.iter().map(entry_pieces).collect();
    let length = |(head, rest): &(Vec<u8>, &[u8])| head.len() + rest.len();
    let bytes: usize = pieces.iter().map(length).sum();
    let lengths = pieces.iter().map(|p| u32::try_from(length(p)).expect("an entry is far below 4 GiB")).collect();
    let head = AppendHead {
        number,
        vote: (&request.vote).into(),
        prev: request.prev_log_id.as_ref().map(LogIdForm::from),
        commit: request.leader_commit.as_ref().map(LogIdForm::from),
        lengths,
    };
    let mut message = to_bytes(&head);
    message.reserve_exact(bytes);
    for (head, rest) in pieces {
        message.extend_from_slice(&head);
        message.extend_from_slice(rest);
    }
    message
}

/// Reads an append: its number, and the request.
///
/// # Errors
/// If the bytes are none.
pub fn decode_append(message: &Bytes) -> io::Result<(u64, AppendEntriesRequest<Types>)> {
    let (head, rest): (AppendHead, &[u8]) =
        postcard::take_from_bytes(message).map_err(|_| bad("an append that cannot be read"))?;
    let mut rest = message.slice_ref(rest);
    let mut entries = Vec::with_capacity(head.lengths.len().min(1024));
    for length in head.lengths {
        if rest.len() < length as usize {
            return Err(bad("an append that is cut short"));
        }
        let entry = rest.split_to(length as usize);
        entries.push(decode_entry(&entry).map_err(io::Error::other)?);
    }
    if !rest.is_empty() {
        return Err(bad("an append with bytes behind it"));
    }
    let request = AppendEntriesRequest {
        vote: head.vote.into(),
        prev_log_id: head.prev.map(LogId::from),
        entries,
        leader_commit: head.commit.map(LogId::from),
    };
    Ok((head.number, request))
}

impl From<StreamAppendResult<Types>> for AppendTold {
    fn from(result: StreamAppendResult<Types>) -> Self {
        match result {
            Ok(matched) => AppendTold::Matched(matched.as_ref().map(LogIdForm::from)),
            Err(StreamAppendError::Conflict(id)) => AppendTold::Conflict((&id).into()),
            Err(StreamAppendError::HigherVote(vote)) => AppendTold::HigherVote((&vote).into()),
        }
    }
}

impl AppendTold {
    /// # Errors
    /// If the other node could not serve.
    pub fn into_result(self) -> io::Result<StreamAppendResult<Types>> {
        Ok(match self {
            AppendTold::Matched(id) => Ok(id.map(LogId::from)),
            AppendTold::Conflict(id) => Err(StreamAppendError::Conflict(id.into())),
            AppendTold::HigherVote(vote) => Err(StreamAppendError::HigherVote(Vote::from(vote))),
            AppendTold::Failed(why) => return Err(io::Error::other(why)),
        })
    }
}

/// What opens a snapshot transfer; chunks follow, then an empty message with the digest of all chunks.
#[derive(Serialize, Deserialize)]
pub struct SnapshotOffer {
    pub vote: VoteForm,
    pub bytes: u64,
}

/// One step of a snapshot transfer.
#[derive(Serialize, Deserialize)]
pub enum SnapshotPart<'a> {
    Chunk(#[serde(borrow)] &'a [u8]),
    /// BLAKE3 of all chunks.
    End([u8; 32]),
}

/// The error for bytes that no node of ours would send.
pub fn bad(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// Reads one of the forms above from a whole message.
///
/// # Errors
/// If the bytes are none.
pub fn read_form<'a, T: Deserialize<'a>>(message: &'a [u8], what: &'static str) -> io::Result<T> {
    from_bytes(message, what).map_err(io::Error::other)
}
