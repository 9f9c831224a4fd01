//! One poll open at a time, for ever.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hostler_aws::fault::Fault;
use hostler_core::codedeploy::backoff::after_failures;
use hostler_core::codedeploy::wire::HostCommand;

use super::connect::random;
use super::{Follower, take};
use crate::sources::rest::{rest, rest_until};

/// How long the next poll waits for a command that has just come to be acknowledged: until then the service would only
/// send it again.
const ACKNOWLEDGEMENT: Duration = Duration::from_secs(5);

/// Polls. Commands are taken in beside it, so that several groups go on at the same time.
pub async fn poll(follower: Arc<Follower>) {
    let mut failures = 0;
    let mut told = None;
    loop {
        let began = Instant::now();
        match rest_until(&follower.handle, follower.service.poll()).await {
            Ok(command) => {
                if told.take().is_some() {
                    log::info!("the CodeDeploy service answers again");
                }
                failures = 0;
                if !take_in(&follower, command).await {
                    pause(&follower, began.elapsed()).await;
                }
            }
            Err(fault) => {
                failures += 1;
                tell(&fault, &mut told);
                tokio::time::sleep(after_failures(failures, random()).saturating_sub(began.elapsed())).await;
            }
        }
    }
}

/// Whether a command came that was not known.
async fn take_in(follower: &Arc<Follower>, command: Option<HostCommand>) -> bool {
    let Some(command) = command else { return false };
    let known = follower.handle.state().borrow().service.command(&command.host_command_identifier).is_some();
    if let Some(in_hand) = follower.take_in_hand(&command.host_command_identifier) {
        let taken = tokio::spawn(take::take(in_hand, command));
        // It goes on by itself when it takes longer.
        let _ = tokio::time::timeout(ACKNOWLEDGEMENT, taken).await;
        return !known;
    }
    false
}

/// After a poll that the service did not hold back the next one waits, but not beyond the end of a command.
async fn pause(follower: &Follower, took: Duration) {
    let interval = Duration::from_secs(follower.drop_in.agent.wait_between_runs);
    let jittered = interval.mul_f64(0.75 + f64::from(random()) / 510.0);
    tokio::select! {
        () = rest(&follower.handle, jittered.saturating_sub(took)) => {}
        () = follower.ended.notified() => {}
    }
}

/// Once for each problem: a service that is away for a night must not fill the log.
fn tell(fault: &Fault, told: &mut Option<String>) {
    let problem = fault.to_string();
    let same = told.as_ref().is_some_and(|before| without_request(before) == without_request(&problem));
    if !same {
        log::warn!("the CodeDeploy service does not answer: {problem}");
    }
    *told = Some(problem);
}

/// The text without the request's own name, which differs each time.
fn without_request(problem: &str) -> &str {
    problem.split_once("request id").map_or(problem, |(before, _)| before)
}
