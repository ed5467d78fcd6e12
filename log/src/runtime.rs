//! The asynchronous runtime that openraft runs on: tokio, with randomness that a simulator can seed.

use openraft_rt::{AsyncRuntime, OptionalSend};
use openraft_rt_tokio::TokioRuntime;
use rand::SeedableRng;
use rand::rand_core::TryRng;
use rand::rngs::{StdRng, ThreadRng};
use std::cell::RefCell;
use std::convert::Infallible;
use std::future::Future;
use std::time::Duration;

thread_local! {
    static SEEDED: RefCell<Option<StdRng>> = const { RefCell::new(None) };
}

/// Makes every election time-out drawn on this thread a function of `seed`; `None` gives the system's randomness back.
///
/// For simulators, which run all nodes on one thread.
pub fn seed_this_thread(seed: Option<u64>) {
    SEEDED.with_borrow_mut(|rng| *rng = seed.map(StdRng::seed_from_u64));
}

/// Tokio for production and simulation alike.
#[derive(Debug)]
pub struct ForgeRuntime(TokioRuntime);

/// Randomness of the thread: seeded if a simulator seeded it.
pub enum ForgeRng {
    Seeded(Box<StdRng>),
    System(ThreadRng),
}

impl TryRng for ForgeRng {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        match self {
            ForgeRng::Seeded(rng) => rng.try_next_u32(),
            ForgeRng::System(rng) => rng.try_next_u32(),
        }
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        match self {
            ForgeRng::Seeded(rng) => rng.try_next_u64(),
            ForgeRng::System(rng) => rng.try_next_u64(),
        }
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        match self {
            ForgeRng::Seeded(rng) => rng.try_fill_bytes(bytes),
            ForgeRng::System(rng) => rng.try_fill_bytes(bytes),
        }
    }
}

impl AsyncRuntime for ForgeRuntime {
    type JoinError = <TokioRuntime as AsyncRuntime>::JoinError;
    type JoinHandle<T: OptionalSend + 'static> = <TokioRuntime as AsyncRuntime>::JoinHandle<T>;
    type Sleep = <TokioRuntime as AsyncRuntime>::Sleep;
    type Instant = <TokioRuntime as AsyncRuntime>::Instant;
    type TimeoutError = <TokioRuntime as AsyncRuntime>::TimeoutError;
    type Timeout<R, T: Future<Output = R> + OptionalSend> = <TokioRuntime as AsyncRuntime>::Timeout<R, T>;
    type ThreadLocalRng = ForgeRng;
    type Mpsc = <TokioRuntime as AsyncRuntime>::Mpsc;
    type Watch = <TokioRuntime as AsyncRuntime>::Watch;
    type Oneshot = <TokioRuntime as AsyncRuntime>::Oneshot;
    type Mutex<T: OptionalSend + 'static> = <TokioRuntime as AsyncRuntime>::Mutex<T>;

    fn spawn<T>(future: T) -> Self::JoinHandle<T::Output>
    where
        T: Future + OptionalSend + 'static,
        T::Output: OptionalSend + 'static,
    {
        TokioRuntime::spawn(future)
    }

    fn sleep(duration: Duration) -> Self::Sleep {
        TokioRuntime::sleep(duration)
    }

    fn sleep_until(deadline: Self::Instant) -> Self::Sleep {
        TokioRuntime::sleep_until(deadline)
    }

    fn timeout<R, F: Future<Output = R> + OptionalSend>(duration: Duration, future: F) -> Self::Timeout<R, F> {
        TokioRuntime::timeout(duration, future)
    }

    fn timeout_at<R, F: Future<Output = R> + OptionalSend>(deadline: Self::Instant, future: F) -> Self::Timeout<R, F> {
        TokioRuntime::timeout_at(deadline, future)
    }

    fn is_panic(join_error: &Self::JoinError) -> bool {
        TokioRuntime::is_panic(join_error)
    }

    fn thread_rng() -> ForgeRng {
        // A child of the seeded generator: openraft may keep what it is given.
        SEEDED.with_borrow_mut(|rng| match rng {
            Some(rng) => ForgeRng::Seeded(Box::new(StdRng::from_rng(rng))),
            None => ForgeRng::System(rand::rng()),
        })
    }

    fn new(threads: usize) -> Self {
        ForgeRuntime(TokioRuntime::new(threads))
    }

    fn block_on<F, T>(&mut self, future: F) -> T
    where
        F: Future<Output = T>,
    {
        self.0.block_on(future)
    }
}
