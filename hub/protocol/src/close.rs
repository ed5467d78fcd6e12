//! Why a connection is closed: QUIC application error codes.

/// Application error code of a CONNECTION_CLOSE, RESET_STREAM or STOP_SENDING.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum CloseCode {
    /// Nothing is left to do: the agent left, or an enrolment is over.
    Done = 0,
    /// The other side broke the protocol.
    Protocol = 1,
    /// The key is not that of an enrolled agent, or the agent was removed. Do not come back with it.
    Unknown = 2,
    /// A newer session of the same agent took over. Do not come back with this process.
    Superseded = 3,
    /// The session ended in the log (its node was held for lost): connect again.
    Rejoin = 4,
    /// This node goes away: connect to another.
    GoingAway = 5,
    /// This node cannot take the session now (no leader, overload): connect again, to any node, after a pause.
    Unavailable = 6,
    /// On a stream: the attempt is over.
    Cancelled = 7,
    /// The agent found that the hub's account of its chain differs from its own.
    ChainFault = 8,
}

impl CloseCode {
    pub const ALL: [CloseCode; 9] = [
        CloseCode::Done,
        CloseCode::Protocol,
        CloseCode::Unknown,
        CloseCode::Superseded,
        CloseCode::Rejoin,
        CloseCode::GoingAway,
        CloseCode::Unavailable,
        CloseCode::Cancelled,
        CloseCode::ChainFault,
    ];

    /// The code behind a number; `None` for one this version does not know (treat it as [`CloseCode::Unavailable`]).
    pub fn from_number(number: u64) -> Option<CloseCode> {
        CloseCode::ALL.into_iter().find(|c| u64::from(c.number()) == number)
    }

    pub fn number(self) -> u32 {
        self as u32
    }

    /// The reason phrase that goes with it.
    pub fn phrase(self) -> &'static str {
        match self {
            CloseCode::Done => "done",
            CloseCode::Protocol => "protocol broken",
            CloseCode::Unknown => "key not enrolled",
            CloseCode::Superseded => "superseded by a newer session",
            CloseCode::Rejoin => "session ended, join again",
            CloseCode::GoingAway => "node goes away",
            CloseCode::Unavailable => "not available now",
            CloseCode::Cancelled => "attempt is over",
            CloseCode::ChainFault => "result chain differs",
        }
    }
}
