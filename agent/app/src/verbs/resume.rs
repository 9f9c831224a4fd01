//! `hostler resume`: follow the channel again.

use std::sync::Arc;

use hostler_core::codes::ExitCode;
use hostler_core::ids::GroupKey;
use hostler_core::machine::Event;
use hostler_host::users;

use crate::cli::Shared;
use crate::control::ControlRequest;
use crate::engine::AskError;
use crate::failure::{Failure, Outcome};
use crate::output;
use crate::session::Session;
use crate::setup::Setup;
use crate::verbs::acting_group::acting_group;
use crate::verbs::{EngineAccess, Patience};

pub fn run(shared: &Shared) -> Outcome {
    let setup = Arc::new(Setup::for_asking(shared)?);
    super::block_on(async {
        let key = acting_group(&setup, shared).await?;
        let patience = Patience::new();
        let session = loop {
            match super::way(&setup, &patience).await? {
                EngineAccess::Remote(mut client) => {
                    match client.command(ControlRequest::Resume { key: key.clone() }).await {
                        Err(failure) => patience.after(failure).await?,
                        Ok(_) => return say(&setup, &key),
                    }
                }
                EngineAccess::Local(session) => break session,
            }
        };
        let asked_by = users::describe(users::own_uid());
        let ask = async |session: &mut Session| {
            let asked = session.handle.ask(Event::Resume { key: key.clone(), asked_by }).await;
            match asked {
                Ok(()) => say(&setup, &key),
                Err(AskError::Refused(refusal)) => Err(Failure::new(ExitCode::Refused, refusal)),
                Err(error @ AskError::Stopping) => Err(Failure::new(ExitCode::Failed, error)),
            }
        };
        session.during(setup.json, ask).await
    })
}

fn say(setup: &Setup, key: &GroupKey) -> Outcome {
    if setup.json {
        output::json(&serde_json::json!({ "version": 1, "application": key.application, "group": key.group }))?;
    } else {
        output::remark(&format!("{key} follows its channel again\n"))?;
    }
    Ok(ExitCode::Ok)
}
