//! Exceedance curves: of the largest event of a year, of a year's sum, and of tails.

use super::exact::{Total, total};
use alloc::vec::Vec;
use core::cmp::Ordering;

/// Batches of years for the error of a tail's mean.
pub const BATCHES: usize = 10;
/// Events between two marks of their summed rates.
const MARK: usize = 4096;

/// Events with a loss, and how often a loss is passed.
#[derive(Debug)]
pub struct Exceedance {
    /// Descending by loss.
    events: Vec<(f64, f64)>,
    /// Rates of the first 0, [`MARK`], 2·[`MARK`], … events.
    marks: Vec<Total>,
}

impl Exceedance {
    /// From each event's loss and rate; events without loss are left out.
    pub fn new(events: impl Iterator<Item = (f64, f64)>) -> Exceedance {
        let mut events: Vec<(f64, f64)> = events.filter(|(loss, _)| *loss > 0.0).collect();
        events.sort_by(|a, b| descending(a.0, b.0));
        let mut marks = Vec::new();
        let mut sum = Total::default();
        for (i, (_, rate)) in events.iter().enumerate() {
            if i % MARK == 0 {
                marks.push(sum.clone());
            }
            sum.add(*rate);
        }
        if events.len().is_multiple_of(MARK) {
            marks.push(sum);
        }
        Exceedance { events, marks }
    }

    /// The smallest loss that is passed by events of a summed rate that `rare` takes; 0 counts as a loss.
    fn smallest(&self, rare: impl Fn(f64) -> bool) -> f64 {
        // The most events, from the top, whose rates together are still rare.
        let (mut good, mut bad) = (0, self.events.len() + 1);
        while bad - good > 1 {
            let middle = good + (bad - good) / 2;
            if rare(self.rate_of_first(middle)) {
                good = middle;
            } else {
                bad = middle;
            }
        }
        // A loss that some of these share is passed by none of those who share it.
        self.events.get(good).map_or(0.0, |(loss, _)| *loss)
    }

    /// Rates of the `count` largest events, rounded once.
    fn rate_of_first(&self, count: usize) -> f64 {
        let mark = count / MARK;
        let mut sum = self.marks[mark].clone();
        self.events[mark * MARK..count].iter().for_each(|(_, rate)| sum.add(*rate));
        sum.rounded()
    }

    /// The smallest loss x with `Σ rate of losses > x ≤ 1/period`.
    pub fn frequency(&self, period: f64) -> f64 {
        self.smallest(|rate| rate <= 1.0 / period)
    }

    /// The smallest loss x with `1 - exp(-Σ rate of losses > x) ≤ 1/period`: that of a year's largest event.
    pub fn occurrence(&self, period: f64) -> f64 {
        self.smallest(|rate| 1.0 - core_math::exp(-rate) <= 1.0 / period)
    }

    /// The largest event's rate, if there is an event.
    pub fn rate_of_largest(&self) -> Option<f64> {
        self.events.first().map(|(_, rate)| *rate)
    }
}

fn descending(a: f64, b: f64) -> Ordering {
    b.total_cmp(&a)
}

/// Losses of simulated years.
#[derive(Debug)]
pub struct Annual {
    /// Descending.
    sorted: Vec<f64>,
    /// Each batch's years, descending. Shape: [`BATCHES`] lists of equal length; years that do not fill one are left out.
    batches: Vec<Vec<f64>>,
}

impl Annual {
    /// From the years in their order.
    pub fn new(years: Vec<f64>) -> Annual {
        let length = years.len() / BATCHES;
        let sort = |mut years: Vec<f64>| {
            years.sort_unstable_by(|a, b| descending(*a, *b));
            years
        };
        let batches = (0..BATCHES).map(|i| sort(years[i * length..(i + 1) * length].to_vec())).collect();
        Annual { sorted: sort(years), batches }
    }

    /// The smallest loss that at most one year in `period` passes, and the bounds within which the true one lies in 95 % of jobs.
    ///
    /// The bounds are order statistics, whatever the distribution; the upper one is infinite where the years are too few for one.
    pub fn loss(&self, period: f64) -> (f64, f64, f64) {
        let value = quantile(&self.sorted, period);
        let count = self.sorted.len();
        let (least, most) = binomial_range(count, 1.0 / period);
        // At least `least` years pass the true one, and at most `most`.
        let high = least.checked_sub(1).map_or(f64::INFINITY, |rank| self.sorted[rank]);
        let low = self.sorted.get(most).copied().unwrap_or(0.0);
        (value, low, high)
    }

    /// The mean of the worst one in `period` years, and its standard error by the means of batches; NaN where a batch is too short.
    pub fn tail(&self, period: f64) -> (f64, f64) {
        let value = tail_mean(&self.sorted, period);
        let length = self.batches.first().map_or(0, Vec::len);
        if (length as f64) < period {
            return (value, f64::NAN);
        }
        let means: Vec<f64> = self.batches.iter().map(|batch| tail_mean(batch, period)).collect();
        let n = BATCHES as f64;
        let mean = total(means.iter().copied()) / n;
        let squares = total(means.iter().map(|m| (m - mean) * (m - mean)));
        (value, libm::sqrt(squares / (n - 1.0) / n))
    }
}

/// How many of `count` years may pass a loss that one in `period` does.
fn passing(count: usize, period: f64) -> usize {
    libm::floor(count as f64 / period) as usize
}

fn quantile(sorted: &[f64], period: f64) -> f64 {
    sorted.get(passing(sorted.len(), period)).copied().unwrap_or(0.0)
}

/// `period` times the integral of the quantile over the worst `1/period`.
fn tail_mean(sorted: &[f64], period: f64) -> f64 {
    let whole = passing(sorted.len(), period);
    let share = sorted.len() as f64 / period;
    let top = total(sorted[..whole].iter().copied());
    let rest = (share - whole as f64) * sorted.get(whole).copied().unwrap_or(0.0);
    (top + rest) / share
}

/// The 2.5 % and 97.5 % quantiles of a binomial distribution.
///
/// Terms relative to the largest one, by their ratios: only + − × ÷.
pub fn binomial_range(n: usize, p: f64) -> (usize, usize) {
    if p >= 1.0 {
        return (n, n);
    }
    let mode = (libm::floor((n as f64 + 1.0) * p) as usize).min(n);
    let odds = p / (1.0 - p);
    // From the mode down, and from above the mode up, until a term is nothing beside the largest.
    let (mut down, mut up) = (alloc::vec![1.0], Vec::new());
    let (mut term, mut k) = (1.0, mode);
    while k > 0 && term > 1e-30 {
        term *= k as f64 / ((n - k + 1) as f64 * odds);
        k -= 1;
        down.push(term);
    }
    (term, k) = (1.0, mode);
    while k < n && term > 1e-30 {
        term *= (n - k) as f64 * odds / (k as f64 + 1.0);
        k += 1;
        up.push(term);
    }
    let first = mode + 1 - down.len();
    let terms: Vec<f64> = down.into_iter().rev().chain(up).collect();
    let all: f64 = terms.iter().sum();
    let at = |share: f64| {
        let mut sum = 0.0;
        let place = terms.iter().position(|term| {
            sum += term;
            sum >= share * all
        });
        first + place.unwrap_or(terms.len() - 1)
    };
    (at(0.025), at(0.975))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_and_equal_rates_do_not_miss_a_period() {
        // Ten cells of one of 50 years: together they are one in 50.
        let events = (1..=20).map(|i| (f64::from(i), 1.0 / 50.0 / 10.0));
        let curve = Exceedance::new(events);
        assert_eq!(curve.frequency(50.0), 10.0);
        assert_eq!(curve.frequency(25.0), 0.0);
        assert_eq!(curve.frequency(1e9), 20.0);
        let shared = Exceedance::new([(5.0, 0.1), (5.0, 0.1), (3.0, 0.1), (0.0, 9.0)].into_iter());
        assert_eq!([4.0, 10.0 / 2.0, 11.0].map(|t| shared.frequency(t)), [3.0, 3.0, 5.0]);
        assert_eq!(shared.occurrence(1.0), 0.0);
        assert_eq!(Exceedance::new(core::iter::empty()).frequency(10.0), 0.0);
    }

    #[test]
    fn marks_change_nothing() {
        let events: Vec<(f64, f64)> = (0..3 * MARK).map(|i| (i as f64 + 1.0, 1e-4)).collect();
        let curve = Exceedance::new(events.iter().copied());
        for count in [0, 1, MARK - 1, MARK, MARK + 1, 3 * MARK] {
            assert_eq!(curve.rate_of_first(count), total(events[..count].iter().map(|e| e.1)));
        }
    }

    #[test]
    fn the_binomial_range_is_the_published_one() {
        // scipy.stats.binom.ppf([0.025, 0.975], n, p)
        let cases = [(100, 0.1, (5, 16)), (10_000, 0.01, (81, 120)), (1000, 0.002, (0, 5)), (10, 0.5, (2, 8))];
        for (n, p, range) in cases {
            assert_eq!(binomial_range(n, p), range, "{n} {p}");
        }
        assert_eq!(binomial_range(7, 1.0), (7, 7));
    }

    #[test]
    fn a_tail_is_the_mean_of_the_worst() {
        let years = Annual::new((1..=100).map(f64::from).collect());
        assert_eq!(years.loss(10.0), (90.0, 84.0, 96.0));
        assert_eq!(years.tail(10.0).0, 95.5);
        assert_eq!(years.tail(8.0).0, ((89..=100).sum::<i32>() as f64 + 0.5 * 88.0) / 12.5);
        assert!(years.tail(11.0).1.is_nan() && years.tail(10.0).1 > 0.0);
        let few = Annual::new(alloc::vec![3.0]);
        assert_eq!((few.loss(100.0), few.tail(100.0).0), ((3.0, 3.0, f64::INFINITY), 3.0));
    }
}
