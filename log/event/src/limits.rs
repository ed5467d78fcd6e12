//! Every limit of the log's formats, named with its unit.

/// A turn's frame is never longer than this.
pub const TURN_BYTES_MAX: usize = 256 * 1024;
/// Facts of a turn stop here; the rest of the turn belongs to decisions.
pub const TURN_FACT_BYTES_MAX: usize = TURN_BYTES_MAX / 2;
/// Bytes that may travel inside a fact (a spec, a plan, a result, a document); larger ones are blobs.
pub const INLINE_BYTES_MAX: usize = 64 * 1024;
/// Leaves after which an archive segment ends with the running turn, and a state root is due.
pub const SEGMENT_LEAVES: u64 = 65_536;
/// Shards of one job, through all its stages.
pub const JOB_SHARDS_MAX: u64 = 1 << 32;
/// Checkpoints that an attempt may leave: each is at least this part of its cells beyond the one before.
pub const CHECKPOINT_STEPS_MAX: u64 = 16;
/// Name of a project, provider, job or label key or value.
pub const NAME_BYTES_MAX: usize = 255;
/// Labels of one job.
pub const LABELS_MAX: usize = 64;
