//! The vocabulary of the log: ids, units, events, turns, and the bytes they are frozen in.
//!
//! Pure: no clock, no file, no socket, no randomness. A program in another language can read a
//! log with `README.md` of this crate alone.
#![no_std]

extern crate alloc;

pub mod archive;
pub mod chain;
pub mod codec;
pub mod decision;
pub mod digest;
pub mod event;
pub mod fact;
pub mod id;
pub mod limits;
pub mod merkle;
mod read;
pub mod runs;
pub mod seal;
pub mod time;
pub mod turn;
pub mod unit;
pub mod upcast;

pub use chain::Head;
pub use decision::*;
pub use digest::Digest;
pub use event::{Event, Nature};
pub use fact::*;
pub use id::*;
pub use runs::{Run, Runs};
pub use time::{DurationMs, Timestamp};
pub use turn::{By, Fact, PolicyVersion, Turn};
pub use unit::{Credits, Rate};
