//! The workload families: planner, checks and reducer of each, and the kernels that agents run.
//!
//! Pure: bytes in, bytes out. The hub calls [`Family`] and never a kernel; agents call kernels only.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod blas;
pub mod cat_model;
pub mod climate_pca;
mod cutting;
pub mod faults;
pub mod ffmpeg;
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

/// Every family, the simplest first.
static FAMILIES: [&dyn Family; 6] = [
    &null::Null,
    &monte_carlo::MonteCarlo,
    &blas::Blas,
    &ffmpeg::Ffmpeg,
    &climate_pca::ClimatePca,
    &cat_model::CatModel,
];

/// Every family of this build.
#[derive(Clone, Copy, Debug, Default)]
pub struct Registry;

impl Registry {
    /// The fault for a `kind` that [`Families::newest`] does not know: `unknown-kind`, at `/kind`.
    pub fn unknown_kind(kind: &str) -> SpecFault {
        let known = Registry.kinds();
        let pointer = String::from("/kind");
        let detail = format!("there is no kind `{}`", faults::shown(kind));
        let fix = Some(match faults::nearest(kind, &known) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("use one of: {}", known.join(", ")),
        });
        SpecFault { pointer, code: "unknown-kind", detail, fix }
    }
}

impl Families for Registry {
    fn newest(&self, kind: &str) -> Option<&dyn Family> {
        FAMILIES.into_iter().find(|f| f.kind() == kind)
    }

    fn family(&self, kind: &str, version: u16) -> Option<&dyn Family> {
        self.newest(kind).filter(|f| f.version() == version)
    }

    fn kinds(&self) -> Vec<&'static str> {
        FAMILIES.iter().map(|family| family.kind()).collect()
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
    fn an_unknown_kind_is_told_the_nearest_one() {
        let fault = Registry::unknown_kind("monte_carl");
        assert_eq!((fault.code, fault.fix.as_deref()), ("unknown-kind", Some("did you mean `monte_carlo`?")));
        assert_eq!(Registry.kinds(), ["null", "monte_carlo", "blas", "ffmpeg", "climate_pca", "cat_model"]);
    }
}
