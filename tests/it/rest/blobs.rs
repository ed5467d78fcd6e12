//! Blobs: in and out, by key and by signed URL, of one project only, on a majority of nodes.

use bytes::Bytes;
use forge_event::Digest;
use forge_tests::*;
use futures::StreamExt;
use reqwest::Method;
use serde_json::{Value, json};

const PUT: Method = Method::PUT;
const HEAD: Method = Method::HEAD;

fn bytes(count: usize, seed: u8) -> Vec<u8> {
    (0..count as u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8 ^ seed).collect()
}

async fn kept(client: &Client, blob: &[u8]) -> String {
    let digest = Digest::of(blob).to_string();
    let answer =
        client.try_send(PUT, &format!("/v1/blobs/{digest}"), &[], Some(blob.to_vec())).await.expect("an answer");
    let kept = answer.is(201).json();
    assert_eq!((&kept["digest"], kept["bytes"].as_u64()), (&json!(digest), Some(blob.len() as u64)));
    digest
}

/// The same URL with the key left out.
async fn by_url(client: &Client, method: Method, url: &str, headers: &[(&str, &str)], body: Option<Vec<u8>>) -> Answer {
    let path = url.strip_prefix(&client.url).expect("a URL of the node that signed it");
    client.with_key("").try_send(method, path, headers, body).await.expect("an answer")
}

#[tokio::test]
async fn what_is_put_is_got_whole_and_in_parts() {
    let house = House::found().await;
    let client = house.client();
    let blob = bytes(1_000_003, 1);
    let digest = kept(&client, &blob).await;
    let path = format!("/v1/blobs/{digest}");
    let again = client.try_send(PUT, &path, &[], Some(blob.clone())).await.expect("an answer");
    assert_eq!(again.is(200).json()["bytes"], 1_000_003);
    let got = client.get(&path).await.is(200);
    assert_eq!(got.bytes, blob);
    assert_eq!(got.header("content-type"), Some("application/octet-stream"));
    assert_eq!(got.header("x-content-type-options"), Some("nosniff"));
    let part = client.send(Method::GET, &path, &[("range", "bytes=1000000-")], None).await.is(206);
    assert_eq!(
        (&part.bytes[..], part.header("content-range")),
        (&blob[1_000_000..], Some("bytes 1000000-1000002/1000003"))
    );
    let repr = format!("blake3=:{}:", got.header("content-digest").map_or("", |text| &text[8..text.len() - 1]));
    assert_eq!((repr.len(), got.header("repr-digest")), (8 + 44 + 1, Some(repr.as_str())));
    assert_eq!((part.header("repr-digest"), part.header("content-digest")), (Some(repr.as_str()), None));
    let etag = format!("\"{digest}\"");
    assert_eq!(got.header("etag"), Some(etag.as_str()));
    let known = client.send(Method::GET, &path, &[("if-none-match", &etag)], None).await.is(304);
    assert_eq!((known.bytes.len(), known.header("etag")), (0, Some(etag.as_str())));
    client.send(Method::GET, &path, &[("if-none-match", "\"blake3:00\"")], None).await.is(200);
    assert_eq!(client.send(Method::GET, &path, &[("range", "bytes=1000003-")], None).await.status, 416);
    let length = client.send(HEAD, &path, &[], None).await.is(200);
    assert_eq!(length.header("content-length"), Some("1000003"));
    let empty = kept(&client, b"").await;
    assert_eq!(client.get(&format!("/v1/blobs/{empty}")).await.is(200).bytes.len(), 0);
}

#[tokio::test]
async fn an_upload_goes_on_where_it_was_cut_and_wrong_bytes_are_not_kept() {
    let house = House::found().await;
    let client = house.client();
    let blob = bytes(300_000, 2);
    let path = format!("/v1/blobs/{}", Digest::of(&blob));
    let standing = client.send(HEAD, &path, &[], None).await.is(404);
    assert_eq!(standing.header("upload-offset"), Some("0"));
    // A part with the whole's name is not the whole: nothing is kept of it.
    let part = client.try_send(PUT, &path, &[], Some(blob[..100_000].to_vec())).await.expect("an answer");
    assert_eq!(part.is(422).problem(), "digest-mismatch");
    assert_eq!(client.send(HEAD, &path, &[], None).await.header("upload-offset"), Some("0"));
    let ahead = client.try_send(PUT, &path, &[("upload-offset", "7")], Some(blob[7..].to_vec())).await;
    let ahead = ahead.expect("an answer").is(409);
    assert_eq!((ahead.problem(), ahead.json()["upload_offset"].as_u64()), ("offset-mismatch".into(), Some(0)));
    let stuck = client.put_and_hang(&path, blob[..100_000].to_vec());
    let from = until("the part is there", async || {
        let offset = client.send(HEAD, &path, &[], None).await;
        offset.header("upload-offset").and_then(|n| n.parse::<usize>().ok()).filter(|n| *n > 0)
    })
    .await;
    stuck.abort();
    let offset = from.to_string();
    until("the rest is taken", async || {
        let rest = client.try_send(PUT, &path, &[("upload-offset", &offset)], Some(blob[from..].to_vec())).await;
        let rest = rest.expect("an answer");
        // The hub may not have seen yet that the connection is gone.
        (rest.status != 429).then(|| rest.is(201))
    })
    .await;
    assert_eq!(client.get(&path).await.is(200).bytes, blob);
}

#[tokio::test]
async fn a_signed_url_allows_one_thing_and_nothing_that_was_altered() {
    let house = House::found().await;
    let client = house.client();
    let blob = bytes(5000, 3);
    let digest = Digest::of(&blob).to_string();
    let sign = async |body: Value| client.post("/v1/blobs/sign", body).await.is(200).json();
    let signed = sign(json!({"digest": digest, "bytes": 5000, "op": "put", "ttl": "5m"})).await;
    assert_eq!((&signed["method"], &signed["exists"]), (&json!("PUT"), &json!(false)));
    let url = signed["url"].as_str().expect("a URL").to_string();
    let short = by_url(&client, PUT, &url, &[], Some(blob[..4999].to_vec())).await;
    assert_eq!(short.is(422).problem(), "digest-mismatch");
    let long = by_url(&client, PUT, &url, &[], Some([&blob[..], b"more"].concat())).await;
    assert_eq!(long.is(422).problem(), "digest-mismatch");
    let ahead = by_url(&client, PUT, &url, &[("upload-offset", "7")], Some(blob.clone())).await.is(409);
    assert_eq!((ahead.problem(), ahead.json()["upload_offset"].as_u64()), ("offset-mismatch".into(), Some(0)));
    by_url(&client, PUT, &url, &[], Some(blob.clone())).await.is(201);
    let put_only = by_url(&client, Method::GET, &url, &[], None).await;
    assert_eq!(put_only.is(403).problem(), "bad-signature");

    let signed = sign(json!({"digest": digest, "op": "get", "range": [10, 19]})).await;
    let url = signed["url"].as_str().expect("a URL").to_string();
    assert_eq!(by_url(&client, Method::GET, &url, &[], None).await.is(206).bytes, blob[10..20]);
    let inner = by_url(&client, Method::GET, &url, &[("range", "bytes=12-13")], None).await;
    assert_eq!(inner.is(206).bytes, blob[12..14]);
    let outer = by_url(&client, Method::GET, &url, &[("range", "bytes=0-13")], None).await;
    assert_eq!(outer.is(403).problem(), "bad-signature");
    let other = kept(&client, &bytes(5000, 4)).await;
    let altered = [
        url.replace(&digest, &other),
        url.replace("op=get", "op=put"),
        url.replace("bytes=5000", "bytes=5001"),
        url.replace("range=10-19", "range=10-20"),
        url.replace("&range=10-19", ""),
        url.replace("expires=1", "expires=2"),
        url.replace("node=n1", "node=n2"),
        url.replace("project=p4", "project=p5"),
        url.replace("key=k5", "key=k6"),
        url.replace("&key=k5", ""),
        url.replace("sig=", "sig=0"),
        format!("{url}&more=1"),
        format!("{url}00"),
    ];
    for url in altered {
        let refused = by_url(&client, Method::GET, &url, &[], None).await;
        assert_eq!(refused.is(403).problem(), "bad-signature", "{url}");
    }
    let late = sign(json!({"digest": digest, "op": "get", "ttl": "1ms"})).await;
    let late = until("it is late", async || {
        let answer = by_url(&client, Method::GET, late["url"].as_str().expect("a URL"), &[], None).await;
        (answer.status != 200).then_some(answer)
    })
    .await;
    assert_eq!(late.is(403).problem(), "bad-signature");
    for (body, code) in [
        (json!({"digest": digest, "op": "put"}), "missing-field"),
        (json!({"digest": "abc", "op": "get"}), "out-of-range"),
        (json!({"digest": digest, "op": "get", "range": [9, 5]}), "malformed"),
        (json!({"digest": digest, "op": "get", "range": [0, 5000]}), "out-of-range"),
        (json!({"digest": digest, "op": "get", "ttl": "25h"}), "out-of-range"),
        (json!({"digest": digest, "op": "look"}), "out-of-range"),
    ] {
        let refused = client.post("/v1/blobs/sign", body).await.is(422).json();
        assert_eq!(refused["errors"][0]["code"], code, "{refused}");
    }
}

/// Announces a body of `length` bytes and sends `body` before it looks for the answer, as plain clients do. Gives its status.
async fn sent(client: &Client, path: &str, headers: &str, length: usize, body: Vec<u8>) -> std::io::Result<u16> {
    let host = client.url.trim_start_matches("https://").to_owned();
    let head = format!("PUT {path} HTTP/1.1\r\nhost: {host}\r\n{headers}content-length: {length}\r\n\r\n");
    let client = client.clone();
    let sending = tokio::task::spawn_blocking(move || client.plainly(head.as_bytes(), &body));
    sending.await.expect("the sender does not panic")
}

#[tokio::test]
async fn an_early_answer_reaches_those_who_send_their_whole_body_first() {
    let house = House::found().await;
    let client = house.client();
    let blob = bytes(6_000_000, 9);
    let digest = kept(&client, &blob).await;
    let path = format!("/v1/blobs/{digest}");
    let key = format!("authorization: Bearer {}\r\n", client.key);
    let new = bytes(6_000_000, 10);
    let signed = json!({"digest": Digest::of(&new).to_string(), "bytes": new.len(), "op": "put"});
    let signed = client.post("/v1/blobs/sign", signed).await.is(200).text("url");
    let signed = signed.strip_prefix(&client.url).expect("a URL of this node").to_owned();
    let other_path = format!("/v1/blobs/{}", Digest::of(&new));
    let altered = signed.replace("bytes=6000000", "bytes=6000001");
    let ahead = "upload-offset: 7\r\n";
    let all = [
        ("it is there", 200, &path, key.clone()),
        ("no key", 401, &path, String::new()),
        ("an altered URL", 403, &altered, String::new()),
        ("a wrong offset", 409, &signed, ahead.into()),
        ("a wrong offset by key", 409, &other_path, format!("{key}{ahead}")),
        ("no such path", 404, &"/v1/blob".to_owned(), key.clone()),
    ];
    for (what, status, path, headers) in all {
        let answered = sent(&client, path, &headers, new.len(), new.clone()).await;
        assert_eq!(answered.unwrap_or_else(|e| panic!("{what}: {e}")), status, "{what}");
    }
    client
        .send(PUT, &format!("/v1/projects/{PROJECT}/quota"), &[], Some(json!({"blob_bytes": 7_000_000})))
        .await
        .is(200);
    let full = sent(&client, &other_path, &key, new.len(), new.clone()).await;
    assert_eq!(full.expect("an answer"), 409, "over the quota");
    // Whoever asks first does not have to send for it.
    let asks = sent(&client, &path, &format!("{key}expect: 100-continue\r\n"), new.len(), Vec::new()).await;
    assert_eq!(asks.expect("an answer"), 200);
}

#[tokio::test]
async fn a_blob_is_of_one_project_alone() {
    let house = House::found().await;
    let client = house.client();
    let blob = bytes(1000, 5);
    let digest = kept(&client, &blob).await;
    let project = house.project("other").await;
    let other = client.with_key(&house.key(&project, &["blobs"]).await);
    let asked = json!({"digests": [digest]});
    assert_eq!(client.post("/v1/blobs/exists", asked.clone()).await.is(200).json()["missing"], json!([]));
    assert_eq!(other.post("/v1/blobs/exists", asked).await.is(200).json()["missing"], json!([digest]));
    assert_eq!(other.get(&format!("/v1/blobs/{digest}")).await.is(404).problem(), "not-found");
    // Who has the bytes may have the blob; who only knows its digest may not.
    let wrong = other.try_send(PUT, &format!("/v1/blobs/{digest}"), &[], Some(bytes(1000, 6))).await;
    assert_eq!(wrong.expect("an answer").is(422).problem(), "digest-mismatch");
    kept(&other, &blob).await;
    assert_eq!(other.get(&format!("/v1/blobs/{digest}")).await.is(200).bytes, blob);
    let blind = client.with_key(&house.key(&project, &["jobs:read"]).await);
    assert_eq!(blind.get(&format!("/v1/blobs/{digest}")).await.is(403).problem(), "forbidden");
}

#[tokio::test]
async fn a_blob_outlives_a_node_and_a_flipped_byte() {
    let mut house = House::of_three().await;
    let leader = house.leader().await;
    let blob = bytes(3_000_000, 7);
    let digest = kept(&house.client_of(&leader), &blob).await;
    house.kill(&leader).await;
    let client = house.client();
    let path = format!("/v1/blobs/{digest}");
    assert_eq!(client.get(&path).await.is(200).bytes, blob, "a majority had it before it was named");
    house.restart(&leader).await;
    // A byte flips on one disk: it is never served, and comes back from the others.
    let node = house.follower().await;
    let hex = digest.trim_start_matches("blake3:");
    let file = format!("{}/blobs/{}/{hex}", house.folder_of(&node), &hex[..2]);
    until("the follower has it", async || std::fs::metadata(&file).ok()).await;
    let mut damaged = blob.clone();
    damaged[1_234_567] ^= 1;
    std::fs::write(&file, &damaged).expect("a disk");
    let client = house.client_of(&node);
    until("it is whole again", async || {
        let answer = client.try_send(Method::GET, &path, &[], None).await;
        // A connection cut before its end is an error, never a wrong answer.
        let got = answer.ok().filter(|answer| answer.status == 200)?;
        assert_eq!(got.bytes, blob);
        Some(())
    })
    .await;
    assert_eq!(std::fs::read(&file).expect("it is there"), blob);
}

/// Uploads what is left of a blob, again for as long as that may help, as the API says to.
async fn uploaded(client: &Client, path: &str, blob: &Bytes) {
    until("the upload ends", async || {
        let standing = client.try_send(HEAD, path, &[], None).await.ok()?;
        if standing.status == 200 {
            return Some(());
        }
        let from: usize = standing.header("upload-offset")?.parse().ok()?;
        let offset = from.to_string();
        let rest = client.try_send(PUT, path, &[("upload-offset", &offset)], Some(blob[from..].to_vec())).await.ok()?;
        matches!(rest.status, 200 | 201).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_large_blob_goes_up_and_comes_down_while_nodes_die() {
    let size = if is_full() { 1 << 30 } else { 24 << 20 };
    let mut house = House::of_three().await;
    let (leader, taker) = (house.leader().await, house.follower().await);
    let blob = Bytes::from(bytes(size, 11));
    let path = format!("/v1/blobs/{}", Digest::of(&blob));
    // Up, through a follower; the leader dies when half of it is there.
    let client = house.client_of(&taker);
    let (half, sending) = client.put_in_two(&path, blob.slice(..size / 2), blob.slice(size / 2..));
    half.await.expect("half of it went");
    house.kill(&leader).await;
    sending.await.expect("the sender does not panic");
    uploaded(&client, &path, &blob).await;
    // Down, through the node that was away and fetches it; the one that took it dies meanwhile.
    house.restart(&leader).await;
    let client = house.client_of(&leader);
    let digest = path.rsplit_once(':').map_or("", |(_, hex)| hex).to_owned();
    let blobs = format!("{}/blobs", house.folder_of(&leader));
    let (part, whole) = (format!("{blobs}/incoming/peers-{digest}.part"), format!("{blobs}/{}/{digest}", &digest[..2]));
    let getting = async {
        let mut got = Vec::with_capacity(size);
        until("all of it came", async || {
            let range = format!("bytes={}-", got.len());
            let mut parts = client.parts(&path, &[("range", &range)]).await?;
            while let Some(Ok(part)) = parts.next().await {
                got.extend_from_slice(&part);
            }
            (got.len() == size).then_some(())
        })
        .await;
        got
    };
    let there = |file: &str| std::fs::metadata(file).is_ok_and(|file| file.len() > 0);
    let dying = async {
        until("it begins to come", async || (there(&part) || there(&whole)).then_some(())).await;
        house.kill(&taker).await;
    };
    let (got, ()) = tokio::join!(getting, dying);
    assert!(got == blob, "its bytes are those that were sent");
}

#[tokio::test]
async fn two_matrices_go_in_and_their_product_comes_out() {
    let mut house = House::found().await;
    house.agents(2, 2).await;
    let client = house.client();
    let (a, b) = (|i: usize, j: usize| (i * 3 + j) as f64, |i: usize, j: usize| (i as f64) - (j as f64) * 2.0);
    let (left, right) = (kept(&client, &npy(37, 21, a)).await, kept(&client, &npy(21, 29, b)).await);
    let product = |i: usize, j: usize| (0..21).map(|k| a(i, k) * b(k, j)).sum::<f64>();
    let expected = npy(37, 29, product);
    let mut documents = Vec::new();
    for tile in [json!(null), json!([8, 8]), json!([37, 1])] {
        let spec = json!({"op": "gemm", "dtype": "f64", "A": left, "B": right, "tile": tile});
        let job = Job::submit(&client, json!({"kind": "blas", "spec": spec})).await;
        documents.push(job.result(&client).await);
    }
    assert!(documents.windows(2).all(|pair| pair[0] == pair[1]), "the document does not depend on the tiles");
    let document: Value = serde_json::from_slice(&documents[0]).expect("JSON");
    assert_eq!(document["C"]["digest"], Digest::of(&expected).to_string());
    let got = client.get(&format!("/v1/blobs/{}", document["C"]["digest"].as_str().expect("a digest"))).await.is(200);
    assert_eq!(got.bytes, expected);
    // What lay between the shards is gone from the project's books; inputs and output stay.
    let books = client.get("/v1/ledger/trial-balance").await.is(200).json();
    assert_eq!(books["sum"], "0.000000");
}

#[tokio::test]
async fn inputs_at_fault_are_refused_before_anything_is_held() {
    let mut house = House::found().await;
    house.agents(1, 1).await;
    let client = house.client();
    let before = client.get("/v1/jobs").await.index();
    let matrix = kept(&client, &npy(4, 4, |i, j| (i + j) as f64)).await;
    let cut = kept(&client, &npy(4, 4, |_, _| 1.0)[..100]).await;
    let text = kept(&client, b"these are no numbers").await;
    let unknown = Digest([9; 32]).to_string();
    for (bad, code) in [(&unknown, "blob-missing"), (&cut, ""), (&text, "")] {
        let spec = json!({"op": "gemm", "dtype": "f64", "A": matrix, "B": bad});
        let refused = client.post("/v1/jobs", json!({"kind": "blas", "spec": spec})).await.is(422).json();
        let fault = &refused["errors"][0];
        assert_eq!(fault["pointer"], "#/spec/B", "{refused}");
        assert!(code.is_empty() || fault["code"] == code, "{refused}");
    }
    let events = client.get(&format!("/v1/log?from={}", before + 1)).await.is(200).json();
    assert!(!events["data"].to_string().contains("job.submitted"), "nothing was committed for them");
}
