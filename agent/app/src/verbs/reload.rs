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
    // An invalid configuration is shown here with its place. The daemon is asked all the same: its log keeps a record of
    // what it refused.
    let read = Setup::for_asking(shared);
    let setup = Arc::new(Setup::of_flags(shared)?);
    super::block_on(async {
        let Some(mut client) = Client::connect(&setup).await else {
            read?;
            return Err(Failure::say(ExitCode::Refused, "no daemon runs on this state"));
        };
        let code = match (client.command(ControlRequest::Reload).await, read) {
            (Err(refused), Err(here)) if refused.code == here.code => return Err(here),
            (answer, _) => answer?,
        };
        if setup.json {
            output::json(&serde_json::json!({ "version": 1, "reloaded": true }))?;
        }
        Ok(code)
    })
}
