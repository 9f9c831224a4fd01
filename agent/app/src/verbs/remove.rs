//! `hostler remove`: runs ApplicationStop, then removes the group's files from this host.

use std::sync::Arc;

use hostler_core::machine::Event;
use hostler_host::users;

use crate::cli::{RemoveArgs, Shared};
use crate::control::ControlRequest;
use crate::failure::Outcome;
use crate::requests::removal_policy;
use crate::setup::Setup;
use crate::verbs::acting_group::acting_group;

pub fn run(shared: &Shared, arguments: &RemoveArgs) -> Outcome {
    let setup = Arc::new(Setup::for_asking(shared)?);
    let ignore_application_stop_failures = arguments.ignore_application_stop_failures;
    super::block_on(async {
        let key = acting_group(&setup, shared).await?;
        let policy = Box::new(removal_policy(&setup.settings, &key, ignore_application_stop_failures));
        let asked_by = users::describe(users::own_uid());
        let ask = ControlRequest::Remove { key: key.clone(), ignore_application_stop_failures };
        super::deploy_by(&setup, ask, |id| Event::Remove { id, key, asked_by, policy }).await
    })
}
