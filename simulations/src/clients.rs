//! Clients: submit under idempotency keys until they know, cancel, read back, and ask twice.

use crate::dice::Dice;
use crate::invariants::Seen;
use crate::network::{Network, Place};
use crate::node::Cluster;
use crate::oracle::Oracle;
use crate::plan::{NODES, Plan};
use crate::setup::{PROJECT, by};
use crate::trace::{Kind, Trace};
use forge_adapters::Registry;
use forge_event::*;
use forge_projections::family::Families;
use forge_projections::{Command, CommandError, Committed};
use serde_json::{Value, json};
use std::time::Duration;

/// A client waits so long for an answer before it asks again.
const ANSWER_WAIT: Duration = Duration::from_millis(2_500);

/// One client.
pub(crate) struct Client {
    pub number: u64,
    pub jobs: u64,
    /// Between two submissions at the most. Units: ms.
    pub pause_ms: u64,
    pub cluster: Cluster,
    pub network: Network,
    pub oracle: Oracle,
    pub trace: Trace,
    pub dice: Dice,
}

/// What came of a request.
enum Outcome {
    Done(Committed),
    Refused,
}

/// A request that was answered.
struct Answered {
    name: String,
    event: Event,
    index: EventIndex,
}

impl Client {
    pub fn new(
        number: u64,
        plan: &Plan,
        (cluster, network, oracle, trace): (&Cluster, &Network, &Oracle, &Trace),
    ) -> Client {
        Client {
            number,
            jobs: plan.jobs_each,
            pause_ms: 2 * plan.faults_ms / (plan.jobs_each + 2),
            cluster: cluster.clone(),
            network: network.clone(),
            oracle: oracle.clone(),
            trace: trace.clone(),
            dice: Dice::of(plan.seed, &format!("client {number}")),
        }
    }

    /// Submits its jobs and looks after them; ends when every request is answered.
    pub async fn run(mut self) {
        let mut answered: Vec<Answered> = Vec::new();
        for number in 0..self.jobs {
            tokio::time::sleep(self.dice.ms(0, self.pause_ms)).await;
            let (name, event) = (format!("c{} job {number}", self.number), self.job(number));
            if let Outcome::Done(committed) = self.ask(&name, &event).await {
                answered.push(Answered { name, event, index: committed.index });
            }
            if answered.is_empty() {
                continue;
            }
            match self.dice.below(10) {
                0 => self.cancel(&answered).await,
                1 | 2 => self.ask_again(&answered).await,
                3..=5 => self.read_back(&answered).await,
                6 => self.issue(number).await,
                _ => {}
            }
        }
        // The last word: everything it was told of is still there.
        for _ in 0..3 {
            self.ask_again(&answered).await;
            self.read_back(&answered).await;
        }
    }

    fn job(&mut self, number: u64) -> Event {
        let dice = &mut self.dice;
        let monte_carlo = dice.chance(250);
        let (kind, spec, shard_cells): (&str, Value, Option<u64>) = if monte_carlo {
            // Few specs, cut in many ways: equal specs must give equal bytes.
            let samples = 100 * dice.between(1, 3);
            let spec = match dice.below(2) {
                0 => json!({"model": "pi", "samples": samples, "seed": 7}),
                _ => json!({
                    "model": "european", "samples": samples, "seed": 11,
                    "params": {"spot": 100.0, "strike": 105.0, "rate": 0.03, "dividend_yield": 0.0, "volatility": 0.2,
                               "maturity": 1.0, "option": "call"}
                }),
            };
            ("monte_carlo", spec, dice.chance(800).then(|| dice.between(17, 130)))
        } else {
            let spec = json!({
                "shards": dice.between(1, 14),
                "sleep_us": 1000 * dice.between(0, 120),
                "payload_bytes": dice.between(0, 40)
            });
            ("null", spec, None)
        };
        let family = Registry.newest(kind).expect("both kinds are built in");
        let checked =
            family.check_spec(&spec, shard_cells).unwrap_or_else(|f| panic!("a client's spec is good: {f:?}"));
        JobSubmitted {
            project: PROJECT,
            kind: kind.into(),
            family_version: family.version(),
            name: Some(format!("job {number} of client {}", self.number)),
            labels: Vec::new(),
            spec: checked.spec,
            shard_cells,
            requirements: Requirements::default(),
            limits: Limits { max_attempts: Some(50), ..Limits::default() },
            priority: dice.below(10) as u8,
            allow_wait: true,
            verify: None,
            inputs: checked.inputs,
        }
        .into()
    }

    /// Asks until it knows: any node, the same key.
    async fn ask(&mut self, name: &str, event: &Event) -> Outcome {
        let by = by(name);
        let mut tries = 0;
        loop {
            tries += 1;
            if tries > 1 {
                self.trace.fired("client asked again");
            }
            let node = self.dice.between(1, NODES);
            let fact = Fact { by: Some(by), event: event.clone() };
            match self.ask_once(node, Command::Fact(fact)).await {
                Some(Ok(committed)) => {
                    if committed.replayed {
                        self.trace.fired("answer replayed");
                    }
                    self.trace.note(Kind::Answer, self.number, committed.index.0, name.as_bytes());
                    if let Some(idempotency) = by.idempotency {
                        self.oracle.see(&Seen::Acknowledged { idempotency, index: committed.index });
                    }
                    return Outcome::Done(committed);
                }
                Some(Err(CommandError::Rejected(why))) => {
                    self.trace.note(Kind::Answer, self.number, 0, format!("{why:?}").as_bytes());
                    return Outcome::Refused;
                }
                Some(Err(CommandError::Unknown)) | None => self.trace.fired("client does not know"),
                Some(Err(_)) => {}
            }
            tokio::time::sleep(self.dice.ms(10, 300)).await;
        }
    }

    /// One try; `None` if no answer came.
    async fn ask_once(&mut self, node: u64, command: Command) -> Option<Result<Committed, CommandError>> {
        self.trace.note(Kind::Command, self.number, node, &[]);
        let (here, there) = (Place::Client(self.number), Place::Node(node));
        if !self.network.hop(here, there).await {
            tokio::time::sleep(self.dice.ms(50, 500)).await;
            return None;
        }
        let (hub, died) = self.cluster.hub(node)?;
        let answer = tokio::select! {
            biased;
            () = died.cancelled() => None,
            answer = tokio::time::timeout(ANSWER_WAIT, hub.command(command)) => answer.ok(),
        };
        let answer = answer?;
        self.network.hop(there, here).await.then_some(answer)
    }

    /// Retries a request that was answered: the answer must name the same event.
    async fn ask_again(&mut self, answered: &[Answered]) {
        let Some(one) = pick(&mut self.dice, answered) else { return };
        let (name, event) = (one.name.clone(), one.event.clone());
        self.ask(&name, &event).await;
    }

    async fn cancel(&mut self, answered: &[Answered]) {
        let Some(one) = pick(&mut self.dice, answered) else { return };
        let (job, name) = (JobId::born_at(one.index), format!("cancel {}", one.name));
        self.ask(&name, &JobCancelRequested { job, reason: None }.into()).await;
    }

    async fn issue(&mut self, number: u64) {
        let name = format!("c{} money {number}", self.number);
        let issued = CreditsIssued { project: PROJECT, amount: Credits(1_000_000), reference: name.clone() };
        self.ask(&name, &issued.into()).await;
    }

    /// Reads a job it was told of, on any node, behind a barrier.
    async fn read_back(&mut self, answered: &[Answered]) {
        let Some(index) = pick(&mut self.dice, answered).map(|one| one.index) else { return };
        let node = self.dice.between(1, NODES);
        let (here, there) = (Place::Client(self.number), Place::Node(node));
        if !self.network.hop(here, there).await {
            return;
        }
        let Some((hub, died)) = self.cluster.hub(node) else { return };
        let read = async {
            hub.barrier().await.ok()?;
            Some(hub.read(|world| world.jobs.jobs.contains(&JobId::born_at(index))))
        };
        let found = tokio::select! {
            biased;
            () = died.cancelled() => None,
            found = read => found,
        };
        if let Some(found) = found {
            self.trace.fired("read behind a barrier");
            self.oracle.see(&Seen::ReadBack { node, index, found });
        }
    }
}

fn pick<'a>(dice: &mut Dice, answered: &'a [Answered]) -> Option<&'a Answered> {
    if answered.is_empty() { None } else { Some(dice.pick(answered)) }
}
