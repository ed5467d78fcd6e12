//! Ids: an entity's id is the position of its birth event.

use core::fmt;
use core::num::ParseIntError;
use core::str::FromStr;
use serde::{Deserialize, Serialize};

/// The 1-based position of an event in the one order of accepted events.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default, Debug)]
pub struct EventIndex(pub u64);

impl fmt::Display for EventIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The text is not this kind of id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdError {
    pub expected: &'static str,
}

impl fmt::Display for IdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an id here looks like {}", self.expected)
    }
}

impl core::error::Error for IdError {}

/// A decimal number without sign, leading zero or leading plus.
fn plain<T: FromStr<Err = ParseIntError>>(text: &str) -> Option<T> {
    let plain = text.bytes().all(|b| b.is_ascii_digit()) && (text.len() == 1 || !text.starts_with('0'));
    if plain { text.parse().ok() } else { None }
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident, $letter:literal, $like:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
        pub struct $name(pub u64);

        impl $name {
            /// The id that an event at `index` gives birth to.
            pub fn born_at(index: EventIndex) -> Self {
                $name(index.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($letter, "{}"), self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                let number = text.strip_prefix($letter).filter(|t| !t.is_empty()).and_then(plain);
                number.map($name).ok_or(IdError { expected: $like })
            }
        }
    )*};
}

ids! {
    /// A job.
    JobId, "j", "j1842";
    /// An agent.
    AgentId, "a", "a37";
    /// A project, the unit of isolation.
    ProjectId, "p", "p3";
    /// An API key.
    KeyId, "k", "k9";
    /// A provider: whoever is paid for what agents compute.
    ProviderId, "v", "v12";
    /// A ledger transfer.
    TransferId, "t", "t120";
    /// A node of the hub cluster: the count of `node.admitted`, from 1, never reused. Not a position.
    NodeId, "n", "n1";
}

/// A shard's number within its job, from 0, counted through all stages.
pub type ShardIndex = u32;
/// An attempt's number within its shard, from 1, over all roles.
pub type AttemptNumber = u16;
/// A session's number within its agent, from 1.
pub type Epoch = u64;
/// openraft's term.
pub type Term = u64;

/// One agent's right to one attempt; its id fences late results. Written `j1842.17.2`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LeaseId {
    pub job: JobId,
    pub shard: ShardIndex,
    pub attempt: AttemptNumber,
}

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.job, self.shard, self.attempt)
    }
}

impl fmt::Debug for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for LeaseId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let mut parts = text.split('.');
        let mut next = || parts.next().filter(|p| !p.is_empty());
        let lease = (|| {
            let (job, shard, attempt) = (next()?.parse().ok()?, plain(next()?)?, plain(next()?)?);
            Some(LeaseId { job, shard, attempt })
        })();
        lease.filter(|_| parts.next().is_none()).ok_or(IdError { expected: "j1842.17.2" })
    }
}

/// A shard of a job. Written `j1842.17`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Debug)]
pub struct ShardId {
    pub job: JobId,
    pub shard: ShardIndex,
}

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.job, self.shard)
    }
}

impl FromStr for ShardId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let parts =
            text.split_once('.').and_then(|(j, s)| Some((j.parse().ok()?, plain(s).filter(|_| !s.is_empty())?)));
        parts.map(|(job, shard)| ShardId { job, shard }).ok_or(IdError { expected: "j1842.17" })
    }
}

/// A piece of work that the hub does outside the fold. Written `j1842:plan:0`, `j1842:reduce:1`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum EffectId {
    /// Cut a stage of a job into shards.
    Plan { job: JobId, stage: u16 },
    /// Turn a finished mid-state into the canonical result document.
    Reduce { job: JobId, version: u32 },
}

impl EffectId {
    /// The job it works for.
    pub fn job(self) -> JobId {
        match self {
            EffectId::Plan { job, .. } | EffectId::Reduce { job, .. } => job,
        }
    }
}

impl fmt::Display for EffectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EffectId::Plan { job, stage } => write!(f, "{job}:plan:{stage}"),
            EffectId::Reduce { job, version } => write!(f, "{job}:reduce:{version}"),
        }
    }
}

impl fmt::Debug for EffectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn an_id_reads_back_as_written() {
        assert_eq!("j1842".parse(), Ok(JobId(1842)));
        assert_eq!("j1842.17.2".parse::<LeaseId>().map(|l| l.to_string()), Ok("j1842.17.2".into()));
        assert_eq!("j1842.17".parse::<ShardId>().map(|l| l.to_string()), Ok("j1842.17".into()));
    }

    #[test]
    fn what_is_no_id_is_refused() {
        for text in ["", "j", "1842", "j-1", "j01", "j1.2", "jj1", "j99999999999999999999", "j+1"] {
            assert!(text.parse::<JobId>().is_err(), "{text:?}");
        }
        for text in ["j1.2", "j1.2.3.4", "j1..3", "j1.2.", "j1.2.70000"] {
            assert!(text.parse::<LeaseId>().is_err(), "{text:?}");
        }
    }
}
