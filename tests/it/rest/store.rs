//! Blobs in an object store: two nodes share a bucket of a real S3 server, agents read from it.

use forge_event::Digest;
use forge_tests::*;
use reqwest::Method;
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;

/// Some bytes, others for each seed.
fn bytes(count: usize, seed: u8) -> Vec<u8> {
    (0..count as u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8 ^ seed).collect()
}

fn path_of(blob: &[u8]) -> String {
    format!("/v1/blobs/{}", Digest::of(blob))
}

async fn try_put(client: &Client, blob: &[u8]) -> Answer {
    client.try_send(Method::PUT, &path_of(blob), &[], Some(blob.to_vec())).await.expect("an answer")
}

#[tokio::test]
async fn blobs_lie_in_an_object_store() {
    let Some(mut store) = S3::start("blobs_lie_in_an_object_store").await else { return };
    let mut house = House::found_with(store.table(), store.environment()).await;
    let second = house.grow().await;
    let (one, two) = (house.client_of("n1"), house.client_of(&second));

    // Longer than one part of a multipart upload, and short.
    let (long, short) = (bytes(20_000_003, 1), bytes(5000, 2));
    what_one_node_took_the_other_gives(&house, &store, &second, [&long, &short]).await;
    an_upload_goes_on_and_wrong_bytes_leave_nothing(&store, &two).await;
    a_signed_url_is_the_stores_own(&store, &one, &short).await;
    agents_read_from_the_store(&mut house, &store).await;

    let matrix = npy(20, 20, |i, j| (i * j) as f64);
    try_put(&one, &matrix).await.is(201);
    let name = Digest::of(&matrix).to_string();
    let square = json!({"kind": "blas", "spec": {"op": "gemm", "dtype": "f64", "A": name, "B": name}});
    store.kill().await;
    // What is in no cache; what one has is read there.
    let unread = two.get(&path_of(&long)).await;
    assert_eq!(unread.is(503).problem(), "blob-store-unavailable");
    let late = bytes(70_000, 9);
    assert_eq!(try_put(&one, &late).await.is(503).problem(), "blob-store-unavailable");
    assert_eq!(one.get(&path_of(&late)).await.status, 404);
    let refused = two.post_once("/v1/jobs", "square", square.clone()).await;
    assert_eq!(refused.is(503).problem(), "blob-store-unavailable");
    store.resume().await;
    assert!(two.get(&path_of(&long)).await.is(200).bytes == long);
    try_put(&one, &late).await.is(201);
    assert!(two.get(&path_of(&late)).await.is(200).bytes == late);
    let job = Job { id: two.post_once("/v1/jobs", "square", square).await.is(201).text("id") };
    job.result(&two).await;

    what_no_event_names_goes(&mut house, &store, &second, &[long, short, late, matrix]).await;

    let folders = ["n1", &second].map(|node| house.folder_of(node).to_owned());
    let wrong = a_node_that_cannot_use_its_store_says_why(&mut house, &store, &second).await;
    assert!(!wrong.contains(store.secret()), "{wrong}");
    for folder in folders {
        nothing_holds(Path::new(&folder), store.secret());
    }
}

async fn what_one_node_took_the_other_gives(house: &House, store: &S3, second: &str, blobs: [&[u8]; 2]) {
    let (one, two) = (house.client_of("n1"), house.client_of(second));
    for blob in blobs {
        let path = path_of(blob);
        try_put(&one, blob).await.is(201);
        try_put(&one, blob).await.is(200);
        let hex = Digest::of(blob).hex();
        assert_eq!(
            store.keys().await.iter().filter(|key| key.ends_with(&format!("/blob/{}/{hex}", &hex[..2]))).count(),
            1
        );
        let length = two.send(Method::HEAD, &path, &[], None).await.is(200);
        assert_eq!(length.header("content-length"), Some(blob.len().to_string().as_str()));
        assert!(two.get(&path).await.is(200).bytes == blob);
        let end = blob.len() - 1;
        for (range, expected) in [("bytes=1000-1999", &blob[1000..2000]), ("bytes=-7", &blob[end - 6..])] {
            let part = two.send(Method::GET, &path, &[("range", range)], None).await.is(206);
            assert!(part.bytes == expected, "{range}");
        }
        // It read through: nothing of it lies on its disk.
        assert!(!Path::new(house.folder_of(second)).join("blobs").join(&hex[..2]).join(&hex).exists());
        assert!(store.keys().await.iter().all(|key| key.starts_with("/a/b/")), "everything lies under the prefix");
    }
    let exist = json!({"digests": [Digest::of(blobs[0]).to_string(), Digest::of(b"unknown").to_string()]});
    let missing = two.post("/v1/blobs/exists", exist).await.is(200).json();
    assert_eq!(missing["missing"], json!([Digest::of(b"unknown").to_string()]));
}

async fn an_upload_goes_on_and_wrong_bytes_leave_nothing(store: &S3, client: &Client) {
    let before = store.keys().await;
    let blob = bytes(300_000, 3);
    let path = path_of(&blob);
    let wrong = client.try_send(Method::PUT, &path, &[], Some(bytes(300_000, 4))).await.expect("an answer");
    assert_eq!(wrong.is(422).problem(), "digest-mismatch");
    assert_eq!(store.keys().await, before);
    let stuck = client.put_and_hang(&path, blob[..100_000].to_vec());
    let from = until("the part is there", async || {
        let offset = client.send(Method::HEAD, &path, &[], None).await;
        offset.header("upload-offset").and_then(|n| n.parse::<usize>().ok()).filter(|n| *n > 0)
    })
    .await;
    stuck.abort();
    assert_eq!(store.keys().await, before, "a part is no blob");
    let offset = from.to_string();
    until("the rest is taken", async || {
        let headers = [("upload-offset", offset.as_str())];
        let rest = client.try_send(Method::PUT, &path, &headers, Some(blob[from..].to_vec())).await;
        let rest = rest.expect("an answer");
        // The hub may not have seen yet that the connection is gone.
        (rest.status != 429).then(|| rest.is(201))
    })
    .await;
    assert_eq!(store.keys().await.len(), before.len() + 1);
    assert_eq!(client.get(&path).await.is(200).bytes, blob);
}

async fn a_signed_url_is_the_stores_own(store: &S3, client: &Client, blob: &[u8]) {
    let digest = Digest::of(blob).to_string();
    let sign = async |body: Value| client.post("/v1/blobs/sign", body).await.is(200).text("url");
    let http = reqwest::Client::new();
    let get = async |url: &str| http.get(url).send().await.expect("an answer");
    let url = sign(json!({"digest": digest, "op": "get", "ttl": "5m"})).await;
    assert!(url.starts_with(store.url()) && !url.contains(store.secret()), "{url}");
    let got = get(&url).await;
    assert_eq!((got.status().as_u16(), got.bytes().await.expect("bytes").to_vec()), (200, blob.to_vec()));
    let part = http.get(&url).header("range", "bytes=10-19").send().await.expect("an answer");
    assert_eq!((part.status().as_u16(), part.bytes().await.expect("bytes").to_vec()), (206, blob[10..20].to_vec()));
    let put = http.put(&url).body("other").send().await.expect("an answer");
    assert_eq!(put.status(), 403, "it is for reading");
    let other = bytes(6000, 5);
    try_put(client, &other).await.is(201);
    let (hex, other) = (Digest::of(blob).hex(), Digest::of(&other).hex());
    let key = format!("{}/{hex}", &hex[..2]);
    assert!(url.contains(&key), "{url}");
    let signature = url.split("X-Amz-Signature=").nth(1).expect("a signature").split('&').next().expect("its hex");
    let flipped = if signature.starts_with('0') { "1" } else { "0" };
    for altered in [
        url.replace(&key, &format!("{}/{other}", &other[..2])),
        url.replace("X-Amz-Expires=300", "X-Amz-Expires=600"),
        url.replace("X-Amz-Date=2", "X-Amz-Date=3"),
        url.replace("forge-test", "forge-else"),
        url.replace(signature, &format!("{flipped}{}", &signature[1..])),
        url.replace("X-Amz-SignedHeaders=host", "X-Amz-SignedHeaders="),
        format!("{url}&more=1"),
        url.split('?').next().expect("a path").to_owned(),
    ] {
        assert_ne!(altered, url);
        let status = get(&altered).await.status();
        assert!(status == 403 || status == 400, "{status}: {altered}");
    }
    let short = sign(json!({"digest": digest, "op": "get", "ttl": "1s"})).await;
    until("it expires", async || (get(&short).await.status() == 403).then_some(())).await;
    // Of a range the hub answers for itself, and so it does of what is put.
    for body in
        [json!({"digest": digest, "op": "get", "range": [0, 9]}), json!({"digest": digest, "op": "put", "bytes": 5000})]
    {
        assert!(sign(body).await.starts_with(&client.url));
    }
    // Whoever follows is sent on, whoever does not say so is served.
    let sent = client.send(Method::GET, &format!("/v1/blobs/{digest}"), &[("forge-direct", "1")], None).await;
    assert_eq!((sent.status, sent.bytes.to_vec()), (200, blob.to_vec()));
}

/// A product of matrices of small integers, which doubles hold exactly.
async fn agents_read_from_the_store(house: &mut House, store: &S3) {
    let client = house.client();
    house.agents(1, 2).await;
    let size = 96;
    let (left, right) = (
        |i: usize, j: usize| ((i * 31 + j * 17) % 101) as f64 - 50.0,
        |i: usize, j: usize| ((i * 7 + j * 3) % 89) as f64,
    );
    let mut names = Vec::new();
    for matrix in [npy(size, size, left), npy(size, size, right)] {
        names.push(Digest::of(&matrix).to_string());
        try_put(&client, &matrix).await.is(201);
    }
    let before = store.signed();
    let spec = json!({"op": "gemm", "dtype": "f64", "A": names[0], "B": names[1], "tile": [40, 40]});
    let job = Job::submit(&client, json!({"kind": "blas", "spec": spec})).await;
    let document: Value = serde_json::from_slice(&job.result(&client).await).expect("a result is JSON");
    let product = npy(size, size, |i, j| (0..size).map(|k| left(i, k) * right(k, j)).sum());
    let digest = document["C"]["digest"].as_str().expect("it names its matrix");
    assert_eq!(digest, Digest::of(&product).to_string());
    assert!(client.get(&format!("/v1/blobs/{digest}")).await.is(200).bytes == product);
    // Two matrices; two slots may have asked for the same at the same time.
    assert!((2..=4).contains(&(store.signed() - before)), "the agent came to the store itself");
}

/// Named stays however old it is, unnamed stays while it is young, and so does what is uploaded while it is removed.
async fn what_no_event_names_goes(house: &mut House, store: &S3, second: &str, named: &[Vec<u8>]) {
    let keys = store.keys().await;
    let blobs = keys.iter().find_map(|key| key.split_once("/blob/").map(|(root, _)| format!("{root}/blob")));
    let blobs = blobs.expect("blobs lie there");
    let key_of = |digest: Digest| format!("{blobs}/{}/{}", &digest.hex()[..2], digest.hex());
    // As a node leaves it that dies between sending and recording. The first of all, in the order of a round.
    let orphan = (0..=255).flat_map(|seed| (1..200).map(move |length| bytes(length, seed))).find(|blob| {
        let key = key_of(Digest::of(blob));
        keys.iter().all(|other| *other > key)
    });
    let orphan = orphan.expect("one of so many comes first");
    store.put(&key_of(Digest::of(&orphan)), &orphan).await;
    let last = key_of(Digest([255; 32]));
    store.put(&last, b"last").await;
    store.grow_older(&blobs, Duration::from_secs(2 * 3600)).await;
    let young = key_of(Digest([254; 32]));
    store.put(&young, b"young").await;

    // Whoever leads then has its first round, which is a whole one.
    let removal = store.hold_next_removal(Duration::from_secs(3));
    for node in ["n1", second] {
        house.kill(node).await;
    }
    for node in ["n1", second] {
        house.restart(node).await;
    }
    let leader = house.leader().await;
    let follower = house.running().into_iter().find(|node| *node != leader).expect("there are two");
    within("the first removal is on its way", removal).await.expect("the door is open");
    try_put(&house.client_of(&follower), &orphan).await.is(201);
    until("the round is over", async || (!store.keys().await.contains(&last)).then_some(())).await;

    let left = store.keys().await;
    assert!(left.contains(&young));
    for blob in named.iter().chain([&orphan]) {
        assert!(left.contains(&key_of(Digest::of(blob))));
        assert!(house.client_of(&leader).get(&path_of(blob)).await.is(200).bytes == *blob);
    }
}

/// Gives everything that was said.
async fn a_node_that_cannot_use_its_store_says_why(house: &mut House, store: &S3, node: &str) -> String {
    house.kill(node).await;
    let folder = house.folder_of(node).to_owned();
    let settings = format!("{folder}/node.toml");
    let good = std::fs::read_to_string(&settings).expect("a node has settings");
    let mut said = String::new();
    let mut liar = store.environment();
    liar[1].1 = "another".into();
    for (from, to, environment, why) in [
        ("bucket = \"forge\"", "bucket = \"nobodys\"", store.environment(), "no bucket of the name"),
        ("bucket", "bucket", liar, "refuses this node's credentials"),
        ("http://127.0.0.1", "http://10.0.0.1", store.environment(), "has no TLS"),
        ("prefix", "secret_access_key", store.environment(), "unknown field `secret_access_key`"),
    ] {
        std::fs::write(&settings, good.replace(from, to)).expect("they can be written");
        let told = Child::fails(&["node", &folder], &environment).await;
        assert!(told.contains(why), "{told}");
        said += &told;
    }
    said
}

fn nothing_holds(folder: &Path, secret: &str) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            nothing_holds(&path, secret);
        } else {
            let file = std::fs::read(&path).expect("a file");
            assert!(!String::from_utf8_lossy(&file).contains(secret), "{}", path.display());
        }
    }
}
