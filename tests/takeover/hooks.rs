//! Hooks that were running when the old agent was killed, in two groups: the script of `jobs` is repeatable.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::disk::{Boot, kept};
use super::{history_goes_on, status_of};
use crate::support::eventually;
use crate::support::host::{Bundle, Host, PATIENCE, Running};

/// A revision of `web` (`v…`) or `jobs` (`j…`), with this script at AfterInstall.
pub fn bundle(host: &Host, version: &str, body: &str) -> PathBuf {
    let bundle = Bundle::new(host, version);
    let bundle = if version.starts_with('v') {
        bundle.app()
    } else {
        let repeatable = "  hooks:\n    AfterInstall:\n      hooks/AfterInstall-1.sh: {repeatable: true}\n";
        bundle.content("job/run", version).files("job", "/srv/job").extension(repeatable)
    };
    bundle.hook("AfterInstall", body).hook("ApplicationStart", "").write()
}

/// The records of scripts without a result.
pub fn running(host: &Host) -> Vec<Value> {
    let mut found = Vec::new();
    collect(&host.state(), &mut found);
    found
}

fn collect(directory: &Path, found: &mut Vec<Value>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() && !path.is_symlink() {
            collect(&path, found);
        } else if path.ends_with("processes.json") && !directory.join("result.json").exists() {
            found.extend(fs::read(path).ok().and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok()));
        }
    }
}

/// The daemon on the host, once no work is in progress.
fn settled(host: &Host) -> (Running, [Value; 2]) {
    let daemon = host.daemon(&[]);
    let groups = eventually("both deployments end", PATIENCE, || {
        let groups = ["web", "jobs"].map(|name| status_of(host, name));
        let over = groups.iter().all(|group| group["active"].is_null());
        if over { Ok(groups) } else { Err(format!("{groups:?}\n{}", daemon.said())) }
    });
    (daemon, groups)
}

fn job(host: &Host) -> String {
    fs::read_to_string(host.at("srv/job/run")).unwrap()
}

#[test]
fn the_result_of_a_script_that_ended_while_no_agent_ran_is_taken() {
    for boot in [Boot::Same, Boot::Another] {
        let Some(host) = kept("hook-ended", boot) else { return };
        let (daemon, groups) = settled(&host);
        for (name, group) in ["web", "jobs"].iter().zip(groups) {
            assert_eq!(group["condition"], "good", "{boot:?}: {group}\n{}", daemon.said());
            let id = group["installed"]["deployment"].as_str().unwrap();
            host.ok(&["logs", id, "--application", "shop", "--group", name]).saying(&["worked", "ended"]);
        }
        assert_eq!((host.version().as_str(), job(&host).as_str()), ("v2", "j2"));
        let mut lines = host.hook_lines();
        lines.sort();
        let wanted = ["j2 AfterInstall", "j2 ApplicationStart", "v2 AfterInstall", "v2 ApplicationStart"];
        assert_eq!(lines, wanted, "{boot:?}: no script runs twice");
        history_goes_on(&host);
    }
}

#[test]
fn a_script_that_ended_with_the_host_is_interrupted_and_repeated_only_where_it_is_repeatable() {
    for boot in [Boot::Same, Boot::Another] {
        let Some(host) = kept("hook-interrupted", boot) else { return };
        fs::write(host.path("gate"), "").unwrap();
        let (daemon, [web, jobs]) = settled(&host);
        assert_eq!(web["condition"], "rolled_back", "{boot:?}: {web}\n{}", daemon.said());
        assert_eq!(jobs["condition"], "good", "{boot:?}: {jobs}\n{}", daemon.said());
        assert_eq!((host.version().as_str(), job(&host).as_str()), ("v1", "j2"));
        let ran = |line: &str| host.hook_lines().iter().filter(|l| *l == line).count();
        assert_eq!((ran("v2 AfterInstall"), ran("j2 AfterInstall")), (1, 2), "{boot:?}");
        let failed = host.history().into_iter().find(|record| record["outcome"]["kind"] == "interrupted").unwrap();
        assert_eq!(failed["event"], "AfterInstall", "{failed}");
        history_goes_on(&host);
    }
}
