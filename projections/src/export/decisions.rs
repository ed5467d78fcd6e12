//! `data` of decisions.

use super::json::{Object, array};
use super::{entries, rate, runs};
use crate::world::{Meta, World};
use alloc::string::String;
use forge_event::*;

pub(super) fn data(index: EventIndex, event: &Event, meta: Option<&Meta>, world: &World) -> Object {
    let o = Object::new();
    let transfer = TransferId::born_at(index);
    match event {
        Event::JobAdmitted(e) => {
            let hold = world.jobs.jobs.get(&e.job).and_then(|job| job.hold).map(|hold| hold.transfer);
            o.plain_or_null("hold", hold).plain("max_cost", e.max_cost)
        }
        Event::JobSucceeded(e) => {
            let tally = Object::new().raw("audited", 0).raw("credible", 0).raw("structural", e.structural);
            o.raw("version", e.version)
                .plain("digest", e.digest)
                .raw("bytes", e.bytes)
                // What policy 1 can say of a result that nobody did a second time.
                .plain("assurance", "none")
                .plain("error_bound", "1")
                .raw("verification", tally.raw("recomputed", 0).end())
                .plain("evidence", e.evidence)
        }
        Event::JobFailed(e) => o.text("code", &e.code).text("detail", &e.detail),
        Event::JobCancelled(e) => o.text_or_null("reason", e.reason.as_deref()),
        Event::ShardAssigned(e) => o
            .plain("agent", e.agent)
            .raw("epoch", e.epoch)
            .raw("shards", runs(&e.shards))
            .raw("attempt", e.attempt)
            .plain("role", e.role.name())
            .raw("probation", false)
            .raw("segment", "null")
            .plain("deadline", e.deadline),
        Event::ShardRequeued(e) => {
            o.raw("shards", runs(&e.shards)).plain("reason", e.reason.name()).raw("attempt", e.attempt)
        }
        Event::LeaseExpired(e) => o.plain("agent", e.agent).raw("shards", runs(&e.shards)).raw("attempt", e.attempt),
        Event::LeaseRevoked(e) => o
            .plain("agent", e.agent)
            .raw("shards", runs(&e.shards))
            .raw("attempt", e.attempt)
            .plain("reason", e.reason.name()),
        Event::ResultAccepted(e) => o
            .plain("agent", e.agent)
            .raw("attempt", e.attempt)
            .raw("shards", runs(&e.shards))
            .plain("class", e.class.name()),
        Event::ResultRefused(e) => o
            .plain("agent", e.agent)
            .raw("attempt", e.attempt)
            .raw("shards", runs(&e.shards))
            .plain("code", e.code.name()),
        Event::CreditHeld(e) => {
            entries(o.plain("transfer", transfer).plain("job", e.job).plain("amount", e.amount), event, meta, world)
        }
        Event::CreditAccrued(e) => entries(accrued(o.plain("transfer", transfer), e, world), event, meta, world),
        Event::CreditVoided(e) => {
            let o = o.plain("transfer", transfer).plain("of", e.of).plain("job", e.job);
            entries(o.raw("results", results(&e.results)), event, meta, world).plain("reason", e.reason.name())
        }
        Event::CreditReleased(e) => {
            let o = o.plain("transfer", transfer).plain("of", e.of).plain("job", e.job);
            entries(o.plain("amount", e.amount), event, meta, world)
        }
        Event::StateRooted(e) => {
            let roots = Part::ALL.iter().zip(&e.roots);
            let roots = roots.fold(Object::new(), |o, (part, root)| o.plain(part.name(), root)).end();
            o.raw("upto", e.upto).raw("roots", roots)
        }
        Event::ShardResumed(e) => {
            o.plain("agent", e.agent).raw("attempt", e.attempt).raw("shard", e.shard).raw("from", e.from)
        }
        _ => unreachable!("asked only for decisions"),
    }
}

fn accrued(o: Object, e: &CreditAccrued, world: &World) -> Object {
    let (charge, payout) = world.charge_of(e).unwrap_or_default();
    o.plain("job", e.job)
        .plain("provider", e.provider)
        .plain("for", e.purpose.name())
        .raw("results", results(&e.results))
        .raw("count", e.count)
        .raw("rate", rate(&e.rate))
        .plain("charge", charge)
        .plain("payout", payout)
        .raw("prices", e.prices)
        .raw("warranty_block", "null")
}

fn results(results: &[PaidResults]) -> String {
    let one = |r: &PaidResults| {
        Object::new().plain("agent", r.agent).raw("attempt", r.attempt).raw("shards", runs(&r.shards)).end()
    };
    array(results.iter().map(one))
}
