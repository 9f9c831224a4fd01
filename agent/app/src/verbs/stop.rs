//! `hostler stop`: drain and stop the daemon.

use std::sync::Arc;
use std::time::Duration;

use hostler_core::codes::ExitCode;

use crate::cli::Shared;
use crate::control::ControlRequest;
use crate::control::client::Client;
use crate::failure::{Failure, Outcome};
use crate::output;
use crate::setup::Setup;

/// How long a daemon may take to end its current step.
const PATIENCE: Duration = Duration::from_secs(600);

pub fn run(shared: &Shared) -> Outcome {
    let setup = Arc::new(Setup::of_flags(shared)?);
    super::block_on(async {
        let Some(mut client) = Client::connect(&setup).await else {
            return Err(Failure::say(ExitCode::Refused, "no daemon runs on this state"));
        };
        client.command(ControlRequest::Stop).await?;
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while Client::connect(&setup).await.is_some() {
            if tokio::time::Instant::now() > deadline {
                return Err(Failure::say(ExitCode::Failed, "the daemon has not stopped within ten minutes"));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        if setup.json {
            output::json(&serde_json::json!({ "version": 1, "stopped": true }))?;
        }
        Ok(ExitCode::Ok)
    })
}
