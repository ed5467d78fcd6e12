//! The projections: one fold over the log, and the decisions derived from it.
//!
//! Pure. The hub folds with it live, an auditor in replay, the simulator under virtual time:
//! the same code, so that a log says the same thing to everybody.
#![no_std]

extern crate alloc;

pub mod accounting;
mod admit;
pub mod agents;
pub mod aggregator;
pub mod cluster;
pub mod command;
pub mod cow;
pub mod decide;
mod digest;
pub mod explain;
pub mod export;
pub mod family;
mod fold;
pub mod jobs;
pub mod projects;
pub mod rejection;
pub mod replay;
pub mod scheduler;
mod scratch;
mod world;

pub use command::{Command, CommandError, Committed, Delivery, Fate, Recorded, Refusing};
pub use digest::StateDigest;
pub use family::Families;
pub use rejection::{FieldFault, Rejection};
pub use world::{Growth, Known, Meta, Observer, World};
