//! The projections through their own door: laws, exports, and stories told in scripts.

#![allow(clippy::unwrap_used)]

mod export;
mod laws;
mod rig;
mod script;
mod scripts;
