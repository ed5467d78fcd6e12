//! An entry of VMem: a job's mid-state as the state holds it: live while it is folded into, bytes in a snapshot.

use crate::family::MidState;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use forge_event::Digest;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A mid-state. Clones share it until one of them folds.
#[derive(Clone, Debug)]
pub struct Mid(Inner);

#[derive(Clone, Debug)]
enum Inner {
    Live(Arc<Box<dyn MidState>>),
    /// As read from a snapshot, until the first fold thaws it.
    Frozen(Arc<[u8]>),
}

impl Mid {
    pub fn new(state: Box<dyn MidState>) -> Self {
        Mid(Inner::Live(Arc::new(state)))
    }

    /// Canonical bytes.
    pub fn encode(&self) -> Vec<u8> {
        match &self.0 {
            Inner::Live(state) => state.encode(),
            Inner::Frozen(bytes) => bytes.to_vec(),
        }
    }

    /// Memory it takes here. Units: bytes, roughly.
    pub fn bytes(&self) -> usize {
        match &self.0 {
            Inner::Live(state) => state.bytes(),
            Inner::Frozen(bytes) => bytes.len(),
        }
    }

    pub fn digest(&self) -> Digest {
        Digest::of(&self.encode())
    }

    /// A copy to finish outside the fold. `thaw` reads frozen bytes.
    pub fn to_live(&self, thaw: impl FnOnce(&[u8]) -> Option<Box<dyn MidState>>) -> Option<Box<dyn MidState>> {
        match &self.0 {
            Inner::Live(state) => Some(state.clone_box()),
            Inner::Frozen(bytes) => thaw(bytes),
        }
    }

    /// The state to fold into.
    ///
    /// # Panics
    /// If frozen bytes cannot be thawed: the snapshot was checked, so the family forgot its own format.
    pub(crate) fn live_mut(&mut self, thaw: impl FnOnce(&[u8]) -> Option<Box<dyn MidState>>) -> &mut dyn MidState {
        if let Inner::Frozen(bytes) = &self.0 {
            let state = thaw(bytes).expect("a family reads every mid-state its version wrote");
            self.0 = Inner::Live(Arc::new(state));
        }
        let Inner::Live(state) = &mut self.0 else { unreachable!("thawed above") };
        if Arc::get_mut(state).is_none() {
            *state = Arc::new(state.clone_box());
        }
        Arc::get_mut(state).expect("just made unique").as_mut()
    }
}

impl Serialize for Mid {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.encode().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Mid {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::<u8>::deserialize(deserializer).map(|bytes| Mid(Inner::Frozen(bytes.into())))
    }
}
