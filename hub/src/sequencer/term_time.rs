//! The log's time within one term: the leader's monotonic clock, slewed towards wall time. Pure.

use forge_event::{DurationMs, Timestamp};

/// A gap up to this is taken over without asking anybody; clocks that differ by no more agree.
pub const AGREE: DurationMs = DurationMs(2_000);
/// Slewing gains or loses one millisecond in so many.
const SLEW: u64 = 10;

/// How wall time becomes the log's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TermTime {
    /// The log's time and wall time when the term began.
    log: Timestamp,
    wall: Timestamp,
    /// What is left to be slewed: log time moves towards wall time by so much.
    gap: DurationMs,
    /// Wall time lies behind the log's.
    behind: bool,
}

impl TermTime {
    /// A term that begins at wall time `wall`, on a log that ends at `last`. A gap is taken over at once if it is short,
    /// or if a majority of the nodes' clocks agrees.
    pub fn start(last: Timestamp, wall: Timestamp, agreed: bool) -> TermTime {
        let (ahead, behind) = (wall.since(last), last.since(wall));
        if behind == DurationMs(0) && (agreed || ahead <= AGREE) {
            return TermTime { log: wall, wall, gap: DurationMs(0), behind: false };
        }
        TermTime { log: last, wall, gap: ahead.max(behind), behind: behind > DurationMs(0) }
    }

    /// Whether others have to be asked before a term begins so.
    pub fn asks(last: Timestamp, wall: Timestamp) -> bool {
        wall.since(last) > AGREE
    }

    /// The log's time at wall time `wall`.
    ///
    /// Invariant: never goes back while `wall` does not.
    pub fn at(&self, wall: Timestamp) -> Timestamp {
        let elapsed = wall.since(self.wall).0;
        let slewed = (elapsed / SLEW).min(self.gap.0);
        self.log.after(DurationMs(if self.behind { elapsed - slewed } else { elapsed + slewed }))
    }

    /// Wall time is not the log's, and will not be for a while.
    pub fn is_far(&self) -> bool {
        self.gap > AGREE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600_000;
    const LAST: Timestamp = Timestamp(HOUR);

    fn later(ms: u64) -> Timestamp {
        LAST.after(DurationMs(ms))
    }

    #[test]
    fn a_short_gap_and_an_agreed_one_are_taken_over() {
        let short = TermTime::start(LAST, later(2_000), false);
        assert_eq!((short.at(later(2_000)), short.at(later(2_700))), (later(2_000), later(2_700)));
        let agreed = TermTime::start(LAST, later(8 * HOUR), true);
        assert_eq!(agreed.at(later(8 * HOUR)), later(8 * HOUR));
        assert!(!agreed.is_far());
    }

    #[test]
    fn a_clock_that_nobody_shares_moves_the_log_by_a_tenth_faster_only() {
        let wild = TermTime::start(LAST, later(720 * HOUR), false);
        assert!(wild.is_far());
        assert_eq!(wild.at(later(720 * HOUR)), LAST);
        assert_eq!(wild.at(later(720 * HOUR + 10_000)), later(11_000));
    }

    #[test]
    fn a_slow_clock_never_stops_the_log() {
        let slow = TermTime::start(LAST, Timestamp(0), true);
        assert_eq!(slow.at(Timestamp(10_000)), later(9_000));
        // Once wall time has caught up both are one.
        let wall = Timestamp(10 * HOUR + 10_000);
        assert_eq!(slow.at(wall), wall);
        assert!((0..100_000).step_by(7).all(|ms| slow.at(Timestamp(ms)) <= slow.at(Timestamp(ms + 7))));
    }
}
