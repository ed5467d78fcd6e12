//! What the demo holds against the hub, and how it spoils things on request.

use anyhow::{Context, Result, anyhow};
use forge_event::archive::{Header, Reader, Trailer, encode_header, encode_trailer};
use forge_event::{Event, codec};

/// A check that did not hold.
#[derive(Debug)]
pub struct Failed {
    pub check: &'static str,
    pub seen: String,
    pub expected: String,
}

impl Failed {
    pub fn new(check: &'static str, seen: impl Into<String>, expected: impl Into<String>) -> Failed {
        Failed { check, seen: seen.into(), expected: expected.into() }
    }
}

/// The call of the demo.
pub struct Call {
    pub spot: f64,
    pub strike: f64,
    pub rate: f64,
    pub volatility: f64,
    pub maturity: f64,
}

pub const CALL: Call = Call { spot: 100.0, strike: 100.0, rate: 0.05, volatility: 0.2, maturity: 1.0 };

/// The Black–Scholes price of a European call without dividends.
///
/// Source: F. Black, M. Scholes, "The Pricing of Options and Corporate Liabilities", 1973, eq. 13.
pub fn black_scholes(c: &Call) -> f64 {
    let spread = c.volatility * c.maturity.sqrt();
    let d1 = ((c.spot / c.strike).ln() + (c.rate + c.volatility * c.volatility / 2.0) * c.maturity) / spread;
    let d2 = d1 - spread;
    c.spot * normal(d1) - c.strike * (-c.rate * c.maturity).exp() * normal(d2)
}

/// The standard normal distribution function, by its Taylor series around 0.
///
/// Source: G. Marsaglia, "Evaluating the Normal Distribution", J. Stat. Softw. 11(4), 2004.
fn normal(x: f64) -> f64 {
    let (mut sum, mut term, mut n) = (x, x, 1.0);
    while sum + term != sum {
        n += 2.0;
        term *= x * x / n;
        sum += term;
    }
    0.5 + sum * (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt()
}

/// The archive with one credit changed and every hash recomputed: as a forger would do it.
///
/// # Errors
/// If the archive cannot be read, or holds no credit.
pub fn forge_credit(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut reader = Reader::new(bytes).map_err(|e| anyhow!("{e}"))?;
    let header: Header = reader.header.clone();
    let (mut head, before) = (header.before, header.before);
    let mut forged = encode_header(&header);
    let mut changed = false;
    while let Some(step) = reader.next() {
        let mut turn = step.map_err(|e| anyhow!("{e}")).context("reading the export")?.turn;
        turn.expected = head;
        for event in &mut turn.decisions {
            if let Event::CreditAccrued(accrued) = event
                && !changed
            {
                accrued.rate.num += 1;
                changed = true;
            }
        }
        let frame = codec::encode_turn(&turn);
        head = head.after(&frame, turn.len());
        forged.extend_from_slice(&frame);
    }
    let trailer = Trailer { turns: head.turns - before.turns, events: head.events - before.events, head };
    forged.extend_from_slice(&encode_trailer(&trailer));
    if changed { Ok(forged) } else { Err(anyhow!("the log holds no credit")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn black_scholes_gives_the_textbook_price() {
        // J. Hull's parameters give 10.4506 to four places; more places from the closed form in 50 digits.
        assert!((black_scholes(&CALL) - 10.450583572185565).abs() < 1e-12);
    }
}
