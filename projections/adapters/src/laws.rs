//! The conformance suite of a family: what the hub relies on, checked for one spec; and a whole job run in one place.
//!
//! For tests. Every law panics with the sentence that was broken.

use crate::host::{Host, Stop};
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::fmt::Write;
use core::ops::Range;
use forge_event::limits::INLINE_BYTES_MAX;
use forge_event::{Digest, ShardIndex};
use forge_projections::family::{Blobs, DoneStage, Family, Fault, MidState, Past, Plan, PlanHints};
use serde_json::Value;

/// Most shards that a law runs; groupings that give more are a mistake of the test.
const SHARDS_MAX: u64 = 4096;
/// Most stages; a family that plans for ever is a mistake of the family.
const STAGES_MAX: usize = 256;

/// Blobs in memory.
#[derive(Default, Debug)]
pub struct MemoryBlobs(RefCell<BTreeMap<Digest, Vec<u8>>>);

impl MemoryBlobs {
    /// Keeps bytes; gives their digest.
    pub fn keep(&self, bytes: &[u8]) -> Digest {
        let digest = Digest::of(bytes);
        self.0.borrow_mut().insert(digest, bytes.to_vec());
        digest
    }

    /// Of all blobs, ascending.
    pub fn digests(&self) -> Vec<Digest> {
        self.0.borrow().keys().copied().collect()
    }

    /// The bytes of a blob.
    pub fn get(&self, digest: &Digest) -> Option<Vec<u8>> {
        self.0.borrow().get(digest).cloned()
    }
}

impl Blobs for MemoryBlobs {
    fn bytes(&self, digest: &Digest) -> Result<u64, Fault> {
        let found = self.0.borrow().get(digest).map(|b| b.len() as u64);
        found.ok_or_else(|| Fault::new("blob-missing", format!("there is no blob {digest}")))
    }

    fn read(&self, digest: &Digest, first: u64, buffer: &mut [u8]) -> Result<(), Fault> {
        self.bytes(digest)?;
        let blobs = self.0.borrow();
        let part = blobs.get(digest).and_then(|b| b.get(first as usize..)?.get(..buffer.len()));
        let part = part.ok_or_else(|| Fault::new("blob-unreadable", format!("{digest} ends before that")))?;
        buffer.copy_from_slice(part);
        Ok(())
    }

    fn put(&self, parts: &mut dyn Iterator<Item = Result<Vec<u8>, Fault>>) -> Result<(Digest, u64), Fault> {
        let mut bytes = Vec::new();
        for part in parts {
            bytes.extend_from_slice(&part?);
        }
        Ok((self.keep(&bytes), bytes.len() as u64))
    }
}

/// An agent whose blobs are in memory: reads any of them, and keeps what its kernel gives it.
#[derive(Debug)]
pub struct Agent<'a> {
    blobs: &'a MemoryBlobs,
    /// All that may be read; `None`: everything.
    readable: Option<Vec<Digest>>,
    kept: Vec<Digest>,
    /// What its shard had done when, and the result of that.
    checkpoints: Vec<(u64, Vec<u8>)>,
}

impl<'a> Agent<'a> {
    pub fn new(blobs: &'a MemoryBlobs) -> Agent<'a> {
        Agent { blobs, readable: None, kept: Vec::new(), checkpoints: Vec::new() }
    }

    fn may_read(&self, digest: &Digest) {
        let allowed = self.readable.as_ref().is_none_or(|readable| readable.contains(digest));
        assert!(allowed, "a shard reads only the blobs that `shard_blobs` names");
    }
}

impl Host for Agent<'_> {
    fn progress(&mut self, _: u64) -> Result<(), Stop> {
        Ok(())
    }

    fn blob_bytes(&mut self, digest: &Digest) -> Result<u64, Stop> {
        self.may_read(digest);
        Ok(self.blobs.bytes(digest)?)
    }

    fn read(&mut self, digest: &Digest, first: u64, buffer: &mut [u8]) -> Result<(), Stop> {
        self.may_read(digest);
        Ok(self.blobs.read(digest, first, buffer)?)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<Digest, Stop> {
        let digest = self.blobs.keep(bytes);
        self.kept.push(digest);
        Ok(digest)
    }

    /// Ever more seldom, so that a long shard leaves few.
    fn wants_checkpoint(&mut self, cells_done: u64, _: u64) -> bool {
        self.checkpoints.last().is_none_or(|(last, _)| cells_done >= 2 * last)
    }

    fn checkpoint(&mut self, cells_done: u64, result: Vec<u8>) {
        self.checkpoints.push((cells_done, result));
    }
}

/// Payload to result.
pub type Run<'a> = &'a dyn Fn(&[u8], &mut dyn Host) -> Result<Vec<u8>, Stop>;

/// A family, a spec for it, and the executor that agents have.
pub struct Bench<'a> {
    pub family: &'a dyn Family,
    /// As a client would send it.
    pub spec: Value,
    /// Values of `shard_cells` to try; `None` is the planner's choice.
    pub groupings: Vec<Option<u64>>,
    pub blobs: &'a MemoryBlobs,
    pub run: Run<'a>,
}

/// What happens to a stage's shards besides being run.
#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    Plain,
    /// They are held to the laws.
    WithLaws,
    /// The first ones are cut off somewhere, and taken up behind it.
    InParts,
}

/// A job that ended well.
struct Ended {
    document: Vec<u8>,
    /// Some of its shards could be taken up behind a checkpoint.
    resumable: bool,
}

/// A stage that was planned and run.
struct Ran {
    plan: Plan,
    results: Vec<Vec<u8>>,
    mid: Box<dyn MidState>,
}

impl Bench<'_> {
    /// All laws. Gives the final document.
    pub fn check(&self) -> Vec<u8> {
        self.a_canonical_spec_is_its_own_canonical_form();
        let ended =
            |grouping: &Option<u64>| self.run_job(*grouping, How::WithLaws).expect("a bench has a job that ends well");
        let ended: Vec<Ended> = self.groupings.iter().map(ended).collect();
        let first = ended.first().expect("a bench has a grouping").document.clone();
        assert!(ended.iter().all(|e| e.document == first), "the document does not depend on the sharding");
        if ended.iter().any(|e| e.resumable) {
            let coarsest = self.groupings.iter().copied().max().flatten();
            let in_parts = self.run_job(coarsest, How::InParts).expect("what ends well ends well in parts");
            assert_eq!(in_parts.document, first, "where a shard was taken up does not show");
        }
        first
    }

    /// Runs the whole job, stage by stage; with `laws`, each stage's results are held to them.
    ///
    /// # Errors
    /// The fault of a plan, a shard or the reduction: code and detail.
    pub fn job(&self, shard_cells: Option<u64>, laws: bool) -> Result<Vec<u8>, (&'static str, String)> {
        let how = if laws { How::WithLaws } else { How::Plain };
        self.run_job(shard_cells, how).map(|ended| ended.document)
    }

    fn run_job(&self, shard_cells: Option<u64>, how: How) -> Result<Ended, (&'static str, String)> {
        let fault = |f: Fault| (f.code, f.detail);
        let checked = self.family.check_spec(&self.spec, shard_cells).expect("a bench has a spec without faults");
        self.family.check_inputs(&checked.spec, self.blobs).expect("a bench has inputs without faults");
        let mut done: Vec<Ran> = Vec::new();
        loop {
            assert!(done.len() < STAGES_MAX, "a job's stages come to an end");
            let plan = past(&checked.spec, &done, |past| {
                self.family.plan(past, PlanHints { shard_cells, slots: 2 }, self.blobs)
            });
            let plan = plan.map_err(fault)?;
            assert!((1..=SHARDS_MAX).contains(&plan.shard_count), "a bench has few shards");
            assert!(plan.segments >= 1, "a result has a segment");
            assert!(plan.body.len() <= INLINE_BYTES_MAX, "a plan is inline");
            let ran = self.stage(&checked.spec, plan, how)?;
            let last = ran.plan.last;
            done.push(ran);
            if last {
                break;
            }
        }
        let plans: Vec<&[u8]> = done.iter().map(|ran| ran.plan.body.as_slice()).collect();
        let known: Vec<_> = (0..=plans.len()).map(|n| self.family.metadata(&checked.spec, &plans[..n])).collect();
        assert!(known.iter().all(|known| !known.is_empty()), "a family knows something of a job at any stage");
        let document = past(&checked.spec, &done, |past| self.family.reduce(past, self.blobs)).map_err(fault)?;
        let again = past(&checked.spec, &done, |past| self.family.reduce(past, self.blobs)).map_err(fault)?;
        assert_eq!(document, again, "a reduction gives the same bytes again");
        let some = |ran: &Ran| self.family.cells(&checked.spec, &ran.plan.body, 0).is_some_and(|cells| cells > 1);
        Ok(Ended { document, resumable: done.iter().any(some) })
    }

    fn stage(&self, spec: &[u8], plan: Plan, how: How) -> Result<Ran, (&'static str, String)> {
        let laws = how == How::WithLaws;
        let mut results = Vec::new();
        for shard in 0..plan.shard_count as ShardIndex {
            let readable = self.family.shard_blobs(spec, &plan.body, shard);
            let mut agent = Agent { readable: Some(readable), ..Agent::new(self.blobs) };
            let result = (self.run)(&self.family.payload(spec, &plan.body, shard), &mut agent);
            let result = result.map_err(|stop| match stop {
                Stop::Failed { code, detail } => (code, detail),
                other => panic!("an honest agent runs its payload: {other:?}"),
            })?;
            assert_eq!(
                self.family.check_result(spec, &plan.body, shard, &result),
                0,
                "an honest result passes its checks (shard {shard})"
            );
            let named = self.family.result_blobs(spec, &plan.body, &result);
            assert!(named.iter().all(|d| agent.kept.contains(d)), "a result names only blobs that its agent kept");
            let bits = self.family.check_blobs(spec, &plan.body, shard, &result, self.blobs);
            assert_eq!(bits, Ok(0), "an honest result passes the checks of its blobs (shard {shard})");
            assert!(result.len() <= INLINE_BYTES_MAX, "a result is inline");
            if laws {
                self.a_checkpoint_is_the_result_of_a_part(spec, &plan, shard, &agent.checkpoints);
            }
            results.push(result);
        }
        if laws {
            self.damage_is_flagged_without_panic(spec, &plan, &results);
            self.arbitrary_bytes_never_panic(spec, &plan);
        }
        let mid = match how {
            How::InParts => self.folded_in_parts(spec, &plan, &results),
            _ => self.order_does_not_matter(spec, &plan, &results),
        };
        let most = self.family.mid_bytes_max(spec, &plan);
        assert!(mid.bytes() as u64 <= most, "a mid-state keeps its bound: {} of {most}", mid.bytes());
        Ok(Ran { plan, results, mid })
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

    /// Cut short, grown, and with any one bit of its first bytes flipped: flagged, or harmless because the family cannot
    /// know better; never a panic. Cut and grown results are always flagged.
    fn damage_is_flagged_without_panic(&self, spec: &[u8], plan: &Plan, results: &[Vec<u8>]) {
        let result = &results[0];
        let bits = |result: &[u8]| match self.family.check_result(spec, &plan.body, 0, result) {
            // A blob that is not there is as good as flagged: the delivery is refused.
            0 => self.family.result_blobs(spec, &plan.body, result).iter().any(|d| self.blobs.bytes(d).is_err()).into(),
            bits => bits,
        };
        for cut in (0..result.len()).rev().take(64).chain(0..result.len().min(64)) {
            assert_ne!(bits(&result[..cut]), 0, "a result cut at {cut} is flagged");
        }
        let mut grown = result.clone();
        grown.push(0);
        assert_ne!(bits(&grown), 0, "a grown result is flagged");
        let (mut flipped_count, mut flagged) = (0u32, 0u32);
        for bit in 0..result.len().min(256) * 8 {
            let mut flipped = result.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            flipped_count += 1;
            flagged += u32::from(bits(&flipped) != 0);
        }
        assert!(flagged * 2 >= flipped_count, "most flipped bits are flagged: {flagged} of {flipped_count}");
    }

    fn arbitrary_bytes_never_panic(&self, spec: &[u8], plan: &Plan) {
        let mut state = 0x9E37_79B9_7F4A_7C15u64;
        for length in (0..200).chain([1000, 5000, INLINE_BYTES_MAX, INLINE_BYTES_MAX + 1]) {
            let bytes: Vec<u8> = (0..length).map(|_| noise(&mut state)).collect();
            self.family.check_result(spec, &plan.body, 0, &bytes);
            self.family.thaw(spec, &plan.body, &bytes);
        }
    }

    /// Ascending, descending, interleaved, with freezes in between: one state.
    fn order_does_not_matter(&self, spec: &[u8], plan: &Plan, results: &[Vec<u8>]) -> Box<dyn MidState> {
        let count = results.len();
        let ascending: Vec<usize> = (0..count).collect();
        let descending: Vec<usize> = (0..count).rev().collect();
        let interleaved: Vec<usize> = (0..count).step_by(2).chain((1..count).step_by(2)).collect();
        let mut ends = Vec::new();
        for (order, freeze) in [(&ascending, false), (&descending, true), (&interleaved, true)] {
            let mut mid = self.family.mid_state(spec, &plan.body);
            for (i, shard) in order.iter().enumerate() {
                mid.fold(*shard as ShardIndex, &results[*shard]);
                if freeze && (i < 8 || i % 64 == 0) {
                    mid = self.thawed(spec, plan, mid.as_ref());
                }
            }
            let copy = mid.clone_box();
            assert_eq!(copy.encode(), mid.encode(), "a copy is equal");
            ends.push(mid);
        }
        let (first, document) = (ends[0].encode(), ends[0].finish());
        let same = ends.iter().all(|end| end.encode() == first && end.finish() == document);
        assert!(same, "the order of folding does not matter");
        self.folding_many_is_folding_each(spec, plan, results);
        ends.remove(0)
    }

    /// A result of some cells of a shard, that passed its checks.
    fn part(&self, spec: &[u8], plan: &Plan, shard: ShardIndex, cells: Range<u64>) -> Vec<u8> {
        let part = self.family.part(spec, &plan.body, shard, cells);
        let result = (self.run)(&self.family.payload(spec, &part, 0), &mut Agent::new(self.blobs));
        let result = result.expect("what runs as a whole runs in parts");
        assert_eq!(self.family.check_result(spec, &part, 0, &result), 0, "a part's result passes its checks");
        let bits = self.family.check_blobs(spec, &part, 0, &result, self.blobs);
        assert_eq!(bits, Ok(0), "a part's result passes the checks of its blobs");
        result
    }

    fn a_checkpoint_is_the_result_of_a_part(
        &self,
        spec: &[u8],
        plan: &Plan,
        shard: ShardIndex,
        checkpoints: &[(u64, Vec<u8>)],
    ) {
        for (cells, result) in checkpoints {
            let all = self.family.cells(spec, &plan.body, shard).expect("only shards that can be resumed leave some");
            assert!(*cells < all, "the end of a shard is its result");
            let part = self.family.part(spec, &plan.body, shard, 0..*cells);
            assert_eq!(
                self.family.check_result(spec, &part, 0, result),
                0,
                "a checkpoint passes the checks of its part"
            );
        }
        if let Some((cells, result)) = checkpoints.first() {
            assert_eq!(self.part(spec, plan, shard, 0..*cells), *result, "a checkpoint is the result of its part");
        }
    }

    /// The first shards, each in two parts, if it can be resumed.
    fn folded_in_parts(&self, spec: &[u8], plan: &Plan, results: &[Vec<u8>]) -> Box<dyn MidState> {
        let mut mid = self.family.mid_state(spec, &plan.body);
        let mut state = 0x2545_F491_4F6C_DD1D;
        for (shard, result) in (0..).zip(results) {
            let cells = self.family.cells(spec, &plan.body, shard).filter(|cells| shard < 4 && *cells > 1);
            let Some(cells) = cells else {
                mid.fold(shard, result);
                continue;
            };
            let at = 1 + (u64::from(noise(&mut state)) * 256 + u64::from(noise(&mut state))) % (cells - 1);
            for range in [0..at, at..cells] {
                mid.fold(shard, &self.part(spec, plan, shard, range));
                mid = self.thawed(spec, plan, mid.as_ref());
            }
        }
        mid
    }

    fn thawed(&self, spec: &[u8], plan: &Plan, mid: &dyn MidState) -> Box<dyn MidState> {
        let bytes = mid.encode();
        let thawed = self.family.thaw(spec, &plan.body, &bytes).expect("a frozen state thaws");
        assert_eq!(thawed.encode(), bytes, "freezing what was thawed gives the same bytes");
        thawed
    }

    /// Runs of equal results, folded at once or one by one.
    fn folding_many_is_folding_each(&self, spec: &[u8], plan: &Plan, results: &[Vec<u8>]) {
        let mut each = self.family.mid_state(spec, &plan.body);
        let mut many = self.family.mid_state(spec, &plan.body);
        let mut at = 0;
        while at < results.len() {
            let result = &results[at];
            let run = results[at..].iter().take_while(|r| *r == result).count();
            let shards = at as ShardIndex..(at + run) as ShardIndex;
            many.fold_many(&mut shards.clone(), result);
            shards.for_each(|shard| each.fold(shard, result));
            at += run;
        }
        assert_eq!(each.encode(), many.encode(), "folding many is folding each");
    }
}

/// Shows the stages done so far to a family.
fn past<R>(spec: &[u8], done: &[Ran], ask: impl FnOnce(&Past<'_>) -> R) -> R {
    let stages: Vec<DoneStage<'_>> = done
        .iter()
        .map(|ran| DoneStage { plan: &ran.plan.body, shard_count: ran.results.len() as u64, mid: ran.mid.as_ref() })
        .collect();
    ask(&Past { spec, stages: &stages })
}

impl core::fmt::Debug for Bench<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.family.kind())?;
        f.write_char(' ')?;
        core::fmt::Display::fmt(&self.spec, f)
    }
}

fn noise(state: &mut u64) -> u8 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    (*state >> 32) as u8
}
