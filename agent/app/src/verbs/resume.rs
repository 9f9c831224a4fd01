//! `hostler resume`: follow the channel again.

use std::sync::Arc;

use hostler_core::codes::ExitCode;
use hostler_core::machine::Event;
use hostler_host::users;

use crate::cli::Shared;
use crate::control::ControlRequest;
use crate::engine::AskError;
use crate::failure::{Failure, Outcome};
use crate::session::Session;
use crate::setup::Setup;
use crate::verbs::{EngineAccess, Patience};

pub fn run(shared: &Shared) -> Outcome {
    let setup = Arc::new(Setup::for_asking(shared)?);
    let key = setup.group(shared)?;
    super::block_on(async {
        let patience = Patience::new();
        let session = loop {
            match super::way(&setup, &patience).await? {
                EngineAccess::Remote(mut client) => {
                    match client.command(ControlRequest::Resume { key: key.clone() }).await {
                        Err(failure) => patience.after(failure).await?,
                        done => return done,
                    }
                }
                EngineAccess::Local(session) => break session,
            }
        };
        let asked_by = users::describe(users::own_uid());
        let ask = async |session: &mut Session| {
            let asked = session.handle.ask(Event::Resume { key, asked_by }).await;
            match asked {
                Ok(()) => Ok(ExitCode::Ok),
                Err(AskError::Refused(refusal)) => Err(Failure::new(ExitCode::Refused, refusal)),
                Err(error @ AskError::Stopping) => Err(Failure::new(ExitCode::Failed, error)),
            }
        };
        session.during(setup.json, ask).await
    })
}
