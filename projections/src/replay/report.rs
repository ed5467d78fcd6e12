//! What a replay found, as `forge log verify` and `forge log replay` print it.

use crate::export::json::{Object, array};
use crate::world::World;
use alloc::format;
use alloc::string::String;
use forge_event::unit::signed;
use forge_event::*;

/// What is wrong with a log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FaultCode {
    /// Bytes differ from what their checksum says.
    Checksum,
    /// A turn does not follow the one before, or the trailer does not fit.
    Chain,
    /// The file ends before its trailer.
    Truncated,
    /// A version, an event or a field this program does not know, or not in its canonical form.
    UnknownEvent,
    /// A fact that the state before it does not admit.
    FactRefused,
    /// Recorded decisions are not those the policy derives.
    DecisionDiffers,
    /// A result's recorded checks, or a job's document, are not what its family computes.
    ResultDiffers,
    /// A seal's signature does not fit.
    BadSeal,
    /// The accounts do not sum to zero.
    Ledger,
}

impl FaultCode {
    pub fn name(self) -> &'static str {
        match self {
            FaultCode::Checksum => "checksum",
            FaultCode::Chain => "chain",
            FaultCode::Truncated => "truncated",
            FaultCode::UnknownEvent => "unknown-event",
            FaultCode::FactRefused => "fact-refused",
            FaultCode::DecisionDiffers => "decision-differs",
            FaultCode::ResultDiffers => "result-differs",
            FaultCode::BadSeal => "bad-seal",
            FaultCode::Ledger => "ledger",
        }
    }
}

/// The first fault of a log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    pub code: FaultCode,
    /// The event at fault; the first of its turn where that is all that is known.
    pub index: EventIndex,
    /// From 1.
    pub turn: u64,
    /// Where the turn's frame starts. Units: bytes of the file.
    pub offset: usize,
    /// Everything up to here is good.
    pub last_good_index: EventIndex,
    pub detail: String,
}

/// What a replay found.
#[derive(Clone, Debug)]
pub struct Report {
    /// The state behind the last turn; after a fault, somewhere inside the bad one.
    pub world: World,
    /// Turns and events of the file that are good.
    pub turns: u64,
    pub events: u64,
    /// Decisions derived again, all of them equal unless [`Report::fault`] says otherwise.
    pub rederived: u64,
    /// Results whose checks were run again, documents finished again, seals whose signature was checked.
    pub rechecked: u64,
    pub refinished: u64,
    pub seals: u64,
    pub fault: Option<Fault>,
}

impl Report {
    pub fn is_ok(&self) -> bool {
        self.fault.is_none()
    }

    /// Sum over all accounts. Units: micro-credits.
    pub fn ledger_sum(&self) -> i128 {
        self.world.accounting.sum()
    }

    fn differ(&self) -> u64 {
        u64::from(self.fault.as_ref().is_some_and(|f| f.code == FaultCode::DecisionDiffers))
    }

    /// The object `forge log verify -o json` prints.
    pub fn verify_json(&self) -> String {
        self.verified().end()
    }

    fn verified(&self) -> Object {
        let o = Object::new().raw("ok", self.is_ok());
        if let Some(fault) = &self.fault {
            let error = Object::new()
                .plain("code", fault.code.name())
                .raw("index", fault.index)
                .raw("turn", fault.turn)
                .raw("offset", fault.offset)
                .raw("last_good_index", fault.last_good_index)
                .text("detail", &fault.detail);
            return o.raw("error", error.end());
        }
        let decisions = Object::new().raw("rederived", self.rederived).raw("differ", self.differ());
        o.raw("events", self.events)
            .raw("turns", self.turns)
            .plain("head", self.world.head.digest)
            .raw("decisions", decisions.end())
            .plain("ledger_sum", signed(self.ledger_sum()))
            .raw("results_rechecked", self.rechecked)
            .raw("documents_refinished", self.refinished)
            .raw("seals_checked", self.seals)
    }

    /// The object `forge log replay -o json` prints: the same, and the state that came out.
    pub fn replay_json(&self) -> String {
        let jobs = self.world.jobs.jobs.iter().filter_map(|(id, job)| Some((id, job.result.as_ref()?.digest)));
        let jobs = array(jobs.map(|(id, digest)| format!("\"{id}\":\"{digest}\"")));
        let balances = self.world.accounting.balances.iter();
        let balances = array(balances.map(|(account, amount)| format!("\"{account}\":\"{}\"", signed(*amount))));
        let object = |list: String| format!("{{{}}}", &list[1..list.len() - 1]);
        self.verified()
            .raw("index", self.world.head.events)
            .raw("jobs", object(jobs))
            .raw("balances", object(balances))
            .plain("state_digest", self.world.state_digest().digest)
            .end()
    }
}
