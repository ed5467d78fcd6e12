//! What a session needs only while it is at work, and holds nothing of while it is not.

use futures::future::{BoxFuture, FutureExt};
use futures::stream::{FuturesUnordered, StreamExt};
use std::future::Future;
use std::pin::Pin;
use tokio::time::{Instant, Sleep};

/// Futures that a session waits for together.
pub(super) struct Work<T>(Option<FuturesUnordered<BoxFuture<'static, T>>>);

impl<T> Work<T> {
    pub fn new() -> Work<T> {
        Work(None)
    }

    pub fn is_empty(&self) -> bool {
        self.0.as_ref().is_none_or(FuturesUnordered::is_empty)
    }

    pub fn push(&mut self, future: impl Future<Output = T> + Send + 'static) {
        self.0.get_or_insert_default().push(future.boxed());
    }

    /// What the first of them to be ready gives; `None` if there are none. Cancel safe.
    pub async fn next(&mut self) -> Option<T> {
        match &mut self.0 {
            Some(futures) => futures.next().await,
            None => None,
        }
    }

    /// Drops them all.
    pub fn clear(&mut self) {
        self.0 = None;
    }
}

/// A timer that is there while it is wanted.
#[derive(Default)]
pub(super) struct Alarm(Option<Pin<Box<Sleep>>>);

impl Alarm {
    /// Ends at `at` or earlier, never without a time; whoever it wakes looks at the clock. Cancel safe.
    ///
    /// A time that moves on with every shard costs a look at the timer, not a new one.
    pub async fn ring(&mut self, at: Option<Instant>) {
        let Some(at) = at else { return std::future::pending().await };
        let sleep = self.0.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at)));
        if sleep.is_elapsed() || sleep.deadline() > at {
            sleep.as_mut().reset(at);
        }
        sleep.await;
    }

    /// Drops the timer.
    pub fn clear(&mut self) {
        self.0 = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn an_alarm_that_moves_on_rings_early_then_on_time() {
        let start = Instant::now();
        let mut alarm = Alarm::default();
        let [first, then] = [1, 3].map(|s| start + Duration::from_secs(s));
        assert!(alarm.ring(Some(first)).now_or_never().is_none());
        alarm.ring(Some(then)).await;
        assert_eq!(start.elapsed().as_secs(), 1);
        alarm.ring(Some(then)).await;
        assert_eq!(start.elapsed().as_secs(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn an_alarm_that_moves_forward_is_on_time() {
        let start = Instant::now();
        let mut alarm = Alarm::default();
        let [later, sooner] = [3, 1].map(|s| start + Duration::from_secs(s));
        assert!(alarm.ring(Some(later)).now_or_never().is_none());
        alarm.ring(Some(sooner)).await;
        assert_eq!(start.elapsed().as_secs(), 1);
    }

    #[tokio::test]
    async fn work_is_done_as_it_gets_ready() {
        let mut work = Work::new();
        assert_eq!(work.next().await, None);
        work.push(std::future::pending());
        work.push(std::future::ready(1));
        assert_eq!(work.next().await, Some(1));
        assert!(!work.is_empty());
        work.clear();
        assert!(work.is_empty());
    }
}
