//! What runs on this machine: nodes, agents, the dev cluster, the demo.

pub mod agent;
pub mod demo;
pub mod dev;
pub mod hub;
pub mod ready;
pub mod signal;
