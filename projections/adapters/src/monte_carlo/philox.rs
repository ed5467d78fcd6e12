//! Philox4x64-10: a sample's random words as a pure function of (seed, stream, sample).
//!
//! Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC11, §3.3 and the Random123 known answers.

const MULTIPLIERS: [u64; 2] = [0xD2E7_470E_E14C_6C93, 0xCA5A_8263_9512_1157];
const WEYL: [u64; 2] = [0x9E37_79B9_7F4A_7C15, 0xBB67_AE85_84CA_A73B];
const ROUNDS: usize = 10;

/// The purpose word of the counter for a model's own draws.
pub const PURPOSE_MODEL: u64 = 0;
/// The purpose word of the counter for the indices of a resample.
pub const PURPOSE_RESAMPLE: u64 = 1;

/// A key, and what becomes of it in each round.
#[derive(Clone, Copy, Debug)]
pub struct Key([[u64; 2]; ROUNDS]);

impl Key {
    /// The key of a job.
    pub fn new(seed: u64, stream: u64) -> Self {
        let mut rounds = [[seed, stream]; ROUNDS];
        for i in 1..ROUNDS {
            rounds[i] = [rounds[i - 1][0].wrapping_add(WEYL[0]), rounds[i - 1][1].wrapping_add(WEYL[1])];
        }
        Key(rounds)
    }
}

/// Four words for a counter under a key.
///
/// Never inlined: into a loop, the compiler would make halves of vectors of it, which takes half as long again.
#[inline(never)]
pub fn block(key: &Key, counter: [u64; 4]) -> [u64; 4] {
    let mut c = counter;
    for [k0, k1] in key.0 {
        let (high0, low0) = wide_product(MULTIPLIERS[0], c[0]);
        let (high1, low1) = wide_product(MULTIPLIERS[1], c[2]);
        c = [high1 ^ c[1] ^ k0, low1, high0 ^ c[3] ^ k1, low0];
    }
    c
}

#[inline(always)]
fn wide_product(a: u64, b: u64) -> (u64, u64) {
    let product = u128::from(a).wrapping_mul(u128::from(b));
    ((product >> 64) as u64, product as u64)
}

/// Words `4·number .. 4·number + 4` of a sample; the first block has counter word 1, as NumPy's does.
#[inline]
pub fn sample_block(key: &Key, sample: u64, number: u64) -> [u64; 4] {
    block(key, [number.wrapping_add(1), sample, 0, PURPOSE_MODEL])
}

/// The words of a block for the samples `first`, `first + 1`, …, one list a word.
pub fn fill<const N: usize>(key: &Key, first: u64, number: u64, count: usize, words: &mut [[u64; N]; 4]) {
    for i in 0..count {
        let block = sample_block(key, first.wrapping_add(i as u64), number);
        for (list, word) in words.iter_mut().zip(block) {
            list[i] = word;
        }
    }
}

/// A word as a uniform in (0, 1): the middle of one of 2⁵³ equal parts, never 0 or 1.
#[inline]
pub fn uniform(word: u64) -> f64 {
    // By way of i64, which converts in one instruction.
    let middle = ((word >> 11) as i64 as f64 + 0.5) * (1.0 / 9_007_199_254_740_992.0);
    // Only the last part rounds up to 1.
    if middle < 1.0 { middle } else { 1.0 - f64::EPSILON / 2.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_known_answers_of_random123_come_out() {
        let ones = u64::MAX;
        let pi = [0x243f6a8885a308d3, 0x13198a2e03707344, 0xa4093822299f31d0, 0x082efa98ec4e6c89];
        let answers = [
            ([0, 0], [0; 4], [0x16554d9eca36314c, 0xdb20fe9d672d0fdc, 0xd7e772cee186176b, 0x7e68b68aec7ba23b]),
            ([ones; 2], [ones; 4], [0x87b092c3013fe90b, 0x438c3c67be8d0224, 0x9cc7d7c69cd777b6, 0xa09caebf594f0ba0]),
            (
                [0x452821e638d01377, 0xbe5466cf34e90c6c],
                pi,
                [0xa528f45403e61d95, 0x38c72dbd566e9788, 0xa5a1610e72fd18b5, 0x57bd43b5e52b7fe6],
            ),
        ];
        for ([seed, stream], counter, answer) in answers {
            assert_eq!(block(&Key::new(seed, stream), counter), answer, "key {seed:x} {stream:x}");
        }
    }

    #[test]
    fn a_uniform_is_never_zero_or_one() {
        assert_eq!(uniform(0), 0.5 / 9007199254740992.0);
        assert_eq!(uniform(u64::MAX), 1.0 - f64::EPSILON / 2.0);
        assert_eq!(uniform(1 << 63), 0.5 + 0.5 / 9007199254740992.0);
    }
}
