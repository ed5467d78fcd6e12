//! The total order of doubles that minima, tails and sketches use: −∞ … −0, +0 … +∞.

/// An integer that orders like the double with these bits.
#[inline]
pub fn key(bits: u64) -> i64 {
    let bits = bits as i64;
    bits ^ ((bits >> 63) as u64 >> 1) as i64
}

/// The bits that [`key`] came from.
#[inline]
pub fn bits(key: i64) -> u64 {
    (key ^ ((key >> 63) as u64 >> 1) as i64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_order_as_doubles_do_and_read_back() {
        let ascending = [f64::NEG_INFINITY, -1e300, -1.0, -5e-324, -0.0, 0.0, 5e-324, 1.0, 1e300, f64::INFINITY];
        let keys = ascending.map(|v| key(v.to_bits()));
        assert!(keys.is_sorted_by(|a, b| a < b));
        assert_eq!(keys.map(bits), ascending.map(f64::to_bits));
    }
}
