//! The conformance suite of a family: what the hub relies on, checked for one spec.
//!
//! For tests. Every law panics with the sentence that was broken.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt::Write;
use forge_event::ShardIndex;
use forge_event::limits::INLINE_BYTES_MAX;
use forge_projections::family::{Family, MidState, Plan, PlanHints};
use serde_json::Value;

/// Most shards that a law runs; groupings that give more are a mistake of the test.
const SHARDS_MAX: u64 = 4096;

/// A family, a spec for it, and the executor that agents have.
pub struct Bench<'a> {
    pub family: &'a dyn Family,
    /// As a client would send it.
    pub spec: Value,
    /// Values of `shard_cells` to try; `None` is the planner's choice.
    pub groupings: Vec<Option<u64>>,
    /// Payload to result.
    pub run: &'a dyn Fn(&[u8]) -> Vec<u8>,
}

/// A job that was planned and run.
struct Ran {
    spec: Vec<u8>,
    plan: Plan,
    results: Vec<Vec<u8>>,
}

impl Bench<'_> {
    /// All laws. Gives the final document.
    pub fn check(&self) -> Vec<u8> {
        self.a_canonical_spec_is_its_own_canonical_form();
        let mut documents = Vec::new();
        for grouping in &self.groupings {
            let ran = self.ran(*grouping);
            self.an_honest_result_passes_and_is_inline(&ran);
            self.damage_is_flagged_without_panic(&ran);
            self.arbitrary_bytes_never_panic(&ran);
            documents.push(self.order_does_not_matter(&ran));
        }
        let first = documents.first().expect("a bench has a grouping").clone();
        assert!(documents.iter().all(|d| *d == first), "the document does not depend on the sharding");
        first
    }

    fn ran(&self, shard_cells: Option<u64>) -> Ran {
        let checked = self.family.check_spec(&self.spec, shard_cells).expect("a bench has a spec without faults");
        let plan = self.family.plan(&checked.spec, PlanHints { shard_cells, slots: 2 });
        assert!((1..=SHARDS_MAX).contains(&plan.shard_count), "a bench has few shards");
        assert!(plan.segments >= 1, "a result has a segment");
        let shards = 0..plan.shard_count as ShardIndex;
        let results = shards.map(|s| (self.run)(&self.family.payload(&checked.spec, &plan.body, s))).collect();
        Ran { spec: checked.spec, plan, results }
    }

    fn a_canonical_spec_is_its_own_canonical_form(&self) {
        for grouping in &self.groupings {
            let checked = self.family.check_spec(&self.spec, *grouping).expect("a bench has a spec without faults");
            let value = serde_json::from_slice(&checked.spec).expect("a canonical spec is JSON");
            let again = self.family.check_spec(&value, *grouping).expect("a canonical spec has no fault");
            assert_eq!(checked, again, "a canonical spec is its own canonical form");
            assert!(checked.inputs.is_sorted_by(|a, b| a < b), "inputs ascend");
        }
    }

    fn an_honest_result_passes_and_is_inline(&self, ran: &Ran) {
        for (shard, result) in numbered(&ran.results) {
            let bits = self.bits(ran, shard, result);
            assert_eq!(bits, 0, "an honest result passes its checks (shard {shard})");
            assert!(result.len() <= INLINE_BYTES_MAX, "a result is inline");
        }
    }

    /// Cut short, grown, and with any one bit of its first bytes flipped: flagged, or harmless because the family cannot
    /// know better; never a panic. Cut and grown results are always flagged.
    fn damage_is_flagged_without_panic(&self, ran: &Ran) {
        let result = &ran.results[0];
        for cut in (0..result.len()).rev().take(64).chain(0..result.len().min(64)) {
            assert_ne!(self.bits(ran, 0, &result[..cut]), 0, "a result cut at {cut} is flagged");
        }
        let mut grown = result.clone();
        grown.push(0);
        assert_ne!(self.bits(ran, 0, &grown), 0, "a grown result is flagged");
        let (mut flipped_count, mut flagged) = (0u32, 0u32);
        for bit in 0..result.len().min(256) * 8 {
            let mut flipped = result.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            flipped_count += 1;
            flagged += u32::from(self.bits(ran, 0, &flipped) != 0);
        }
        assert!(flagged * 2 >= flipped_count, "most flipped bits are flagged: {flagged} of {flipped_count}");
    }

    fn arbitrary_bytes_never_panic(&self, ran: &Ran) {
        let mut state = 0x9E37_79B9_7F4A_7C15u64;
        for length in (0..200).chain([1000, 5000, INLINE_BYTES_MAX, INLINE_BYTES_MAX + 1]) {
            let bytes: Vec<u8> = (0..length).map(|_| noise(&mut state)).collect();
            self.bits(ran, 0, &bytes);
            self.family.thaw(&ran.spec, &ran.plan.body, &bytes);
        }
    }

    /// Ascending, descending, interleaved, with freezes in between: one state, one document.
    fn order_does_not_matter(&self, ran: &Ran) -> Vec<u8> {
        let count = ran.results.len();
        let ascending: Vec<usize> = (0..count).collect();
        let descending: Vec<usize> = (0..count).rev().collect();
        let interleaved: Vec<usize> = (0..count).step_by(2).chain((1..count).step_by(2)).collect();
        let mut ends = Vec::new();
        for (order, freeze) in [(&ascending, false), (&descending, true), (&interleaved, true)] {
            let mut mid = self.family.mid_state(&ran.spec, &ran.plan.body);
            for (i, shard) in order.iter().enumerate() {
                mid.fold(*shard as ShardIndex, &ran.results[*shard]);
                if freeze && (i < 8 || i % 64 == 0) {
                    mid = self.thawed(ran, mid.as_ref());
                }
            }
            let copy = mid.clone_box();
            assert_eq!(copy.encode(), mid.encode(), "a copy is equal");
            ends.push((mid.encode(), mid.finish()));
        }
        assert!(ends.iter().all(|end| *end == ends[0]), "the order of folding does not matter");
        self.folding_many_is_folding_each(ran);
        ends.remove(0).1
    }

    fn thawed(&self, ran: &Ran, mid: &dyn MidState) -> Box<dyn MidState> {
        let bytes = mid.encode();
        let thawed = self.family.thaw(&ran.spec, &ran.plan.body, &bytes).expect("a frozen state thaws");
        assert_eq!(thawed.encode(), bytes, "freezing what was thawed gives the same bytes");
        thawed
    }

    /// Runs of equal results, folded at once or one by one.
    fn folding_many_is_folding_each(&self, ran: &Ran) {
        let mut each = self.family.mid_state(&ran.spec, &ran.plan.body);
        let mut many = self.family.mid_state(&ran.spec, &ran.plan.body);
        let mut at = 0;
        while at < ran.results.len() {
            let result = &ran.results[at];
            let run = ran.results[at..].iter().take_while(|r| *r == result).count();
            let shards = at as ShardIndex..(at + run) as ShardIndex;
            many.fold_many(&mut shards.clone(), result);
            shards.for_each(|shard| each.fold(shard, result));
            at += run;
        }
        assert_eq!(each.encode(), many.encode(), "folding many is folding each");
    }

    fn bits(&self, ran: &Ran, shard: ShardIndex, result: &[u8]) -> u32 {
        self.family.check_result(&ran.spec, &ran.plan.body, shard, result)
    }
}

impl core::fmt::Debug for Bench<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.family.kind())?;
        f.write_char(' ')?;
        core::fmt::Display::fmt(&self.spec, f)
    }
}

fn numbered(results: &[Vec<u8>]) -> impl Iterator<Item = (ShardIndex, &Vec<u8>)> {
    results.iter().enumerate().map(|(i, r)| (i as ShardIndex, r))
}

fn noise(state: &mut u64) -> u8 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    (*state >> 32) as u8
}
