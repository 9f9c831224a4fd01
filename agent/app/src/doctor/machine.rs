//! This machine: the state, the disk, users, systemd, other agents.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use hostler_core::codes::ExitCode;
use hostler_core::doctor::{Code, Finding, hardening, ledger_room, room};
use hostler_core::machine::State;
use hostler_core::path_rule::UnsafePaths;
use hostler_host::hooks::Launcher;
use hostler_host::users::SERVICE_GROUP;
use hostler_host::{clock, inspect, ledger, mounts, users};

use crate::codedeploy::compat::CodeDeployCompat;
use crate::codedeploy::exposure;
use crate::setup::Setup;
use crate::state_file::{LockedState, is_closed, ledger_failure, read_state};

/// With less free space, no deployment can succeed.
const LITTLE_SPACE: u64 = 64 << 20;
const FEW_INODES: u64 = 1000;

/// Checks the machine. `daemon` says whether a daemon answers.
pub fn examine(setup: &Setup, daemon: bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    state(setup, daemon, &mut findings);
    disk(setup.layout.state(), &mut findings);
    findings.push(service_group());
    findings.push(match agent_of_another_user(setup.layout.state()) {
        Some(finding) => finding,
        None => supervision(),
    });
    unit(&mut findings);
    if let Some(compat) = &setup.codedeploy_compat {
        findings.push(codedeploy_directories(setup, compat));
    }
    findings.push(codedeploy_agent());
    findings.extend(unsafe_paths(setup.settings.unsafe_paths));
    findings
}

fn unsafe_paths(chosen: UnsafePaths) -> Option<Finding> {
    let message = "unsafe_paths: warn is set: a user who owns a directory on the way to files could make the agent write and \
                   delete elsewhere, as root";
    let remedy = "take unsafe_paths out of the configuration once deployments warn of no unsafe way any more";
    (chosen == UnsafePaths::Warn).then(|| Finding::warning(Code::UnsafePathsWarn, message, remedy))
}

fn state(setup: &Setup, daemon: bool, findings: &mut Vec<Finding>) {
    let directory = setup.layout.state();
    let shown = directory.display();
    if setup.codedeploy_compat.is_some() {
        findings.extend(noexec(&setup.layout.codedeploy("")));
    }
    let Ok(metadata) = std::fs::metadata(directory) else {
        findings.extend(noexec(directory));
        findings.push(Finding::info(Code::StateDirectory, format!("{shown} does not exist; the first start makes it")));
        return;
    };
    let others_write = metadata.permissions().mode() & 0o022 != 0;
    findings.push(if !metadata.is_dir() {
        Finding::error(Code::StateDirectory, format!("{shown} is no directory"), "move it away")
    } else if others_write {
        let message = format!("{shown} can be written by others (mode {:o})", metadata.permissions().mode() & 0o7777);
        Finding::error(Code::StateDirectory, message, format!("chmod 755 {shown}"))
    } else if metadata.uid() != users::own_uid() {
        let message = format!("{shown} belongs to {}, and this is not that user", users::describe(metadata.uid()));
        Finding::warning(Code::StateDirectory, message, "run doctor as that user: what follows may be wrong")
    } else if !inspect::may_write(directory) {
        let message = format!("{shown} cannot be written");
        Finding::error(Code::StateDirectory, message, "see whether its file system is mounted read-only")
    } else if let Some(noexec) = noexec(directory) {
        noexec
    } else {
        Finding::ok(Code::StateDirectory, shown.to_string())
    });
    ledger(setup, findings);
    if daemon || !directory.join("lock").exists() || metadata.uid() != users::own_uid() {
        return;
    }
    findings.push(match LockedState::take(setup) {
        Ok(_) => Finding::ok(Code::StateLock, "no process holds the state"),
        Err(failure) if failure.code == ExitCode::LockHeld => {
            let message = format!("{}, and no daemon answers", failure.one_line());
            Finding::warning(
                Code::StateLock,
                message,
                "a deployment by hand may just begin or end; else look at the process",
            )
        }
        // The finding about the ledger says why.
        Err(_) => Finding::info(Code::StateLock, "not tried: the state cannot be read"),
    });
}

fn ledger(setup: &Setup, findings: &mut Vec<Finding>) {
    let snapshot = match ledger::peek(setup.layout.state(), &setup.limits) {
        Ok(Some(snapshot)) => snapshot,
        Ok(None) => return findings.push(Finding::info(Code::Ledger, "there is none yet")),
        Err(closed) if is_closed(&closed) => {
            let message = ledger_failure(closed).one_line();
            return findings.push(Finding::warning(Code::Ledger, message, "call hostler doctor as root (sudo)"));
        }
        Err(error) => {
            let failure = ledger_failure(error);
            let remedy = "restore it, or move it away to start without a memory of what is installed";
            return findings.push(Finding::error(Code::Ledger, failure.one_line(), remedy));
        }
    };
    match read_state(&snapshot.state) {
        Ok(state) => {
            findings.push(Finding::ok(
                Code::Ledger,
                match state.groups.len() {
                    1 => "1 group is known".to_owned(),
                    groups => format!("{groups} groups are known"),
                },
            ));
            findings.push(installs(&state));
        }
        Err(failure) => {
            findings.push(Finding::error(Code::Ledger, failure.one_line(), "install the version that wrote it"));
        }
    }
    // Blanks follow a sealed state.
    findings.push(ledger_room(snapshot.state.trim_ascii_end().len(), snapshot.room));
}

fn installs(state: &State) -> Finding {
    let open = state.all_active().filter_map(|(group, deployment)| Some((group, deployment.not_undone.as_ref()?)));
    let open: Vec<_> = open.collect();
    let Some((_, first)) = open.first() else {
        return Finding::ok(Code::Installs, "none waits until it can be undone");
    };
    let texts = open.iter().map(|(group, not_undone)| {
        format!("{}: since {}: {not_undone}", group.key, clock::local_time(not_undone.since_ms))
    });
    Finding::error(Code::Installs, texts.collect::<Vec<_>>().join("; "), first.remedy())
}

/// Hooks are files of unpacked bundles, so the directory must allow execution.
fn noexec(directory: &Path) -> Option<Finding> {
    let mount = mounts::noexec_mount(directory)?;
    let (directory, mount) = (directory.display(), mount.display());
    let message = format!("{directory} is on {mount}, which is mounted noexec: no script of a bundle can start");
    let remedy = format!("mount -o remount,exec {mount}, or keep the state on another mount");
    Some(Finding::error(Code::StateDirectory, message, remedy))
}

fn disk(state: &Path, findings: &mut Vec<Finding>) {
    let (bytes, inodes) = match inspect::room(state) {
        Ok(found) => found,
        Err(error) => {
            let message = format!("the file system of {} says nothing: {error}", state.display());
            findings.push(Finding::error(Code::DiskSpace, message, "see whether it is mounted"));
            return;
        }
    };
    let mib = |bytes: u64| format!("{} MiB", bytes >> 20);
    let what = format!("file system of {}", state.display());
    findings.push(room(Code::DiskSpace, &what, bytes.free, bytes.all, LITTLE_SPACE, mib));
    if let Some(inodes) = inodes {
        let count = |inodes: u64| format!("{inodes} inodes");
        findings.push(room(Code::Inodes, &what, inodes.free, inodes.all, FEW_INODES, count));
    }
}

fn service_group() -> Finding {
    if users::group_exists(SERVICE_GROUP) {
        return Finding::ok(Code::ServiceGroup, format!("members of {SERVICE_GROUP} may act"));
    }
    Finding::info(
        Code::ServiceGroup,
        format!("there is no group {SERVICE_GROUP}: only root and the agent's own user may act"),
    )
}

/// How this process would start hooks says nothing of an agent with another user's rights.
fn agent_of_another_user(state: &Path) -> Option<Finding> {
    let owner = std::fs::metadata(state).ok()?.uid();
    (owner != users::own_uid()).then(|| {
        let message = format!("not tried: the agent runs as {}, and this is not that user", users::describe(owner));
        Finding::info(Code::HookSupervision, message)
    })
}

fn supervision() -> Finding {
    match (Launcher::detect(), inspect::ends_control_groups()) {
        (Launcher::Systemd { version }, true) => Finding::ok(
            Code::HookSupervision,
            format!("hooks are services of systemd {version} with control groups of their own"),
        ),
        (Launcher::Systemd { version }, false) => Finding::info(
            Code::HookSupervision,
            format!(
                "hooks are services of systemd {version}; without cgroup.kill (version 2, Linux 5.14) their processes are ended one by one"
            ),
        ),
        (Launcher::Plain, _) if users::own_uid() != 0 => {
            Finding::info(Code::HookSupervision, "hooks are children of the agent: it does not run as root")
        }
        (Launcher::Plain, _) if Path::new("/run/systemd/system").is_dir() => Finding::warning(
            Code::HookSupervision,
            "systemd manages this host and starts no service for the agent: hooks and checks are its children, with the rights of its unit and no runas",
            "see what systemd-run --wait /bin/true says",
        ),
        (Launcher::Plain, _) => {
            Finding::info(Code::HookSupervision, "no systemd manages this host: hooks are children of the agent")
        }
    }
}

fn unit(findings: &mut Vec<Finding>) {
    let Some(properties) = inspect::unit_properties("hostler.service") else {
        findings.push(Finding::info(Code::Unit, "no systemd manages this host"));
        return;
    };
    let of = |name: &str| properties.get(name).cloned();
    let word = |name: &str| of(name).unwrap_or_default();
    if word("LoadState") == "not-found" {
        findings.push(Finding::info(Code::Unit, "hostler.service is not installed"));
        return;
    }
    let enabled = word("UnitFileState");
    findings.push(if let Some(failing) = failing(of) {
        failing
    } else if word("NeedDaemonReload") == "yes" {
        Finding::warning(Code::Unit, "systemd has not read the unit's newest files", "systemctl daemon-reload")
    } else if !matches!(enabled.as_str(), "enabled" | "enabled-runtime" | "static" | "generated") {
        let message = format!("hostler.service is {enabled}: it does not start at boot");
        Finding::warning(Code::Unit, message, "systemctl enable hostler")
    } else if word("ActiveState") == "inactive" {
        let remedy = match word("ConditionResult").as_str() {
            "no" => "write /etc/hostler/config.yaml, for which it waits; then systemctl start hostler",
            _ => "systemctl start hostler; journalctl -u hostler shows why it ended",
        };
        Finding::warning(Code::Unit, format!("hostler.service is {enabled} and does not run"), remedy)
    } else {
        Finding::ok(Code::Unit, format!("hostler.service is {enabled} and {}", word("ActiveState")))
    });
    let wrong = hardening(of);
    findings.push(if wrong.is_empty() {
        Finding::ok(Code::UnitHardening, "nothing is taken from it that an Install needs")
    } else {
        let drop_ins = word("DropInPaths");
        let remedy = match drop_ins.as_str() {
            "" => "use the unit as it is shipped".to_owned(),
            paths => format!("look at {paths}"),
        };
        Finding::error(Code::UnitHardening, wrong.join("; "), remedy)
    });
}

/// The finding of a unit that fails, if systemd manages this host.
pub fn unit_that_fails() -> Option<Finding> {
    let properties = inspect::unit_properties("hostler.service")?;
    failing(|name| properties.get(name).cloned())
}

fn failing(of: impl Fn(&str) -> Option<String>) -> Option<Finding> {
    let message = match (of("ActiveState").as_deref(), of("SubState").as_deref()) {
        (_, Some("auto-restart")) => "hostler.service fails again and again, and systemd restarts it",
        (Some("failed"), _) => "hostler.service has failed",
        _ => return None,
    };
    Some(Finding::error(Code::Unit, message, "journalctl -u hostler shows why"))
}

fn codedeploy_directories(setup: &Setup, compat: &CodeDeployCompat) -> Finding {
    let code = Code::CodedeployDirectories;
    match exposure::exposed(setup, compat) {
        Ok(found) if found.is_empty() => match exposure::exposed_files(setup, compat).as_slice() {
            [] => Finding::ok(code, "no other user may change the directories and the configuration"),
            files => Finding::warning(code, exposure::texts(files).join("; "), exposure::by_hand(files)),
        },
        Ok(found) => Finding::error(code, exposure::texts(&found).join("; "), exposure::remedy(&found)),
        Err(failure) => Finding::warning(code, failure.one_line(), "run doctor as root"),
    }
}

fn codedeploy_agent() -> Finding {
    match inspect::processes_of("codedeploy-agent").as_slice() {
        [] => Finding::ok(Code::CodedeployAgent, "none runs"),
        pids => {
            let pids: Vec<String> = pids.iter().map(u32::to_string).collect();
            let message = format!("a CodeDeploy agent runs (pid {}): both would install files", pids.join(", "));
            Finding::warning(Code::CodedeployAgent, message, "systemctl disable --now codedeploy-agent")
        }
    }
}

#[cfg(test)]
mod tests {
    use hostler_core::doctor::Severity;

    use super::*;

    #[test]
    fn how_hooks_start_is_not_guessed_for_an_agent_of_another_user() {
        let own = tempfile::tempdir().unwrap();
        assert!(agent_of_another_user(own.path()).is_none());
        assert!(agent_of_another_user(&own.path().join("absent")).is_none(), "the first start makes it");
        // Of root, or of another user if this is root.
        let others = match users::own_uid() {
            0 => {
                std::os::unix::fs::chown(own.path(), Some(65534), None).unwrap();
                own.path()
            }
            _ => Path::new("/"),
        };
        let finding = agent_of_another_user(others).unwrap();
        assert_eq!((finding.code, finding.severity), (Code::HookSupervision, Severity::Info));
        assert!(finding.message.starts_with("not tried: the agent runs as "), "{}", finding.message);
    }

    #[test]
    fn a_unit_that_fails_is_told_from_one_that_runs_or_was_stopped() {
        let of = |active: &'static str, sub: &'static str| {
            failing(move |name| match name {
                "ActiveState" => Some(active.to_owned()),
                "SubState" => Some(sub.to_owned()),
                _ => None,
            })
        };
        let again = of("activating", "auto-restart").unwrap();
        assert_eq!((again.severity, again.code), (Severity::Error, Code::Unit));
        assert!(again.message.contains("fails again and again"), "{}", again.message);
        assert!(of("failed", "failed").unwrap().message.contains("has failed"));
        for (active, sub) in [("active", "running"), ("inactive", "dead"), ("activating", "start")] {
            assert!(of(active, sub).is_none(), "{active} {sub}");
        }
    }
}
