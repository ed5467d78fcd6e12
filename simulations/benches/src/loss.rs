//! Results over a path that loses datagrams, beside the same results over the same path when it loses none.

use crate::Place;
use crate::dispatch::{JOB_WAIT, verified};
use crate::house::House;
use crate::lossy::{Counts, Lossy};
use crate::report::{Common, rate, rounded};
use crate::rest::Rest;
use anyhow::{Context, Result, bail};
use forge_event::archive::Reader;
use forge_event::{Event, LostReason};
use serde_json::{Map, Value, json};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Goodput with loss over goodput without, at least.
pub const BAR: f64 = 0.7;
/// Address that agents are told; the path listens there, at the door's port, and the hub at another of loopback.
const PATH: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
/// Shards of the run that only shows how fast this machine is.
const WARM_UP_SHARDS: u64 = 2000;
/// Shards of a stretch, at least and at most.
const SHARDS: (u64, u64) = (200, 400_000);
/// Result bytes of a stretch at most: the log keeps them all. Units: bytes.
const STRETCH_BYTES_MAX: u64 = 64 << 20;

/// What is measured.
#[derive(Clone, Debug)]
pub struct Loss {
    pub agents: usize,
    /// Shards that each agent computes at once.
    pub slots: u32,
    /// Datagrams lost in each direction. Units: 0 to 1.
    pub part: f64,
    /// Added to each direction. Units: milliseconds.
    pub delay_ms: u64,
    /// Lossless and lossy stretches of each size.
    pub rounds: usize,
    /// A lossless stretch takes about so long.
    pub seconds: f64,
    /// Sizes of results. Units: bytes.
    pub sizes: Vec<u64>,
    pub seed: u64,
    pub data: Option<PathBuf>,
}

/// One size: seconds of each stretch.
struct Measured {
    bytes: u64,
    shards: u64,
    lossless: Vec<f64>,
    lossy: Vec<f64>,
}

/// # Errors
/// If a process fails, a job does not succeed, or the log that is left does not verify.
pub async fn run(options: &Loss) -> Result<Value> {
    let place = Place::new(options.data.as_deref())?;
    let before = Common::before(&place).await?;
    let mut house = House::start_behind(place.path(), &PATH.to_string()).await?;
    let door = house.hubs[0].agents;
    let listen = SocketAddr::from((PATH, door.port()));
    let delay = Duration::from_millis(options.delay_ms);
    let path = Lossy::open(listen, door, options.seed, delay).await.context("opening the lossy path")?;
    house.enrol_agents(options.agents, options.slots).await?;
    house.join_agents().await?;
    let rest = house.rest()?;
    let (fsyncs, started) = (house.fsyncs().await?, Instant::now());
    let mut sizes = Vec::new();
    let (mut without, mut with) = (Counts::default(), Counts::default());
    for bytes in &options.sizes {
        sizes.push(measure(options, &house, &rest, &path, *bytes, &mut without, &mut with).await?);
    }
    let seconds = started.elapsed().as_secs_f64();
    let fsyncs = house.fsyncs().await? - fsyncs;
    if without.dropped > 0 || with.dropped == 0 {
        bail!("the path lost {} datagrams of the lossless stretches, {} of the others", without.dropped, with.dropped);
    }
    let export = house.export().await?;
    let report = verified(&export)?;
    let ratio = sizes.iter().map(Measured::ratio).fold(f64::INFINITY, f64::min);
    let common = Common { agents: options.agents, fsyncs, seconds, ..before.of(&house, &report) };
    let harm = Harm::read(&export)?;
    let mut own = Map::new();
    let head = json!({
        "bench": "loss",
        "ratio": rounded(ratio),
        "bar": BAR,
        "verdict": if ratio >= BAR { "holds" } else { "missed" },
        "loss": options.part,
        "delay_ms": options.delay_ms,
        "slots": options.slots,
        "rounds": options.rounds,
        "seed": options.seed,
    });
    let tail = json!({
        "datagrams": with.carried + with.dropped,
        "dropped": with.dropped,
        "overflown": without.overflown + with.overflown,
        "agents_lost": harm.agents,
        "leases_lost": harm.leases,
        "verified": true,
    });
    own.extend(head.as_object().cloned().unwrap_or_default());
    own.extend(sizes.iter().map(|size| (format!("results_{}", size.bytes), size.to_json())));
    own.extend(tail.as_object().cloned().unwrap_or_default());
    Ok(common.with(Value::Object(own)))
}

/// Stretches of one size, lossless and lossy in turns; which one is first alternates too.
async fn measure(
    options: &Loss,
    house: &House,
    rest: &Rest,
    path: &Lossy,
    bytes: u64,
    without: &mut Counts,
    with: &mut Counts,
) -> Result<Measured> {
    path.lose(0.0);
    let most = (STRETCH_BYTES_MAX / bytes.max(1)).clamp(SHARDS.0, SHARDS.1);
    // Twice: the agents' windows of leases and of congestion open in the first.
    stretch(house, rest, bytes, WARM_UP_SHARDS.min(most)).await?;
    let warm_up = stretch(house, rest, bytes, WARM_UP_SHARDS.min(most)).await?;
    let per_s = WARM_UP_SHARDS.min(most) as f64 / warm_up;
    let shards = ((per_s * options.seconds) as u64).clamp(SHARDS.0, most);
    let mut measured = Measured { bytes, shards, lossless: Vec::new(), lossy: Vec::new() };
    for round in 0..options.rounds {
        for lossy in [round % 2 == 1, round % 2 == 0] {
            path.lose(if lossy { options.part } else { 0.0 });
            let before = path.counts();
            let seconds = stretch(house, rest, bytes, shards).await?;
            let after = path.counts();
            let (seen, times) = match lossy {
                true => (&mut *with, &mut measured.lossy),
                false => (&mut *without, &mut measured.lossless),
            };
            seen.carried += after.carried - before.carried;
            seen.dropped += after.dropped - before.dropped;
            seen.overflown += after.overflown - before.overflown;
            times.push(seconds);
        }
    }
    path.lose(0.0);
    Ok(measured)
}

/// A job from its submission to its success. Units: seconds.
async fn stretch(house: &House, rest: &Rest, bytes: u64, shards: u64) -> Result<f64> {
    let started = Instant::now();
    let job = house.submit_null_of(rest, shards, 0, bytes).await?;
    house.succeeded(rest, &job, JOB_WAIT).await?;
    Ok(started.elapsed().as_secs_f64())
}

impl Measured {
    /// Goodput with loss over goodput without: the work is the same.
    fn ratio(&self) -> f64 {
        median(&self.lossless) / median(&self.lossy)
    }

    fn to_json(&self) -> Value {
        let pairs = || self.lossless.iter().zip(&self.lossy).map(|(without, with)| without / with);
        let goodput = |times: &[f64]| rounded((self.shards * self.bytes) as f64 / median(times) / 1e6);
        json!({
            "shards": self.shards,
            "lossless_shards_per_s": rate(self.shards, median(&self.lossless)),
            "lossy_shards_per_s": rate(self.shards, median(&self.lossy)),
            "lossless_mb_per_s": goodput(&self.lossless),
            "lossy_mb_per_s": goodput(&self.lossy),
            "ratio": rounded(self.ratio()),
            "ratio_min": rounded(pairs().fold(f64::INFINITY, f64::min)),
            "ratio_max": rounded(pairs().fold(0.0, f64::max)),
        })
    }
}

fn median(times: &[f64]) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (low, high) = (sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2]);
    (low + high) / 2.0
}

/// What the loss did beyond slowness, as the log says.
#[derive(Default)]
struct Harm {
    agents: u64,
    leases: u64,
}

impl Harm {
    fn read(export: &[u8]) -> Result<Harm> {
        let mut harm = Harm::default();
        let mut reader = Reader::new(export)?;
        while let Some(step) = reader.next() {
            for (_, event) in step?.turn.events() {
                match event {
                    Event::AgentLost(e) if e.reason != LostReason::Left => harm.agents += 1,
                    Event::LeaseExpired(e) => harm.leases += e.shards.count(),
                    Event::LeaseRevoked(e) => harm.leases += e.shards.count(),
                    _ => {}
                }
            }
        }
        Ok(harm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_lies_between_the_middle_two() {
        assert_eq!(median(&[3.0]), 3.0);
        assert_eq!(median(&[4.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 8.0]), 3.0);
    }
}
