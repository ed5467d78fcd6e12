//! What single streams of a session do while it goes on with others.

use crate::end::End;
use forge_event::LeaseId;
use forge_protocol::message::Assign;
use forge_protocol::{Assembler, FrameError, HubToAgent};
use quinn::{Connection, ReadError, RecvStream, SendStream};

/// A stream's work.
pub(crate) enum Step {
    ReadAssign { send: SendStream, recv: RecvStream },
    ReadReply { lease: LeaseId, recv: RecvStream, assembler: Assembler },
    Write { lease: LeaseId, send: SendStream, bytes: Vec<u8>, from: usize, finish: bool },
}

/// What came of it.
pub(crate) enum Done {
    Assign {
        send: SendStream,
        recv: RecvStream,
        assembler: Assembler,
        assign: Assign,
    },
    Reply {
        lease: LeaseId,
        reply: HubToAgent,
    },
    /// The hub's `Have` is written; the stream waits for its answer.
    Written {
        lease: LeaseId,
        send: SendStream,
    },
    /// The stream was reset or its connection broke.
    Over {
        lease: Option<LeaseId>,
    },
    Protocol(String),
}

pub(crate) async fn step(step: Step) -> Done {
    match step {
        Step::ReadAssign { send, mut recv } => {
            let mut assembler = Assembler::new();
            match read(&mut recv, &mut assembler).await {
                Ok(Some(HubToAgent::Assign(assign))) => Done::Assign { send, recv, assembler, assign },
                Ok(Some(other)) => Done::Protocol(format!("{other:?} instead of an assignment")),
                Ok(None) => Done::Over { lease: None },
                Err(error) => Done::Protocol(error.to_string()),
            }
        }
        Step::ReadReply { lease, mut recv, mut assembler } => match read(&mut recv, &mut assembler).await {
            Ok(Some(reply)) => Done::Reply { lease, reply },
            Ok(None) => Done::Over { lease: Some(lease) },
            Err(error) => Done::Protocol(error.to_string()),
        },
        Step::Write { lease, mut send, bytes, from, finish } => {
            // How long the hub may take is the lease's deadline: it cancels, which ends the stream.
            if send.write_all(&bytes[from..]).await.is_err() {
                return Done::Over { lease: None };
            }
            if finish {
                let _ = send.finish();
                return Done::Over { lease: None };
            }
            Done::Written { lease, send }
        }
    }
}

/// The next message of an attempt's stream; `None` if it was reset, ended or lost.
async fn read(recv: &mut RecvStream, assembler: &mut Assembler) -> Result<Option<HubToAgent>, FrameError> {
    loop {
        if let Some(message) = assembler.next()? {
            return Ok(Some(message));
        }
        match recv.read_chunk(usize::MAX, true).await {
            Ok(Some(chunk)) => assembler.push(&chunk.bytes),
            Ok(None) => return assembler.finish().map(|()| None),
            Err(ReadError::Reset(_) | ReadError::ConnectionLost(_) | ReadError::ClosedStream) => return Ok(None),
            Err(ReadError::IllegalOrderedRead | ReadError::ZeroRttRejected) => return Ok(None),
        }
    }
}

/// Reads the control stream. Cancel safe.
#[derive(Default)]
pub(crate) struct Control {
    assembler: Assembler,
}

/// Why the control stream gives nothing more.
pub(crate) enum ControlError {
    Frame(FrameError),
    Read,
    Ended,
}

impl ControlError {
    pub(crate) fn end(self, connection: &Connection, was_up: bool) -> End {
        match self {
            ControlError::Frame(error) => End::Protocol(error.to_string()),
            ControlError::Read | ControlError::Ended => End::broken(connection, was_up),
        }
    }
}

impl Control {
    pub(crate) async fn next(&mut self, recv: &mut RecvStream) -> Result<HubToAgent, ControlError> {
        loop {
            if let Some(message) = self.assembler.next().map_err(ControlError::Frame)? {
                return Ok(message);
            }
            match recv.read_chunk(usize::MAX, true).await {
                Ok(Some(chunk)) => self.assembler.push(&chunk.bytes),
                Ok(None) => return Err(ControlError::Ended),
                Err(_) => return Err(ControlError::Read),
            }
        }
    }
}
