//! `hostler reload`: the daemon reads its configuration again; errors in it are shown here.

use std::sync::Arc;

use hostler_core::codes::ExitCode;

use crate::cli::Shared;
use crate::control::ControlRequest;
use crate::control::client::Client;
use crate::failure::{Failure, Outcome};
use crate::output;
use crate::setup::Setup;

pub fn run(shared: &Shared) -> Outcome {
    // An invalid configuration is shown here with its place.
    let setup = match Setup::for_asking(shared) {
        Ok(setup) => Arc::new(setup),
        Err(failure) if shared.config.is_none() => return super::block_on(refused_by_the_daemon_too(shared, failure)),
        Err(failure) => return Err(failure),
    };
    super::block_on(async {
        let Some(mut client) = Client::connect(&setup).await else {
            return Err(Failure::say(ExitCode::Refused, "no daemon runs on this state"));
        };
        let code = client.command(ControlRequest::Reload).await?;
        if setup.json {
            output::json(&serde_json::json!({ "version": 1, "reloaded": true }))?;
        }
        Ok(code)
    })
}

/// The daemon reads the same files, refuses them, and writes the record that operators alert on.
async fn refused_by_the_daemon_too(shared: &Shared, failure: Failure) -> Outcome {
    if let Some(mut client) = Client::connect(&Setup::of_flags(shared)?).await {
        // What is wrong has its place in the failure that this process found itself.
        let _ = client.command(ControlRequest::Reload).await;
    }
    Err(failure)
}
