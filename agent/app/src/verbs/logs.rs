//! `hostler logs`: the output of a deployment's hooks; with `-f`, new output until the deployment ends.

mod lag;

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use hostler_core::codes::ExitCode;
use hostler_core::ids::{DeploymentId, GroupKey};
use hostler_core::machine::State;
use hostler_host::ledger;

use crate::cli::{LogsArgs, Shared};
use crate::failure::{Failure, Outcome};
use crate::output;
use crate::setup::Setup;
use crate::state_file::{ledger_failure, read_state};

/// Time between two reads of a log that is followed.
const INTERVAL: Duration = Duration::from_millis(200);

pub fn run(shared: &Shared, arguments: &LogsArgs) -> Outcome {
    let setup = Arc::new(Setup::new(shared)?);
    if arguments.lag {
        return lag::run(&setup);
    }
    let (key, id) = find(&setup, shared, arguments.deployment.as_ref())?;
    let path = setup.layout.deployment(&key, &id).scripts_log();
    if !setup.json && !arguments.follow && !path.exists() {
        return Err(no_output(&id, &path));
    }
    super::block_on(async {
        let mut position = 0;
        loop {
            let ended = !is_active(&read(&setup)?, &id);
            position = show(&path, position, setup.json)?;
            if ended || !arguments.follow {
                return Ok(ExitCode::Ok);
            }
            tokio::time::sleep(INTERVAL).await;
        }
    })
}

fn no_output(id: &DeploymentId, path: &std::path::Path) -> Failure {
    Failure::say(ExitCode::NotFound, format!("{id} has no hook output on this host: {} does not exist", path.display()))
        .hint("`hostler history` shows what it did; old revisions and their logs are deleted after a while")
}

/// Prints whole lines from `position` on; returns the position for the next read.
fn show(path: &PathBuf, position: u64, json: bool) -> Result<u64, Failure> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(position),
        Err(error) => return Err(Failure::from(error)),
    };
    std::io::Seek::seek(&mut file, std::io::SeekFrom::Start(position))?;
    let mut position = position;
    let mut buffer = vec![0; 64 << 10];
    let mut rest: Vec<u8> = Vec::new();
    loop {
        let count = file.read(&mut buffer).with_context(|| format!("cannot read {}", path.display()))?;
        rest.extend_from_slice(buffer.get(..count).unwrap_or_default());
        let whole = rest.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        let lines = String::from_utf8_lossy(rest.get(..whole).unwrap_or_default()).into_owned();
        print(&lines, json)?;
        rest.drain(..whole);
        position += whole as u64;
        if count == 0 {
            return Ok(position);
        }
    }
}

fn print(lines: &str, json: bool) -> Result<(), Failure> {
    if !json {
        return output::text(lines);
    }
    lines.lines().try_for_each(|line| output::json(&serde_json::json!({ "version": 1, "line": line })))
}

fn read(setup: &Setup) -> Result<State, Failure> {
    let snapshot = ledger::peek(setup.layout.state(), &setup.limits).map_err(ledger_failure)?;
    read_state(&snapshot.map(|s| s.state).unwrap_or_default())
}

fn is_active(state: &State, id: &DeploymentId) -> bool {
    state.active(id).is_some()
}

/// The deployment to show: the named one, else the newest of the group, or of the host if no group is named.
fn find(setup: &Setup, shared: &Shared, id: Option<&DeploymentId>) -> Result<(GroupKey, DeploymentId), Failure> {
    let state = read(setup)?;
    let groups = state.groups.values().filter(|group| {
        shared.application.as_ref().is_none_or(|a| a == &group.key.application)
            && shared.group.as_ref().is_none_or(|g| g == &group.key.group)
    });
    let deployments = groups.flat_map(|g| g.finished.iter().chain(&g.active).map(|d| (&g.key, d)));
    let found = match id {
        Some(id) => deployments.into_iter().find(|(_, d)| &d.id == id),
        None => deployments.into_iter().max_by_key(|(_, d)| d.started_ms),
    };
    found.map(|(key, d)| (key.clone(), d.id.clone())).ok_or_else(|| match id {
        Some(id) => Failure::say(ExitCode::NotFound, format!("this host knows no deployment {id}"))
            .hint("`hostler history` lists the deployments"),
        None => Failure::say(ExitCode::NotFound, "nothing was deployed on this host"),
    })
}
