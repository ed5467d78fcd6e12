//! The workload families: planner, checks and reducer of each, and the kernels that agents run.
//!
//! Pure: bytes in, bytes out. The hub calls [`Family`] and never a kernel; agents call kernels only.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod cat_model;
pub mod faults;
pub mod gathered;
pub mod host;
pub mod json;
pub mod laws;
pub mod monte_carlo;
pub mod npy;
pub mod null;

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use forge_projections::family::{Families, Family, SpecFault};

/// Kinds that the contract names and this version does not run yet.
pub const KINDS_NOT_YET: [&str; 3] = ["blas", "ffmpeg", "climate_pca"];

static NULL: null::Null = null::Null;
static MONTE_CARLO: monte_carlo::MonteCarlo = monte_carlo::MonteCarlo;
static CAT_MODEL: cat_model::CatModel = cat_model::CatModel;

/// Every family of this build.
#[derive(Clone, Copy, Debug, Default)]
pub struct Registry;

impl Registry {
    /// The fault for a `kind` that [`Families::newest`] does not know: `not-yet` or `unknown-kind`, at `/kind`.
    pub fn unknown_kind(kind: &str) -> SpecFault {
        let known = Registry.kinds();
        let pointer = String::from("/kind");
        if KINDS_NOT_YET.contains(&kind) {
            let detail = format!("kind `{kind}` is part of the contract, but this version does not run it yet");
            let fix = Some(format!("use one of: {}", known.join(", ")));
            return SpecFault { pointer, code: "not-yet", detail, fix };
        }
        let detail = format!("there is no kind `{}`", faults::shown(kind));
        let all: Vec<&str> = known.iter().chain(&KINDS_NOT_YET).copied().collect();
        let fix = Some(match faults::nearest(kind, &all) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("use one of: {}", known.join(", ")),
        });
        SpecFault { pointer, code: "unknown-kind", detail, fix }
    }
}

impl Families for Registry {
    fn newest(&self, kind: &str) -> Option<&dyn Family> {
        let families: [&'static dyn Family; 3] = [&NULL, &MONTE_CARLO, &CAT_MODEL];
        families.into_iter().find(|f| f.kind() == kind)
    }

    fn family(&self, kind: &str, version: u16) -> Option<&dyn Family> {
        self.newest(kind).filter(|f| f.version() == version)
    }

    fn kinds(&self) -> Vec<&'static str> {
        alloc::vec![NULL.kind(), MONTE_CARLO.kind(), CAT_MODEL.kind()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_found_in_its_version_only() {
        for kind in Registry.kinds() {
            let family = Registry.newest(kind).expect("kinds are known");
            assert_eq!(family.kind(), kind);
            assert!(Registry.family(kind, family.version()).is_some());
            assert!(Registry.family(kind, family.version() + 1).is_none());
        }
    }

    #[test]
    fn an_unknown_kind_is_told_from_one_that_is_not_built_yet() {
        assert_eq!(Registry::unknown_kind("blas").code, "not-yet");
        let fault = Registry::unknown_kind("monte_carl");
        assert_eq!((fault.code, fault.fix.as_deref()), ("unknown-kind", Some("did you mean `monte_carlo`?")));
    }
}
