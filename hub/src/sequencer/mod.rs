//! The sequencer: turns commands into turns, on the leader only.

mod gather;
mod machine;
mod task;
mod term_time;

pub use machine::{Answer, Machine, Sealed};
pub use task::{COMMANDS_WAITING_MAX, Numbered, Reply, Request, Sequencer, run};
