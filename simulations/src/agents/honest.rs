//! Does what it is asked, in the time it takes.

use super::Behaviour;

pub struct Honest;

impl Behaviour for Honest {}
