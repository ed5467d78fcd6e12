//! Turns a job's finished stages into the canonical result document.

use super::{Failed, past};
use crate::blobs::{Keeping, View};
use crate::handle::Hub;
use forge_event::limits::INLINE_BYTES_MAX;
use forge_event::*;
use forge_projections::family::{Blobs, NoBlobs};
use serde_json::Value;
use std::collections::BTreeSet;
use tokio::runtime::Handle;

/// # Errors
/// A code and detail for the job's `error`.
pub fn run(hub: &Hub, runtime: Option<Handle>, job: JobId, version: u32, try_number: u8) -> Result<Fact, Failed> {
    let submitted = hub.read(|w| w.jobs.jobs.get(&job).map(|state| state.submitted.clone()));
    let submitted = submitted.ok_or(("job-unknown", format!("{job} is not in the state of this node")))?;
    let family = hub.families().family(&submitted.kind, submitted.family_version);
    let family = family.ok_or(("unknown-kind", format!("kind {} is not known", submitted.kind)))?;
    let keep = Keeping { project: submitted.project, job };
    let view = runtime.map(|runtime| View { hub, runtime, keep });
    let blobs: &dyn Blobs = view.as_ref().map_or(&NoBlobs, |view| view as &dyn Blobs);
    let document = past(hub, family, job, &submitted, |past| family.reduce(past, blobs))?;
    let document = document.map_err(|fault| (fault.code, fault.detail))?;
    if document.len() > INLINE_BYTES_MAX {
        let detail = format!("the result has {} bytes; at most {INLINE_BYTES_MAX} travel in the log", document.len());
        return Err(("too-large-inline", detail));
    }
    let (digest, bytes) = (Digest::of(&document), document.len() as u64);
    let outputs = named_blobs(&document);
    tracing::debug!(effect = %EffectId::Reduce { job, version }, %digest, "a reduction is made");
    Ok(JobReduced { job, version, try_number, digest, bytes, document: Some(document), outputs }.into())
}

/// The blobs that a document names as `{"digest","bytes"}`, ascending.
fn named_blobs(document: &[u8]) -> Vec<Digest> {
    fn collect(value: &Value, found: &mut BTreeSet<Digest>) {
        match value {
            Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
            Value::Object(fields) => {
                let digest = fields.get("digest").and_then(Value::as_str).and_then(|text| text.parse().ok());
                if let Some(digest) = digest.filter(|_| fields.contains_key("bytes")) {
                    found.insert(digest);
                }
                fields.values().for_each(|item| collect(item, found));
            }
            _ => {}
        }
    }
    let mut found = BTreeSet::new();
    // A document that is not JSON names nothing.
    collect(&serde_json::from_slice(document).unwrap_or_default(), &mut found);
    found.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_names_its_blobs_wherever_they_stand() {
        let (a, b) = (Digest([1; 32]), Digest([2; 32]));
        let document =
            format!(r#"{{"C":{{"digest":"{b}","bytes":1}},"parts":[{{"digest":"{a}","bytes":2}}],"x":"{a}"}}"#);
        assert_eq!(named_blobs(document.as_bytes()), [a, b]);
        assert!(named_blobs(b"{}").is_empty() && named_blobs(b"no").is_empty());
    }
}
