//! Signed URLs: what one may do with one blob, on the word of a node, checkable by every node.

use forge_event::{Digest, JobId, KeyId, NodeId, ProjectId, Timestamp};
use std::fmt;
use std::str::FromStr;

/// What a URL allows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operation {
    /// Read one blob, or a range of it.
    Get,
    /// Write one blob.
    Put,
    /// Write blobs of a job's shards, whatever their digest, each up to `bytes`.
    Keep,
}

impl Operation {
    const ALL: [(Operation, &str); 3] = [(Operation::Get, "get"), (Operation::Put, "put"), (Operation::Keep, "keep")];

    fn name(self) -> &'static str {
        Operation::ALL.iter().find(|(operation, _)| *operation == self).map_or("", |(_, name)| name)
    }
}

/// Everything that is signed, besides the digest in the path.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Grant {
    pub operation: Operation,
    pub project: ProjectId,
    /// Length of the blob; for [`Operation::Keep`] the most a blob may have. Units: bytes.
    pub bytes: u64,
    /// First and last byte that may be read.
    pub range: Option<(u64, u64)>,
    /// The key on whose behalf it is used.
    pub key: Option<KeyId>,
    /// The job whose agent uses it.
    pub job: Option<JobId>,
    /// Log time.
    pub expires: Timestamp,
    pub node: NodeId,
}

impl Grant {
    /// The method that it allows.
    pub fn method(&self) -> &'static str {
        if self.operation == Operation::Get { "GET" } else { "PUT" }
    }

    /// What is signed: the whole request, but for the digest where any may be kept.
    pub fn message(&self, digest: &Digest) -> Vec<u8> {
        let path = match self.operation {
            Operation::Keep => "*".to_string(),
            _ => digest.to_string(),
        };
        format!("forge blob url v1\n{} /v1/blobs/{path}\n{self}", self.method()).into_bytes()
    }

    /// The query with its signature.
    pub fn query(&self, signature: &[u8; 64]) -> String {
        format!("{self}&sig={}", forge_event::digest::hex(signature))
    }

    /// Reads a query; `None` if it is not one that [`Grant::query`] wrote.
    pub fn read(query: &str) -> Option<(Grant, [u8; 64])> {
        let (signed, signature) = query.rsplit_once("&sig=")?;
        let fields: Vec<(&str, &str)> = signed.split('&').map(|pair| pair.split_once('=')).collect::<Option<_>>()?;
        let field = |name: &str| fields.iter().find(|(n, _)| *n == name).map(|(_, value)| *value);
        let range = match field("range") {
            Some(text) => {
                let (first, last) = text.split_once('-')?;
                Some((first.parse().ok()?, last.parse().ok()?))
            }
            None => None,
        };
        let operation = Operation::ALL.iter().find(|(_, name)| Some(*name) == field("op")).map(|(op, _)| *op)?;
        let grant = Grant {
            operation,
            project: field("project")?.parse().ok()?,
            bytes: field("bytes")?.parse().ok()?,
            range,
            key: optional(field("key"))?,
            job: optional(field("job"))?,
            expires: Timestamp(field("expires")?.parse().ok()?),
            node: field("node")?.parse().ok()?,
        };
        // One text for one grant: what reads otherwise was altered.
        (grant.to_string() == signed).then_some((grant, forge_event::digest::unhex(signature)?))
    }
}

/// `Some(None)` if there is none, `None` if it does not read.
fn optional<T: FromStr>(text: Option<&str>) -> Option<Option<T>> {
    match text {
        None => Some(None),
        Some(text) => text.parse().ok().map(Some),
    }
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "op={}&project={}&bytes={}", self.operation.name(), self.project, self.bytes)?;
        if let Some((first, last)) = self.range {
            write!(f, "&range={first}-{last}")?;
        }
        if let Some(key) = self.key {
            write!(f, "&key={key}")?;
        }
        if let Some(job) = self.job {
            write!(f, "&job={job}")?;
        }
        write!(f, "&expires={}&node={}", self.expires.0, self.node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant() -> Grant {
        Grant {
            operation: Operation::Get,
            project: ProjectId(4),
            bytes: 1024,
            range: Some((0, 99)),
            key: Some(KeyId(5)),
            job: None,
            expires: Timestamp(1_795_428_843_221),
            node: NodeId(2),
        }
    }

    #[test]
    fn a_query_reads_back() {
        for job in [None, Some(JobId(7))] {
            for range in [None, Some((0, 99))] {
                let grant = Grant { job, range, ..grant() };
                assert_eq!(Grant::read(&grant.query(&[7; 64])), Some((grant, [7; 64])));
            }
        }
    }

    #[test]
    fn no_other_text_reads_as_the_same_grant() {
        let query = grant().query(&[7; 64]);
        for other in [
            query.replace("bytes=1024", "bytes=01024"),
            query.replace("&node", "&more=1&node"),
            query.replacen("op=get&project=p4", "project=p4&op=get", 1),
            query.replace("range=0-99", "range=0-+99"),
            query.replace("&sig=", "&sig=0"),
        ] {
            assert_ne!(other, query);
            assert_eq!(Grant::read(&other), None, "{other}");
        }
    }

    #[test]
    fn every_part_is_signed() {
        let message = grant().message(&Digest([1; 32]));
        let others = [
            Grant { operation: Operation::Put, ..grant() },
            Grant { project: ProjectId(5), ..grant() },
            Grant { bytes: 1025, ..grant() },
            Grant { range: None, ..grant() },
            Grant { key: None, ..grant() },
            Grant { job: Some(JobId(1)), ..grant() },
            Grant { expires: Timestamp(1), ..grant() },
            Grant { node: NodeId(1), ..grant() },
        ];
        for other in others {
            assert_ne!(other.message(&Digest([1; 32])), message);
        }
        assert_ne!(grant().message(&Digest([2; 32])), message);
    }
}
