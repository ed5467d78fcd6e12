//! What a handler leaves unread of a request's body.
//!
//! Whoever still sends when the connection is closed under it sees a broken pipe instead of the answer. So the rest
//! is read on and thrown away, up to limits, while the answer is on its way.

use axum::body::{Body, BodyDataStream, HttpBody};
use axum::extract::Request;
use axum::http::header;
use bytes::Bytes;
use futures::{Stream, StreamExt};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::Semaphore;

/// A rest is read up to here; a longer one is cut. Units: bytes.
const DRAIN_BYTES_MAX: u64 = 256 << 20;
/// A rest is read for so long; a slower one is cut.
const DRAIN_WAIT: Duration = Duration::from_secs(30);
/// Rests read at once; further ones are cut.
pub const DRAINS_MAX: usize = 256;

/// Where a body comes back to when its handler is done with it.
#[derive(Default)]
struct Left {
    rest: Option<BodyDataStream>,
    /// The handler began to read, so the client was told to go on if it had asked (`Expect: 100-continue`).
    begun: bool,
}

/// A body in its handler's hands.
struct Lent {
    parts: Option<BodyDataStream>,
    home: Arc<Mutex<Left>>,
}

impl Stream for Lent {
    type Item = Result<Bytes, axum::Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(parts) = &mut self.parts else { return Poll::Ready(None) };
        let polled = parts.poll_next_unpin(context);
        self.home.lock().unwrap_or_else(PoisonError::into_inner).begun = true;
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) {
            self.parts = None;
        }
        polled
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.home.lock().unwrap_or_else(PoisonError::into_inner).rest = self.parts.take();
    }
}

/// The body of one request, whatever its handler does.
pub struct Unread {
    home: Arc<Mutex<Left>>,
    /// The client waits for our word before it sends anything.
    asks_first: bool,
}

impl Unread {
    /// Lends a request's body to its handler.
    pub fn of(request: &mut Request) -> Unread {
        let expects = request.headers().get(header::EXPECT);
        let asks_first = expects.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
        let home = Arc::new(Mutex::default());
        if !request.body().is_end_stream() {
            let body = std::mem::take(request.body_mut());
            let lent = Lent { parts: Some(body.into_data_stream()), home: Arc::clone(&home) };
            *request.body_mut() = Body::from_stream(lent);
        }
        Unread { home, asks_first }
    }

    /// Reads what is left beside the answer, once the handler is gone. A client that asked first and was not told
    /// to go on sends nothing more: its answer is all it needs.
    pub fn drain(self, drains: &Arc<Semaphore>) {
        let left = std::mem::take(&mut *self.home.lock().unwrap_or_else(PoisonError::into_inner));
        let Some(mut rest) = left.rest.filter(|_| left.begun || !self.asks_first) else { return };
        let Ok(permit) = Arc::clone(drains).try_acquire_owned() else { return };
        let read = async move {
            let mut bytes = 0;
            while let Some(Ok(part)) = rest.next().await {
                bytes += part.len() as u64;
                if bytes > DRAIN_BYTES_MAX {
                    break;
                }
            }
            drop(permit);
        };
        // It ends by itself: with the body, the connection, or the limits.
        tokio::spawn(tokio::time::timeout(DRAIN_WAIT, read));
    }
}
