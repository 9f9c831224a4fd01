//! Problems in this host's set-up: every part is tried, nothing is guessed, and one fault hides no other.

mod access;
mod auto_scaling;
mod cloud;
pub mod environment;
mod machine;
mod traffic;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hostler_aws::clients::Clients;
use hostler_aws::fault::Fault;
use hostler_core::codes::ExitCode;
use hostler_core::doctor::{Code, DOCTOR_VERSION, Finding, Report, Severity};
use hostler_core::status::{Status, problems};
use hostler_core::text::counted;
use hostler_host::clock;

use crate::cli::Shared;
use crate::config_files;
use crate::control::client::Client;
use crate::failure::Failure;
use crate::setup::Setup;

/// How long a daemon may take to answer. Prevents: a daemon that hangs holds up the checks.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Checks every part. With `write`, also makes the checks that leave objects in the stores for a moment.
///
/// # Errors
/// When the flags name no host at all.
pub async fn examine(shared: &Shared, write: bool) -> Result<Report, Failure> {
    let mut findings = Vec::new();
    let setup = match Setup::new(shared) {
        Ok(setup) => {
            let groups = setup.settings.groups.len();
            let configured = match groups {
                0 => Finding::info(Code::Configuration, "no groups are configured: deployments are only done by hand"),
                _ => Finding::ok(Code::Configuration, format!("understood; {}", counted(groups, "group"))),
            };
            findings.push(configured);
            setup
        }
        Err(failure) => {
            findings.push(configuration_refused(shared, &failure)?);
            Setup::of_flags(shared)?
        }
    };
    findings.push(access::examine(shared, &setup));
    let setup = Arc::new(setup);
    let answered = daemon(&setup, &mut findings).await;
    let machine = {
        let setup = Arc::clone(&setup);
        tokio::task::spawn_blocking(move || machine::examine(&setup, answered)).await?
    };
    findings.extend(machine);
    let instance = cloud::who(&setup, &mut findings).await;
    if let (Some(settings), Some(instance)) = (&setup.settings.auto_scaling, &instance) {
        auto_scaling::examine(&setup, settings, instance, &mut findings).await;
    }
    cloud::examine(&setup, write, &mut findings).await;
    traffic::examine(&setup, instance.as_ref(), &mut findings).await;
    Ok(Report { version: DOCTOR_VERSION, findings })
}

/// Why the configuration is not in force: it is wrong, or this process's user may not read it.
fn configuration_refused(shared: &Shared, failure: &Failure) -> Result<Finding, Failure> {
    let closed = shared.config.is_none() && config_files::is_closed(Setup::of_flags(shared)?.layout.root());
    Ok(if closed {
        let message = format!("{}: what follows is without it", failure.one_line());
        Finding::warning(Code::Configuration, message, config_files::WHO_READS)
    } else {
        let remedy = "correct the file; hostler validate FILE shows the place";
        Finding::error(Code::Configuration, failure.one_line(), remedy)
    })
}

/// The errors that keep a daemon from running, where none answers: its configuration, and its unit that fails.
///
/// # Errors
/// When the flags name no host at all.
pub fn why_no_daemon_runs(shared: &Shared) -> Result<Vec<Finding>, Failure> {
    let mut findings = Vec::new();
    if let Err(failure) = Setup::new(shared) {
        findings.push(configuration_refused(shared, &failure)?);
    }
    // Below another root runs no unit.
    if shared.root == Path::new("/") && shared.state_dir.is_none() {
        findings.extend(machine::unit_that_fails());
    }
    findings.retain(|finding| finding.severity == Severity::Error);
    Ok(findings)
}

/// The AWS clients; if the configuration does not allow any, adds a finding of `code`.
fn clients(setup: &Setup, code: Code, findings: &mut Vec<Finding>) -> Option<Arc<Clients>> {
    let refused = |failure: Failure| findings.push(aws_misconfigured(code, failure.one_line()));
    setup.stores.clients().map_err(refused).ok()
}

fn aws_misconfigured(code: Code, message: String) -> Finding {
    Finding::error(code, message, "correct aws: in the configuration")
}

/// The finding for a service's refusal, with advice.
fn refused(code: Code, message: String, fault: &Fault) -> Finding {
    let remedy = fault
        .advice()
        .unwrap_or_else(|| "check the network and the region; `AWS_ENDPOINT_URL` and proxies count too".to_owned());
    Finding::error(code, message, remedy)
}

/// The daemon's answer, or a failure after [`ANSWER_WITHIN`].
async fn in_time(answer: impl Future<Output = Result<Status, Failure>>) -> Result<Status, Failure> {
    let late = || Failure::say(ExitCode::Failed, format!("no answer in {} s", ANSWER_WITHIN.as_secs()));
    tokio::time::timeout(ANSWER_WITHIN, answer).await.unwrap_or_else(|_| Err(late()))
}

/// Whether a daemon has the socket.
async fn daemon(setup: &Setup, findings: &mut Vec<Finding>) -> bool {
    let Some(mut client) = Client::connect(setup).await else {
        findings.push(Finding::info(Code::Daemon, "no daemon runs on this state"));
        return false;
    };
    match in_time(client.status()).await {
        Ok(status) => {
            let wrong = problems(&status, clock::now_ms());
            let pid = status.daemon.as_ref().map_or(0, |daemon| daemon.pid);
            findings.push(if wrong.is_empty() {
                Finding::ok(Code::Daemon, format!("a daemon runs (pid {pid})"))
            } else {
                let remedy = "hostler status, hostler history and hostler logs show more";
                Finding::warning(Code::Daemon, format!("a daemon runs (pid {pid}): {}", wrong.join("; ")), remedy)
            });
        }
        Err(failure) if failure.code == ExitCode::LockHeld => {
            findings.push(Finding::info(Code::Daemon, "a daemon is just stopping"));
        }
        Err(failure) => {
            let message = format!("a daemon has the socket and does not answer: {}", failure.one_line());
            findings.push(Finding::error(Code::Daemon, message, "restart it: systemctl restart hostler"));
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_daemon_that_hangs_holds_up_the_checks_for_seconds_at_most() {
        let began = Instant::now();
        let failure = in_time(std::future::pending()).await.unwrap_err();
        assert_eq!(began.elapsed().as_secs(), 10);
        assert_eq!(failure.one_line(), "no answer in 10 s");
        let refused = in_time(async { Err(Failure::say(ExitCode::LockHeld, "stopping")) }).await.unwrap_err();
        assert_eq!(refused.code, ExitCode::LockHeld, "an answer stays as it is");
    }
}
