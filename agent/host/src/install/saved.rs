//! Keeps backups for good that cannot go back to their places.

use std::path::Path;

use hostler_core::plan::actions::Action;

use super::backups;
use super::error::host;
use super::places::look;
use super::steps::{Step, Steps};
use super::swap::rename_new;
use super::{InstallError, Left, Work};

/// Why a backup has no place to go back to.
pub(super) const GONE: &str = "its directory is gone";

/// Keeps a backup that cannot go back because its directory is gone. Other files of that directory are not ours any
/// more.
pub(super) fn without_directory<S: Steps>(
    work: &Work<'_, S>,
    number: usize,
    action: &Action,
    why: &str,
) -> Result<Option<Left>, InstallError> {
    let path = action.path();
    let there = match work.backups_of(path) {
        Some(kept) => look(kept, backups::name(number)).map_err(host("look at", path))?.is_some(),
        None => false,
    };
    if there {
        work.steps.before(Step::Restore(number))?;
        return Ok(Some(Left::new(path, &save(work, number, path, why)?)));
    }
    // The directory's contents went with it, so nothing needs to be taken back.
    Ok((why != GONE).then(|| Left::new(path, why)))
}

/// Keeps a backup for good; returns its place in words.
pub(super) fn save<S: Steps>(
    work: &Work<'_, S>,
    number: usize,
    path: &Path,
    why: &str,
) -> Result<String, InstallError> {
    let saved = backups::saved(number);
    let (Some(kept), Some(at)) = (work.backups_of(path), work.backups.path(work.backups_number(path))) else {
        return Ok(why.to_owned());
    };
    rename_new(kept, backups::name(number), kept, &*saved).map_err(host("keep the backup of", path))?;
    Ok(format!("{why}; what was there before is kept as {}", at.join(saved).display()))
}
