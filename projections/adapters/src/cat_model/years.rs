//! Simulated years: how many events, which ones, and what they take together.
//!
//! Draws: Philox key `[seed, stream]`, counter `[1 + block, year, 0, 5]`. Word 0 of a year gives the number of its events, by inversion of
//! the Poisson distribution; word `k` its `k`-th event, the first one whose summed rates pass `u · (all rates)`.

use super::elt::floats;
use super::kernel::{checkpoint, unreadable};
use super::perturb::Words;
use super::work::{Part, encode};
use crate::host::{Host, Stop, whole};
use crate::monte_carlo::philox::Key;
use alloc::vec::Vec;
use forge_event::Digest;

/// Purpose word of the counter.
pub const PURPOSE_YEARS: u64 = 5;
/// Most events a year, on average: beyond, no year without an event has a probability in doubles.
pub const RATE_MAX: f64 = 600.0;
/// An event in its blob: its loss, and the rates of all up to it. Units: bytes.
pub const EVENT_BYTES: usize = 16;
/// A year in its blob: what it took. Units: bytes.
pub const YEAR_BYTES: usize = 8;
/// Years between two words with the agent.
const BATCH: u64 = 1024;

/// Runs a shard.
///
/// # Errors
/// Those of the host; `blob-unreadable` if the events are not what the payload says.
pub fn run(
    events: &Digest,
    count: u64,
    key: Key,
    first: u64,
    years: u64,
    host: &mut dyn Host,
) -> Result<Vec<u8>, Stop> {
    let bytes = count.checked_mul(EVENT_BYTES as u64).ok_or_else(|| unreadable("the events"))?;
    let bytes = whole(host, events, bytes)?;
    let (events, rest) = bytes.as_chunks::<EVENT_BYTES>();
    if events.len() as u64 != count || !rest.is_empty() || events.is_empty() {
        return Err(unreadable("the events"));
    }
    let table = Table::new(events.iter().map(|event| floats(event))).ok_or_else(|| unreadable("the events"))?;
    let mut losses = Vec::new();
    for year in first..first + years {
        if (year - first).is_multiple_of(BATCH) {
            host.progress(year - first)?;
            if year > first {
                checkpoint(host, year - first, years, &losses)?;
            }
        }
        losses.extend_from_slice(&table.year(&key, year).to_le_bytes());
    }
    host.progress(years)?;
    let blob = host.put(&losses)?;
    Ok(encode(&Part { cells: years, blob }))
}

/// Events that can be drawn.
#[derive(Debug)]
pub struct Table {
    losses: Vec<f64>,
    /// Rates of all events up to each, added up in their order.
    rates: Vec<f64>,
    /// Probability of at most 0, 1, 2, … events.
    counts: Vec<f64>,
}

impl Table {
    /// From each event's loss and summed rates; `None` if these do not ascend from 0 to [`RATE_MAX`] and its roundings.
    pub fn new(events: impl Iterator<Item = [f64; 2]>) -> Option<Table> {
        let (losses, rates): (Vec<f64>, Vec<f64>) = events.map(|[loss, rate]| (loss, rate)).unzip();
        let sound = rates.iter().all(|rate| (0.0..=RATE_MAX + 1.0).contains(rate)) && rates.is_sorted();
        let counts = counts(rates.last().copied().filter(|_| sound)?);
        Some(Table { losses, rates, counts })
    }

    /// What a year takes, added up in the order of the draws.
    pub fn year(&self, key: &Key, year: u64) -> f64 {
        let mut words = Words::new(key, year, 0, PURPOSE_YEARS);
        let u = words.uniform();
        let count = self.counts.partition_point(|p| *p < u).min(self.counts.len() - 1);
        let all = self.rates.last().copied().unwrap_or(0.0);
        let mut sum = 0.0;
        for _ in 0..count {
            let mark = words.uniform() * all;
            // Where rounding takes the mark to the end, the last event that has a rate.
            let event = if mark < all {
                self.rates.partition_point(|rate| *rate <= mark)
            } else {
                self.rates.partition_point(|rate| *rate < all)
            };
            sum += self.losses[event];
        }
        sum
    }
}

/// The Poisson distribution's function, until it grows no more.
fn counts(rate: f64) -> Vec<f64> {
    let mut p = core_math::exp(-rate);
    let mut sum = p;
    let mut counts = alloc::vec![sum];
    let mut k = 0.0;
    loop {
        k += 1.0;
        p = p * rate / k;
        let next = sum + p;
        // Below the mean a term may be too small to count, but those after it are not.
        if next == sum && k >= rate {
            return counts;
        }
        sum = next;
        counts.push(sum);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distribution_of_counts_ends_at_one() {
        for rate in [0.0, 1e-12, 0.3, 20.0, RATE_MAX] {
            let counts = counts(rate);
            assert!(counts.is_sorted() && (counts.last().expect("a count") - 1.0).abs() < 1e-12, "{rate}");
        }
    }

    #[test]
    fn without_rates_nothing_happens() {
        let table = Table::new([[5.0, 0.0]].into_iter()).expect("rates");
        let key = Key::new(1, 2);
        assert!((0..100).all(|year| table.year(&key, year) == 0.0));
    }

    #[test]
    fn an_event_without_a_rate_is_never_drawn() {
        let table = Table::new([[5.0, 0.0], [1.0, 3.0], [7.0, 3.0]].into_iter()).expect("rates");
        let key = Key::new(1, 2);
        let years: Vec<f64> = (0..2000).map(|year| table.year(&key, year)).collect();
        let mean = years.iter().sum::<f64>() / 2000.0;
        assert!((mean - 3.0).abs() < 0.2, "{mean}");
        assert!(years.iter().all(|y| *y <= 20.0));
    }
}
