//! Money.

use alloc::string::String;
use core::fmt;
use serde::{Deserialize, Serialize};

/// An amount of credits, never negative. Units: micro-credits (10⁻⁶ credits).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default, Debug)]
pub struct Credits(pub u128);

/// The largest amount one event may move, so that sums of 2²⁷ entries cannot overflow.
pub const CREDITS_MAX: Credits = Credits(1 << 100);

/// An exact ratio: micro-credits a result, or a share of a charge.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Debug)]
pub struct Rate {
    pub num: u64,
    /// Invariant: not zero in an admitted event.
    pub den: u64,
}

impl Rate {
    /// `⌊amount · num / den⌋`.
    ///
    /// # Panics
    /// If the product passes 2¹²⁸; admission keeps amounts below [`CREDITS_MAX`] and numerators below 2²⁷.
    pub fn of(self, amount: u128) -> u128 {
        amount.checked_mul(u128::from(self.num)).expect("amounts are capped at admission") / u128::from(self.den)
    }
}

impl fmt::Display for Credits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

/// A signed amount as text, in credits with six places.
pub fn signed(micro: i128) -> String {
    let sign = if micro < 0 { "-" } else { "" };
    alloc::format!("{sign}{}", Credits(micro.unsigned_abs()))
}

/// Why a text is no amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AmountError {
    Syntax,
    TooLarge,
}

impl fmt::Display for AmountError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            AmountError::Syntax => "an amount is a decimal string such as \"12.500000\", with at most 6 places",
            AmountError::TooLarge => "the amount passes 2^100 micro-credits",
        })
    }
}

impl core::error::Error for AmountError {}

impl core::str::FromStr for Credits {
    type Err = AmountError;

    fn from_str(text: &str) -> Result<Self, AmountError> {
        let (whole, places) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit());
        if !digits(whole) || !digits(places) || places.len() > 6 {
            return Err(AmountError::Syntax);
        }
        let whole: u128 = whole.parse().map_err(|_| AmountError::TooLarge)?;
        let scale = 10u128.pow(6 - places.len() as u32);
        let places: u128 = places.parse().map_err(|_| AmountError::Syntax)?;
        let micro = whole.checked_mul(1_000_000).and_then(|w| w.checked_add(places * scale));
        micro.map(Credits).filter(|c| *c <= CREDITS_MAX).ok_or(AmountError::TooLarge)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn an_amount_reads_back_as_written() {
        for text in ["0.000000", "12.500000", "1000000.000001"] {
            assert_eq!(text.parse::<Credits>().map(|c| c.to_string()), Ok(text.into()));
        }
        assert_eq!("12.5".parse::<Credits>(), Ok(Credits(12_500_000)));
        assert_eq!(signed(-1), "-0.000001");
    }

    #[test]
    fn what_is_no_amount_is_refused() {
        for text in ["", "-1", "1.", ".5", "1.0000001", "1e3", "1 "] {
            assert_eq!(text.parse::<Credits>(), Err(AmountError::Syntax), "{text:?}");
        }
        assert_eq!("9999999999999999999999999999999".parse::<Credits>(), Err(AmountError::TooLarge));
    }
}
