//! `hostler rollback`: return to the last good (or the named) revision, and hold back the channel's release.

use std::sync::Arc;

use hostler_core::machine::Event;
use hostler_host::users;

use crate::cli::{RollbackArgs, Shared};
use crate::control::ControlRequest;
use crate::failure::Outcome;
use crate::setup::Setup;
use crate::verbs::acting_group::acting_group;

pub fn run(shared: &Shared, arguments: RollbackArgs) -> Outcome {
    let setup = Arc::new(Setup::for_asking(shared)?);
    super::block_on(async {
        let key = acting_group(&setup, shared).await?;
        let policy = Box::new(setup.settings.policy(&key));
        let asked_by = users::describe(users::own_uid());
        let (to, force) = (arguments.to, arguments.force);
        let ask = ControlRequest::Rollback { key: key.clone(), to: to.clone(), force };
        super::deploy_by(&setup, ask, |id| Event::Rollback { id, key, to, force, asked_by, policy }).await
    })
}
