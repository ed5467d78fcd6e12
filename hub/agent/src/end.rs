//! Why a session ended.

use forge_protocol::{ChainFault, CloseCode};
use quinn::{Connection, ConnectionError, VarInt};

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum End {
    #[error("no session came up: {0}")]
    Unreached(String),
    #[error("the hub closed the connection: {}", .code.phrase())]
    Closed { code: CloseCode, was_up: bool },
    #[error("the connection broke: {0}")]
    Broken(ConnectionError),
    #[error("the hub broke the protocol: {0}")]
    Protocol(String),
    #[error("{0}")]
    Chain(ChainFault),
    /// Drained, and the hub knows.
    #[error("the agent left")]
    Left,
    #[error("the agent was stopped")]
    Stopped,
}

impl End {
    pub(crate) fn was_up(&self) -> bool {
        !matches!(self, End::Unreached(_) | End::Closed { was_up: false, .. })
    }

    /// Of a connection that ended so.
    pub(crate) fn of(error: ConnectionError, was_up: bool) -> End {
        match error {
            ConnectionError::ApplicationClosed(close) => {
                let code =
                    CloseCode::from_number(VarInt::into_inner(close.error_code)).unwrap_or(CloseCode::Unavailable);
                End::Closed { code, was_up }
            }
            error if was_up => End::Broken(error),
            error => End::Unreached(error.to_string()),
        }
    }

    /// Of a control stream that gives nothing more.
    pub(crate) fn broken(connection: &Connection, was_up: bool) -> End {
        match connection.close_reason() {
            Some(reason) => End::of(reason, was_up),
            None => End::Protocol("the hub ended the control stream".into()),
        }
    }
}
