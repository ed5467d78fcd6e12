//! The store against openraft's suite, power cuts and flipped bits.

#[path = "../../tests/support/disk.rs"]
mod disk;

use super::{LogStore, StoreOptions};
use crate::apply::{Applier, Places};
use crate::files::{Files, RealFiles};
use crate::form::LogIdForm;
use crate::machine::{CommittedTurn, Machine};
use crate::options::{Disk, Executor};
use crate::types::{Entry, Payload, Types, Vote, log_id};
use disk::VirtualDisk;
use forge_event::Head;
use openraft::alias::OneshotReceiverOf;
use openraft::entry::RaftEntry;
use openraft::storage::{IOFlushed, RaftLogReader, RaftLogStorage};
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::type_config::TypeConfigExt;
use openraft::{EntryPayload, StorageError};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::BTreeMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::watch;

struct Nothing;

impl Machine for Nothing {
    fn head(&self) -> Head {
        Head::default()
    }
    fn fold(&self, _turns: &[Arc<CommittedTurn>]) {}
    fn freeze(&self) -> Box<dyn FnOnce() -> Vec<u8> + Send> {
        Box::new(Vec::new)
    }
    fn restore(&self, _bytes: &[u8]) -> Result<(), String> {
        Ok(())
    }
}

fn options(disk: Disk, folder: &Path, executor: Executor) -> StoreOptions {
    StoreOptions {
        node: 1,
        disk,
        files: Arc::new(RealFiles::new(folder.to_owned())),
        executor,
        on_fsync: None,
        reserve_bytes: 0,
        fault: watch::Sender::new(None),
    }
}

fn inline() -> Executor {
    Executor::Inline { commit_latency: Arc::new(|| Duration::from_micros(200)) }
}

struct Build;

impl StoreBuilder<Types, LogStore, Applier, tempfile::TempDir> for Build {
    async fn build(&self) -> Result<(tempfile::TempDir, LogStore, Applier), StorageError<Types>> {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let disk = Disk::File(folder.path().join("raft.redb"));
        let store = LogStore::open(options(disk, folder.path(), Executor::Threads)).expect("a new store opens");
        let files: Arc<dyn Files> = Arc::new(RealFiles::new(folder.path().to_owned()));
        let fault = watch::Sender::new(None);
        let machine = Arc::new(Nothing);
        let applier = Applier::new(machine, store.clone(), files, Executor::Threads, Places::new(64), fault);
        Ok((folder, store, applier))
    }
}

#[tokio::test]
async fn the_store_passes_openrafts_suite() {
    Suite::<Types, LogStore, Applier, Build, tempfile::TempDir>::test_all(Build).await.expect("the suite passes");
}

/// How often a test repeats: few by default, `full` when FORGE_FULL asks for it.
fn rounds(few: u64, full: u64) -> u64 {
    if std::env::var_os("FORGE_FULL").is_some_and(|v| v == "1") { full } else { few }
}

fn entry(term: u64, index: u64, rng: &mut StdRng) -> Entry {
    let mut bytes = vec![0; rng.random_range(1..4000)];
    rng.fill(&mut bytes[..]);
    Entry::new(log_id(term, index), EntryPayload::Normal(Payload(bytes.into())))
}

/// What a correct store must still have after a power cut.
#[derive(Default)]
struct Model {
    term: u64,
    /// Acknowledged entries; a truncation takes away what it may take away when it is asked, not when it is answered.
    acknowledged: BTreeMap<u64, Entry>,
    /// Everything ever appended at an index, acknowledged or not.
    written: BTreeMap<u64, Vec<Entry>>,
    vote: Option<Vote>,
    /// A vote that was asked to be saved and not answered.
    asked: Option<Vote>,
    next: u64,
    purged: Option<u64>,
}

async fn append(store: &mut LogStore, entries: Vec<Entry>) -> OneshotReceiverOf<Types, io::Result<()>> {
    let (done, outcome) = Types::oneshot();
    // An error says that the power is off: the callback is dropped, nothing is acknowledged.
    let _ = store.append(entries, IOFlushed::signal(done)).await;
    outcome
}

/// Works until the power fails; gives how often an append was acknowledged.
async fn work(store: &mut LogStore, disk: &VirtualDisk, model: &mut Model, rng: &mut StdRng) -> u64 {
    let mut acknowledged = 0;
    while !disk.is_dead() {
        match rng.random_range(0..12) {
            0 => {
                model.term += 1;
                let vote = Vote::from(crate::form::VoteForm { term: model.term, node: 1, committed: rng.random() });
                model.asked = Some(vote);
                if store.save_vote(&vote).await.is_ok() {
                    model.vote = model.asked.take();
                }
            }
            1 if model.next > 3 => {
                let first = model.purged.map_or(0, |p| p + 1);
                let keep = rng.random_range(first..=model.next);
                let last = keep.checked_sub(1).and_then(|i| model.written.get(&i)?.last().map(|e| e.log_id));
                if keep > first {
                    model.acknowledged.split_off(&keep);
                    model.next = model.next.min(keep);
                    model.term += 1;
                    let _ = store.truncate_after(last).await;
                }
            }
            2 if model.next > 20 => {
                let first = model.purged.map_or(0, |p| p + 1);
                let upto = first + (model.next - first) / 3;
                if let Some(entry) = model.acknowledged.get(&upto) {
                    let id = entry.log_id;
                    model.purged = Some(upto);
                    model.acknowledged = model.acknowledged.split_off(&(upto + 1));
                    let _ = store.purge(id).await;
                }
            }
            _ => {
                let mut waiting = Vec::new();
                for _ in 0..rng.random_range(1..4) {
                    let count = rng.random_range(1..6);
                    let term = model.term;
                    let entries: Vec<Entry> = (0..count).map(|i| entry(term, model.next + i, rng)).collect();
                    for entry in &entries {
                        model.written.entry(entry.index()).or_default().push(entry.clone());
                    }
                    model.next += count;
                    waiting.push((entries.clone(), append(store, entries).await));
                }
                for (entries, outcome) in waiting {
                    if matches!(outcome.await, Ok(Ok(()))) {
                        acknowledged += 1;
                        model.acknowledged.extend(entries.into_iter().map(|e| (e.index(), e)));
                    }
                }
            }
        }
    }
    acknowledged
}

/// Everything acknowledged is there, nothing is there that was never written, and there are no holes.
async fn check(store: &mut LogStore, model: &mut Model, seed: u64) {
    let vote = store.read_vote().await.expect("the vote is readable");
    assert!(vote == model.vote || vote == model.asked, "seed {seed}: vote {vote:?}");
    model.vote = vote;
    model.asked = None;
    let state = store.get_log_state().await.expect("the ends are known");
    let purged = state.last_purged_log_id.map(|id| id.index());
    assert!(purged <= model.purged, "seed {seed}: purged more than was asked");
    model.purged = purged;
    let entries = store.try_get_log_entries(..).await.expect("every record verifies");
    let first = purged.map_or(0, |p| p + 1);
    for (i, entry) in entries.iter().enumerate() {
        assert_eq!(entry.index(), first + i as u64, "seed {seed}: a hole");
        let known = model.written.get(&entry.index()).is_some_and(|all| all.contains(entry));
        assert!(known, "seed {seed}: entry {} was never written", entry.index());
    }
    for (index, wanted) in &model.acknowledged {
        let found = index.checked_sub(first).and_then(|i| entries.get(i as usize));
        assert_eq!(found, Some(wanted), "seed {seed}: acknowledged entry {index} is lost");
    }
    model.next = first + entries.len() as u64;
    model.acknowledged = entries.into_iter().map(|e| (e.index(), e)).collect();
    model.term += 1;
}

#[tokio::test]
async fn what_is_noted_as_committed_counts_only_if_that_entry_is_here() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let open =
        || LogStore::open(options(Disk::File(folder.path().join("raft.redb")), folder.path(), Executor::Threads));
    let rng = &mut StdRng::seed_from_u64(1);
    for (noted, counts) in [(log_id(1, 2), true), (log_id(2, 2), false), (log_id(1, 3), false)] {
        let mut store = open().expect("the store opens");
        if store.get_log_state().await.expect("the ends are known").last_log_id.is_none() {
            let entries = (0..3).map(|i| entry(1, i, rng)).collect();
            append(&mut store, entries).await.await.expect("an answer").expect("durable");
        }
        store.save_committed(Some(noted)).await.expect("it is only noted");
        // The note rides along with the next write.
        store
            .save_vote(&Vote::from(crate::form::VoteForm { term: 9, node: 1, committed: false }))
            .await
            .expect("durable");
        store.close().await;
        let mut store = open().expect("the store opens");
        assert_eq!(store.read_committed().await.expect("readable"), counts.then_some(noted));
        store.close().await;
    }
}

#[tokio::test(start_paused = true)]
async fn no_power_cut_loses_an_acknowledged_entry() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let cuts = rounds(200, 2_000);
    let (mut cut, mut seed, mut acknowledged) = (0, 0, 0);
    while cut < cuts {
        seed += 1;
        let mut rng = StdRng::seed_from_u64(seed);
        let disk = VirtualDisk::new(seed);
        let mut model = Model::default();
        let path = folder.path().join(seed.to_string());
        // A file is laid out under another name (table.rs); a bare disk must be given whole.
        let store = LogStore::open(options(Disk::Backend(Box::new(disk.clone())), &path, inline())).expect("it is new");
        store.close().await;
        for _ in 0..4 {
            // Half of all cuts come early, so that many of them hit the recovery from the cut before.
            disk.cut_after(if rng.random() { rng.random_range(0..40) } else { rng.random_range(0..400) });
            let opened = LogStore::open(options(Disk::Backend(Box::new(disk.clone())), &path, inline()));
            if let Ok(mut store) = opened {
                check_when_alive(&mut store, &disk, &mut model, seed).await;
                acknowledged += work(&mut store, &disk, &mut model, &mut rng).await;
                store.close().await;
            } else {
                assert!(disk.is_dead(), "seed {seed}: the store does not open: {:?}", opened.err());
            }
            let _ = std::fs::remove_file(path.join(super::POISON_FILE));
            disk.restart();
            cut += 1;
        }
        let mut store = LogStore::open(options(Disk::Backend(Box::new(disk.clone())), &path, inline()))
            .unwrap_or_else(|error| panic!("seed {seed}: the store does not open: {error}"));
        check(&mut store, &mut model, seed).await;
        store.close().await;
    }
    assert!(acknowledged > cuts, "the cuts leave time for work: {acknowledged}");
}

async fn check_when_alive(store: &mut LogStore, disk: &VirtualDisk, model: &mut Model, seed: u64) {
    if !disk.is_dead() {
        check(store, model, seed).await;
    }
}

/// A store of 60 entries and a vote; `closed`, or as a crash leaves it: with the last entries in its journal alone.
async fn filled_disk(folder: &Path, closed: bool) -> (VirtualDisk, Vec<Entry>) {
    let disk = VirtualDisk::new(1);
    let mut rng = StdRng::seed_from_u64(1);
    let mut written = Vec::new();
    let mut store =
        LogStore::open(options(Disk::Backend(Box::new(disk.clone())), folder, inline())).expect("it is new");
    let vote = Vote::from(crate::form::VoteForm { term: 3, node: 1, committed: true });
    store.save_vote(&vote).await.expect("the vote is saved");
    for index in 0..60 {
        let entry = entry(3, index, &mut rng);
        written.push(entry.clone());
        append(&mut store, vec![entry]).await.await.expect("answered").expect("durable");
    }
    let crashed = disk.image();
    store.close().await;
    (if closed { disk } else { crashed }, written)
}

#[tokio::test(start_paused = true)]
async fn a_flipped_bit_is_never_read_as_something_else() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    for closed in [true, false] {
        let (disk, written) = filled_disk(folder.path(), closed).await;
        let mut rng = StdRng::seed_from_u64(2);
        let mut found = 0;
        for round in 0..rounds(500, 5_000) {
            let image = disk.image();
            image.flip(rng.random());
            let path = folder.path().join("flipped");
            let _ = std::fs::remove_file(path.join(super::POISON_FILE));
            let opened = catch_unwind(AssertUnwindSafe(|| {
                LogStore::open(options(Disk::Backend(Box::new(image.clone())), &path, inline()))
            }));
            let Ok(Ok(mut store)) = opened else {
                found += 1;
                continue;
            };
            let vote = store.read_vote().await.expect("the vote was verified when the store opened");
            assert_eq!(vote.map(|v| v.leader_id.term), Some(3), "round {round}");
            match store.try_get_log_entries(..).await {
                Err(_) => found += 1,
                // A last batch that does not verify cannot be told from one that the power cut tore.
                Ok(entries) if !closed && entries.len() + 1 == written.len() => {
                    assert_eq!(entries, written[..entries.len()], "round {round}");
                }
                Ok(entries) => assert_eq!(entries, written, "round {round}"),
            }
            store.close().await;
        }
        assert!(found > 0, "some of the bits lie where records are");
    }
}

#[tokio::test]
async fn a_store_without_its_journal_does_not_open() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let open =
        || LogStore::open(options(Disk::File(folder.path().join("raft.redb")), folder.path(), Executor::Threads));
    open().expect("a new store opens").close().await;
    std::fs::remove_file(folder.path().join("raft.journal")).expect("it was there");
    assert_eq!(open().map(drop).map_err(|e| e.kind()), Err(io::ErrorKind::InvalidData));
}

#[tokio::test]
async fn an_old_entry_is_read_from_disk_and_links_to_its_neighbours() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let open = || {
        let disk = Disk::File(folder.path().join("raft.redb"));
        LogStore::open(options(disk, folder.path(), Executor::Threads)).expect("the store opens")
    };
    let mut rng = StdRng::seed_from_u64(2);
    let entries: Vec<Entry> = (0..500).map(|i| entry(1 + i / 100, i, &mut rng)).collect();
    let mut store = open();
    append(&mut store, entries.clone()).await.await.expect("answered").expect("durable");
    let digest = store.digest_after(LogIdForm { term: 5, index: 499 }).await.expect("readable");
    store.close().await;
    let mut store = open();
    assert_eq!(store.try_get_log_entries(100..200).await.expect("readable"), entries[100..200]);
    assert_eq!(store.digest_after(LogIdForm { term: 5, index: 499 }).await.expect("readable"), digest);
    let keys = store.get_key_log_ids(log_id(1, 50)..=log_id(5, 450)).await.expect("known");
    let expected = [log_id(1, 99), log_id(2, 199), log_id(3, 299), log_id(4, 399), log_id(5, 450)];
    assert_eq!(keys, expected);
    store.purge(log_id(2, 150)).await.expect("purged");
    assert_eq!(store.slice(0, 1_000).expect("readable").first().map(RaftEntry::index), Some(151));
    store.close().await;
}

#[tokio::test]
async fn a_store_that_files_little_at_a_time_has_everything_after_a_crash() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let crashed = tempfile::tempdir().expect("a folder for what a crash leaves");
    let disk = |folder: &Path| Disk::File(folder.join("raft.redb"));
    let filings = Arc::new(AtomicU64::new(0));
    let seen = filings.clone();
    let mut settings = options(disk(folder.path()), folder.path(), Executor::Threads);
    settings.on_fsync = Some(Arc::new(move |_, entries| {
        seen.fetch_add(u64::from(entries == 0), Ordering::Relaxed);
    }));
    let mut store = LogStore::open(settings).expect("a new store opens");
    let mut rng = StdRng::seed_from_u64(3);
    let mut written = Vec::new();
    // Some 130 KB each: more than both halves of the journal hold.
    for round in 0..90 {
        let entries: Vec<Entry> = (0..64).map(|n| entry(1, round * 64 + n, &mut rng)).collect();
        written.extend(entries.clone());
        append(&mut store, entries).await.await.expect("answered").expect("durable");
        if round == 24 {
            let filed = async {
                while filings.load(Ordering::Relaxed) == 0 {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            };
            let filed = tokio::time::timeout(Duration::from_secs(20), filed).await;
            assert!(filed.is_ok(), "no half of the journal is full, and redb has taken over some of it");
        }
        if round % 15 == 7 {
            // The journal first: what is not in it any more, redb has by then.
            for file in ["raft.journal", "raft.redb"] {
                std::fs::copy(folder.path().join(file), crashed.path().join(file)).expect("copied");
            }
            let opened = LogStore::open(options(disk(crashed.path()), crashed.path(), Executor::Threads));
            let left = opened.expect("a crashed store opens");
            let mut read = Vec::new();
            while read.len() < written.len() {
                read.extend(left.slice(read.len() as u64, written.len() as u64).expect("readable"));
            }
            assert!(read == written, "round {round}");
            left.close().await;
        }
    }
    store.close().await;
}

#[tokio::test]
async fn a_poisoned_store_does_not_open_again() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let open =
        || LogStore::open(options(Disk::File(folder.path().join("raft.redb")), folder.path(), Executor::Threads));
    let store = open().expect("a new store opens");
    store.fail("the test says so");
    store.close().await;
    assert!(open().is_err());
}
