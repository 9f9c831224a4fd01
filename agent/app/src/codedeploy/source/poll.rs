//! Polls one at a time until the daemon stops, and never while the CodeDeploy agent runs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hostler_core::codedeploy::backoff::after_failures;
use hostler_core::codedeploy::wire::HostCommand;

use super::beside::{agent_that_stays, wait_for_the_agents_end};
use super::connect::random;
use super::following::OpenPoll;
use super::{Follower, take, write_pid_file};
use crate::controller::LogOnce;
use crate::sources::idle::{sleep_idle, wait_idle};

/// How long the next poll waits until a new command is acknowledged: before that, the service would only send it again.
const ACKNOWLEDGEMENT: Duration = Duration::from_secs(5);

/// Polls. Commands are taken in concurrently, so that several groups advance at the same time.
pub async fn poll(follower: Arc<Follower>) {
    let mut failures = 0;
    let mut problem = LogOnce::default();
    loop {
        wait_beside_the_agent(&follower).await;
        let Some(open) = follower.following.begin_poll() else { return };
        let began = Instant::now();
        match wait_idle(&follower.handle, follower.service.poll()).await {
            Ok(command) => {
                if problem.ends() {
                    log::info!("the CodeDeploy service answers again");
                }
                failures = 0;
                if !take_in(&follower, command, open).await {
                    pause(&follower, began.elapsed()).await;
                }
            }
            Err(fault) => {
                drop(open);
                failures += 1;
                if problem.differs(&fault.without_request_ids()) {
                    log::warn!("the CodeDeploy service does not answer: {fault}");
                }
                tokio::time::sleep(after_failures(failures, random()).saturating_sub(began.elapsed())).await;
            }
        }
    }
}

/// Waits while the CodeDeploy agent runs; it may start at any time, for example with a package update. Meanwhile the
/// agent does not poll and finishes the work in flight. Afterwards it takes the CodeDeploy agent's place again.
async fn wait_beside_the_agent(follower: &Arc<Follower>) {
    if wait_for_the_agents_end(&follower.setup, &follower.compat, &follower.following).await {
        write_pid_file(&follower.setup, &follower.compat);
        take::report_commands_of_the_agent(follower).await;
    }
}

/// Returns whether a new command came.
async fn take_in(follower: &Arc<Follower>, command: Option<HostCommand>, open: OpenPoll) -> bool {
    let Some(command) = command else { return false };
    if let Some(agent) = agent_that_stays(&follower.setup, &follower.compat).await {
        // The poll was open when the CodeDeploy agent started. The service hands out an unacknowledged command again.
        log::warn!(
            command = command.host_command_identifier.as_str(), pid = agent.pid;
            "command {} is left to the CodeDeploy agent (process {}), which was started on this host",
            command.host_command_identifier, agent.pid
        );
        return true;
    }
    let known = follower.handle.state().borrow().service.command(&command.host_command_identifier).is_some();
    if let Some(in_hand) = follower.take_in_hand(&command.host_command_identifier) {
        let taken = tokio::spawn(async move {
            take::take(in_hand, command).await;
            drop(open);
        });
        // If it takes longer, it goes on by itself.
        let _ = tokio::time::timeout(ACKNOWLEDGEMENT, taken).await;
        return !known;
    }
    false
}

/// Waits after a poll that the service did not hold open, but not beyond the end of a command.
async fn pause(follower: &Follower, took: Duration) {
    let interval = Duration::from_secs(follower.compat.agent.wait_between_runs);
    let jittered = interval.mul_f64(0.75 + f64::from(random()) / 510.0);
    tokio::select! {
        () = sleep_idle(&follower.handle, jittered.saturating_sub(took)) => {}
        () = follower.ended.notified() => {}
    }
}
