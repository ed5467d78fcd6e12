//! `data` of facts.

use super::json::{Object, array, escaped, plains, quoted, texts};
use super::{canonical_request, entries, rate, request, runs};
use crate::cow::digest_of;
use crate::world::{Meta, World};
use alloc::format;
use alloc::string::{String, ToString};
use forge_event::digest::hex;
use forge_event::*;

pub(super) fn data(event: &Event, meta: Option<&Meta>, by: Option<&By>, world: &World) -> Object {
    let o = Object::new();
    match event {
        Event::LeaderStarted(e) => {
            o.plain("node", e.node).raw("term", e.term).plain("wall", e.wall).raw("extend_ms", e.extend_ms)
        }
        Event::NodeInvited(e) => o.plain("token_digest", e.token_digest).plain("expires_at", e.expires_at),
        Event::NodeAdmitted(e) => o
            .plain("node", e.node)
            .raw_or_null("invite", e.invite)
            .raw("addresses", addresses(&e.addresses))
            .plain("public_key", hex(&e.public_key))
            .plain("tip", e.tip)
            .raw("voter", e.voter),
        Event::NodeMoved(e) => o.plain("node", e.node).raw("addresses", addresses(&e.addresses)),
        Event::NodeRemoved(e) => o.plain("node", e.node),
        Event::NodeLost(e) => o.plain("node", e.node).raw("term", e.term),
        Event::SegmentArchived(e) => {
            o.plain("node", e.node).raw("first", e.first).raw("last", e.last).plain("digest", e.digest)
        }
        Event::ProjectCreated(e) => o.text("name", &e.name).plain_or_null("quota", e.quota).raw("weight", e.weight),
        Event::QuotaChanged(e) => o
            .plain_or_null("credits", e.quota.credits)
            .raw_or_null("shards", e.quota.shards)
            .raw_or_null("blob_bytes", e.quota.blob_bytes)
            .raw_or_null("blob_count", e.quota.blob_count)
            .raw_or_null("vmem_bytes", e.quota.vmem_bytes)
            .raw_or_null("uploads", e.quota.uploads)
            .raw_or_null("replaces", e.replaces),
        Event::KeyCreated(e) => o
            .text("label", &e.label)
            .raw("scopes", plains(e.scopes.iter().map(|s| s.name())))
            .plain_or_null("project", e.project)
            .plain_or_null("expires_at", e.expires_at)
            .plain("digest", e.digest),
        Event::KeyRevoked(_) => o,
        Event::ProviderCreated(e) => o.text("name", &e.name),
        Event::PolicyChanged(e) => policy(o, e),
        Event::EnrolmentCreated(e) => o
            .plain("provider", e.provider)
            .raw("anchor", e.anchor)
            .plain("expires_at", e.expires_at)
            .plain("token_digest", e.token_digest),
        Event::AgentEnrolled(e) => o
            .plain("provider", e.provider)
            .raw("anchor", e.anchor)
            .plain("public_key", hex(&e.public_key))
            .raw("enrolment", e.enrolment),
        Event::AgentJoined(e) => o
            .plain("node", e.node)
            .raw("epoch", e.epoch)
            .raw("slots", e.slots)
            .raw("capabilities", capabilities(&e.capabilities)),
        Event::AgentDraining(e) => o.raw("epoch", e.epoch),
        Event::AgentLost(e) => o.raw("epoch", e.epoch).plain("reason", e.reason.name()),
        Event::AgentsObserved(e) => {
            let seen = |s: &Observation| format!("[\"{}\",{},{},{}]", s.agent, s.latency_us, s.load_permille, s.speed);
            o.plain("node", e.node).raw("agents", array(e.agents.iter().map(seen)))
        }
        Event::JobSubmitted(e) => submitted(o, e, by),
        Event::JobCancelRequested(e) => o.text_or_null("reason", e.reason.as_deref()),
        Event::StagePlanned(e) => o
            .raw("stage", e.stage)
            .plain("effect", EffectId::Plan { job: e.job, stage: e.stage })
            .raw("try", e.try_number)
            .raw("shards", format!("[{},{}]", e.shards.first, e.shards.last))
            .raw("segments", e.segments)
            .raw("last", e.last)
            .plain("plan", Digest::of(&e.plan_body))
            .plain("plan_body", hex(&e.plan_body)),
        Event::EffectStarted(e) => o.plain("effect", e.effect).raw("try", e.try_number).plain("node", e.node),
        Event::EffectFailed(e) => {
            o.plain("effect", e.effect).raw("try", e.try_number).text("code", &e.code).text("detail", &e.detail)
        }
        Event::ResultReceived(e) => received(o, e),
        Event::ResultsSealed(e) => {
            o.raw("upto", e.upto).plain("head", hex(&e.head)).plain("signature", hex(e.signature.as_flattened()))
        }
        Event::ShardReportedFailed(e) => o
            .plain("agent", e.agent)
            .raw("epoch", e.epoch)
            .raw("attempt", e.attempt)
            .raw("shards", runs(&e.shards))
            .text("code", &e.code),
        Event::JobReduced(e) => o
            .plain("effect", EffectId::Reduce { job: e.job, version: e.version })
            .raw("try", e.try_number)
            .raw("version", e.version)
            .plain("digest", e.digest)
            .raw("bytes", e.bytes)
            .plain_or_null("document", e.document.as_deref().map(hex))
            .raw("outputs", plains(&e.outputs)),
        Event::CreditsIssued(e) => {
            entries(o.plain("amount", e.amount).text("reference", &e.reference), event, meta, world)
        }
        Event::CheckpointReceived(e) => o
            .plain("agent", e.agent)
            .raw("epoch", e.epoch)
            .raw("attempt", e.attempt)
            .raw("shard", e.shard)
            .raw("cells", e.cells)
            .plain("digest", e.digest)
            .raw("checks", checks(&e.checks))
            .plain("inline", hex(&e.inline))
            .plain("signature", hex(e.signature.as_flattened())),
        Event::BlobRecorded(e) => o.plain("digest", e.digest).raw("bytes", e.bytes).plain_or_null("job", e.job),
        _ => unreachable!("asked only for facts"),
    }
}

fn addresses(a: &Addresses) -> String {
    Object::new().text("rest", &a.rest).text("agents", &a.agents).text("peers", &a.peers).end()
}

fn capabilities(c: &Capabilities) -> String {
    Object::new()
        .text("cpu_class", &c.cpu_class)
        .text_or_null("gpu", c.gpu.as_deref())
        .raw("mem_bytes", c.mem_bytes)
        .text("region", &c.region)
        .raw("software", texts(&c.software))
        .end()
}

fn policy(o: Object, e: &PolicyChanged) -> Object {
    let prices = map(e.prices.iter().map(|(kind, price)| (kind, rate(price))));
    o.raw("version", e.version)
        .plain("digest", digest_of(e))
        .raw("prices", prices)
        .raw("payout", rate(&e.payout))
        .raw("fee", rate(&e.fee))
        .raw("verification", rate(&e.verification))
}

/// An object whose keys come from outside.
fn map<'a>(items: impl Iterator<Item = (&'a String, String)>) -> String {
    let items = items.map(|(key, value)| format!("{}:{value}", escaped(key)));
    let list = array(items);
    format!("{{{}}}", &list[1..list.len() - 1])
}

fn submitted(o: Object, e: &JobSubmitted, by: Option<&By>) -> Object {
    let body = canonical_request(e);
    o.text("kind", &e.kind)
        .text_or_null("name", e.name.as_deref())
        .raw("labels", map(e.labels.iter().map(|(key, value)| (key, escaped(value)))))
        .plain("spec", Digest::of(&e.spec))
        .plain("request", Digest::of(body.as_bytes()))
        .plain_or_null("max_credits", e.limits.max_credits)
        .raw("inputs", plains(&e.inputs))
        .raw("verify", request::verify(e.verify))
        .plain_or_null("idempotency", by.and_then(|b| b.idempotency))
        .plain("body", hex(body.as_bytes()))
        .raw("family_version", e.family_version)
}

fn checks(checks: &Checks) -> String {
    Object::new().raw("version", checks.version).raw("bits", checks.bits).end()
}

fn received(o: Object, e: &ResultReceived) -> Object {
    // A run of equal results is one stored entry and as many exported ones.
    let each = |text: fn(&ResultRun) -> String| {
        array(e.results.iter().flat_map(move |run| core::iter::repeat_n(text(run), run.count as usize)))
    };
    let root = |run: &ResultRun| quoted(run.root.unwrap_or_else(|| seal::single_root(&run.digest)));
    let inline = |run: &ResultRun| run.inline.as_deref().map_or("null".to_string(), |bytes| quoted(hex(bytes)));
    let bytes: u64 = e.results.iter().map(|run| run.bytes.saturating_mul(u64::from(run.count))).sum();
    o.plain("agent", e.agent)
        .raw("epoch", e.epoch)
        .raw("attempt", e.attempt)
        .raw("shards", runs(&e.shards))
        .raw("position", e.position)
        .raw("digests", each(|run| quoted(run.digest)))
        .raw("roots", each(root))
        .raw("checks", checks(&e.checks))
        .raw("bytes", bytes)
        .raw("inline", each(inline))
}
