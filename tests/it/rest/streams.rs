//! Event streams: gap-free, resumable, and over when the job is.

use forge_tests::*;
use serde_json::Value;
use std::collections::BTreeSet;

#[tokio::test]
async fn a_stream_gives_every_event_of_a_job_once_in_order_and_ends() {
    let mut house = House::found().await;
    let client = house.client();
    let job = Job::submit(&client, null(300, 0)).await;
    let path = format!("/v1/jobs/{}/events?until=terminal", job.id);
    let mut live = Stream::open(&client, &path, None).await;
    house.agents(2, 2).await;
    let frames = live.until("end").await;
    assert_eq!(live.next().await, None, "nothing follows the end");
    let ids: Vec<u64> = frames.iter().filter_map(|f| f.id).collect();
    assert!(ids.is_sorted() && ids.iter().collect::<BTreeSet<_>>().len() == ids.len() && ids.len() == frames.len());
    assert_eq!(frames[0].event, "job.submitted");
    assert!(frames.iter().any(|f| f.event == "job.succeeded"));
    for frame in &frames {
        let event = frame.json();
        assert_eq!(event["type"], format!("hub.forge.{}.v1", frame.event));
        assert_eq!(event["id"], frame.id.map(|i| i.to_string()).unwrap_or_default());
        assert_eq!(
            (event["specversion"].as_str(), event["datacontenttype"].as_str()),
            (Some("1.0"), Some("application/json"))
        );
    }
    // History gives the same as what was seen live.
    let mut later = Stream::open(&client, &path, None).await;
    assert_eq!(later.until("end").await, frames);
    // And so do pages.
    let mut paged: Vec<String> = Vec::new();
    let mut next = format!("/v1/jobs/{}/events?limit=7", job.id);
    loop {
        let page = client.get(&next).await.is(200).json();
        paged.extend(
            page["data"].as_array().expect("a list").iter().filter_map(|e| e["id"].as_str().map(str::to_owned)),
        );
        let Some(token) = page["next_page_token"].as_str() else { break };
        next = format!("/v1/jobs/{}/events?limit=7&page_token={token}", job.id);
    }
    assert_eq!(paged, ids.iter().map(u64::to_string).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_stream_goes_on_behind_the_last_event_seen() {
    let mut house = House::found().await;
    house.agents(1, 2).await;
    let client = house.client();
    let job = Job::submit(&client, null(100, 0)).await;
    let path = format!("/v1/jobs/{}/events?until=terminal", job.id);
    let all = Stream::open(&client, &path, None).await.until("end").await;
    for at in [0, all.len() / 2, all.len() - 1] {
        let rest = Stream::open(&client, &path, all[at].id).await.until("end").await;
        assert_eq!(rest, all[at + 1..], "behind frame {at}");
    }
    let after = format!("{path}&after={}", all[2].id.expect("an index"));
    assert_eq!(Stream::open(&client, &after, None).await.until("end").await, all[3..]);
    let chosen = format!("{path}&type=job.*");
    let chosen = Stream::open(&client, &chosen, None).await.until("end").await;
    let expected: Vec<Frame> = all.into_iter().filter(|f| f.event.starts_with("job.")).collect();
    assert_eq!(chosen, expected);
}

#[tokio::test]
async fn a_node_that_drains_says_goodbye_and_the_stream_goes_on_after_its_return() {
    let mut house = House::found().await;
    let client = house.client();
    let job = Job::submit(&client, null(50, 0)).await;
    let path = format!("/v1/jobs/{}/events?until=terminal", job.id);
    let mut live = Stream::open(&client, &path, None).await;
    let first = live.next().await.expect("the job's birth is history");
    house.drain("n1").await;
    let rest = live.until("bye").await;
    assert_eq!(live.next().await, None);
    house.restart("n1").await;
    house.leader().await;
    house.agents(1, 2).await;
    let client = house.client();
    let last = rest.last().and_then(|f| f.id).or(first.id);
    let more = Stream::open(&client, &path, last).await.until("end").await;
    let all = Stream::open(&client, &path, None).await.until("end").await;
    let joined: Vec<Frame> = [vec![first], rest, more].concat();
    assert_eq!(joined, all);
}

#[tokio::test]
async fn the_clusters_stream_tells_auditors_of_everything() {
    let house = House::found().await;
    let client = house.client();
    let mut live = Stream::open(&client, "/v1/events", None).await;
    let project = house.project("seen").await;
    let told = loop {
        let frame = live.next().await.expect("the stream goes on");
        if frame.event == "project.created" && frame.json()["data"]["name"] == "seen" {
            break frame;
        }
    };
    assert_eq!(told.id.map(|i| format!("p{i}")), Some(project));
}

#[tokio::test]
async fn entries_of_the_log_say_all_that_the_fold_knows() {
    let mut house = House::found().await;
    house.agents(1, 1).await;
    let client = house.client();
    let job = Job::submit(&client, null(4, 0)).await;
    job.ended(&client).await;
    let export = client.get("/v1/log/export?format=ndjson").await.is(200);
    let text = String::from_utf8(export.bytes.to_vec()).expect("UTF-8");
    let lines: Vec<Value> = text.lines().map(|l| serde_json::from_str(l).expect("JSON")).collect();
    let page = client.get("/v1/log?limit=500").await.is(200).json();
    for (mut entry, line) in page["data"].as_array().expect("entries").iter().cloned().zip(&lines) {
        let object = entry.as_object_mut().expect("an object");
        assert!(object.remove("hash").is_some() && object.remove("previous_hash").is_some());
        assert_eq!(&entry, line);
    }
    let accrued = lines.iter().find(|l| l["type"] == "credit.accrued").expect("an accrual");
    let one = client.get(&format!("/v1/log/{}", accrued["index"])).await.is(200).json();
    assert_eq!((&one["data"], &one["cause"]), (&accrued["data"], &accrued["cause"]));
    // CloudEvents carry the same data.
    let events = client.get(&format!("/v1/events?type=credit.*&subject={}&limit=100", job.id)).await.is(200).json();
    for event in events["data"].as_array().expect("events") {
        let index: usize = event["id"].as_str().and_then(|i| i.parse().ok()).expect("an index");
        assert_eq!(event["data"], lines[index - 1]["data"]);
    }
}
