//! `hostler reload`: the daemon reads its configuration again; what is wrong with it is said here.

use std::sync::Arc;

use hostler_core::codes::ExitCode;

use crate::cli::Shared;
use crate::control::ControlRequest;
use crate::control::client::Client;
use crate::failure::{Failure, Outcome};
use crate::setup::Setup;

pub fn run(shared: &Shared) -> Outcome {
    // A configuration that is wrong is shown with its place here, and the daemon is not even asked.
    let setup = Arc::new(Setup::for_asking(shared)?);
    super::block_on(async {
        let Some(mut client) = Client::connect(&setup).await else {
            return Err(Failure::say(ExitCode::Refused, "no daemon runs on this state"));
        };
        client.command(ControlRequest::Reload).await
    })
}
