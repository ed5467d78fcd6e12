//! A change of what a project may use at most.

use crate::world::{Meta, World};
use forge_event::{EventIndex, QuotaChanged};

impl World {
    /// What is used already stays, also past a lower limit.
    pub(crate) fn quota_changed(&mut self, index: EventIndex, e: &QuotaChanged) -> Meta {
        self.in_order(e.project, |project| {
            project.quota = e.quota;
            project.quota_set = index;
        });
        // A job that waits for credits or memory may have them now.
        self.review_waiting(e.project);
        Meta::of(e.project)
    }
}
