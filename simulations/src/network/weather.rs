//! How messages fare.

use crate::dice::Dice;
use crate::trace::Trace;
use std::time::Duration;

/// What becomes of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flight {
    Arrives {
        after: Duration,
    },
    /// The second one `again` behind the send.
    Twice {
        after: Duration,
        again: Duration,
    },
    Lost,
    /// A partition holds it; the connection dies with it.
    Cut {
        dead_in: Duration,
    },
}

/// The network's state, the same for all links.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Weather {
    /// Units: ms, least and most.
    pub delay_ms: (u64, u64),
    pub loss_permille: u32,
    pub duplicate_permille: u32,
    /// Messages that are held back, so that later ones overtake them.
    pub late_permille: u32,
    pub late_ms: (u64, u64),
}

impl Weather {
    /// Nothing goes wrong.
    pub fn calm() -> Weather {
        Weather { delay_ms: (1, 2), loss_permille: 0, duplicate_permille: 0, late_permille: 0, late_ms: (1, 1) }
    }

    /// `is_numbered`: its protocol notices loss and doubles itself. Elsewhere a stream hides both, at the price of time.
    pub(super) fn fly(&self, dice: &mut Dice, trace: &Trace, is_numbered: bool) -> Flight {
        let mut after = dice.ms(self.delay_ms.0, self.delay_ms.1);
        if self.late_permille > 0 && dice.chance(self.late_permille) {
            after += dice.ms(self.late_ms.0, self.late_ms.1);
            trace.fired("message delayed");
        }
        if self.loss_permille > 0 && dice.chance(self.loss_permille) {
            trace.fired("message lost");
            if is_numbered {
                return Flight::Lost;
            }
            after += dice.ms(30, 200);
        }
        if self.duplicate_permille > 0 && is_numbered && dice.chance(self.duplicate_permille) {
            trace.fired("message duplicated");
            return Flight::Twice { after, again: after + dice.ms(0, 20) };
        }
        Flight::Arrives { after }
    }
}
