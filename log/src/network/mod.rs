//! Links between nodes.


pub(crate) mod client;
pub mod identity;
pub mod quic;
pub(crate) mod server;
mod transport;
pub(crate) mod wire;

pub use transport::{
    FRAME_BYTES_MAX, FrameReceiver, FrameSender, Inbox, Incoming, Lane, Link, Peer, Transport, INBOX_LINKS_MAX,
};
