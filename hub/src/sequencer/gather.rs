//! Orders, numbers and groups the results of a turn.

use forge_event::*;
use forge_projections::Delivery;

/// The facts for an agent's deliveries, ascending by (job, attempt, shard), numbered on from `position`.
///
/// Shape: consecutive deliveries of one job and attempt with equal checks share a fact.
pub fn facts(agent: AgentId, epoch: Epoch, position: u64, deliveries: &[Delivery]) -> Vec<ResultReceived> {
    let mut facts: Vec<ResultReceived> = Vec::new();
    for (next, delivery) in (position + 1..).zip(deliveries) {
        let LeaseId { job, shard, attempt } = delivery.lease;
        let fits = |fact: &ResultReceived| {
            let last = fact.shards.0.last().map(|r| r.last);
            (fact.job, fact.attempt, fact.checks) == (job, attempt, delivery.checks) && last.is_some_and(|l| l < shard)
        };
        match facts.last_mut().filter(|f| fits(f)) {
            Some(fact) => {
                fact.shards.push(shard);
                match fact.results.last_mut().filter(|r| r.digest == delivery.digest && r.root == delivery.root) {
                    Some(run) => run.count += 1,
                    None => fact.results.push(run_of(delivery)),
                }
            }
            None => facts.push(ResultReceived {
                job,
                agent,
                epoch,
                attempt,
                shards: Runs::one(shard),
                position: next,
                results: vec![run_of(delivery)],
                checks: delivery.checks,
            }),
        }
    }
    facts
}

fn run_of(delivery: &Delivery) -> ResultRun {
    ResultRun {
        count: 1,
        digest: delivery.digest,
        root: delivery.root,
        inline: delivery.inline.clone(),
        bytes: delivery.bytes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivery(job: u64, shard: u32, bytes: &[u8]) -> Delivery {
        Delivery {
            lease: LeaseId { job: JobId(job), shard, attempt: 1 },
            digest: Digest::of(bytes),
            root: None,
            bytes: bytes.len() as u64,
            inline: Some(bytes.to_vec()),
            checks: Checks::default(),
        }
    }

    #[test]
    fn equal_results_of_a_job_share_a_run_and_a_fact() {
        let deliveries = [delivery(1, 3, b""), delivery(1, 4, b""), delivery(1, 9, b"x"), delivery(2, 0, b"")];
        let facts = facts(AgentId(7), 1, 10, &deliveries);
        assert_eq!(facts.len(), 2);
        assert_eq!(facts[0].shards, Runs::ascending([3, 4, 9]));
        assert_eq!(facts[0].results.iter().map(|r| r.count).collect::<Vec<_>>(), [2, 1]);
        assert_eq!((facts[0].position, facts[1].position), (11, 14));
    }
}
