//! The digest of a whole state: two nodes at one index agree, or one of them is wrong.

use crate::world::World;
use alloc::vec::Vec;
use forge_event::*;
use serde::{Serialize, Serializer};

/// What is hashed before everything else.
const DOMAIN: &[u8] = b"forge state v1\0";

/// A state's digest.
///
/// Shape: `digest` = BLAKE3(`"forge state v1\0"` ‖ LE64(index) ‖ head digest ‖ the roots in the order of
/// [`Part::ALL`]), 32 bytes each. Serialises as the body of `GET /v1/state/digest`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StateDigest {
    pub index: EventIndex,
    pub digest: Digest,
    /// In the order of [`Part::ALL`].
    pub parts: Vec<(Part, Digest)>,
}

impl World {
    /// The digest of this state.
    ///
    /// Costs a copy of the chunk lists and whatever was written since the roots were last taken.
    pub fn state_digest(&self) -> StateDigest {
        let roots = self.clone().roots();
        let mut hasher = blake3::Hasher::new();
        hasher.update(DOMAIN).update(&self.head.events.to_le_bytes()).update(&self.head.digest.0);
        for root in &roots {
            hasher.update(&root.0);
        }
        StateDigest {
            index: EventIndex(self.head.events),
            digest: Digest(*hasher.finalize().as_bytes()),
            parts: Part::ALL.into_iter().zip(roots).collect(),
        }
    }
}

impl Serialize for StateDigest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;
        struct Parts<'a>(&'a [(Part, Digest)]);
        impl Serialize for Parts<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_map(self.0.iter().map(|(part, root)| (part.name(), Text(root))))
            }
        }
        let mut body = serializer.serialize_struct("StateDigest", 3)?;
        body.serialize_field("index", &self.index.0)?;
        body.serialize_field("digest", &Text(&self.digest))?;
        body.serialize_field("parts", &Parts(&self.parts))?;
        body.end()
    }
}

/// A digest as its text.
struct Text<'a>(&'a Digest);

impl Serialize for Text<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self.0)
    }
}
