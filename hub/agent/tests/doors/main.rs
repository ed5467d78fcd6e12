//! The agent at a hub's door: a small hub of the test's own, and the hub's own door and core.

mod counted;
mod hub;
mod loopback;
mod support;
