//! The contents of a bundle and its effect on a host: shared by deployments, `validate` and `plan`.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use hostler_core::appspec::codes::Code;
use hostler_core::appspec::diagnose::{self, BUNDLE, Diagnostic, Severity, View};
use hostler_core::appspec::lint::{HostKnowledge, host_questions, lint_archive, lint_bundle, lint_host};
use hostler_core::appspec::spec::{AppSpec, FileMapping};
use hostler_core::appspec::{self, AppspecName, Reading};
use hostler_core::bundle::{Adapted, BundleListing, EntryKind};
use hostler_core::limits::Limits;
use hostler_core::machine::event::{FailureKind, WorkFailure};
use hostler_core::machine::state::{Group, Policy};
use hostler_core::plan::actions::Plan;
use hostler_core::plan::{LastPlaces, Problem, ProblemCode, Problems, plan, wanted, warnings};
use hostler_host::observe::{self, PlanError};
use hostler_host::users;
use nix::libc::{O_NOFOLLOW, O_NONBLOCK};

use crate::failure::{chain, fail};
use crate::ports::Installs;
use crate::setup::Setup;
use crate::work::last_install::{last_install, note_others};
use crate::work::ports::Ports;

mod no_appspec;
mod reading;

use no_appspec::no_appspec;
pub use reading::{
    AppspecReader, ReadAppspec, read_accepted_appspec, read_appspec, read_deployed_appspec, read_kept_appspec,
    usable_before,
};

/// The bytes of a script that are examined; usually the whole script.
const HEAD_BYTES: u64 = 64 << 10;

/// The changes to entries that made them acceptable, one a line.
pub fn adapted_lines(adapted: &[Adapted]) -> Vec<String> {
    lint_archive(BUNDLE, adapted).iter().map(diagnose::one_line).collect()
}

/// An appspec, and all findings in it and its bundle.
#[derive(Debug, Clone)]
pub struct Diagnosed {
    /// The findings.
    pub diagnostics: Vec<Diagnostic>,
    /// The appspec's text.
    pub text: String,
    /// Its name in the bundle.
    pub name: String,
    /// Its meaning; `None` when it cannot be read. The bundle may still lack files that it names.
    pub spec: Option<AppSpec>,
}

impl Diagnosed {
    /// Whether an error makes it unusable on every host.
    pub fn has_errors(&self) -> bool {
        self.spec.is_none() || self.diagnostics.iter().any(|d| d.severity == Severity::Error)
    }

    /// The findings that only a plan shows, without repetitions.
    pub fn in_plan(&self, listing: &BundleListing) -> InPlan {
        let Some(spec) = &self.spec else { return InPlan::default() };
        match wanted(spec, listing, None) {
            Ok(wanted) => {
                InPlan { errors: Vec::new(), left_out: 0, warnings: untold(wanted.warnings, &self.diagnostics) }
            }
            Err(problems) => {
                let left_out = problems.left_out();
                InPlan { errors: untold(problems.into(), &self.diagnostics), left_out, warnings: Vec::new() }
            }
        }
    }

    /// The same with its file named as a user reaches it in the bundle's directory: editors and CI open what a message
    /// names.
    #[must_use]
    pub fn in_directory(mut self, directory: &str) -> Self {
        let shown = Path::new(directory).join(&self.name).display().to_string();
        for found in self.diagnostics.iter_mut().filter(|found| found.file == self.name) {
            found.file.clone_from(&shown);
        }
        self.name = shown;
        self
    }

    /// All findings for people, with the lines of the appspec; `problems` are errors outside of it.
    pub fn render(&self, problems: &[Problem]) -> String {
        let errors = problems.iter().map(|problem| problem.view(Severity::Error, &self.name));
        diagnose::render_all(self.diagnostics.iter().map(View::from).chain(errors), &self.text).trim_end().to_owned()
    }
}

/// The findings that a plan shows on every host.
#[derive(Debug, Clone, Default)]
pub struct InPlan {
    /// Errors that prevent installation everywhere.
    pub errors: Vec<Problem>,
    /// How many more errors there are.
    pub left_out: usize,
    /// Problems that are allowed but probably not intended.
    pub warnings: Vec<Problem>,
}

/// The files that BeforeInstall has yet to make.
fn made_later(diagnostics: &[Diagnostic]) -> impl Iterator<Item = &Diagnostic> {
    diagnostics.iter().filter(|d| matches!(d.code, Code::SourceMadeLater | Code::ScriptMadeLater))
}

/// The appspec without the entries of `files` whose sources BeforeInstall has yet to make: the part that can be planned
/// before it.
pub fn without_made_later<'s>(spec: &'s AppSpec, diagnostics: &[Diagnostic]) -> Cow<'s, AppSpec> {
    let missing = |file: &FileMapping| made_later(diagnostics).any(|d| d.at == Some(file.source_at));
    if !spec.files.iter().any(missing) {
        return Cow::Borrowed(spec);
    }
    let files = spec.files.iter().filter(|file| !missing(file)).cloned().collect();
    Cow::Owned(AppSpec { files, ..spec.clone() })
}

/// Checks, after BeforeInstall, that it has made its files.
///
/// # Errors
/// A file is missing; the message names the lines of the appspec.
pub fn check_made(diagnostics: &[Diagnostic]) -> Result<(), WorkFailure> {
    let missing: Vec<String> = made_later(diagnostics).map(diagnose::one_line).collect();
    match missing.is_empty() {
        true => Ok(()),
        false => Err(fail(format!("BeforeInstall is done and has not made all that it must:\n{}", missing.join("\n")))),
    }
}

/// Removes problems that a diagnostic reports at the same place in the appspec.
pub fn untold(mut problems: Vec<Problem>, diagnostics: &[Diagnostic]) -> Vec<Problem> {
    let same = |code: Code| {
        matches!(
            code,
            Code::SourceAbsent
                | Code::SourceMadeLater
                | Code::LeavesBundle
                | Code::PermissionMatchesNothing
                | Code::PatternMatchesNothing
        )
    };
    problems.retain(|p| p.at.is_none() || !diagnostics.iter().any(|d| d.at == p.at && same(d.code)));
    problems
}

/// Why a bundle's appspec cannot be read.
#[derive(Debug)]
pub struct NoAppspec {
    /// The message.
    pub message: String,
    /// Whether the file exists but could not be read this time.
    pub unreadable: bool,
}

impl From<NoAppspec> for WorkFailure {
    fn from(fault: NoAppspec) -> Self {
        fail(fault.message)
    }
}

/// Finds everything that the bundle alone shows.
///
/// # Errors
/// The appspec is missing or cannot be read.
pub fn diagnose_bundle(
    archive: &Path,
    listing: &BundleListing,
    wanted: AppspecName<'_>,
    limits: &Limits,
) -> Result<Diagnosed, NoAppspec> {
    diagnose_with(appspec::read, archive, listing, wanted, limits)
}

/// As [`diagnose_bundle`], for a bundle that was accepted before; see [`appspec::read_again`].
///
/// # Errors
/// As [`diagnose_bundle`].
pub fn diagnose_kept_bundle(
    archive: &Path,
    listing: &BundleListing,
    wanted: AppspecName<'_>,
    limits: &Limits,
) -> Result<Diagnosed, NoAppspec> {
    diagnose_with(appspec::read_again, archive, listing, wanted, limits)
}

fn diagnose_with(
    read: fn(&str, &[u8], &Limits) -> Reading,
    archive: &Path,
    listing: &BundleListing,
    wanted: AppspecName<'_>,
    limits: &Limits,
) -> Result<Diagnosed, NoAppspec> {
    let names = wanted.candidates();
    let is_file =
        |name: &&String| matches!(listing.get(Path::new(name)).map(|e| &e.kind), Some(EntryKind::File { .. }));
    let Some(name) = names.iter().find(is_file) else {
        return Err(NoAppspec { message: no_appspec(listing, &names), unreadable: false });
    };
    let bytes = head(&archive.join(name), limits.appspec_bytes as u64 + 1)
        .map_err(|e| NoAppspec { message: format!("cannot read {name} of the bundle: {e}"), unreadable: true })?;
    let reading = read(name, &bytes, limits);
    let (mut diagnostics, spec) = (reading.diagnostics, reading.spec);
    if let Some(read) = &spec {
        let heads = script_heads(archive, read, listing);
        diagnostics.extend(lint_bundle(name, read, listing, &heads, limits));
        diagnostics.sort_by_key(|d| d.at.map(|at| (at.line, at.column)));
    }
    let text = String::from_utf8_lossy(&bytes).into_owned();
    Ok(Diagnosed { diagnostics, text, name: name.clone(), spec })
}

/// Users, groups and interpreters that this machine lacks. It is usually not the bundle's target.
pub fn diagnose_host(
    archive: &Path,
    name: &str,
    spec: &AppSpec,
    listing: &BundleListing,
    limits: &Limits,
) -> Vec<Diagnostic> {
    let heads = script_heads(archive, spec, listing);
    let questions = host_questions(spec, &heads);
    let answer = |names: std::collections::BTreeSet<String>, exists: fn(&str) -> bool| -> BTreeMap<String, bool> {
        names.into_iter().map(|name| (name.clone(), exists(&name))).collect()
    };
    let knowledge = HostKnowledge {
        users: answer(questions.users, |name| users::lookup(name).is_ok()),
        groups: answer(questions.groups, users::group_exists),
        interpreters: answer(questions.interpreters, users::program_exists),
    };
    lint_host(name, spec, &heads, &knowledge, limits)
}

/// The first bytes of every script that is a regular file in the bundle.
pub fn script_heads(archive: &Path, spec: &AppSpec, listing: &BundleListing) -> BTreeMap<PathBuf, Vec<u8>> {
    let scripts = spec.hooks.iter().flat_map(|hooks| &hooks.scripts);
    let paths = scripts.filter_map(|s| hostler_core::bundle::BundlePath::new(s.location.trim_start_matches('/')));
    let files =
        paths.filter(|path| matches!(listing.get(path.as_path()).map(|e| &e.kind), Some(EntryKind::File { .. })));
    files
        .filter_map(|path| {
            let bytes = head(&archive.join(path.as_path()), HEAD_BYTES).ok()?;
            Some((path.as_path().to_owned(), bytes))
        })
        .collect()
}

fn head(path: &Path, most: u64) -> std::io::Result<Vec<u8>> {
    let file = File::options().read(true).custom_flags(O_NOFOLLOW | O_NONBLOCK).open(path)?;
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A plan, and its warnings.
#[derive(Debug, Clone)]
pub struct Planned {
    /// The plan.
    pub plan: Plan,
    /// Problems that are allowed but probably not intended.
    pub warnings: Vec<Problem>,
}

/// Plans an Install of a group on this host in its present state. A group that was never deployed has no key. The plan
/// consumes the listing: with a hundred thousand files there is no memory for both.
///
/// # Errors
/// All reasons against the Install, or that the host could not be examined.
pub fn plan_install(
    setup: &Setup,
    ports: &dyn Ports,
    spec: &AppSpec,
    listing: BundleListing,
    (group, others): (Option<&Group>, &[Installs]),
    policy: &Policy,
) -> Result<Planned, PlanError> {
    let last =
        group.map(|group| last_install(setup, ports, group)).transpose().map_err(PlanError::LastInstall)?.flatten();
    let (entries, places) = last.map_or((None, LastPlaces::Unknown), |last| (Some(last.entries), last.places));
    let mut wanted = wanted(spec, &listing, entries).map_err(PlanError::Problems)?;
    drop(listing);
    wanted = wanted.entering(places, setup.settings.unsafe_paths);
    if group.is_some_and(|group| ports.compatibility(&group.key).follows_safe_links()) {
        wanted = wanted.following_safe_links();
    }
    let mut facts = observe::observe(&wanted, setup.layout.root())?;
    let unknown = note_others(setup, ports, others, &wanted, &mut facts).map_err(|p| PlanError::Problems(p.into()))?;
    let plan = plan(&wanted, &facts, policy.file_exists_behavior, policy.cleanup).map_err(PlanError::Problems)?;
    let suspicious = warnings(&wanted, &facts);
    Ok(Planned { plan, warnings: [wanted.warnings, unknown, suspicious].concat() })
}

/// Whether BeforeInstall may resolve all of the problems.
pub fn may_change(error: &PlanError) -> bool {
    match error {
        PlanError::Problems(problems) => problems.are_of_the_host(),
        PlanError::Observe(_) | PlanError::LastInstall(_) => false,
    }
}

/// Whether the plan refuses to follow a link below a destination.
pub fn refuses_link(error: &PlanError) -> bool {
    matches!(error, PlanError::Problems(problems) if problems.has(ProblemCode::LinkBelowDestination))
}

/// Why there is no plan, one reason a line.
pub fn plan_error_text(error: &PlanError) -> String {
    match error {
        PlanError::Problems(problems) => problems_text(problems),
        PlanError::Observe(_) | PlanError::LastInstall(_) => chain(error),
    }
}

/// That there is no plan, as the failure of an effect.
pub fn plan_failure(error: &PlanError) -> WorkFailure {
    let is_full = |problems: &Problems| problems.has(ProblemCode::NoSpace) || problems.has(ProblemCode::NoInodes);
    let kind = match error {
        PlanError::Problems(problems) if is_full(problems) => FailureKind::NoSpace,
        PlanError::Problems(_) => FailureKind::Other,
        PlanError::Observe(_) | PlanError::LastInstall(_) => FailureKind::of(error),
    };
    WorkFailure { message: plan_error_text(error), kind }
}

/// Problems for people, one a line; the first line has their number if the list is shortened.
pub fn problems_text(problems: &Problems) -> String {
    let (listed, more) = (problems.len(), problems.left_out());
    let title = (more > 0).then(|| format!("there are {} problems, of which {listed} are listed:", listed + more));
    title.into_iter().chain(problems.iter().map(ToString::to_string)).collect::<Vec<_>>().join("\n")
}

/// The line after a shortened list.
pub fn and_more(problems: usize) -> String {
    format!("and {problems} more problems, which are not listed")
}
