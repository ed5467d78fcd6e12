//! Our own forms of openraft's values, for disk and wire: a bump of openraft changes nothing there.

use crate::types::{Entry, LogId, Membership, Payload, StoredMembership, Vote, log_id, term_of};
use bytes::Bytes;
use openraft::EntryPayload;
use openraft::entry::RaftEntry;
use openraft::impls::{BasicNode, leader_id_std};
use openraft::vote::RaftLeaderId;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Bytes that are no value of their form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the bytes do not hold {0}")]
pub struct FormError(pub &'static str);

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct LogIdForm {
    pub term: u64,
    pub index: u64,
}

impl From<&LogId> for LogIdForm {
    fn from(id: &LogId) -> Self {
        LogIdForm { term: term_of(id), index: id.index() }
    }
}

impl From<LogIdForm> for LogId {
    fn from(form: LogIdForm) -> Self {
        log_id(form.term, form.index)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct VoteForm {
    pub term: u64,
    pub node: u64,
    pub committed: bool,
}

impl From<&Vote> for VoteForm {
    fn from(vote: &Vote) -> Self {
        VoteForm { term: vote.leader_id.term, node: vote.leader_id.voted_for, committed: vote.committed }
    }
}

impl From<VoteForm> for Vote {
    fn from(form: VoteForm) -> Self {
        Vote { leader_id: leader_id_std::LeaderId::new(form.term, form.node), committed: form.committed }
    }
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MembershipForm {
    pub configs: Vec<BTreeSet<u64>>,
    pub nodes: Vec<(u64, String)>,
}

impl From<&Membership> for MembershipForm {
    fn from(members: &Membership) -> Self {
        MembershipForm {
            configs: members.get_joint_config().clone(),
            nodes: members.nodes().map(|(id, node)| (*id, node.addr.clone())).collect(),
        }
    }
}

impl TryFrom<MembershipForm> for Membership {
    type Error = FormError;

    fn try_from(form: MembershipForm) -> Result<Self, FormError> {
        let nodes: BTreeMap<u64, BasicNode> = form.nodes.into_iter().map(|(id, a)| (id, BasicNode::new(a))).collect();
        Membership::new(form.configs, nodes).map_err(|_| FormError("a membership"))
    }
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct StoredMembershipForm {
    pub log_id: Option<LogIdForm>,
    pub members: MembershipForm,
}

impl From<&StoredMembership> for StoredMembershipForm {
    fn from(stored: &StoredMembership) -> Self {
        StoredMembershipForm {
            log_id: stored.log_id().as_ref().map(LogIdForm::from),
            members: stored.membership().into(),
        }
    }
}

impl TryFrom<StoredMembershipForm> for StoredMembership {
    type Error = FormError;

    fn try_from(form: StoredMembershipForm) -> Result<Self, FormError> {
        if form.members.configs.is_empty() && form.members.nodes.is_empty() {
            return Ok(StoredMembership::default());
        }
        Ok(StoredMembership::new(form.log_id.map(LogId::from), form.members.try_into()?))
    }
}

/// What stands before an entry's payload.
#[derive(Serialize, Deserialize)]
struct EntryHead {
    id: LogIdForm,
    kind: EntryKind,
}

#[derive(Serialize, Deserialize)]
enum EntryKind {
    Blank,
    /// Its frame fills the rest.
    Turn,
    Membership(MembershipForm),
}

/// An entry's bytes in two pieces: what stands before its payload, and the frame of its turn as it lies in memory.
pub fn entry_pieces(entry: &Entry) -> (Vec<u8>, &[u8]) {
    let (kind, rest): (EntryKind, &[u8]) = match &entry.payload {
        EntryPayload::Blank => (EntryKind::Blank, &[]),
        EntryPayload::Normal(Payload(frame)) => (EntryKind::Turn, frame),
        EntryPayload::Membership(members) => (EntryKind::Membership(members.into()), &[]),
    };
    (to_bytes(&EntryHead { id: (&entry.log_id()).into(), kind }), rest)
}

/// Reads an entry that fills `bytes`; a turn's frame shares their memory.
///
/// # Errors
/// If the bytes are no entry.
pub fn decode_entry(bytes: &Bytes) -> Result<Entry, FormError> {
    const WHAT: FormError = FormError("a log entry");
    let (head, rest): (EntryHead, &[u8]) = postcard::take_from_bytes(bytes).map_err(|_| WHAT)?;
    let payload = match head.kind {
        EntryKind::Turn => EntryPayload::Normal(Payload(bytes.slice_ref(rest))),
        _ if !rest.is_empty() => return Err(WHAT),
        EntryKind::Blank => EntryPayload::Blank,
        EntryKind::Membership(form) => EntryPayload::Membership(form.try_into()?),
    };
    Ok(Entry::new(head.id.into(), payload))
}

/// Postcard bytes of one of our forms.
pub fn to_bytes<T: Serialize>(form: &T) -> Vec<u8> {
    postcard::to_stdvec(form).expect("our forms hold nothing that postcard cannot write")
}

/// The form that fills `bytes`.
///
/// # Errors
/// If they hold anything else, or more.
pub fn from_bytes<'a, T: Deserialize<'a>>(bytes: &'a [u8], what: &'static str) -> Result<T, FormError> {
    match postcard::take_from_bytes(bytes) {
        Ok((form, [])) => Ok(form),
        _ => Err(FormError(what)),
    }
}
