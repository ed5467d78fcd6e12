//! Every bad input of the contract, through the doors: refused at its field and with a way out, and nothing stays of it.
//!
//! The cases are those of `projections/adapters/tests/bad_input`, which names them in the contract's words. Left to a job's end, since only
//! running shows them, are these final codes:
//! - `ffmpeg`: `input-unreadable`, `input-truncated` and `input-damaged` (what only decoding finds), `no-video`, `no-frames` and
//!   `format-not-taken` (outside of mp4 and mov), `resolution-changes`, `negative-pts`, `times-not-ascending` (duplicate
//!   pts), `audio-unreadable`, `subtitle-unreadable`, `cues-overlap`, and `container-refuses-codec` of tracks that are copied;
//! - `climate_pca`: numbers of members beyond what is scanned beforehand, `too-large` among them, and `rank-deficient`;
//! - `blas`: `not-positive-definite` of a factorisation.

#[path = "../../../projections/adapters/tests/bad_input/mod.rs"]
mod bad_input;

use bad_input::{Cases, Refused};
use forge_tests::*;
use futures::{StreamExt, stream};
use reqwest::Method;
use serde_json::{Value, json};
use std::path::Path;

/// Requests under way at once.
const AT_ONCE: usize = 8;

/// What is wrong with a refusal, if anything is.
fn fault_of(answer: &Answer, case: &Refused) -> Option<String> {
    answer.problem();
    let body = answer.json();
    let errors = body["errors"].as_array().map(Vec::as_slice).unwrap_or_default();
    let said = |text: &Value| text.as_str().is_some_and(|text| !text.is_empty());
    let sound = answer.status == 422
        && errors.len() == 1
        && errors[0]["pointer"] == format!("#{}", case.pointer)
        && errors[0]["code"] == case.code
        && said(&errors[0]["detail"])
        && body["fix"].as_array().is_some_and(|fix| fix.len() == 1 && fix.iter().all(said));
    let Refused { what, kind, pointer, code, .. } = case;
    (!sound).then(|| format!("{kind}, {what}: {pointer} {code} is due, the answer is {} {body}", answer.status))
}

/// Files of blobs that a node keeps.
fn blob_files(folder: &str) -> usize {
    let within = |folder: &Path| -> Vec<_> {
        std::fs::read_dir(folder).expect("a node's folder").map(|entry| entry.expect("an entry").path()).collect()
    };
    let folders = within(&Path::new(folder).join("blobs")).into_iter().filter(|path| path.is_dir());
    folders.filter(|path| path.file_name().is_some_and(|name| name.len() == 2)).map(|path| within(&path).len()).sum()
}

#[tokio::test]
async fn a_bad_input_is_refused_at_its_field_and_leaves_nothing_behind() {
    let house = House::found().await;
    let client = house.client();
    let cases = Cases::all();
    let digests = cases.blobs.digests();
    let blobs = digests.iter().map(|digest| (digest.to_string(), cases.blobs.get(digest).expect("a case's blob")));
    let puts = blobs.map(|(digest, bytes)| {
        let client = client.clone();
        async move { put(&client, &digest, bytes).await }
    });
    stream::iter(puts).buffer_unordered(AT_ONCE).collect::<()>().await;
    let stands = async || {
        let books = client.get("/v1/ledger/accounts?all=true").await.is(200).json();
        (client.get("/v1/state/digest").await.is(200).json()["digest"].clone(), books["data"].clone())
    };
    let before = stands().await;
    let index = client.get("/v1/jobs").await.is(200).index();
    let asked = cases.refused.iter().flat_map(|case| ["/v1/jobs", "/v1/plans"].map(|door| (case, door)));
    let answers = asked.map(|(case, door)| {
        let mut body = json!({"kind": case.kind, "spec": case.spec});
        if let Some(cells) = case.shard_cells {
            body["shard_cells"] = json!(cells);
        }
        let client = client.clone();
        async move { fault_of(&client.post(door, body).await, case) }
    });
    let wrong: Vec<String> =
        stream::iter(answers).buffer_unordered(AT_ONCE).filter_map(|fault| async { fault }).collect().await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for case in &cases.taken {
        let plan = client.post("/v1/plans", json!({"kind": case.kind, "spec": case.spec})).await;
        assert_eq!(plan.status, 200, "{}: {}", case.what, plan.json());
    }
    // Not a number is no JSON either.
    for word in ["NaN", "Infinity", "1e999"] {
        let body = format!(r#"{{"kind": "blas", "spec": {{"op": "gemm", "dtype": "f64", "alpha": {word}}}}}"#);
        let answer = client.try_send(Method::POST, "/v1/jobs", &[], Some(body.into_bytes())).await;
        assert_eq!(answer.expect("an answer").is(400).problem(), "invalid-request", "{word}");
    }
    // No event, so no job, no hold, no stage, no shard, and no blob but those that were put, which no job names.
    let events = client.get(&format!("/v1/log?from={}", index + 1)).await.is(200).json();
    assert_eq!(events["data"], json!([]));
    assert_eq!(client.get("/v1/jobs").await.is(200).json()["data"], json!([]));
    assert_eq!(stands().await, before);
    assert_eq!(blob_files(house.folder_of("n1")), digests.len());
}
