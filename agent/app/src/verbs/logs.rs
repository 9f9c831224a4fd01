//! `hostler logs`: the output of a deployment's hooks; with `-f`, new output until the deployment ends.

mod lag;

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use hostler_core::codes::ExitCode;
use hostler_core::ids::{DeploymentId, GroupKey};
use hostler_core::status::{GroupStatus, Status};
use hostler_host::ledger;

use crate::cli::{LogsArgs, Shared};
use crate::control::client::Client;
use crate::failure::{Failure, Outcome};
use crate::output;
use crate::setup::Setup;
use crate::state_file::{is_closed, ledger_failure, read_state};

/// Time between two reads of a log that is followed.
const INTERVAL: Duration = Duration::from_millis(200);

pub fn run(shared: &Shared, arguments: &LogsArgs) -> Outcome {
    let setup = Arc::new(Setup::new(shared)?);
    if arguments.lag {
        return lag::run(&setup);
    }
    super::block_on(async {
        let found = find(&known(&setup).await?, shared, arguments.deployment.as_ref(), &setup)?;
        let path = setup.layout.deployment(&found.key, &found.id).scripts_log();
        let exists = path.try_exists().map_err(|error| unreadable(&path, error))?;
        if !setup.json && !arguments.follow && !exists {
            return Err(no_output(&found.id, &path));
        }
        let mut position = 0;
        let mut answered = Instant::now();
        loop {
            let known = match known(&setup).await {
                Ok(known) => known,
                // A daemon that restarts answers again soon.
                Err(_) if arguments.follow && answered.elapsed() < super::CONTROL_TIMEOUT => {
                    tokio::time::sleep(INTERVAL).await;
                    continue;
                }
                Err(failure) => return Err(failure),
            };
            answered = Instant::now();
            let ended = !known.iter().any(|known| known.id == found.id && known.is_active);
            position = show(&path, position, setup.json)?;
            if ended || !arguments.follow {
                return Ok(ExitCode::Ok);
            }
            tokio::time::sleep(INTERVAL).await;
        }
    })
}

fn no_output(id: &DeploymentId, path: &Path) -> Failure {
    Failure::say(ExitCode::NotFound, format!("{id} has no hook output on this host: {} does not exist", path.display()))
        .hint("`hostler history` shows what it did; old revisions and their logs are deleted after a while")
}

fn unreadable(path: &Path, error: std::io::Error) -> Failure {
    let is_closed = error.kind() == ErrorKind::PermissionDenied;
    let error = anyhow::Error::new(error).context(format!("cannot read {}", path.display()));
    let failure = Failure::new(ExitCode::Failed, error);
    if !is_closed {
        return failure;
    }
    failure.hint("root and members of the group hostler read the output of hooks: use sudo")
}

/// Prints whole lines from `position` on; returns the position for the next read.
fn show(path: &PathBuf, position: u64, json: bool) -> Result<u64, Failure> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(position),
        Err(error) => return Err(unreadable(path, error)),
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

/// A deployment of this host.
#[derive(Debug, Clone)]
struct Known {
    key: GroupKey,
    id: DeploymentId,
    started_ms: u64,
    is_active: bool,
}

/// The deployments of this host: by the ledger, or by the daemon for a user who may not read the ledger. The daemon
/// names the running, the last and the failed one of each group.
async fn known(setup: &Setup) -> Result<Vec<Known>, Failure> {
    match ledger::peek(setup.layout.state(), &setup.limits) {
        Ok(snapshot) => {
            let state = read_state(&snapshot.map(|s| s.state).unwrap_or_default())?;
            let groups = state.groups.values();
            let all = groups.flat_map(|g| g.finished.iter().chain(&g.active).map(|d| (&g.key, d)));
            Ok(all
                .map(|(key, d)| Known {
                    key: key.clone(),
                    id: d.id.clone(),
                    started_ms: d.started_ms,
                    is_active: d.outcome.is_none(),
                })
                .collect())
        }
        Err(closed) if is_closed(&closed) => match Client::connect(setup).await {
            Some(mut client) => Ok(of_status(&client.status().await?)),
            None => Err(ledger_failure(closed)),
        },
        Err(error) => Err(ledger_failure(error)),
    }
}

fn of_status(status: &Status) -> Vec<Known> {
    let of_group = |group: &GroupStatus| {
        let shown = [&group.failed, &group.last, &group.active].into_iter().flatten();
        let known = shown.map(|d| Known {
            key: group.key.clone(),
            id: d.id.clone(),
            started_ms: d.started_ms,
            is_active: d.outcome.is_none(),
        });
        known.collect::<Vec<_>>()
    };
    status.groups.iter().flat_map(of_group).collect()
}

/// The deployment to show: the named one, else the newest of the group, or of the host if no group is named.
fn find(known: &[Known], shared: &Shared, id: Option<&DeploymentId>, setup: &Setup) -> Result<Known, Failure> {
    let of_group = known.iter().filter(|known| {
        shared.application.as_ref().is_none_or(|a| a == &known.key.application)
            && shared.group.as_ref().is_none_or(|g| g == &known.key.group)
    });
    let found = match id {
        Some(id) => of_group.clone().find(|known| &known.id == id).cloned().or_else(|| {
            // The daemon does not name all of them, and the output tells which group it is.
            let has_output = |known: &&Known| setup.layout.deployment(&known.key, id).scripts_log().exists();
            let beside = of_group.clone().find(has_output);
            beside.map(|known| Known { id: id.clone(), is_active: false, ..known.clone() })
        }),
        None => of_group.max_by_key(|known| known.started_ms).cloned(),
    };
    found.ok_or_else(|| match id {
        Some(id) => Failure::say(ExitCode::NotFound, format!("this host knows no deployment {id}"))
            .hint("`hostler history` lists the deployments"),
        None => Failure::say(ExitCode::NotFound, "nothing was deployed on this host"),
    })
}
