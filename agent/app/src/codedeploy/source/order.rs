//! The meaning of a command on this host: the scripts to run, and the revision and deployment that they belong to.

use std::path::Path;

use hostler_core::appspec::spec::EventHooks;
use hostler_core::appspec::{self, AppspecName, diagnose};
use hostler_core::bundle::BundlePath;
use hostler_core::codedeploy::events::{Chosen, chosen};
use hostler_core::codedeploy::specification::Specification;
use hostler_core::event_order::LifecycleEvent;
use hostler_core::ids::DeploymentId;
use hostler_core::limits::Limits;
use hostler_core::machine::State;
use hostler_core::machine::command::Order;
use hostler_core::machine::state::{Policy, Purpose, Request, Revision, RollbackPolicy, Script, Source};
use hostler_core::release::Trust;
use hostler_host::archive;

use crate::codedeploy::compat::CodeDeployCompat;
use crate::codedeploy::exposure::{Use, check_archive};
use crate::codedeploy::records;
use crate::setup::Setup;
use crate::work::old_hooks::{is_gone, unreadable};

/// Makes an order from a command's name, the event that it means, and its deployment's specification.
///
/// # Errors
/// The report to send: this deployment's appspec is missing or invalid.
pub fn order(
    setup: &Setup,
    compat: &CodeDeployCompat,
    state: &State,
    name: &str,
    event: Option<LifecycleEvent>,
    specification: Specification,
) -> Result<Order, String> {
    let scripts = match event.filter(|event| event.has_scripts()) {
        Some(event) => scripts(setup, compat, state, event, &specification)?,
        None => Vec::new(),
    };
    Ok(Order {
        deployment: specification.deployment.clone(),
        name: name.to_owned(),
        event,
        scripts,
        checks_bundle_first: !specification.blue_green,
        request: request(setup, compat, specification),
    })
}

fn request(setup: &Setup, compat: &CodeDeployCompat, specification: Specification) -> Request {
    let location = specification.revision;
    Request {
        purpose: Purpose::Commanded,
        asked_by: "the CodeDeploy service".to_owned(),
        revision: Revision { location: location.to_string(), digest: None, size: None, bundle_type: None, label: None },
        source: Source::CodeDeploy {
            location,
            // A deployment cannot reuse its own bundle.
            reuse: specification
                .reuse_archive_from
                .filter(|other| compat.agent.enable_archive_reuse && *other != specification.deployment),
        },
        trust: Trust::Unsigned,
        policy: Policy {
            file_exists_behavior: specification.file_exists_behavior,
            appspec_name: specification.appspec_name,
            appspec_only: specification.appspec_only,
            max_revisions: compat.agent.max_revisions,
            // The service rolls back with a deployment of its own.
            rollback: RollbackPolicy::Never,
            ignore_application_stop_failures: false,
            cleanup: true,
            ..setup.settings.policy(&specification.group)
        },
        key: specification.group,
    }
}

/// Under the CodeDeploy agent, a script without a user in the appspec runs as the agent's user. It must not become
/// root's here.
fn as_the_agents_user(scripts: Vec<Script>, compat: &CodeDeployCompat) -> Vec<Script> {
    let own = &compat.agent.user;
    let user = |script: &Script| script.runas.clone().or_else(|| own.clone().filter(|_| !script.sudo));
    scripts.into_iter().map(|script| Script { runas: user(&script), ..script }).collect()
}

/// The scripts of an event, from the revision that the event refers to.
fn scripts(
    setup: &Setup,
    compat: &CodeDeployCompat,
    state: &State,
    event: LifecycleEvent,
    specification: &Specification,
) -> Result<Vec<Script>, String> {
    let key = &specification.group;
    let archive = |id: &DeploymentId| setup.layout.deployment(key, id).archive();
    let unpacked = archive(&specification.deployment).is_dir();
    let chosen = chosen(event, specification.blue_green_rollback, unpacked);
    let deployment = match chosen {
        Chosen::Current => Some(specification.deployment.clone()),
        Chosen::LastSuccessful => records::last_successful(setup, key)?,
        Chosen::MostRecent => records::most_recent(setup, key)?,
    };
    let Some(deployment) = deployment else { return Ok(Vec::new()) };
    let known = state.groups.get(&key.id()).and_then(|group| group.appspec_name_of(&deployment));
    let custom = known.or(specification.appspec_name.as_deref());
    let hooks = match hooks_of(&archive(&deployment), custom, &setup.limits) {
        Ok(hooks) => hooks,
        Err(NoHooks::Broken(problem) | NoHooks::Unreadable(problem)) if chosen == Chosen::Current => {
            return Err(problem);
        }
        Err(NoHooks::Unreadable(problem)) => return Err(unreadable(&archive(&deployment), &problem).message),
        // An error would block every later deployment.
        Err(NoHooks::Broken(problem)) => return Ok(left_out(&deployment, event, &problem)),
    };
    let of_event = hooks.iter().find(|hooks| hooks.event == event.name());
    if of_event.is_some_and(|hooks| hooks.unusable) {
        return Err(format!("the appspec's scripts of {event} cannot be used; the warnings of DownloadBundle say why"));
    }
    let of_event = of_event.map_or(&[][..], |hooks| &hooks.scripts);
    let scripts = of_event.iter().map(|hook| Script::new(deployment.clone(), hook)).collect();
    let scripts = as_the_agents_user(scripts, compat);
    match scripts.iter().try_for_each(|script| check_archive(setup, key, &deployment, Use::Run(script))) {
        Ok(()) => Ok(scripts),
        Err(problem) if chosen == Chosen::Current => Err(problem),
        Err(problem) => Ok(left_out(&deployment, event, &problem)),
    }
}

fn left_out(deployment: &DeploymentId, event: LifecycleEvent, problem: &str) -> Vec<Script> {
    log::warn!(deployment = deployment.as_str(), event:%; "{deployment}: the old revision's scripts are left out in {event}: {problem}");
    Vec::new()
}

/// Why an unpacked bundle has no usable hooks.
enum NoHooks {
    /// The bundle or its appspec is missing.
    Broken(String),
    /// Reading it failed this time.
    Unreadable(String),
}

/// The hooks of an unpacked bundle.
fn hooks_of(archive: &Path, custom: Option<&str>, limits: &Limits) -> Result<Vec<EventHooks>, NoHooks> {
    let names = AppspecName::or_usual(custom).candidates();
    let mut found = None;
    for name in &names {
        let path = BundlePath::new(name).ok_or_else(|| {
            NoHooks::Broken(format!(
                "the appspec's name {name:?} leads out of the bundle; AppSpecFilename names a file in it"
            ))
        })?;
        match archive::read_beneath(archive, &path, limits.appspec_bytes as u64 + 1) {
            Ok(bytes) => {
                found = Some((name, bytes));
                break;
            }
            Err(error) if is_gone(&error) || error.kind() == std::io::ErrorKind::InvalidInput => {}
            Err(error) => {
                return Err(NoHooks::Unreadable(format!("cannot read {}: {error}", archive.join(name).display())));
            }
        }
    }
    let Some((name, bytes)) = found else {
        return Err(NoHooks::Broken(format!("there is no {} in {}", names.join(" or "), archive.display())));
    };
    // DownloadBundle accepted it, under hostler or under the CodeDeploy agent.
    let reading = appspec::read_again(name, &bytes, limits);
    match reading.spec {
        Some(spec) => Ok(spec.hooks),
        None => Err(NoHooks::Broken(diagnose::render(&reading.diagnostics, &String::from_utf8_lossy(&bytes)))),
    }
}
