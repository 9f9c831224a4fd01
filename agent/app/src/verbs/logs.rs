//! `hostler logs`: the output of a deployment's scripts; with `-f`, new output until the deployment, and the rollback
//! that follows it, have ended.

mod lag;
mod lines;
mod watch;
mod which;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hostler_core::codes::ExitCode;
use hostler_core::event_order::LifecycleEvent;
use hostler_core::ids::DeploymentId;
use hostler_core::machine::state::Failure as DeploymentFailure;
use hostler_core::status::DeploymentStatus;
use hostler_host::clock;

use crate::cli::{LogsArgs, Shared};
use crate::failure::{Failure, Outcome};
use crate::output;
use crate::setup::Setup;

use lines::{Lines, unreadable};
use watch::Watch;
use which::{Known, Unknown, known, which};

/// Time between two reads of a log that is followed.
const INTERVAL: Duration = Duration::from_millis(200);

pub fn run(shared: &Shared, arguments: &LogsArgs) -> Outcome {
    let setup = Arc::new(Setup::new(shared)?);
    if arguments.lag {
        return lag::run(&setup);
    }
    super::block_on(async {
        let all = known(&setup).await?;
        let found = find(&all, shared, arguments.deployment.as_ref(), &setup)?;
        let path = log_of(&setup, &found);
        let exists = path.try_exists().map_err(|error| unreadable(&path, error))?;
        if !setup.json && !arguments.follow && !exists {
            return Err(no_output(&setup, &found, &path));
        }
        if !setup.json {
            output::notice(&title(&found, &all));
        }
        if arguments.follow { follow(&setup, found, arguments).await } else { show(&setup, &found, arguments) }
    })
}

fn log_of(setup: &Setup, known: &Known) -> std::path::PathBuf {
    setup.layout.deployment(&known.key, &known.status.id).scripts_log()
}

fn show(setup: &Setup, found: &Known, arguments: &LogsArgs) -> Outcome {
    let mut lines = Lines::new(log_of(setup, found), &found.status.id, arguments, setup.json);
    lines.show()?;
    if let Some(event) = lines.missed_event() {
        output::notice(&format!("no script of {event} has run in {}", found.status.id));
    }
    Ok(ExitCode::Ok)
}

/// Shows what is written until the deployment has ended; after a failure the rollback's output comes too. Where no agent
/// works on it, it does not end, and what is there is all.
async fn follow(setup: &Setup, mut found: Known, arguments: &LogsArgs) -> Outcome {
    let mut lines = Lines::new(log_of(setup, &found), &found.status.id, arguments, setup.json);
    let (mut watch, mut answered) = (Watch::default(), Instant::now());
    if watch.has_agent(setup) {
        say_goes_on(setup, &found);
    }
    loop {
        // Before the look at the state: what an agent wrote last, before it ended, is in it.
        let has_agent = watch.has_agent(setup);
        let all = match watch.look(setup).await {
            Ok(all) => all,
            // A daemon that restarts answers again soon.
            Err(_) if answered.elapsed() < super::CONTROL_TIMEOUT => {
                tokio::time::sleep(INTERVAL).await;
                continue;
            }
            Err(failure) => return Err(failure),
        };
        answered = Instant::now();
        let now = all.iter().find(|known| known.status.id == found.status.id);
        let goes_on = now.is_some_and(Known::goes_on);
        // After the look at the state, so that the last line of a deployment that has ended is there.
        lines.show()?;
        if goes_on && has_agent {
            tokio::time::sleep(INTERVAL).await;
            continue;
        }
        let (ended, next) = (now.cloned().unwrap_or_else(|| found.clone()), which::rollback_of(all, &found.status.id));
        if goes_on {
            if !setup.json {
                output::notice(&interrupted(&ended.status));
            }
            return Ok(ExitCode::Ok);
        }
        if !setup.json {
            output::notice(&end(&ended.status));
        }
        let Some(next) = next else { return Ok(ExitCode::Ok) };
        found = next.clone();
        if !setup.json {
            output::notice(&title(&found, all));
        }
        say_goes_on(setup, &found);
        lines = Lines::new(log_of(setup, &found), &found.status.id, arguments, setup.json);
    }
}

fn say_goes_on(setup: &Setup, known: &Known) {
    if !setup.json && known.goes_on() {
        let at = known.status.event.map_or_else(String::new, |event| format!(" is in {event}, and"));
        output::notice(&format!("{}{at} is followed until it ends", known.status.id));
    }
}

/// Whose output it is.
fn title(found: &Known, all: &[Known]) -> String {
    let status = &found.status;
    let mut text = format!(
        "output of {} {} of {} ({}), started {}",
        status.purpose.noun(),
        status.id,
        found.key,
        status.asked_by,
        clock::local_time(status.started_ms)
    );
    if let Some(failure) = &status.failure {
        text.push_str(&format!(", failed in {}", failure.event));
    }
    if let Some(next) = which::rollback_of(all, &status.id) {
        text.push_str(&format!("; `hostler logs {}` shows the rollback's", next.status.id));
    }
    text
}

fn interrupted(status: &DeploymentStatus) -> String {
    let at = status.event.map_or_else(String::new, |event| format!(" in {event}"));
    format!("{} is interrupted{at}: no agent runs, and the next one goes on with it", status.id)
}

fn end(status: &DeploymentStatus) -> String {
    match (&status.failure, status.finished_ms) {
        (Some(failure), _) => format!("{} failed in {}: {}", status.id, failure.event, first_line(failure)),
        (None, Some(at)) => format!("{} ended at {}", status.id, clock::local_time(at)),
        (None, None) => format!("{} has ended", status.id),
    }
}

fn first_line(failure: &DeploymentFailure) -> &str {
    failure.message.lines().next().unwrap_or_default()
}

fn no_output(setup: &Setup, found: &Known, path: &Path) -> Failure {
    let (id, not_found) = (&found.status.id, ExitCode::NotFound);
    let directory = setup.layout.deployment(&found.key, id);
    match &found.status.failure {
        Some(failure) if failure.event == LifecycleEvent::DownloadBundle => {
            let message = format!("{id} failed before any script ran: {}: {}", failure.event, first_line(failure));
            let told = Failure::say(not_found, message);
            // One line is the whole cause already.
            if failure.message.lines().nth(1).is_some() {
                told.hint("`hostler status` shows the whole cause")
            } else {
                told
            }
        }
        _ if found.goes_on() => Failure::say(not_found, format!("{id} goes on, and no script of it has run yet"))
            .hint("`hostler logs -f` waits for the output"),
        _ if found.is_remembered && directory.directory().exists() => {
            Failure::say(not_found, format!("{id} has no output: it ran no script"))
                .hint(format!("`hostler history --deployment {id}` shows what it did"))
        }
        _ => Failure::say(not_found, format!("{id} has no output on this host: {} does not exist", path.display()))
            .hint("`hostler history` shows what it did; old revisions and their logs are deleted after a while"),
    }
}

/// The deployment to show: the named one, else by [`which()`].
fn find(known: &[Known], shared: &Shared, id: Option<&DeploymentId>, setup: &Setup) -> Result<Known, Failure> {
    let has_output = |known: &Known, id: &DeploymentId| setup.layout.deployment(&known.key, id).scripts_log().exists();
    which(known, shared.application.as_ref(), shared.group.as_ref(), id, has_output).map_err(|unknown| match unknown {
        Unknown::Deployment(id) => Failure::say(ExitCode::NotFound, format!("this host knows no deployment {id}"))
            .hint("`hostler history` lists the deployments"),
        Unknown::Group(groups) => Failure::say(ExitCode::NotFound, "nothing was deployed to such a group on this host")
            .hint(format!("it has {}", groups.join(", "))),
        Unknown::Nothing => Failure::say(ExitCode::NotFound, "nothing was deployed on this host"),
    })
}
