//! Planted faults in results are found by the checks, each by its bit.

use super::{EXPOSURE, Job, TRACKS, usual};
use forge_adapters::Registry;
use forge_adapters::cat_model::elt::{ROW_BYTES, Row, rows};
use forge_adapters::cat_model::verify;
use forge_adapters::cat_model::work::{Part, Stage, decode, encode};
use forge_adapters::host::{Host, Stop};
use forge_adapters::laws::MemoryBlobs;
use forge_event::Digest;
use forge_projections::family::{Blobs, Families, Past, PlanHints};

/// An agent with a store.
pub struct Agent<'a>(pub &'a MemoryBlobs);

impl Host for Agent<'_> {
    fn progress(&mut self, _: u64) -> Result<(), Stop> {
        Ok(())
    }

    fn blob_bytes(&mut self, digest: &Digest) -> Result<u64, Stop> {
        Ok(self.0.bytes(digest)?)
    }

    fn read(&mut self, digest: &Digest, first: u64, buffer: &mut [u8]) -> Result<(), Stop> {
        Ok(self.0.read(digest, first, buffer)?)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<Digest, Stop> {
        Ok(self.0.keep(bytes))
    }
}

#[test]
fn a_wrong_row_is_flagged_by_its_bit() {
    let job = Job::new(TRACKS, EXPOSURE, usual());
    let family = Registry.newest("cat_model").expect("the family is built in");
    let spec = family.check_spec(&job.spec, None).expect("a sound spec").spec;
    let plan = family.plan(&Past::new(&spec), PlanHints { shard_cells: Some(5), slots: 1 }, &job.blobs);
    let plan = plan.expect("a plan").body;
    let Some(Stage::Events(stage)) = decode(&plan) else { panic!("the first stage is the event loss table") };
    let result = forge_adapters::cat_model::kernel::run(&family.payload(&spec, &plan, 0), &mut Agent(&job.blobs));
    let part: Part = decode(&result.expect("an honest agent")).expect("a result");
    let honest = rows(&job.blobs.get(&part.blob).expect("its blob"));
    assert!(honest.iter().any(|row| row.loss > 0.0));
    let check = |rows: &[Row]| {
        let bytes: Vec<u8> = rows.iter().flat_map(Row::encode).collect();
        let result = encode(&Part { cells: part.cells, blob: job.blobs.keep(&bytes) });
        family.check_blobs(&spec, &plan, 0, &result, &job.blobs).expect("the blob is there")
    };
    assert_eq!(check(&honest), 0);
    let hit = honest.iter().position(|row| row.loss > 0.0).expect("a row with a loss");
    let with = |change: &dyn Fn(&mut Row)| {
        let mut rows = honest.clone();
        change(&mut rows[hit]);
        check(&rows)
    };
    assert_ne!(with(&|row| row.member += 1) & verify::CELLS, 0);
    assert_ne!(with(&|row| row.loss = stage.total_value * 1.001) & verify::LOSS, 0);
    assert_ne!(with(&|row| row.loss = -0.0) & verify::LOSS, 0);
    assert_ne!(with(&|row| row.loss = f64::NAN) & verify::LOSS, 0);
    assert_ne!(with(&|row| row.max_wind = 250.0) & verify::WIND, 0);
    assert_ne!(with(&|row| row.max_wind = 17.0) & verify::HITS, 0);
    assert_ne!(with(&|row| row.points_hit = 0) & verify::HITS, 0);
    assert_ne!(with(&|row| row.points_hit = 10_000) & verify::HITS, 0);
    assert_ne!(with(&|row| row.loss = stage.total_value) & verify::DAMAGE, 0);
    let mut swapped = honest.clone();
    swapped.swap(0, 1);
    assert_eq!(check(&swapped), verify::CELLS);
    assert_eq!(check(&honest[1..]), verify::LENGTH);
    let few = encode(&Part { cells: part.cells - 1, blob: part.blob });
    assert_eq!(family.check_result(&spec, &plan, 0, &few), verify::COUNT);
    assert_eq!(honest.len() * ROW_BYTES, job.blobs.get(&part.blob).expect("its blob").len());
}
