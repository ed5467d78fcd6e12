//! What single streams of a session do while it goes on with others.

use super::checkpoint;
use crate::effects::dispatch::Deeper;
use crate::handle::Hub;
use forge_event::limits::INLINE_BYTES_MAX;
use forge_event::{CheckpointReceived, Checks, Digest, LeaseId};
use forge_protocol::frame::FrameError;
use forge_protocol::limits::FRAME_BYTES_MAX;
use forge_protocol::{AgentToHub, Assembler};
use quinn::{Connection, ReadToEndError, RecvStream, SendStream};

/// Bytes of an attempt's stream: `Have` and a result or failure.
const ANSWER_BYTES_MAX: usize = FRAME_BYTES_MAX + 64;

/// A stream's work.
pub(super) enum Step {
    /// No stream was free: wait for one.
    Open { connection: Connection, lease: LeaseId, frame: Vec<u8> },
    /// The frame did not fit at once; `recv` if it is the assignment.
    Write { lease: LeaseId, send: SendStream, recv: Option<RecvStream>, frame: Vec<u8>, from: usize },
    /// Wait for the agent's answer.
    Read { lease: LeaseId, recv: RecvStream },
    /// Look into the blobs that a result names.
    Check { lease: LeaseId, hub: Hub, deeper: Box<Deeper>, result: Vec<u8>, checks: Checks },
    /// Hand a checkpoint in.
    Keep { hub: Hub, fact: Box<CheckpointReceived> },
}

/// What came of it.
pub(super) enum Done {
    Opened {
        lease: LeaseId,
        send: SendStream,
        recv: RecvStream,
        frame: Vec<u8>,
    },
    /// An assignment is written.
    Assigned {
        lease: LeaseId,
        send: SendStream,
        recv: RecvStream,
    },
    /// Everything the agent sent; it ended its side.
    Answered {
        lease: LeaseId,
        bytes: Vec<u8>,
    },
    /// A result with all its checks, or why there are none.
    Checked {
        lease: LeaseId,
        outcome: Result<(Vec<u8>, Checks), &'static str>,
    },
    /// The agent reset its side, or sent too much.
    Broken {
        lease: LeaseId,
    },
    /// A checkpoint is in the log, or was refused.
    Kept,
    /// Nothing to do: written and ended, or the connection is gone, which shows itself elsewhere.
    Over,
}

pub(super) async fn step(step: Step) -> Done {
    match step {
        Step::Open { connection, lease, frame } => match connection.open_bi().await {
            Ok((send, recv)) => Done::Opened { lease, send, recv, frame },
            Err(_) => Done::Over,
        },
        Step::Write { lease, mut send, recv, frame, from } => match (send.write_all(&frame[from..]).await, recv) {
            (Ok(()), Some(recv)) => Done::Assigned { lease, send, recv },
            (Ok(()), None) => {
                // It fails only for a stream that the agent stopped.
                let _ = send.finish();
                Done::Over
            }
            (Err(_), Some(_)) => Done::Broken { lease },
            (Err(_), None) => Done::Over,
        },
        Step::Check { lease, hub, deeper, result, checks } => {
            Done::Checked { lease, outcome: deeper.run(hub, result, checks).await }
        }
        Step::Keep { hub, fact } => {
            checkpoint::keep(hub, *fact).await;
            Done::Kept
        }
        Step::Read { lease, mut recv } => match recv.read_to_end(ANSWER_BYTES_MAX).await {
            Ok(bytes) => Done::Answered { lease, bytes },
            Err(ReadToEndError::Read(quinn::ReadError::ConnectionLost(_))) => Done::Over,
            Err(_) => Done::Broken { lease },
        },
    }
}

/// The answer in what an agent sent on an attempt's stream; `None` if there is none.
///
/// # Errors
/// [`FrameError`] if it is not made of the agent's frames.
pub(super) fn answer(bytes: &[u8]) -> Result<Option<AgentToHub>, FrameError> {
    let mut rest = bytes;
    loop {
        match forge_protocol::frame::take(rest)? {
            Some((AgentToHub::Have, length)) => rest = &rest[length..],
            Some((message, length)) if length == rest.len() => return Ok(Some(message)),
            Some(_) => return Err(FrameError::Malformed),
            None if rest.is_empty() => return Ok(None),
            None => return Err(FrameError::Truncated),
        }
    }
}

/// Whether a result is what its digest says, and may stand in the log.
///
/// # Errors
/// The code of its failure.
pub(super) fn fits(digest: &Digest, bytes: &[u8]) -> Result<(), &'static str> {
    if bytes.len() > INLINE_BYTES_MAX {
        Err("too-large-inline")
    } else if Digest::of(bytes) != *digest {
        Err("digest-mismatch")
    } else {
        Ok(())
    }
}

/// Reads the control stream. Cancel safe.
pub(super) struct Control {
    pub recv: RecvStream,
    assembler: Assembler,
}

/// Why the control stream gives nothing more.
#[derive(Debug)]
pub(super) enum ControlError {
    Frame(FrameError),
    Lost,
}

impl Control {
    pub(super) fn new(recv: RecvStream) -> Control {
        Control { recv, assembler: Assembler::new() }
    }

    /// Gives back the memory of busier times.
    pub(super) fn rest(&mut self) {
        self.assembler.rest();
    }

    pub(super) async fn next(&mut self) -> Result<AgentToHub, ControlError> {
        loop {
            if let Some(message) = self.assembler.next().map_err(ControlError::Frame)? {
                return Ok(message);
            }
            match self.recv.read_chunk(usize::MAX, true).await {
                Ok(Some(chunk)) => self.assembler.push(&chunk.bytes),
                Ok(None) | Err(_) => return Err(ControlError::Lost),
            }
        }
    }
}
