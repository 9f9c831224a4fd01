//! The disk syncs of a deployment: at most four a lifecycle event.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::host::{Bundle, Ended, Host};
use crate::support::skip;
use crate::support::syncs::{SYNC_CALLS, Step, steps};

const MOST: usize = 4;

/// The steps of a deployment; `None`, with the reason printed, if tracing is not possible.
fn traced(host: &Host, bundle: &Path) -> Option<Vec<Step>> {
    let (log, deploy) = (host.path("trace"), host.command(&["deploy", bundle.to_str().unwrap()]));
    let trace = |program: &std::ffi::OsStr| {
        let mut command = Command::new("strace");
        command.args(["-f", "-y", "-qq", "-e", SYNC_CALLS, "-e", "signal=none", "-o"]).arg(&log).arg(program);
        command
    };
    match trace("true".as_ref()).output() {
        Ok(probe) if probe.status.success() => {}
        other => {
            skip(format_args!("strace cannot trace here: {other:?}"));
            return None;
        }
    }
    let mut command = trace(deploy.get_program());
    command.args(deploy.get_args()).current_dir("/");
    Ended::of(command).with_code(0);
    Some(steps(&fs::read_to_string(log).unwrap()))
}

#[test]
fn no_lifecycle_event_costs_more_than_four_syncs() {
    let host = Host::new();
    let bundles = ["v1", "v2"].map(|version| Bundle::new(&host, version).app().all_hooks().write());
    // The second one replaces and removes files, and runs the old revision's scripts.
    for (bundle, least) in bundles.iter().zip([8, 11]) {
        let Some(steps) = traced(&host, bundle) else { return };
        let events: BTreeMap<&str, &Step> =
            steps.iter().filter(|step| step.is_event()).map(|step| (step.event.as_str(), step)).collect();
        let counts = events.iter().map(|(event, step)| format!("{event} {}", step.paths.len())).collect::<Vec<_>>();
        eprintln!("{}: {}", bundle.display(), counts.join(", "));
        assert!(events.len() >= least, "{steps:?}");
        for wanted in ["DownloadBundle", "BeforeInstall", "Install", "ValidateService"] {
            assert!(events.contains_key(wanted), "{wanted}: {steps:?}");
        }
        for step in steps.iter().filter(|step| step.is_event()) {
            assert!(step.paths.len() <= MOST, "{step:?}");
        }
    }
}
