//! The REST door: who may, what is refused and how, what stands on every answer.

mod auth;
mod blobs;
mod bodies;
mod consistency;
mod idempotency;
mod isolation;
mod jobs;
mod lists;
mod refusals;
mod shapes;
mod store;
mod streams;
