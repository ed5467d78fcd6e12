//! How fast results may go out: Cubic, which takes a packet lost here and there for what it is on real paths.
//!
//! Cubic holds every loss for a full queue and takes its window back by a third. On a path that loses 2 % whatever
//! is sent, the window then stays at a handful of packets, and a result of 32 KiB needs several round trips. Here a
//! loss counts only when losses are more than a sixteenth of what was sent lately: a queue that overflows exceeds that
//! within a round trip, a radio link does not come near it.

use quinn::congestion::{Controller, ControllerFactory, ControllerMetrics, CubicConfig};
use quinn_proto::RttEstimator;
use std::any::Any;
use std::sync::Arc;
use std::time::Instant;

/// A loss counts when more than one byte of so many was lost.
const TOLERATED_OF: u64 = 16;
/// "Lately": the losses among about so much that was sent. Units: bytes.
const SPAN_BYTES: u64 = 384 * 1024;

/// Makes a [`Tolerant`] for each connection.
#[derive(Debug, Default)]
pub(crate) struct TolerantConfig {
    cubic: Arc<CubicConfig>,
}

impl ControllerFactory for TolerantConfig {
    fn build(self: Arc<Self>, now: Instant, current_mtu: u16) -> Box<dyn Controller> {
        let cubic = Arc::clone(&self.cubic).build(now, current_mtu);
        Box::new(Tolerant { cubic, lately: Lately::default() })
    }
}

/// What became of the bytes that were sent lately.
#[derive(Clone, Copy, Default, Debug)]
struct Lately {
    /// Delivered or lost; halved, with `lost`, when it exceeds [`SPAN_BYTES`].
    sent: u64,
    lost: u64,
}

impl Lately {
    fn delivered(&mut self, bytes: u64) {
        self.sent += bytes;
        if self.sent > SPAN_BYTES {
            (self.sent, self.lost) = (self.sent / 2, self.lost / 2);
        }
    }

    /// Counts a loss. `true`: losses are more than chance by now, and counted anew from here on.
    fn lost(&mut self, bytes: u64) -> bool {
        self.lost += bytes;
        self.delivered(bytes);
        let is_too_much = self.lost > SPAN_BYTES / TOLERATED_OF;
        if is_too_much {
            self.lost = 0;
        }
        is_too_much
    }
}

/// Cubic behind a filter for losses.
///
/// Invariant: Cubic hears of everything but losses that [`Lately`] takes for chance; of marks by the network and of a
/// path that carried nothing for a while it always hears.
struct Tolerant {
    cubic: Box<dyn Controller>,
    lately: Lately,
}

impl Controller for Tolerant {
    fn on_sent(&mut self, now: Instant, bytes: u64, last_packet_number: u64) {
        self.cubic.on_sent(now, bytes, last_packet_number);
    }

    fn on_ack(&mut self, now: Instant, sent: Instant, bytes: u64, app_limited: bool, rtt: &RttEstimator) {
        self.lately.delivered(bytes);
        self.cubic.on_ack(now, sent, bytes, app_limited, rtt);
    }

    fn on_end_acks(&mut self, now: Instant, in_flight: u64, app_limited: bool, largest_packet_num_acked: Option<u64>) {
        self.cubic.on_end_acks(now, in_flight, app_limited, largest_packet_num_acked);
    }

    fn on_congestion_event(&mut self, now: Instant, sent: Instant, is_persistent: bool, lost_bytes: u64) {
        let is_mark = lost_bytes == 0;
        // Counted in any case, so the order matters.
        if self.lately.lost(lost_bytes) || is_mark || is_persistent {
            self.cubic.on_congestion_event(now, sent, is_persistent, lost_bytes);
        }
    }

    fn on_mtu_update(&mut self, new_mtu: u16) {
        self.cubic.on_mtu_update(new_mtu);
    }

    fn window(&self) -> u64 {
        self.cubic.window()
    }

    fn metrics(&self) -> ControllerMetrics {
        self.cubic.metrics()
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(Tolerant { cubic: self.cubic.clone_box(), lately: self.lately })
    }

    fn initial_window(&self) -> u64 {
        self.cubic.initial_window()
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACKET: u64 = 1452;

    /// How often losses are too much where one packet of `of` is lost, in ten thousand.
    fn alarms(of: u64) -> usize {
        let mut lately = Lately::default();
        let mut alarm = |number: u64| match number % of {
            0 => lately.lost(PACKET),
            _ => {
                lately.delivered(PACKET);
                false
            }
        };
        (0..10_000).filter(|number| alarm(*number)).count()
    }

    #[test]
    fn one_loss_in_fifty_is_chance_and_one_in_eight_is_not() {
        assert_eq!(alarms(50), 0);
        assert!(alarms(8) > 10);
    }

    #[test]
    fn the_window_shrinks_when_a_queue_overflows_and_not_before() {
        let now = Instant::now();
        let mut controller = Arc::new(TolerantConfig::default()).build(now, PACKET as u16);
        let window = controller.window();
        for _ in 0..10 {
            controller.on_congestion_event(now, now, false, PACKET);
        }
        assert_eq!(controller.window(), window);
        controller.on_congestion_event(now, now, false, 10 * PACKET);
        assert!(controller.window() < window);
    }

    #[test]
    fn marks_and_persistent_congestion_are_never_chance() {
        for (is_persistent, lost) in [(false, 0), (true, PACKET)] {
            let now = Instant::now();
            let mut controller = Arc::new(TolerantConfig::default()).build(now, PACKET as u16);
            let window = controller.window();
            controller.on_congestion_event(now, now, is_persistent, lost);
            assert!(controller.window() < window);
        }
    }
}
