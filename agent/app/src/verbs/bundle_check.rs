//! The checks of `push` and `release`: they refuse a bundle that every host would refuse.

use std::fs::File;
use std::path::Path;

use anyhow::Context as _;
use hostler_core::appspec::AppspecName;
use hostler_core::appspec::diagnose::{self, BUNDLE, Severity, View};
use hostler_core::appspec::lint::lint_archive;
use hostler_core::bundle::Adapted;
use hostler_core::codes::ExitCode;
use hostler_host::archive::{self, ArchiveError, UnpackOptions, Unpacked};

use crate::failure::Failure;
use crate::failure::chain;
use crate::output;
use crate::setup::Setup;
use crate::work::bundle::{Diagnosed, diagnose_bundle};

/// Refuses a bundle's directory that no host could deploy, and warns of surprises. `shown` is its name in messages.
///
/// # Errors
/// The problems, with the lines of its appspec.
pub fn directory(setup: &Setup, directory: &Path, shown: &str) -> Result<(), Failure> {
    look(setup, directory, &archive::adapted(directory)?, shown, |found| found.in_directory(shown))
}

fn look(
    setup: &Setup,
    directory: &Path,
    adapted: &[Adapted],
    shown: &str,
    named: impl FnOnce(Diagnosed) -> Diagnosed,
) -> Result<(), Failure> {
    let listing = archive::list(directory)?;
    let usual = AppspecName::default();
    let found = diagnose_bundle(directory, &listing, usual, &setup.limits).map_err(|f| wrong(shown, &f.message))?;
    let in_plan = found.in_plan(&listing);
    let found = named(found);
    if found.has_errors() || !in_plan.errors.is_empty() {
        return Err(wrong(shown, &found.render(&in_plan.errors)));
    }
    let warnings = in_plan.warnings.iter().map(|problem| problem.view(Severity::Warning, &found.name));
    let of_archive = lint_archive(BUNDLE, adapted);
    let diagnostics = of_archive.iter().chain(&found.diagnostics).map(View::from);
    output::warnings(&diagnose::render_all(diagnostics.chain(warnings), &found.text));
    Ok(())
}

/// As [`directory`], for a packed bundle, which it unpacks. If this machine cannot unpack it, prints a warning: the
/// hosts check the bundle again before any change.
///
/// # Errors
/// The problems of the bundle.
pub fn packed(setup: &Setup, file: &File, shown: &str) -> Result<(), Failure> {
    let scratch = tempfile::tempdir().context("cannot make a temporary directory for the bundle")?;
    let target = scratch.path().join("bundle");
    let options = UnpackOptions { limits: setup.limits.clone(), allow_setuid: false };
    match archive::detect(file).and_then(|kind| archive::unpack(file, kind, &target, &options)) {
        Ok(Unpacked { adapted, .. }) => look(setup, &target, &adapted, shown, |found| found),
        Err(error @ ArchiveError::Host { .. }) => {
            output::warnings(&format!(
                "warning: the bundle is published without a look at its appspec: {}\n",
                chain(&error)
            ));
            Ok(())
        }
        Err(error) => Err(wrong(shown, &chain(&error))),
    }
}

fn wrong(shown: &str, why: &str) -> Failure {
    Failure::say(ExitCode::Failed, format!("{shown} must not be deployed\n{why}"))
}
