//! The projections: one fold over the log, and the decisions derived from it.
#![no_std]

extern crate alloc;

pub mod family;
