//! Perturbed tracks: a directed random walk along the given one.
//!
//! The start moves; then each step's direction drifts by the running sum of small turns, and its length changes by a share.
//! Draws: Philox key `[seed, stream]`, counter `[1 + block, member, track, purpose]`; word `w` is word `w mod 4` of block `w div 4`.
//! [`PURPOSE_START`]: word 0 east, word 1 north. [`PURPOSE_DIRECTION`], [`PURPOSE_SPEED`]: word `i - 1` for the step to node `i`.

use super::geo;
use super::tracks::Node;
use super::work::Perturb;
use crate::monte_carlo::as241::normal;
use crate::monte_carlo::philox::{Key, block, uniform};
use alloc::vec::Vec;

/// Purpose words of the counter; 0 and 1 are Monte Carlo's.
pub const PURPOSE_START: u64 = 2;
pub const PURPOSE_DIRECTION: u64 = 3;
pub const PURPOSE_SPEED: u64 = 4;

/// A perturbed track that comes nearer to a pole ends there. Units: degrees.
pub const LAT_MAX: f64 = 70.0;

/// Words of one stream, in order.
#[derive(Debug)]
pub struct Words<'a> {
    key: &'a Key,
    counter: [u64; 4],
    block: [u64; 4],
    next: usize,
}

impl<'a> Words<'a> {
    /// The words of counter `[1.., second, third, purpose]`.
    pub fn new(key: &'a Key, second: u64, third: u64, purpose: u64) -> Words<'a> {
        Words { key, counter: [0, second, third, purpose], block: [0; 4], next: 4 }
    }

    /// The next word as a uniform in (0, 1).
    pub fn uniform(&mut self) -> f64 {
        if self.next == 4 {
            self.counter[0] = self.counter[0].wrapping_add(1);
            self.block = block(self.key, self.counter);
            self.next = 0;
        }
        self.next += 1;
        uniform(self.block[self.next - 1])
    }
}

/// Uniforms of which each depends on the one before, by way of normals.
struct Chain<'a> {
    words: Words<'a>,
    correlation_1h: f64,
    last: Option<f64>,
}

impl Chain<'_> {
    /// The next one, `dt_h` after the one before.
    fn uniform(&mut self, dt_h: f64) -> f64 {
        let fresh = normal(self.words.uniform());
        let z = match self.last {
            None => fresh,
            Some(last) => {
                let rho = core_math::pow(self.correlation_1h, dt_h);
                rho * last + libm::sqrt(1.0 - rho * rho) * fresh
            }
        };
        self.last = Some(z);
        // The normal distribution's own function.
        0.5 * core_math::erfc(-z * core::f64::consts::FRAC_1_SQRT_2)
    }
}

/// A member of a track. Only positions change. Empty if it starts beyond [`LAT_MAX`].
pub fn member(nodes: &[Node], perturb: &Perturb, key: &Key, track: u32, member: u32) -> Vec<Node> {
    let words = |purpose| Words::new(key, u64::from(member), u64::from(track), purpose);
    let mut moved = Vec::with_capacity(nodes.len());
    let Some(first) = nodes.first() else { return moved };
    let mut start = words(PURPOSE_START);
    let mut shift = || perturb.max_shift_ini * (2.0 * start.uniform() - 1.0);
    let (east, north) = (shift(), shift());
    let mut place = (first.lat + north, geo::wrapped(first.lon + east));
    if place.0.abs() > LAT_MAX {
        return moved;
    }
    moved.push(Node { lat: place.0, lon: place.1, ..*first });
    let chain = |purpose, correlation_1h| Chain { words: words(purpose), correlation_1h, last: None };
    let mut directions = chain(PURPOSE_DIRECTION, perturb.autocorr_ddirection);
    let mut speeds = chain(PURPOSE_SPEED, perturb.autocorr_dspeed);
    let mut turned = 0.0;
    for pair in nodes.windows(2) {
        let (from, to) = ((pair[0].lat, pair[0].lon), (pair[1].lat, pair[1].lon));
        let dt_h = pair[1].dt_h;
        turned += dt_h * perturb.max_ddirection * (2.0 * directions.uniform(dt_h) - 1.0);
        let longer = 1.0 + perturb.max_dspeed_rel * (2.0 * speeds.uniform(dt_h) - 1.0);
        place = geo::destination(place, geo::bearing(from, to) + turned, geo::arc(from, to) * longer);
        if place.0.abs() > LAT_MAX {
            break;
        }
        moved.push(Node { lat: place.0, lon: place.1, ..pair[1] });
    }
    moved
}
