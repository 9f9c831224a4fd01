//! Sends reports until the service has accepted or refused them.

use std::sync::Arc;

use hostler_aws::codedeploy::is_refused_for_good;
use hostler_core::codedeploy::diagnostics::Report;
use hostler_core::machine::Event;
use hostler_core::machine::command::CommandStage;

use super::{BETWEEN_TRIES, Follower};
use crate::controller::Retries;
use crate::tasks::kept;

/// Sends the report of each command as it ends; several reports are sent at the same time.
pub async fn report(follower: Arc<Follower>) {
    let mut state = follower.handle.state();
    loop {
        let ended: Vec<(String, Report)> = {
            let state = state.borrow_and_update();
            let commands = state.service.commands.iter().filter_map(|command| match &command.stage {
                CommandStage::Ended(report) => Some((command.identifier.clone(), report.clone())),
                _ => None,
            });
            commands.collect()
        };
        for (identifier, report) in ended {
            let mark = format!("report of {identifier}");
            if let Some(in_hand) = follower.take_in_hand(&mark) {
                tokio::spawn(async move {
                    // The report must reach the service: the command's deployment waits for it.
                    kept("command report", || deliver(&in_hand.follower, &identifier, &report)).await;
                });
            }
        }
        if state.changed().await.is_err() {
            return;
        }
    }
}

async fn deliver(follower: &Follower, identifier: &str, report: &Report) {
    let mut retries = Retries::new(BETWEEN_TRIES);
    loop {
        match follower.service.complete(identifier, report).await {
            Ok(()) => break,
            Err(fault) if is_refused_for_good(&fault) => {
                log::error!(command = identifier; "the CodeDeploy service refuses the report of command {identifier}: {fault}");
                break;
            }
            Err(fault) => {
                log::warn!(command = identifier; "the report of command {identifier} was not taken and is sent again: {fault}");
                tokio::time::sleep_until(retries.failed()).await;
            }
        }
    }
    // The deployment's next command comes now.
    follower.ended.notify_one();
    let _ = follower.handle.ask(Event::Reported { identifier: identifier.to_owned() }).await;
}
