//! A node stops only when it loses power, and starts again from what its disk kept.

use super::{Invariant, Seen};

pub struct NodesStayUp;

impl Invariant for NodesStayUp {
    fn name(&self) -> &'static str {
        "nodes_stay_up"
    }

    fn see(&mut self, seen: &Seen<'_>) -> Result<(), String> {
        let Seen::Halted { node, why } = seen else { return Ok(()) };
        Err(format!("n{node}: {why}"))
    }
}
