//! Plays seeds and sums them up.

use forge_simulations::{Corpus, Options, Report, run_seed};
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

const USAGE: &str = "simulate [--seeds N] [--first SEED] [--twice N] [--threads N] [--seed SEED [--trace FILE]] [--calm] [--plan] \
     [--until INVARIANT]";

struct Arguments {
    seeds: u64,
    first: u64,
    twice: u64,
    threads: usize,
    trace: Option<String>,
    /// Stop once this invariant failed.
    until: Option<String>,
    options: Options,
    plan: bool,
    verbose: bool,
}

fn arguments() -> Result<Arguments, String> {
    let mut parsed = Arguments {
        seeds: 300,
        first: 1,
        twice: 50,
        threads: std::thread::available_parallelism().map_or(1, usize::from),
        trace: None,
        until: None,
        options: Options::default(),
        plan: false,
        verbose: false,
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} wants a value\n{USAGE}"));
        let number = |text: String| text.parse::<u64>().map_err(|_| format!("{text} is no number\n{USAGE}"));
        match word.as_str() {
            "--seeds" => parsed.seeds = number(value()?)?,
            "--first" => parsed.first = number(value()?)?,
            "--twice" => parsed.twice = number(value()?)?,
            "--threads" => parsed.threads = number(value()?)?.max(1) as usize,
            "--seed" => (parsed.first, parsed.seeds, parsed.twice) = (number(value()?)?, 1, 0),
            "--trace" => parsed.trace = Some(value()?),
            "--until" => parsed.until = Some(value()?),
            "--calm" => parsed.options.calm = true,
            "--plan" => parsed.plan = true,
            "--verbose" => parsed.verbose = true,
            _ => return Err(USAGE.into()),
        }
    }
    parsed.options.worded = parsed.trace.is_some();
    Ok(parsed)
}

fn main() -> ExitCode {
    let arguments = match arguments() {
        Ok(arguments) => arguments,
        Err(why) => {
            eprintln!("{why}");
            return ExitCode::from(2);
        }
    };
    if arguments.verbose {
        let filter = tracing_subscriber::EnvFilter::from_default_env();
        tracing_subscriber::fmt().with_env_filter(filter).without_time().with_writer(std::io::stderr).init();
    }
    if arguments.plan {
        println!("{:#?}", forge_simulations::plan::Plan::of(arguments.first));
    }
    let started = Instant::now();
    let corpus = play(&arguments);
    print!("{corpus}");
    println!("wall seconds       {:.1} on {} threads", started.elapsed().as_secs_f64(), arguments.threads);
    if corpus.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs are shared out over threads; each run has one of its own.
fn play(arguments: &Arguments) -> Corpus {
    let (next, found) = (AtomicU64::new(0), AtomicBool::new(false));
    let done: Mutex<BTreeMap<u64, (Report, Option<Report>)>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..arguments.threads {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= arguments.seeds || found.load(Ordering::Relaxed) {
                        return;
                    }
                    let seed = arguments.first + number;
                    let run = || std::panic::catch_unwind(|| run_seed(seed, arguments.options));
                    let Ok(report) = run() else {
                        eprintln!("REPRODUCE seed={seed}: the simulator itself panicked");
                        std::process::exit(3);
                    };
                    if let Some(file) = &arguments.trace {
                        std::fs::write(file, report.lines.join("\n")).unwrap_or_else(|e| eprintln!("{file}: {e}"));
                    }
                    if arguments.until.as_ref().is_some_and(|name| report.has_failed(name)) {
                        found.store(true, Ordering::Relaxed);
                    }
                    let again = if number < arguments.twice { run().ok() } else { None };
                    let mut done = done.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    done.insert(seed, (report, again));
                }
            });
        }
    });
    let mut corpus = Corpus::default();
    for (report, again) in done.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner).values() {
        corpus.add(report);
        if let Some(again) = again {
            corpus.compare(report, again);
        }
    }
    corpus
}
