//! A run's options and fault schedule, all drawn from its seed, printable and explicit.

use crate::clock::Skew;
use crate::dice::Dice;
use crate::network::Weather;

/// Nodes of every run.
pub const NODES: u64 = 3;

/// How an agent behaves; one file each in `agents/`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Temper {
    Honest,
    Slow,
    Flaky,
    Late,
    Duplicate,
    Liar,
    Staller,
}

impl Temper {
    pub const ALL: [Temper; 7] =
        [Temper::Honest, Temper::Slow, Temper::Flaky, Temper::Late, Temper::Duplicate, Temper::Liar, Temper::Staller];
}

/// Whom a fault hits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Whom {
    Node(u64),
    /// Whoever leads when it strikes; node 1 if nobody does.
    Leader,
    /// Whoever follows it in the ring of nodes.
    Follower,
}

/// One fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Loses power, and comes back after `down_ms`.
    Crash { whom: Whom, down_ms: u64 },
    /// As `Crash`, in the middle of a write: after so many operations of its disk.
    CrashMidWrite { whom: Whom, operations: u64, down_ms: u64 },
    /// The leader crashes, and another node while they elect the next.
    CrashInElection { after_ms: u64, down_ms: u64 },
    /// All nodes lose power at once.
    PowerCut { down_ms: u64 },
    /// Nothing passes between the node and the others, for `for_ms`.
    Partition { whom: Whom, for_ms: u64 },
    /// Others do not hear the node; it hears them.
    Mute { whom: Whom, for_ms: u64 },
    /// The node hears nobody; others hear it.
    Deafen { whom: Whom, for_ms: u64 },
    /// Syncs of the node's disk take so long.
    SlowDisk { whom: Whom, sync_ms: u64, for_ms: u64 },
    /// Leadership is handed over.
    Transfer,
    /// The node takes a snapshot, so that it can purge and restart from it.
    Snapshot { whom: Whom },
    /// A turn that was not made on the present head reaches the log.
    Stranger,
}

/// Everything that a run draws before it starts.
#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    pub tempers: Vec<Temper>,
    pub clients: u64,
    pub jobs_each: u64,
    pub weather: Weather,
    /// By node, from 1; of its first life.
    pub skews: Vec<Skew>,
    /// When each fault strikes, from the start of the faults, ascending. Units: ms.
    pub schedule: Vec<(u64, Fault)>,
    /// How long faults strike. Units: ms.
    pub faults_ms: u64,
    /// Stallers never come to their senses: their leases have to expire.
    pub stall_for_ever: bool,
    pub segment_leaves: u64,
}

impl Plan {
    /// The plan of a seed.
    pub fn of(seed: u64) -> Plan {
        let dice = &mut Dice::of(seed, "plan");
        let agents = dice.between(4, 6);
        let mut tempers = vec![Temper::Honest, Temper::Honest];
        while (tempers.len() as u64) < agents {
            tempers.push(*dice.pick(&Temper::ALL));
        }
        let rough = dice.chance(700);
        let weather = Weather {
            delay_ms: (1, dice.between(2, 6)),
            loss_permille: if rough { dice.between(1, 15) as u32 } else { 0 },
            duplicate_permille: if rough { dice.between(1, 15) as u32 } else { 0 },
            late_permille: dice.between(5, 40) as u32,
            late_ms: (5, dice.between(20, 150)),
        };
        let skews = (0..NODES)
            .map(|_| Skew {
                offset_ms: dice.between(0, 3_000) as i64 - 1_500,
                drift_permille: dice.between(0, 20) as i64 - 10,
            })
            .collect();
        let faults_ms = dice.between(8_000, 9_500);
        Plan {
            seed,
            tempers,
            clients: 3,
            jobs_each: 18,
            weather,
            skews,
            schedule: schedule(dice, faults_ms),
            faults_ms,
            stall_for_ever: dice.chance(120),
            segment_leaves: dice.between(150, 500),
        }
    }
}

fn schedule(dice: &mut Dice, faults_ms: u64) -> Vec<(u64, Fault)> {
    // At least one leader goes in every run.
    let kill = match dice.below(3) {
        0 => Fault::Crash { whom: Whom::Leader, down_ms: dice.between(700, 2_500) },
        1 => Fault::CrashMidWrite {
            whom: Whom::Leader,
            operations: dice.between(1, 24),
            down_ms: dice.between(700, 2_500),
        },
        _ => Fault::Partition { whom: Whom::Leader, for_ms: dice.between(1_500, 3_000) },
    };
    let mut all = vec![(dice.between(300, faults_ms - 4_000), kill)];
    for _ in 0..dice.between(5, 10) {
        all.push((dice.between(0, faults_ms - 500), fault(dice)));
    }
    for _ in 0..dice.between(2, 5) {
        all.push((dice.between(500, faults_ms - 500), Fault::Snapshot { whom: whom(dice) }));
    }
    for _ in 0..dice.between(4, 8) {
        all.push((dice.between(0, faults_ms - 500), Fault::Stranger));
    }
    all.sort_by_key(|(at, _)| *at);
    all
}

fn whom(dice: &mut Dice) -> Whom {
    match dice.below(5) {
        0 => Whom::Leader,
        1 => Whom::Follower,
        _ => Whom::Node(dice.between(1, NODES)),
    }
}

fn fault(dice: &mut Dice) -> Fault {
    let whom = whom(dice);
    let (down_ms, for_ms) = (dice.between(100, 2_500), dice.between(300, 2_500));
    match dice.below(14) {
        0 | 1 => Fault::Crash { whom, down_ms },
        2 | 3 => Fault::CrashMidWrite { whom, operations: dice.between(1, 24), down_ms },
        4 => Fault::CrashInElection { after_ms: dice.between(300, 700), down_ms },
        5 => Fault::PowerCut { down_ms: dice.between(50, 800) },
        6 => Fault::Partition { whom, for_ms },
        7 => Fault::Mute { whom, for_ms },
        8 => Fault::Deafen { whom, for_ms },
        9 | 10 => Fault::SlowDisk { whom, sync_ms: dice.between(20, 120), for_ms },
        11 | 12 => Fault::Transfer,
        _ => Fault::Snapshot { whom },
    }
}
