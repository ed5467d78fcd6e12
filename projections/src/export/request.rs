//! The canonical request: what a job asked for, as one text whose digest stands beside it.

use super::json::{Object, texts};
use alloc::format;
use alloc::string::String;
use forge_event::*;

/// Canonical JSON of what a submission asked for: fields in this order, all present, no white space.
///
/// Shape: `{"spec":…,"shard_cells":…,"requirements":{…},"limits":{…},"priority":…,"allow_wait":…}`.
pub fn canonical_request(e: &JobSubmitted) -> String {
    Object::new()
        .raw("spec", String::from_utf8_lossy(&e.spec))
        .raw_or_null("shard_cells", e.shard_cells)
        .raw("requirements", requirements(&e.requirements))
        .raw("limits", limits(&e.limits))
        .raw("priority", e.priority)
        .raw("allow_wait", e.allow_wait)
        .end()
}

fn requirements(r: &Requirements) -> String {
    Object::new()
        .text_or_null("cpu_class", r.cpu_class.as_deref())
        .text_or_null("gpu", r.gpu.as_deref())
        .raw("mem_bytes_min", r.mem_bytes_min)
        .raw("regions", texts(&r.regions))
        .raw("software", texts(&r.software))
        .end()
}

fn limits(l: &Limits) -> String {
    let duration = |ms: u64| if ms.is_multiple_of(1000) { format!("{}s", ms / 1000) } else { format!("{ms}ms") };
    Object::new()
        .plain_or_null("max_credits", l.max_credits)
        .plain_or_null("deadline", l.deadline_ms.map(duration))
        .raw_or_null("max_attempts", l.max_attempts)
        .end()
}

/// As asked; `{}` if nothing was asked.
pub(super) fn verify(verify: Option<Verify>) -> String {
    let object = Object::new();
    match verify {
        None => object,
        Some(Verify::None) => object.plain("mode", "none"),
        Some(Verify::Care { assurance }) => object.plain("mode", "care").plain("assurance", assurance.name()),
        Some(Verify::Redundant { percent }) => object.plain("mode", "redundant").raw("percent", percent),
        Some(Verify::Quorum { copies, agree }) => {
            object.plain("mode", "quorum").raw("copies", copies).raw("agree", agree)
        }
    }
    .end()
}
