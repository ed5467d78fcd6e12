//! What waits for one session.

use super::router::Routed;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

/// Events that may wait for a session; past them it reads the state instead.
const ROUTED_MAX: usize = 64;

/// A bounded queue with one reader, which takes no memory while nothing waits.
///
/// A channel takes a block of 32 places and three cache lines from the first on, for every idle session.
#[derive(Debug, Default)]
pub(super) struct Inbox(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    routed: VecDeque<Routed>,
    /// More came than had room: the session reads the state.
    missed: bool,
    /// A later session of the agent took the place.
    closed: bool,
    reader: Option<Waker>,
}

impl Inbox {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts it behind what waits; if there is no room, the session will see that when it has emptied the queue.
    pub fn put(&self, routed: Routed) {
        let mut waiting = self.lock();
        if waiting.routed.len() < ROUTED_MAX {
            waiting.routed.push_back(routed);
        } else {
            waiting.missed = true;
        }
        let reader = waiting.reader.take();
        drop(waiting);
        reader.inspect(Waker::wake_by_ref);
    }

    /// Nothing follows.
    pub fn close(&self) {
        let mut waiting = self.lock();
        waiting.closed = true;
        let reader = waiting.reader.take();
        drop(waiting);
        reader.inspect(Waker::wake_by_ref);
    }

    /// The next; `None` once it is closed and empty. Cancel safe.
    pub async fn next(&self) -> Option<Routed> {
        std::future::poll_fn(|context| {
            let mut waiting = self.lock();
            match waiting.routed.pop_front() {
                None if !waiting.closed => {
                    match &mut waiting.reader {
                        Some(reader) => reader.clone_from(context.waker()),
                        none => *none = Some(context.waker().clone()),
                    }
                    Poll::Pending
                }
                next => Poll::Ready(next),
            }
        })
        .await
    }

    /// Whether something was dropped before what was taken last; asked once.
    pub fn missed(&self) -> bool {
        let mut waiting = self.lock();
        waiting.routed.is_empty() && std::mem::take(&mut waiting.missed)
    }

    /// Gives back the memory of busier times.
    pub fn rest(&self) {
        let mut waiting = self.lock();
        if waiting.routed.is_empty() {
            waiting.routed = VecDeque::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::future::FutureExt;

    #[tokio::test]
    async fn what_waits_comes_in_order_before_the_end() {
        let inbox = Inbox::default();
        assert!(inbox.next().now_or_never().is_none());
        inbox.put(Routed::LookAgain);
        inbox.put(Routed::Hubs);
        inbox.close();
        assert!(matches!(inbox.next().await, Some(Routed::LookAgain)));
        assert!(matches!(inbox.next().await, Some(Routed::Hubs)));
        assert!(inbox.next().await.is_none());
    }

    #[tokio::test]
    async fn a_full_inbox_says_once_that_something_is_missing_when_it_is_empty() {
        let inbox = Inbox::default();
        for _ in 0..=ROUTED_MAX {
            inbox.put(Routed::LookAgain);
        }
        for _ in 0..ROUTED_MAX {
            assert!(!inbox.missed());
            assert!(inbox.next().now_or_never().is_some());
        }
        assert!(inbox.missed());
        assert!(!inbox.missed());
        assert!(inbox.next().now_or_never().is_none());
    }

    #[tokio::test]
    async fn a_reader_that_waits_is_woken() {
        let inbox = Inbox::default();
        let put = async {
            tokio::task::yield_now().await;
            inbox.put(Routed::Hubs);
        };
        let (next, ()) = tokio::join!(inbox.next(), put);
        assert!(matches!(next, Some(Routed::Hubs)));
    }
}
