//! `hostler plan WHAT`: the effects of a deployment on this host in its present state. Changes nothing.

use std::fmt::Write as _;
use std::fs::File;
use std::io::ErrorKind;
use std::num::NonZeroUsize;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use hostler_aws::store_s3::DownloadTarget;
use hostler_core::appspec::AppspecName;
use hostler_core::appspec::diagnose::{self, Diagnostic, Severity, View};
use hostler_core::appspec::spec::EventHooks;
use hostler_core::bundle::Adapted;
use hostler_core::codes::ExitCode;
use hostler_core::event_order::LifecycleEvent;
use hostler_core::health::Check;
use hostler_core::ids::GroupKey;
use hostler_core::machine::state::{Group, Policy};
use hostler_core::plan::{Fact, Problem, Summary, judge_scripts};
use hostler_core::store::{Location, without_secrets};
use hostler_core::transfer::Meter;
use hostler_host::archive::{self, UnpackOptions};
use hostler_host::layout::Layout;
use hostler_host::ledger;
use hostler_host::observe::{PlanError, compare_contents};
use hostler_host::regular;
use serde::Serialize;

use crate::cli::{PlanArgs, Shared};
use crate::failure::{Failure, Outcome};
use crate::output;
use crate::ports::Installs;
use crate::setup::{Setup, existing};
use crate::state_file::{is_closed, ledger_failure, read_state};
use crate::stores::{self, AnyObject};
use crate::terminal::shown;
use crate::wings;
use crate::work::bundle::{
    adapted_lines, and_more, diagnose_bundle, may_change, plan_install, untold, without_made_later,
};
use crate::work::old_hooks::old_hooks;
use crate::work::ports::ScriptDefaults;
use crate::work::scripts;

use checks::PlannedCheck;

mod checks;

/// Why another user gets no plan, also where a daemon answers its other questions.
const WHY_ROOT: &str = "a plan reads the agent's state and the journals of what is installed, and looks at each path with \
                        the rights of the agent; root alone has them, so members of the group hostler use sudo, too";

#[derive(Debug, Serialize)]
struct Document {
    version: u32,
    /// Whether a deployment would get as far as its hooks.
    deployable: bool,
    /// Whether `problems` are only warnings, because the appspec asks for another check after BeforeInstall.
    checked_again: bool,
    /// The diagnostics of the appspec and the bundle.
    diagnostics: Vec<Diagnostic>,
    /// Why it cannot be installed: facts of the bundle, then facts of this host.
    problems: Vec<Problem>,
    /// How many more there are.
    #[serde(skip_serializing_if = "Option::is_none")]
    problems_left_out: Option<NonZeroUsize>,
    /// Problems that are allowed but probably not intended.
    suspicious: Vec<Problem>,
    files: Option<Summary>,
    hooks: Vec<PlannedHook>,
    /// The health checks that ValidateService waits for.
    health: Vec<PlannedCheck>,
    /// The appspec as a user reaches it, its name, and its text.
    #[serde(skip)]
    file: String,
    #[serde(skip)]
    name: String,
    #[serde(skip)]
    text: String,
}

#[derive(Debug, Serialize)]
struct PlannedHook {
    event: LifecycleEvent,
    location: String,
    /// Whether it is the installed revision's script.
    of_installed: bool,
    user: Option<String>,
    timeout_seconds: u64,
}

pub fn run(shared: &Shared, arguments: &PlanArgs) -> Outcome {
    let mut setup = Setup::new(shared)?;
    let (ground, policy) = group(&setup, shared, arguments)?;
    let of_host = setup.settings.health(&group_key(&setup, shared)?).to_vec();
    let scratch = tempfile::tempdir().context("cannot make a temporary directory for the bundle")?;
    if let Some(layout) = empty_host(&setup.layout, scratch.path())? {
        setup.layout = layout;
    }
    let what = super::given::place(arguments.what.clone())?;
    let arguments = &PlanArgs { what, ..arguments.clone() };
    let directory = unpacked(&setup, &arguments.what, scratch.path())?;
    let document = examine(&setup, arguments, &ground, (&policy, &of_host), &directory)?;
    let printed = if setup.json { output::json(&document) } else { output::text(&text(&document)) };
    output::unless_closed(printed)?;
    Ok(if document.deployable { ExitCode::Ok } else { ExitCode::Failed })
}

/// A host without files in place of a root prefix that does not exist: `deploy` makes the directory, and a plan must
/// not. `None` when the root prefix exists.
fn empty_host(layout: &Layout, scratch: &Path) -> Result<Option<Layout>, Failure> {
    let absent = std::fs::symlink_metadata(layout.root()).is_err_and(|e| e.kind() == ErrorKind::NotFound);
    if !absent {
        return Ok(None);
    }
    let root = scratch.join("root");
    std::fs::create_dir(&root).context("cannot make a temporary directory for an empty host")?;
    Ok(Some(Layout::new(&root, Some(layout.state()))))
}

fn examine(
    setup: &Setup,
    arguments: &PlanArgs,
    (group, others): &Ground,
    (policy, checks_of_host): (&Policy, &[Check]),
    directory: &Path,
) -> Result<Document, Failure> {
    let group = group.as_ref();
    let listing = archive::list(directory)?;
    let wanted = AppspecName::only(arguments.appspec_filename.as_deref());
    let found = diagnose_bundle(directory, &listing, wanted, &setup.limits).map_err(|f| {
        Failure::say(ExitCode::Failed, format!("{}: {}", without_secrets(&arguments.what.to_string_lossy()), f.message))
    })?;
    let mut document = Document {
        version: 1,
        deployable: false,
        checked_again: false,
        diagnostics: found.diagnostics.clone(),
        problems: Vec::new(),
        problems_left_out: None,
        suspicious: Vec::new(),
        files: None,
        hooks: Vec::new(),
        health: Vec::new(),
        file: if arguments.what.is_dir() {
            arguments.what.join(&found.name).display().to_string()
        } else {
            found.name.clone()
        },
        name: found.name.clone(),
        text: found.text.clone(),
    };
    let Some(spec) = found.spec.as_ref().filter(|_| !found.has_errors()) else {
        let in_plan = found.in_plan(&listing);
        (document.problems, document.problems_left_out) = (in_plan.errors, NonZeroUsize::new(in_plan.left_out));
        return Ok(document);
    };
    let recheck = spec.extension.recheck_after_before_install;
    let runs_in = setup.layout.state();
    let revision =
        scripts::Revision { archive: directory, spec, listing: &listing, runs_in, defaults: ScriptDefaults::default() };
    let found_of_scripts = scripts::problems(revision).map_err(|f| Failure::say(ExitCode::Failed, f.message))?;
    let (of_scripts, mut suspicious) = judge_scripts(found_of_scripts, recheck);
    let (mut left_out, mut problems) = (of_scripts.left_out(), Vec::from(of_scripts));
    let (old_hooks, old_problem) = match group.map(|group| old_hooks(setup, group)) {
        Some(found) => found.map_err(|failure| Failure::say(ExitCode::Failed, failure.message))?,
        None => (Vec::new(), None),
    };
    if let Some(problem) = old_problem {
        output::notice(&format!("warning: {problem}"));
    }
    document.hooks = hooks(&old_hooks, &spec.hooks);
    document.health = checks::planned(&spec.extension.health, checks_of_host);
    let spec = &without_made_later(spec, &found.diagnostics);
    match plan_install(setup, wings::ALL, spec, listing, (group, others), policy) {
        Ok(planned) => {
            let compared = compare_contents(&planned.plan, directory, setup.layout.root())?;
            document.files = Some(Summary::new(&planned.plan, &compared));
            suspicious.extend(untold(planned.warnings, &found.diagnostics));
            document.deployable = problems.is_empty();
        }
        Err(error) => {
            document.checked_again = problems.is_empty() && may_change(&error) && recheck;
            document.deployable = document.checked_again;
            let PlanError::Problems(of_install) = error else { return Err(Failure::from(error)) };
            left_out += of_install.left_out();
            problems.extend(of_install);
            problems.sort_by_key(|problem| problem.fact);
        }
    }
    document.problems_left_out = NonZeroUsize::new(left_out);
    (document.problems, document.suspicious) = (problems, suspicious);
    Ok(document)
}

fn unpacked(setup: &Setup, what: &Path, scratch: &Path) -> Result<PathBuf, Failure> {
    let failed = || format!("cannot use {}", what.display());
    let place = stores::location(what)?;
    let file = match place.as_ref().map(|place| setup.stores.elsewhere(place)).transpose()?.flatten() {
        Some(object) => fetched(setup, &object, scratch)?,
        None => {
            let path = existing(match &place {
                Some(Location::File(path)) => path,
                _ => what,
            })?;
            if path.is_dir() {
                show_adapted(&archive::adapted(&path).with_context(failed)?);
                return Ok(path);
            }
            regular::open_bundle(&path).with_context(failed)?
        }
    };
    let target = scratch.join("bundle");
    let options = UnpackOptions { limits: setup.limits.clone(), allow_setuid: false };
    let kind = archive::detect(&file).with_context(failed)?;
    let unpacked = archive::unpack(&file, kind, &target, &options).with_context(failed)?;
    show_adapted(&unpacked.adapted);
    Ok(target)
}

fn show_adapted(adapted: &[Adapted]) {
    for line in adapted_lines(adapted) {
        output::notice(&format!("warning: {line}"));
    }
}

/// Downloads a bundle from the network into a file without a name.
fn fetched(setup: &Setup, object: &AnyObject, scratch: &Path) -> Result<File, Failure> {
    let file = tempfile::tempfile_in(scratch).context("cannot make a temporary file for the bundle")?;
    let meter = Arc::new(Meter::default());
    let target = DownloadTarget { file: file.as_fd(), note: None, meter: Some(&meter) };
    super::block_on(async {
        let download = object.download(target, None, &setup.stores.downloads);
        shown("download: ", &meter, download).await.map_err(stores::failure)?;
        Ok(ExitCode::Ok)
    })?;
    Ok(file)
}

/// The group, and the Installs of the host's other groups.
type Ground = (Option<Group>, Vec<Installs>);

/// The named or configured group, or the one of deployments by hand.
fn group_key(setup: &Setup, shared: &Shared) -> Result<GroupKey, Failure> {
    match setup.group(shared) {
        Err(_) if shared.application.is_none() && shared.group.is_none() => {
            Ok(GroupKey::new("local".parse()?, "local".parse()?))
        }
        found => found,
    }
}

/// The group on this host, and its policy. A group that is not named counts as never deployed.
fn group(setup: &Setup, shared: &Shared, arguments: &PlanArgs) -> Result<(Ground, Policy), Failure> {
    let key = group_key(setup, shared)?;
    let snapshot = ledger::peek(setup.layout.state(), &setup.limits).map_err(|error| match is_closed(&error) {
        true => ledger_failure(error).hint(WHY_ROOT),
        false => ledger_failure(error),
    })?;
    let state = read_state(&snapshot.map(|s| s.state).unwrap_or_default())?;
    let policy = setup.settings.policy(&key);
    let behavior = arguments.file_exists_behavior.map_or(policy.file_exists_behavior, Into::into);
    let policy = Policy { file_exists_behavior: behavior, ..policy };
    Ok(((state.groups.get(&key.id()).cloned(), Installs::of_others(&state, &key)), policy))
}

/// All scripts in the order in which they would run.
fn hooks(old: &[EventHooks], new: &[EventHooks]) -> Vec<PlannedHook> {
    let events = LifecycleEvent::ORDER.into_iter().filter(|event| event.has_scripts());
    let scripts = events.flat_map(|event| {
        let hooks = if event.runs_old_revision() { old } else { new };
        let of_event = hooks.iter().filter(move |hooks| hooks.event == event.name());
        of_event.flat_map(|hooks| &hooks.scripts).map(move |script| (event, script))
    });
    scripts
        .map(|(event, script)| PlannedHook {
            event,
            location: script.location.clone(),
            of_installed: event.runs_old_revision(),
            user: script.user().map(str::to_owned),
            timeout_seconds: script.timeout_seconds,
        })
        .collect()
}

fn text(document: &Document) -> String {
    let suspicious = document.suspicious.iter().map(|p| p.view(Severity::Warning, &document.name));
    let views = document.diagnostics.iter().map(View::from).chain(suspicious);
    let views =
        views.map(|view| View { file: if view.file == document.name { &document.file } else { view.file }, ..view });
    let mut text = diagnose::render_all(views, &document.text);
    for (fact, title) in [
        (Fact::Bundle, "this bundle cannot be installed on any host:"),
        (Fact::Host, "cannot be deployed on this host:"),
    ] {
        let of_fact: Vec<_> = document.problems.iter().filter(|p| p.fact == fact).collect();
        if !of_fact.is_empty() {
            let _ = writeln!(text, "{title}");
            for problem in of_fact {
                let place = problem.at.map(|at| format!("{}:{}:{}: ", document.file, at.line, at.column));
                let unplaced = Problem { at: None, ..problem.clone() };
                let _ = writeln!(text, "  {}{unplaced}", place.unwrap_or_default());
            }
        }
    }
    if let Some(more) = document.problems_left_out {
        let _ = writeln!(text, "{}", and_more(more.get()));
    }
    if document.checked_again {
        text.push_str("(checked again after BeforeInstall, as the appspec says)\n");
    } else if !document.deployable {
        text.push_str("this must not be deployed\n");
        return text;
    }
    if let Some(files) = &document.files {
        let _ = writeln!(text, "{files}");
    }
    for hook in &document.hooks {
        let user = hook.user.as_deref().unwrap_or("the agent's user");
        let whose = if hook.of_installed { " of the installed revision" } else { "" };
        let _ =
            writeln!(text, "{}: {}{whose} as {user}, at most {} s", hook.event, hook.location, hook.timeout_seconds);
    }
    for check in &document.health {
        let _ = writeln!(text, "{check}");
    }
    text
}
