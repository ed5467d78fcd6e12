//! Every limit of the protocol, named with its unit.

/// A frame, header included, is never longer than this. Units: bytes.
pub const FRAME_BYTES_MAX: usize = 1 << 20;
/// Streams that the hub may have open towards one agent: its window of leases and as many again on their way out.
pub const ATTEMPT_STREAMS_MAX: u32 = 256;
/// Streams that an agent may have open towards the hub: the control stream, and one being replaced.
pub const CONTROL_STREAMS_MAX: u32 = 2;
/// Leases and results that a [`crate::Hello`] may present.
pub const PRESENTED_MAX: usize = 1024;
/// Hub addresses in one message or token.
pub const HUB_ADDRESSES_MAX: usize = 64;
/// Text of a failure that travels.
pub const DETAIL_BYTES_MAX: usize = 1024;
/// Code of a failure that travels.
pub const CODE_BYTES_MAX: usize = 64;

/// Acknowledged results after which the agent seals.
pub const SEAL_RESULTS: u64 = 256;
/// An agent without a live lease seals at once, but not twice within this. Units: milliseconds.
pub const SEAL_IDLE_MS: u64 = 20;
/// An acknowledged result is sealed within this. Units: milliseconds.
pub const SEAL_WAIT_MS: u64 = 250;

/// Deliveries in one batch to the leader.
pub const BATCH_DELIVERIES_MAX: usize = 256;
/// Result bytes in one batch to the leader; a longer single result goes alone. Units: bytes.
pub const BATCH_BYTES_MAX: usize = 48 * 1024;
/// Batches of one session that may wait for their commit.
pub const BATCHES_IN_FLIGHT_MAX: usize = 2;
/// Result bytes that a session may hold undecided before it stops reading streams. Units: bytes.
pub const HELD_BYTES_MAX: usize = 1 << 20;
/// First and longest pause before a batch is sent again. Units: milliseconds.
pub const RETRY_MS_MIN: u64 = 25;
pub const RETRY_MS_MAX: u64 = 1_000;

/// The agent sends something at least this often. Units: milliseconds.
pub const KEEP_ALIVE_MS: u64 = 2_500;
/// A silent connection is dead after this. Units: milliseconds.
///
/// Invariant: an agent notices the death of its node after at most this and one keep-alive, and must be back elsewhere
/// before the grace of its leases ends: 3 s until the node is held for lost, and 10 s.
pub const IDLE_TIMEOUT_MS: u64 = 6_000;
