//! The changes made to entries so that they could be unpacked: the first entry and the count for each kind, however
//! many there are.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use hostler_core::bundle::{Adaptation, Adapted, BundleListing};
use nix::sys::stat::SFlag;

use super::error::ArchiveError;
use super::policy::{self, UnpackOptions};
use super::walk::{file_type, walk};

/// A bundle that was unpacked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unpacked {
    /// Its listing.
    pub listing: BundleListing,
    /// The changes made to its entries, each kind once.
    pub adapted: Vec<Adapted>,
}

/// Collects the changes that unpacking makes to entries.
#[derive(Debug, Default)]
pub(super) struct Notes(Vec<Adapted>);

impl Notes {
    pub(super) fn add(&mut self, how: Adaptation, entry: &[u8]) {
        match self.0.iter_mut().find(|noted| noted.how == how) {
            Some(noted) => noted.number += 1,
            None => self.0.push(Adapted { how, first: String::from_utf8_lossy(entry).into_owned(), number: 1 }),
        }
    }

    pub(super) fn into_list(self) -> Vec<Adapted> {
        self.0
    }
}

/// The properties of files that a bundle made of this directory will not keep.
///
/// # Errors
/// A file in it has a kind or a mode that a bundle may not hold, or it could not be read.
pub fn adapted(directory: &Path) -> Result<Vec<Adapted>, ArchiveError> {
    let root = File::open(directory).map_err(|e| ArchiveError::host("open the directory", directory, e))?;
    let (mut notes, options) = (Notes::default(), UnpackOptions::default());
    walk(&root, directory, &mut |found| {
        if file_type(&found.stat) != SFlag::S_IFREG {
            return Ok(());
        }
        let name = found.path.as_path().as_os_str().as_encoded_bytes();
        policy::file_mode(name, found.mode(), &options)?;
        if has_capabilities(found.open()?.as_fd()) {
            notes.add(Adaptation::Capabilities, name);
        }
        Ok(())
    })?;
    Ok(notes.into_list())
}

/// The attribute with the capabilities of a file (xattr(7)).
const CAPABILITY: &str = "security.capability";

/// Whether the file has capabilities. A file system without extended attributes has none.
pub(super) fn has_capabilities(file: BorrowedFd<'_>) -> bool {
    rustix::fs::fgetxattr_query(file, CAPABILITY).is_ok_and(|length| length > 0)
}
