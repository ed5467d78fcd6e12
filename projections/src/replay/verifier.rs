//! Checks an archive turn by turn.

use super::report::{Fault, FaultCode, Report};
use super::{Mode, Options, Progress, SealCheck};
use crate::decide::POLICY;
use crate::family::Families;
use crate::world::{Known, World};
use alloc::string::{String, ToString};
use core::fmt::{self, Debug};
use forge_event::archive::{ArchiveError, Reader, Step};
use forge_event::codec::DecodeError;
use forge_event::*;

/// Replays an archive held in memory.
pub struct Verifier<'a> {
    reader: Option<Reader<'a>>,
    families: &'a dyn Families,
    options: Options,
    seal_check: Option<SealCheck<'a>>,
    report: Report,
    over: bool,
}

impl Debug for Verifier<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").field("report", &self.report).finish_non_exhaustive()
    }
}

/// What stopped a turn: the code, the event, and why.
type Stop = (FaultCode, EventIndex, String);

/// Of events that differ so much is shown, and so much of it before the place where they do.
const SHOWN_CHARS: usize = 120;
const SHOWN_CHARS_BEFORE: usize = 40;

impl<'a> Verifier<'a> {
    /// Replays from genesis. A file that starts later is a fault.
    pub fn new(bytes: &'a [u8], families: &'a dyn Families, options: Options) -> Self {
        Self::onto(World::default(), bytes, families, options)
    }

    /// Replays a file that starts where `world` ends.
    pub fn onto(world: World, bytes: &'a [u8], families: &'a dyn Families, options: Options) -> Self {
        let report =
            Report { world, turns: 0, events: 0, rederived: 0, rechecked: 0, refinished: 0, seals: 0, fault: None };
        let mut verifier = Verifier { reader: None, families, options, seal_check: None, report, over: false };
        match Reader::new(bytes) {
            Ok(reader) if reader.header.before == verifier.report.world.head => verifier.reader = Some(reader),
            Ok(reader) => {
                let before = reader.header.before.events;
                verifier.stop_at(0, FaultCode::Chain, alloc::format!("the file starts behind event {before}"));
            }
            Err(error) => verifier.unreadable(0, error),
        }
        verifier
    }

    /// Checks every seal's signature too.
    pub fn sealed_by(mut self, check: SealCheck<'a>) -> Self {
        self.seal_check = Some(check);
        self
    }

    /// The state so far.
    pub fn world(&self) -> &World {
        &self.report.world
    }

    /// Replays one turn; `None` at the end, be it good or bad.
    pub fn step(&mut self) -> Option<Progress> {
        let until = self.options.until.unwrap_or(EventIndex(u64::MAX));
        if self.over || self.report.world.head.events >= until.0 {
            return None;
        }
        let reader = self.reader.as_mut()?;
        let offset = reader.offset();
        match reader.next() {
            Some(Ok(step)) => self.turn(&step),
            Some(Err(error)) => self.unreadable(offset, error),
            None => self.ended(offset),
        }
        (!self.over).then(|| Progress {
            events: self.report.events,
            turns: self.report.turns,
            offset: self.reader.as_ref().map_or(0, Reader::offset),
        })
    }

    /// Replays what is left.
    pub fn finish(mut self) -> Report {
        while self.step().is_some() {}
        if self.report.fault.is_none() && self.report.ledger_sum() != 0 {
            let offset = self.reader.as_ref().map_or(0, Reader::offset);
            self.stop_at(offset, FaultCode::Ledger, "the accounts do not sum to zero".into());
        }
        self.report
    }

    fn ended(&mut self, offset: usize) {
        self.over = true;
        let cluster = self.reader.as_ref().map(|r| r.header.cluster).unwrap_or_default();
        if cluster != self.report.world.genesis {
            self.stop_at(offset, FaultCode::Chain, "the header names another cluster".into());
        }
    }

    fn stop_at(&mut self, offset: usize, code: FaultCode, detail: String) {
        let index = EventIndex(self.report.world.head.events + 1);
        self.stop(offset, (code, index, detail));
    }

    fn stop(&mut self, offset: usize, (code, index, detail): Stop) {
        self.over = true;
        let head = self.report.world.head;
        let (turn, last_good_index) = (head.turns + 1, EventIndex(head.events));
        self.report.fault = Some(Fault { code, index, turn, offset, last_good_index, detail });
    }

    fn unreadable(&mut self, offset: usize, error: ArchiveError) {
        let code = match error {
            ArchiveError::Frame(DecodeError::Truncated) => FaultCode::Truncated,
            ArchiveError::Frame(DecodeError::Checksum | DecodeError::TooLong) | ArchiveError::Header => {
                FaultCode::Checksum
            }
            ArchiveError::Frame(_) => FaultCode::UnknownEvent,
            ArchiveError::Chain | ArchiveError::TrailingBytes => FaultCode::Chain,
        };
        self.stop_at(offset, code, error.to_string());
    }

    fn turn(&mut self, step: &Step<'_>) {
        let done = match self.options.mode {
            Mode::Fold => self.fold(step),
            Mode::Full => self.derive(step),
        };
        match done {
            Ok(()) => {
                self.report.turns += 1;
                self.report.events += step.turn.len();
            }
            Err(stop) => self.stop(step.offset, stop),
        }
    }

    fn fold(&mut self, step: &Step<'_>) -> Result<(), Stop> {
        self.goes_on(step)?;
        let known = Known { places: Some(&step.places), growth: None };
        self.report.world.fold_at(&step.turn, step.frame, known, step.head, self.families, &mut ());
        Ok(())
    }

    fn goes_on(&self, step: &Step<'_>) -> Result<(), Stop> {
        if step.turn.at < self.report.world.at {
            return Err((FaultCode::Chain, step.turn.first(), "log time goes back".into()));
        }
        if step.turn.policy != POLICY {
            let detail = alloc::format!("this program does not know policy {}", step.turn.policy.0);
            return Err((FaultCode::UnknownEvent, step.turn.first(), detail));
        }
        Ok(())
    }

    fn derive(&mut self, step: &Step<'_>) -> Result<(), Stop> {
        self.goes_on(step)?;
        let turn = &step.turn;
        self.report.world.open(turn.at, turn.salt);
        let read = turn.facts.iter().zip(step.places.events(step.frame));
        for (index, (fact, bytes)) in (turn.first().0..).map(EventIndex).zip(read) {
            let admitted = self.report.world.admit(fact, turn.at, self.families);
            admitted.map_err(|rejection| (FaultCode::FactRefused, index, rejection.to_string()))?;
            self.recheck(index, &fact.event)?;
            self.report.world.apply_read(fact.by.as_ref(), &fact.event, bytes, self.families);
        }
        let derived = self.report.world.decide(self.families);
        // Only canonical bytes are read, so equal values are equal byte for byte.
        self.compare(turn, &derived)?;
        self.report.rederived += derived.len() as u64;
        self.report.world.close_at(step.frame, step.head);
        Ok(())
    }

    fn compare(&self, turn: &Turn, derived: &[Event]) -> Result<(), Stop> {
        if derived == turn.decisions {
            return Ok(());
        }
        let same = derived.iter().zip(&turn.decisions).take_while(|(a, b)| a == b).count();
        let index = EventIndex(turn.first().0 + (turn.facts.len() + same) as u64);
        let (ours, theirs) = match (derived.get(same), turn.decisions.get(same)) {
            (Some(ours), Some(theirs)) if ours.name() == theirs.name() => apart(ours, theirs),
            (ours, theirs) => {
                let name = |event: Option<&Event>| event.map_or("nothing", Event::name).to_string();
                (name(ours), name(theirs))
            }
        };
        let detail = alloc::format!("policy {} derives {ours} here, the log has {theirs}", turn.policy.0);
        Err((FaultCode::DecisionDiffers, index, detail))
    }

    /// What was computed outside the fold and can be computed again from the log.
    fn recheck(&mut self, index: EventIndex, event: &Event) -> Result<(), Stop> {
        match event {
            Event::ResultReceived(e) if self.options.recheck => self.recheck_results(index, e),
            Event::JobReduced(e) if self.options.recheck => self.refinish(index, e),
            Event::CheckpointReceived(e) => self.recheck_checkpoint(index, e),
            Event::ResultsSealed(e) => self.check_seal(index, e),
            _ => Ok(()),
        }
    }

    fn recheck_results(&mut self, index: EventIndex, e: &ResultReceived) -> Result<(), Stop> {
        let job = self.report.world.job(e.job);
        let submitted = &job.submitted;
        let family = self.families.family(&submitted.kind, submitted.family_version);
        let stage = e.shards.0.first().and_then(|run| job.stage_of(run.first));
        let (Some(family), Some(stage)) = (family, stage) else { return Ok(()) };
        let mut shards = e.shards.iter();
        for run in &e.results {
            for shard in shards.by_ref().take(run.count as usize) {
                let Some(bytes) = &run.inline else { continue };
                let (spec, plan, local) = (&submitted.spec, &stage.plan_body, stage.local(shard));
                // Only a later attempt can have been given the rest of a shard. Once its lease is over it is not known
                // any more what it was given, and nothing depends on it.
                let later = e.attempt > 1 && family.cells(spec, plan, local).is_some();
                if later && !self.report.world.holds(e.agent, e.job, shard, e.attempt) {
                    continue;
                }
                let rest = later.then(|| self.report.world.check_rest(e.job, shard, bytes, self.families)).flatten();
                let bits = rest.unwrap_or_else(|| family.check_result(spec, plan, local, bytes));
                // Where the free checks pass, further bits come from checks that read blobs, which an export does not hold.
                if bits == 0 && !submitted.inputs.is_empty() && e.checks.bits != 0 {
                    continue;
                }
                if bits != e.checks.bits {
                    let detail = alloc::format!(
                        "the checks of {}.{shard} give {bits:#x}, recorded is {:#x}",
                        e.job,
                        e.checks.bits
                    );
                    return Err((FaultCode::ResultDiffers, index, detail));
                }
                self.report.rechecked += 1;
            }
        }
        Ok(())
    }

    fn refinish(&mut self, index: EventIndex, e: &JobReduced) -> Result<(), Stop> {
        let job = self.report.world.job(e.job);
        let submitted = &job.submitted;
        let family = self.families.family(&submitted.kind, submitted.family_version);
        let (Some(family), Some(stage)) = (family, job.stages.last()) else { return Ok(()) };
        let mid = self.report.world.aggregator.vmem.get(e.job, job.stages.len() as u16 - 1);
        let live = mid.and_then(|mid| mid.to_live(|bytes| family.thaw(&submitted.spec, &stage.plan_body, bytes)));
        // A document of which parts lie in blobs does not follow from the log alone.
        let Some(document) = live.and_then(|mid| mid.finish()) else { return Ok(()) };
        let digest = Digest::of(&document);
        if digest != e.digest {
            let detail = alloc::format!("the results of {} finish as {digest}, recorded is {}", e.job, e.digest);
            return Err((FaultCode::ResultDiffers, index, detail));
        }
        self.report.refinished += 1;
        Ok(())
    }

    fn recheck_checkpoint(&mut self, index: EventIndex, e: &CheckpointReceived) -> Result<(), Stop> {
        let lease = LeaseId { job: e.job, shard: e.shard, attempt: e.attempt };
        if self.options.recheck {
            let checks = self.report.world.check_checkpoint(lease, e.cells, &e.inline, self.families);
            if checks != Some(e.checks) {
                let detail = alloc::format!("the checks of the checkpoint of {lease} give {checks:?} here");
                return Err((FaultCode::ResultDiffers, index, detail));
            }
            self.report.rechecked += 1;
        }
        let message = seal::checkpoint_message(e.agent, lease, e.cells, &e.digest);
        self.check_signature(index, e.agent, &message, &e.signature, || alloc::format!("the checkpoint of {lease}"))
    }

    fn check_seal(&mut self, index: EventIndex, e: &ResultsSealed) -> Result<(), Stop> {
        let message = seal::message(e.agent, e.upto, &e.head);
        self.check_signature(index, e.agent, &message, &e.signature, || alloc::format!("its results up to {}", e.upto))
    }

    fn check_signature(
        &mut self,
        index: EventIndex,
        agent: AgentId,
        message: &[u8],
        signature: &[[u8; 32]; 2],
        what: impl FnOnce() -> String,
    ) -> Result<(), Stop> {
        let Some(check) = self.seal_check else { return Ok(()) };
        let signature: &[u8; 64] = signature.as_flattened().try_into().expect("two halves of 32 bytes");
        let key = self.report.world.agent(agent).public_key;
        if !check(&key, message, signature) {
            let detail = alloc::format!("the signature of {agent} under {} does not fit its key", what());
            return Err((FaultCode::BadSeal, index, detail));
        }
        self.report.seals += 1;
        Ok(())
    }
}

/// Two events of one type, each with its fields around the place where they begin to differ.
fn apart(ours: &Event, theirs: &Event) -> (String, String) {
    let [a, b] = [ours, theirs].map(|event| alloc::format!("{event:?}"));
    let same = a.chars().zip(b.chars()).take_while(|(a, b)| a == b).count();
    let shown = |text: &str| -> String {
        let around = text.chars().skip(same.saturating_sub(SHOWN_CHARS_BEFORE)).take(SHOWN_CHARS);
        alloc::format!("{} (… {} …)", ours.name(), around.collect::<String>())
    };
    (shown(&a), shown(&b))
}
