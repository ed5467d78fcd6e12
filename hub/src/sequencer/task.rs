//! Drives the machine against the log: owns the commands' channel, dull otherwise.

use super::machine::{Answer, Machine};
use super::term_time::{AGREE, TermTime};
use crate::clock::Clock;
use crate::committed::CommittedWorld;
use crate::metrics::Metrics;
use crate::peers::card_of;
use forge_event::{LeaderStarted, NodeId, Term, Timestamp};
use forge_log::network::Transport;
use forge_log::{Appended, Log, Refusal};
use forge_projections::agents::GRACE;
use forge_projections::{Command, CommandError, Families, World};
use futures::StreamExt;
use futures::future::{BoxFuture, join_all};
use futures::stream::FuturesOrdered;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

/// Commands that may wait for the sequencer; a full queue is `Overloaded`.
pub const COMMANDS_WAITING_MAX: usize = 4096;
/// Commands taken between two looks at the log.
const COMMANDS_BATCH_MAX: usize = 1024;
/// How long a fresh leader waits for its log to catch up before it looks again.
const CATCH_UP: Duration = Duration::from_secs(5);

/// How long a fresh leader waits for other nodes to say what their clocks say.
const CLOCKS_WAIT: Duration = Duration::from_secs(1);

/// A command and where its answer goes.
#[derive(Debug)]
pub struct Request {
    pub command: Command,
    pub reply: Reply,
}

/// Where an answer goes. Dropped without one, it says that nobody knows.
#[derive(Debug)]
pub enum Reply {
    To(oneshot::Sender<Answer>),
    Numbered(Numbered),
}

/// A place among the answers of one link, whose channel has room for it.
#[derive(Debug)]
pub struct Numbered {
    number: u64,
    answers: Option<mpsc::Sender<(u64, Answer)>>,
}

impl Numbered {
    pub fn new(number: u64, answers: mpsc::Sender<(u64, Answer)>) -> Numbered {
        Numbered { number, answers: Some(answers) }
    }
}

impl Drop for Numbered {
    fn drop(&mut self) {
        if let Some(answers) = self.answers.take() {
            let _ = answers.try_send((self.number, Err(CommandError::Unknown)));
        }
    }
}

impl Reply {
    /// Who stopped waiting finds the outcome in the log.
    pub(crate) fn send(self, answer: Answer) {
        match self {
            Reply::To(waiting) => drop(waiting.send(answer)),
            Reply::Numbered(mut numbered) => {
                if let Some(answers) = numbered.answers.take() {
                    let _ = answers.try_send((numbered.number, answer));
                }
            }
        }
    }
}

/// Everything the task works with.
pub struct Sequencer {
    pub node: NodeId,
    pub log: Arc<dyn Log>,
    pub committed: Arc<CommittedWorld>,
    pub clock: Clock,
    pub families: &'static dyn Families,
    pub metrics: Arc<Metrics>,
    pub requests: mpsc::Receiver<Request>,
    /// To ask other nodes for their clocks.
    pub transport: Arc<dyn Transport>,
    pub stop: CancellationToken,
}

/// Appends under way, oldest first, with how long each took.
type Tickets = FuturesOrdered<BoxFuture<'static, (Appended, Duration)>>;

/// Runs until `stop`: sequences whenever this node leads, refuses while it does not.
pub async fn run(mut sequencer: Sequencer) {
    let mut role = sequencer.log.role();
    loop {
        let now = *role.borrow_and_update();
        match now.leads() {
            Some(last_index) => {
                tokio::select! { biased;
                    () = sequencer.stop.cancelled() => return,
                    caught_up = tokio::time::timeout(CATCH_UP, sequencer.log.wait_applied(last_index)) => {
                        if matches!(caught_up, Ok(true)) {
                            lead(&mut sequencer, now.term).await;
                        }
                    }
                }
                if sequencer.stop.is_cancelled() {
                    return;
                }
                // Refused while still leading (a lost lease, a stranger's turn): look again soon.
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            None => tokio::select! { biased;
                () = sequencer.stop.cancelled() => return,
                changed = role.changed() => if changed.is_err() { return },
                request = sequencer.requests.recv() => match request {
                    Some(request) => request.reply.send(Err(CommandError::NoLeader)),
                    None => return,
                },
            },
        }
    }
}

/// Leads `term` until an append is not committed, or the role changes.
async fn lead(sequencer: &mut Sequencer, term: Term) {
    let mut role = sequencer.log.role();
    let world = sequencer.committed.read(World::clone);
    if world.head.turns == 0 {
        // Genesis is written by whoever founds the cluster, not by a leader.
        tokio::time::sleep(Duration::from_millis(5)).await;
        return;
    }
    info!(node = %sequencer.node, term, head = world.head.events, "leading");
    let time = term_time(sequencer, world.at).await;
    let mut machine: Machine<Reply> = Machine::new(world);
    let mut tickets = Tickets::new();
    start_term(sequencer, &mut machine, &time, term);
    while !(machine.is_broken() && machine.in_flight() == 0) {
        seal(sequencer, &mut machine, &time, &mut tickets, term);
        answer(sequencer, &mut machine);
        let wake = machine.wake_at().map(|at| Duration::from_millis(at.since(time.at(sequencer.clock.now())).0));
        tokio::select! { biased;
            () = sequencer.stop.cancelled() => break,
            Some(outcome) = tickets.next() => settle(sequencer, &mut machine, outcome),
            request = sequencer.requests.recv(), if machine.has_room() => {
                let Some(request) = request else { break };
                take(sequencer, &mut machine, &time, request);
                for _ in 1..COMMANDS_BATCH_MAX {
                    if !machine.has_room() { break }
                    match sequencer.requests.try_recv() {
                        Ok(request) => take(sequencer, &mut machine, &time, request),
                        Err(_) => break,
                    }
                }
            }
            () = tokio::time::sleep(wake.unwrap_or_default()), if wake.is_some() => {}
            _ = role.wait_for(|r| r.leads().is_none() || r.term != term), if tickets.is_empty() => break,
        }
    }
    while let Some(outcome) = tickets.next().await {
        settle(sequencer, &mut machine, outcome);
    }
    machine.abandon(CommandError::NoLeader);
    answer(sequencer, &mut machine);
    debug!(node = %sequencer.node, term, "no longer sequencing");
}

/// How this term's time goes on from where the log's ends: a long gap is taken over only if a majority of clocks agrees.
async fn term_time(sequencer: &Sequencer, last: Timestamp) -> TermTime {
    let agreed = TermTime::asks(last, sequencer.clock.now()) && clocks_agree(sequencer).await;
    let time = TermTime::start(last, sequencer.clock.now(), agreed);
    if time.is_far() {
        let (node, wall) = (sequencer.node, sequencer.clock.now());
        warn!(%node, %wall, log = %last, "most nodes' clocks differ from this leader's: the log's time slews towards it");
    }
    time
}

/// Whether a majority of the voters' clocks, this one among them, agrees with this one.
async fn clocks_agree(sequencer: &Sequencer) -> bool {
    let voters = sequencer.log.status().members.into_iter().filter(|m| m.voter).map(|m| m.node);
    let voters: Vec<NodeId> = voters.collect();
    let asked = voters.iter().map(async |voter| {
        if *voter == sequencer.node {
            return true;
        }
        let card = tokio::time::timeout(CLOCKS_WAIT, card_of(&sequencer.transport, &sequencer.clock, *voter)).await;
        matches!(card, Ok(Ok(seen)) if seen.ahead_ms.unsigned_abs() <= AGREE.0)
    });
    let agreeing = join_all(asked).await.into_iter().filter(|agrees| *agrees).count();
    // A log in memory has no members, and nobody to ask.
    voters.is_empty() || agreeing > voters.len() / 2
}

/// The term's first fact: who leads, and how far deadlines move.
fn start_term(sequencer: &Sequencer, machine: &mut Machine<Reply>, time: &TermTime, term: Term) {
    let wall = sequencer.clock.now();
    let gap = time.at(wall).since(machine.head().at);
    let extend_ms = gap.0 + GRACE.0;
    let (answer, _) = oneshot::channel();
    let fact = LeaderStarted { node: sequencer.node, term, wall, extend_ms };
    take(sequencer, machine, time, Request { command: Command::Fact(fact.into()), reply: Reply::To(answer) });
}

fn take(sequencer: &Sequencer, machine: &mut Machine<Reply>, time: &TermTime, request: Request) {
    let salt = || sequencer.clock.random();
    let now = time.at(sequencer.clock.now());
    machine.submit(request.command, request.reply, now, salt, sequencer.families);
}

fn seal(sequencer: &Sequencer, machine: &mut Machine<Reply>, time: &TermTime, tickets: &mut Tickets, term: Term) {
    let now = || time.at(sequencer.clock.now());
    while let Some(sealed) = machine.seal(now(), || sequencer.clock.random(), sequencer.families) {
        sequencer.committed.rehearsed(sealed.head, sealed.growth);
        let (ticket, since) = (sequencer.log.append(term, sealed.frame), Instant::now());
        tickets.push_back(Box::pin(async move { (ticket.await, since.elapsed()) }));
    }
}

fn settle(sequencer: &Sequencer, machine: &mut Machine<Reply>, (outcome, took): (Appended, Duration)) {
    match outcome {
        Appended::Committed { .. } => {
            sequencer.metrics.commit.record(took);
            machine.committed();
        }
        Appended::Refused(refusal) => {
            warn!(?refusal, "a turn was refused");
            machine.not_committed(match refusal {
                Refusal::StorageDegraded => CommandError::Refusing(forge_projections::Refusing::StorageDegraded),
                _ => CommandError::NoLeader,
            });
        }
        Appended::Unknown => {
            warn!("nobody knows whether a turn is in the log");
            machine.not_committed(CommandError::Unknown);
        }
    }
}

fn answer(sequencer: &Sequencer, machine: &mut Machine<Reply>) {
    for (reply, answer) in machine.take_answers() {
        let metrics = &sequencer.metrics;
        if answer.is_ok() { &metrics.commands } else { &metrics.commands_refused }.inc();
        reply.send(answer);
    }
}
