//! Reads intents off the committed state and starts effects, on the leader only.

mod machine;
mod task;

pub use machine::{Machine, Start};
pub use task::run;
