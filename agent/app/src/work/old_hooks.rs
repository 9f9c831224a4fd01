//! The hooks of the revision on the host: they stop the old application.

use std::io::{self, ErrorKind};
use std::path::Path;

use hostler_core::appspec::AppspecName;
use hostler_core::appspec::spec::EventHooks;
use hostler_core::machine::event::WorkFailure;
use hostler_core::machine::state::Group;
use hostler_host::archive::{self, ArchiveError};
use nix::libc::ELOOP;

use crate::failure::{chain, fail};
use crate::setup::Setup;
use crate::work::bundle::{diagnose_kept_bundle, usable_before};

/// The hooks, or why they are left out. A missing or broken bundle of the old revision must not block every later
/// release: its scripts cannot run, and the agent warns.
///
/// # Errors
/// The bundle exists and cannot be read this time: the old application would not be stopped, and nothing has changed
/// yet.
pub fn old_hooks(setup: &Setup, group: &Group) -> Result<(Vec<EventHooks>, Option<String>), WorkFailure> {
    let Some(installed) = &group.installed else { return Ok((Vec::new(), None)) };
    let archive = setup.layout.deployment(&group.key, &installed.archive).archive();
    let left_out = |problem: String| {
        let message = format!("the old revision's ApplicationStop is left out: its bundle cannot be read: {problem}");
        Ok((Vec::new(), Some(message)))
    };
    let listing = match archive::list(&archive) {
        Ok(listing) => listing,
        Err(ArchiveError::Host { source, action, path }) if !is_gone(&source) => {
            return Err(unreadable(&archive, &format!("cannot {action} {}: {source}", path.display())));
        }
        Err(error) => return left_out(chain(&error)),
    };
    let name = AppspecName::or_usual(group.appspec_name_of(&installed.archive));
    match diagnose_kept_bundle(&archive, &listing, name, &setup.limits) {
        Ok(found) => match usable_before(found, &listing) {
            Ok(read) => Ok((read.spec.hooks, None)),
            Err(failure) => left_out(failure.message),
        },
        Err(fault) if fault.unreadable => Err(unreadable(&archive, &fault.message)),
        Err(fault) => left_out(fault.message),
    }
}

/// The failure when the old revision's scripts cannot be read, with the remedy if it stays so.
pub fn unreadable(archive: &Path, problem: &str) -> WorkFailure {
    fail(format!(
        "the old revision's ApplicationStop cannot be run now: {problem}; deploy again, or, if its bundle cannot be read \
         any more, delete {}: then ApplicationStop is left out",
        archive.display()
    ))
}

/// Whether the path does not exist, and will not appear later.
pub fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) || error.raw_os_error() == Some(ELOOP)
}
