//! Links between nodes.

pub(crate) mod client;
pub mod identity;
pub mod quic;
pub(crate) mod server;
mod tls;
mod transport;
pub(crate) mod wire;

pub use transport::{
    FRAME_BYTES_MAX, FrameReceiver, FrameSender, INBOX_LINKS_MAX, Inbox, Incoming, Lane, Link, Peer, Transport,
};
