//! Event streams, frame by frame.

use crate::client::Client;
use futures::StreamExt;
use futures::stream::BoxStream;
use reqwest::Method;
use serde_json::Value;

/// One frame of a stream.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Frame {
    /// An index, where it is an event of the log.
    pub id: Option<u64>,
    pub event: String,
    pub data: String,
}

impl Frame {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.data).expect("an event's data is JSON")
    }
}

/// An open stream.
pub struct Stream {
    bytes: BoxStream<'static, reqwest::Result<bytes::Bytes>>,
    unread: String,
}

impl Stream {
    /// Opens it.
    pub async fn open(client: &Client, path: &str, last_event_id: Option<u64>) -> Stream {
        let last = last_event_id.map(|id| id.to_string());
        let mut headers = vec![("accept", "text/event-stream")];
        headers.extend(last.as_deref().map(|id| ("last-event-id", id)));
        let response = client.request(Method::GET, path, &headers, None).send().await.expect("the door answers");
        assert_eq!(response.status(), 200);
        let kind = response.headers().get("content-type").and_then(|v| v.to_str().ok());
        assert!(kind.is_some_and(|k| k.starts_with("text/event-stream")));
        Stream { bytes: response.bytes_stream().boxed(), unread: String::new() }
    }

    /// The next frame that is no comment; `None` at the end, and when the connection broke.
    pub async fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some(end) = self.unread.find("\n\n") {
                let block: String = self.unread.drain(..end + 2).collect();
                match frame(&block) {
                    Some(frame) => return Some(frame),
                    None => continue,
                }
            }
            let bytes = self.bytes.next().await?.ok()?;
            self.unread.push_str(std::str::from_utf8(&bytes).expect("a stream of events is UTF-8"));
        }
    }

    /// Frames up to one with this name, without it.
    pub async fn until(&mut self, event: &str) -> Vec<Frame> {
        let mut frames = Vec::new();
        while let Some(frame) = self.next().await {
            if frame.event == event {
                return frames;
            }
            frames.push(frame);
        }
        panic!("the stream ended before `{event}`: {frames:?}");
    }
}

fn frame(block: &str) -> Option<Frame> {
    let mut frame = Frame::default();
    for line in block.lines() {
        match line.split_once(':').map(|(name, value)| (name, value.trim_start())) {
            Some(("id", id)) => frame.id = id.parse().ok(),
            Some(("event", event)) => event.clone_into(&mut frame.event),
            Some(("data", data)) => frame.data.push_str(data),
            _ => {}
        }
    }
    (!frame.data.is_empty() || !frame.event.is_empty()).then_some(frame)
}
