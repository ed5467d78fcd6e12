//! The quick corpus: every invariant under every fault, on a few seeds.

use forge_simulations::{Corpus, FAULTS, Options, Report, run_seed, scale};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Runs seeds on as many threads as there are cores; each run has one of its own.
fn run(seeds: &[u64]) -> Vec<Report> {
    let (next, done) = (AtomicU64::new(0), Mutex::new(Vec::new()));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed) as usize) {
                    let report = run_seed(*seed, Options::default());
                    done.lock().expect("no run panics").push(report);
                }
            });
        }
    });
    let mut reports = done.into_inner().expect("no run panics");
    reports.sort_by_key(|report| report.seed);
    reports
}

#[test]
fn every_invariant_holds_under_every_fault() {
    // 17: a shard is taken up behind a checkpoint, which is seldom.
    let seeds: Vec<u64> = (1..=11).chain([17]).collect();
    let mut corpus = Corpus::default();
    run(&seeds).iter().for_each(|report| corpus.add(report));
    assert!(corpus.failures.is_empty(), "{corpus}");
    assert!(corpus.virtual_ms_min >= 10_000, "{corpus}");
    assert!(corpus.leader_changes_min >= 1, "{corpus}");
    assert!(corpus.jobs_min >= 50, "{corpus}");
    assert_eq!(corpus.never_fired(&FAULTS), Vec::<&str>::new(), "{corpus}");
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let (first, again) = (run(&[101, 102]), run(&[101]));
    for (first, again) in first.iter().zip(&again) {
        assert_eq!((&first.trace, first.steps), (&again.trace, again.steps), "seed {}", first.seed);
    }
    assert_ne!(first[0].trace, first[1].trace, "another seed is another run");
}

#[test]
fn without_faults_every_job_ends_well_or_cancelled() {
    let report = run_seed(7, Options { calm: true, ..Options::default() });
    assert_eq!(report.failures, vec![]);
    assert_eq!(report.leader_changes, 0);
    assert!(report.jobs >= 50 && report.succeeded > report.jobs / 2, "{report:?}");
}

#[test]
fn a_job_of_very_many_shards_costs_what_is_in_flight() {
    // The figures of the whole size are `benches/scale.rs`; here only that it works.
    let figures = scale::measure(10_000_000, 20_000);
    assert_eq!(figures["finished"], 20_000);
    println!("{figures}");
}
