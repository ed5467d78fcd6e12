//! Blobs in bodies.

use crate::fields::Fields;
use crate::text;
use forge_event::{Digest, DurationMs};
use forge_projections::FieldFault;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

/// Digests asked about at once.
pub const DIGESTS_MAX: usize = 1000;
/// How long a signed URL is good if nothing else is asked for.
pub const URL_TTL_DEFAULT: DurationMs = DurationMs(15 * 60_000);
/// The longest life of a signed URL.
pub const URL_TTL_MAX: DurationMs = DurationMs(24 * 3_600_000);

/// `POST /v1/blobs/exists`.
#[derive(Serialize, ToSchema)]
pub struct ExistsRequest {
    /// At most 1000.
    pub digests: Vec<String>,
}

/// Those of them that the project does not have.
#[derive(Serialize, ToSchema)]
pub struct Missing {
    pub missing: Vec<String>,
}

/// `POST /v1/blobs/sign`.
#[derive(Serialize, ToSchema)]
pub struct SignRequest {
    #[schema(example = "blake3:6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85")]
    pub digest: String,
    /// Length of the blob; needed for `put`.
    pub bytes: Option<u64>,
    #[schema(example = "put")]
    pub op: String,
    #[schema(example = "15m")]
    pub ttl: Option<String>,
    /// First and last byte that may be read; only for `get`.
    pub range: Option<[u64; 2]>,
}

/// A URL that allows one thing to whoever has it.
#[derive(Serialize, ToSchema)]
pub struct Signed {
    pub url: String,
    pub method: String,
    /// Headers to send along.
    pub headers: serde_json::Map<String, Value>,
    pub expires_at: String,
    /// The project has the blob already.
    pub exists: bool,
}

/// A blob that is kept.
#[derive(Serialize, ToSchema)]
pub struct Kept {
    pub digest: String,
    pub bytes: u64,
}

/// What is asked of a blob.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wanted {
    Put { bytes: u64 },
    Get { range: Option<(u64, u64)> },
}

/// # Errors
/// Every fault found.
pub fn exists(body: &Value) -> Result<Vec<Digest>, Vec<FieldFault>> {
    let mut fields = Fields::of(body);
    let mut digests = Vec::new();
    match fields.required("digests").and_then(Value::as_array) {
        Some(items) if items.len() > DIGESTS_MAX => {
            fields.fault(
                "digests",
                "out-of-range",
                format!("{} digests; at most 1000 at once", items.len()),
                Some("ask in several requests".into()),
            );
        }
        Some(items) => {
            for (at, item) in items.iter().enumerate() {
                match item.as_str().and_then(|text| text.parse().ok()) {
                    Some(digest) => digests.push(digest),
                    None => fields.fault_in("digests", at, "malformed", SHAPE, Some(FROM_PUT.into())),
                }
            }
        }
        None => {
            let fix = "write {\"digests\":[\"blake3:…\"]}".to_string();
            fields.fault("digests", "wrong-type", "`digests` is a list of digests", Some(fix));
        }
    }
    fields.finish(Some(digests))
}

const FROM_PUT: &str = "write what `forge blob put FILE` or `b3sum FILE` prints, behind `blake3:`";
const SHAPE: &str = "a digest is `blake3:` and 64 lower-case hex digits";

/// # Errors
/// Every fault found.
pub fn sign(body: &Value) -> Result<(Digest, Wanted, DurationMs), Vec<FieldFault>> {
    let mut fields = Fields::of(body);
    fields.required("digest");
    let digest =
        fields.parsed("digest", "`blake3:` and 64 lower-case hex digits, as `forge blob put FILE` prints it", |text| {
            text.parse::<Digest>().map_err(|_| SHAPE)
        });
    let ttl = fields.parsed("ttl", "a span such as \"15m\"", text::duration).unwrap_or(URL_TTL_DEFAULT);
    if ttl > URL_TTL_MAX || ttl.0 == 0 {
        fields.fault(
            "ttl",
            "out-of-range",
            "a URL is good for 1 ms to 24 h",
            Some("write a span such as \"15m\"".into()),
        );
    }
    let bytes = fields.integer("bytes", 0, 1 << 53);
    let range = fields.value("range").filter(|value| !value.is_null()).map(|value| {
        let pair = value.as_array().filter(|pair| pair.len() == 2);
        let pair = pair.and_then(|pair| Some((pair[0].as_u64()?, pair[1].as_u64()?)));
        pair.filter(|(first, last)| first <= last)
    });
    if range == Some(None) {
        fields.fault(
            "range",
            "malformed",
            "a range is [first byte, last byte]",
            Some("write [0, 1023] for the first KiB".into()),
        );
    }
    fields.required("op");
    let wanted = match fields.text("op") {
        Some("put") if range.is_some() => {
            fields.fault("range", "not-applicable", "a blob is put whole", Some("leave it out".into()));
            None
        }
        Some("put") => {
            if bytes.is_none() {
                fields.fault(
                    "bytes",
                    "missing-field",
                    "`bytes` says how long the blob is",
                    Some("add `bytes`, the length of the file".into()),
                );
            }
            bytes.map(|bytes| Wanted::Put { bytes })
        }
        Some("get") => Some(Wanted::Get { range: range.flatten() }),
        Some(_) => {
            fields.fault("op", "out-of-range", "an operation is put or get", Some("write \"put\" or \"get\"".into()));
            None
        }
        None => None,
    };
    fields.finish(digest.zip(wanted).map(|(digest, wanted)| (digest, wanted, ttl)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_digest_that_is_none_is_pointed_at_by_its_place() {
        let good = Digest([7; 32]).to_string();
        let faults = exists(&json!({"digests": [good, "abc"]})).expect_err("the second is none");
        assert_eq!((faults.len(), faults[0].pointer.as_str()), (1, "/digests/1"));
        assert!(faults[0].fix.is_some());
    }
}
