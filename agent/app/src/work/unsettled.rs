//! Installs whose journals are open, or may be: found, confirmed by the ledger, settled.

use hostler_core::codes::ExitCode;
use hostler_core::ids::{DeploymentId, GroupKey};
use hostler_core::machine::state::Group;
use hostler_host::install::{self, JournalState, Settled};

use crate::failure::{Failure, chain};
use crate::setup::Setup;

/// Deployments that ended with a half undone Install, newest first: earlier agents left them so. Once a later
/// deployment has installed its files, it is too late.
pub fn left_open(setup: &Setup, group: &Group) -> Vec<DeploymentId> {
    let since = group.finished.iter().rev().take_while(|deployment| !deployment.installed);
    let open = since.filter(|deployment| {
        let journal = setup.layout.deployment(&group.key, &deployment.id).journal();
        install::state(&journal).is_ok_and(|state| state == JournalState::Open)
    });
    open.map(|deployment| deployment.id.clone()).collect()
}

/// Settles the Install of a group's active deployment.
///
/// # Errors
/// When its journal cannot be settled.
pub fn settle_install(setup: &Setup, group: &Group, deployment: &DeploymentId) -> Result<Settled, Failure> {
    // A rollback's Install first undoes the one before it, and may have been interrupted there.
    if let Some(installed) = &group.installed {
        let journal = setup.layout.deployment(&group.key, &installed.deployment).journal();
        // An Install that stands for good only has old files left to delete, which can wait.
        if let Err(failure) = settle(setup, &group.key, &installed.deployment)
            && !matches!(install::state(&journal), Ok(JournalState::Committing))
        {
            return Err(failure);
        }
    }
    settle(setup, &group.key, deployment)
}

/// Marks the journal of every Install of these groups that stands by the ledger: a power loss may have lost the
/// journal's own mark. Run this before any other use of the journals.
///
/// # Errors
/// Failed when a journal cannot be read or written.
pub fn confirm_all<'g>(setup: &Setup, groups: impl Iterator<Item = &'g Group>) -> Result<(), Failure> {
    for group in groups {
        let active = group.active.as_ref().filter(|deployment| deployment.installed).map(|deployment| &deployment.id);
        let before = [&group.installed, &group.installed_before].into_iter().flatten();
        for deployment in active.into_iter().chain(before.map(|installed| &installed.deployment)) {
            install::confirm(&setup.layout.deployment(&group.key, deployment).journal()).map_err(|e| {
                let message = format!("the Install of {deployment} cannot be confirmed: {}", chain(&e));
                Failure::say(ExitCode::Failed, message)
            })?;
        }
    }
    Ok(())
}

/// Settles the Install of this deployment, or its undo.
///
/// # Errors
/// When its journal cannot be settled.
pub fn settle(setup: &Setup, key: &GroupKey, deployment: &DeploymentId) -> Result<Settled, Failure> {
    install::settle(&setup.layout.deployment(key, deployment).journal()).map_err(|e| {
        let message = format!("the Install of {deployment} ({key}) cannot be undone yet: {}", chain(&e));
        Failure::say(ExitCode::Failed, message)
    })
}
