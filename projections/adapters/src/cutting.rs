//! How many cells a shard gets, where cells cost about the same.

/// Time a shard aims at. Units: nanoseconds of the cost model.
const SHARD_NS: u64 = 1_000_000_000;
/// A shard is not cut below this just to give every slot several. Units: nanoseconds of the cost model.
const SHARD_NS_MIN: u64 = 20_000_000;
/// Shards a slot, where it pays.
const SHARDS_A_SLOT: u64 = 4;

/// Cells a shard, of `cells` at `cell_ns` each, so that shards take about a second and every slot gets several.
///
/// Shape: from 1 to `cells`, if there is a cell.
pub fn cells_a_shard(cells: u64, cell_ns: u64, slots: u32) -> u64 {
    let total = u128::from(cells) * u128::from(cell_ns);
    let shards = |ns: u64| u64::try_from(total.div_ceil(u128::from(ns))).unwrap_or(u64::MAX);
    let for_slots = (u64::from(slots.max(1)) * SHARDS_A_SLOT).min(shards(SHARD_NS_MIN));
    cells.div_ceil(shards(SHARD_NS).max(for_slots).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_takes_a_second_or_an_even_share_of_the_slots_but_never_next_to_nothing() {
        assert_eq!(cells_a_shard(10_000_000, 1000, 1), 1_000_000, "ten seconds are ten shards");
        assert_eq!(cells_a_shard(1_000_000, 1000, 4), 62_500, "a second is four shards a slot");
        assert_eq!(cells_a_shard(10_000, 1000, 64), 10_000, "ten milliseconds are one shard");
        assert_eq!(cells_a_shard(7, u64::MAX, 1), 1);
        assert_eq!(cells_a_shard(7, 0, 0), 7);
    }
}
