//! Whether a deployment takes a bundle's appspec: strictly, as a commanding service's own agent takes it, or as it was taken
//! before.

use std::path::Path;

use hostler_core::appspec::codes::Code;
use hostler_core::appspec::diagnose::{self, Diagnostic, Severity};
use hostler_core::appspec::spec::AppSpec;
use hostler_core::appspec::{self, AppspecName};
use hostler_core::bundle::BundleListing;
use hostler_core::limits::Limits;
use hostler_core::machine::event::WorkFailure;
use hostler_core::machine::state::{Purpose, Request, Source};

use super::{Diagnosed, InPlan, and_more, diagnose_bundle, diagnose_kept_bundle, diagnose_with};
use crate::failure::fail;

/// A usable appspec, and the findings in it.
#[derive(Debug, Clone)]
pub struct ReadAppspec {
    /// Its meaning.
    pub spec: AppSpec,
    /// The findings: warnings, and errors that count as warnings in a bundle that was accepted before.
    pub diagnostics: Vec<Diagnostic>,
}

/// Finds the appspec of an unpacked bundle, reads it, and checks it against the bundle.
///
/// # Errors
/// The appspec is missing or wrong; the message shows the lines.
pub fn read_appspec(
    archive: &Path,
    listing: &BundleListing,
    wanted: AppspecName<'_>,
    limits: &Limits,
) -> Result<ReadAppspec, WorkFailure> {
    usable(diagnose_bundle(archive, listing, wanted, limits)?, listing)
}

/// As [`read_appspec`], for a bundle that was accepted before; see [`usable_before`].
///
/// # Errors
/// The appspec is missing or wrong; the message shows the lines.
pub fn read_kept_appspec(
    archive: &Path,
    listing: &BundleListing,
    wanted: AppspecName<'_>,
    limits: &Limits,
) -> Result<ReadAppspec, WorkFailure> {
    usable_before(diagnose_kept_bundle(archive, listing, wanted, limits)?, listing)
}

/// As [`read_appspec`], for a bundle in which a misspelt name is no fault; see [`appspec::read_as_accepted`].
///
/// # Errors
/// The appspec is missing or wrong; the message shows the lines.
pub fn read_accepted_appspec(
    archive: &Path,
    listing: &BundleListing,
    wanted: AppspecName<'_>,
    limits: &Limits,
) -> Result<ReadAppspec, WorkFailure> {
    usable(diagnose_with(appspec::read_as_accepted, archive, listing, wanted, limits)?, listing)
}

/// Reads the appspec of a bundle, and checks it against the bundle.
pub type AppspecReader = fn(&Path, &BundleListing, AppspecName<'_>, &Limits) -> Result<ReadAppspec, WorkFailure>;

/// The appspec of a deployment's bundle. A deployment by hand reads it strictly, one that a service commands as that
/// service's own agent does, and one that is kept on the host as it was accepted before. The bundle of a release was
/// accepted where it was published: a fleet may run it since an earlier version of hostler, and its next host must run it
/// too. Findings name the appspec of a directory by its path there.
///
/// # Errors
/// The appspec is missing or wrong; the message shows the lines.
pub fn read_deployed_appspec(
    request: &Request,
    archive: &Path,
    listing: &BundleListing,
    limits: &Limits,
) -> Result<ReadAppspec, WorkFailure> {
    let wanted = request.policy.appspec();
    let found = match (&request.source, &request.purpose) {
        (Source::Kept { .. }, _) => return read_kept_appspec(archive, listing, wanted, limits),
        (_, Purpose::Commanded | Purpose::Release(_)) => {
            return read_accepted_appspec(archive, listing, wanted, limits);
        }
        _ => diagnose_bundle(archive, listing, wanted, limits)?,
    };
    match &request.source {
        Source::Path { path } if path.is_dir() => usable(found.in_directory(&path.display().to_string()), listing),
        _ => usable(found, listing),
    }
}

/// The appspec, if it is usable.
///
/// # Errors
/// The appspec is wrong; the message shows the lines.
fn usable(found: Diagnosed, listing: &BundleListing) -> Result<ReadAppspec, WorkFailure> {
    usable_but_for(found, listing, |_| false)
}

/// The appspec of a bundle that was accepted before ([`diagnose_kept_bundle`]). Faults that only its scripts show, and
/// that an earlier hostler accepted, must neither keep a host from returning to it nor disable its other scripts.
///
/// # Errors
/// The appspec is wrong; the message shows the lines.
pub fn usable_before(found: Diagnosed, listing: &BundleListing) -> Result<ReadAppspec, WorkFailure> {
    usable_but_for(found, listing, |code| code == Code::ScriptHasCarriageReturns)
}

fn usable_but_for(
    found: Diagnosed,
    listing: &BundleListing,
    passes: fn(Code) -> bool,
) -> Result<ReadAppspec, WorkFailure> {
    let mut errors = found.diagnostics.iter().filter(|d| d.severity == Severity::Error);
    if found.spec.is_none() || errors.any(|d| !passes(d.code)) {
        let InPlan { errors, left_out, .. } = found.in_plan(listing);
        let more = (left_out > 0).then(|| format!("\n{}", and_more(left_out)));
        return Err(fail(found.render(&errors) + &more.unwrap_or_default()));
    }
    let Diagnosed { diagnostics, text, spec, .. } = found;
    match spec {
        Some(spec) => Ok(ReadAppspec { spec, diagnostics }),
        None => Err(fail(diagnose::render(&diagnostics, &text))),
    }
}

#[cfg(test)]
mod tests {
    use hostler_core::machine::state::Policy;
    use hostler_core::release::Highest;
    use hostler_host::archive;

    use super::*;
    use crate::engine::doubles::revision;

    #[test]
    fn a_misspelt_name_is_refused_but_where_the_service_commands_and_where_it_was_accepted() {
        let bundle = tempfile::tempdir().unwrap();
        std::fs::write(bundle.path().join("appspec.yml"), "version: 0.0\nos: linux\nhook: {}\n").unwrap();
        let listing = archive::list(bundle.path()).unwrap();
        let read = |purpose, source| {
            let request = Request {
                key: hostler_core::ids::GroupKey::new("a".parse().unwrap(), "b".parse().unwrap()),
                purpose,
                asked_by: "test".to_owned(),
                source,
                revision: revision(),
                trust: Default::default(),
                policy: Policy::default(),
            };
            let read = read_deployed_appspec(&request, bundle.path(), &listing, &Limits::default());
            read.map(|read| read.diagnostics.iter().map(|found| found.code).collect::<Vec<_>>())
        };
        let path = || Source::Path { path: bundle.path().to_owned() };
        let refused = read(Purpose::ByHand, path()).unwrap_err().message;
        assert!(refused.contains("misspelt-key"), "{refused}");
        let place = format!("{}:3:1", bundle.path().join("appspec.yml").display());
        assert!(refused.contains(&place), "an editor opens what it names: {refused}");
        assert_eq!(read(Purpose::Commanded, path()).unwrap(), [Code::UnknownKey]);
        let published = Highest { sequence: 1, digest: None, key_policy: 1, epoch: 0 };
        assert_eq!(read(Purpose::Release(published), path()).unwrap(), [Code::UnknownKey]);
        let kept = Source::Kept { deployment: "d-1".parse().unwrap() };
        assert_eq!(read(Purpose::RollBackByHand, kept).unwrap(), [Code::UnknownKey]);
    }
}
