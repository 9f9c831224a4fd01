//! The destination appears complete or not at all: everything is written into a sibling directory that takes the
//! destination's name at the end.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use hostler_core::bundle::{BundleListing, EntryKind};
use nix::sys::stat::{Mode, fchmod};

use super::beneath::Beneath;
use super::error::ArchiveError;
use super::tree::{self, Item};
use crate::remove_tree::remove_tree;

/// The top is the agent's own directory, but an archive has its mode from the host that packed it (0700 from
/// `mktemp -d`). Every user may enter it, so that scripts can run as other users, and its owner may fill and delete it.
/// No other user may write to it, because that user could put other scripts and another appspec there.
fn top_access(mode: u32) -> u32 {
    mode & !0o022 | 0o755
}

/// A directory beside the destination. If it is dropped before [`Staging::publish`], it is removed.
pub(super) struct Staging {
    path: PathBuf,
    destination: PathBuf,
    root: File,
    published: bool,
}

impl Staging {
    /// Makes `.NAME.partial` beside the destination `NAME`. The leftover of a crash is removed first.
    pub(super) fn create(destination: &Path) -> Result<Self, ArchiveError> {
        check_destination(destination)?;
        let path = staging_path(destination)?;
        remove(&path)?;
        DirBuilder::new().mode(0o700).create(&path).map_err(|e| ArchiveError::host("make the directory", &path, e))?;
        let root = File::open(&path).map_err(|e| ArchiveError::host("open the directory", &path, e))?;
        Ok(Self { path, destination: destination.to_owned(), root, published: false })
    }

    pub(super) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Sets the modes and times of the directories, strips a leading directory, and renames the result to the
    /// destination. `items` are all written entries, settled. `top_mode` is the mode of the top itself.
    pub(super) fn publish(
        mut self,
        items: Vec<Item>,
        top_mode: u32,
        leading: Option<OsString>,
    ) -> Result<BundleListing, ArchiveError> {
        let mut beneath = Beneath::new(self.root.as_fd(), &self.path);
        // Children first: afterwards the parent may be closed to its owner, and its time has been set last.
        for item in items.iter().rev().filter(|item| item.entry.kind == EntryKind::Directory) {
            let becomes_top = leading.as_deref() == Some(item.entry.path.as_path().as_os_str());
            let mode = if becomes_top { top_access(item.entry.mode) } else { item.entry.mode };
            beneath.finish_directory(&item.entry.path, mode, item.modified)?;
        }
        fchmod(&self.root, Mode::from_bits_truncate(top_access(top_mode)))
            .map_err(ArchiveError::errno("set the mode of", &self.path))?;
        let from = leading.as_ref().map_or_else(|| self.path.clone(), |top| self.path.join(top));
        fs::rename(&from, &self.destination)
            .map_err(|e| ArchiveError::host("move the unpacked bundle to", &self.destination, e))?;
        self.published = leading.is_none();
        // If there was a leading directory, the remaining staging directory is empty; Drop removes it.
        Ok(tree::listing(items, leading.as_ref()))
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if !self.published
            && let Err(error) = remove(&self.path)
        {
            let path = self.path.display();
            log::warn!(path:%; "cannot delete the directory {path} of a failed unpack: {error}");
        }
    }
}

fn check_destination(destination: &Path) -> Result<(), ArchiveError> {
    let refuse = |problem| Err(ArchiveError::Destination { path: destination.to_owned(), problem });
    match fs::symlink_metadata(destination) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(ArchiveError::host("look at", destination, error)),
        Ok(metadata) if !metadata.is_dir() => refuse("it exists and is not a directory"),
        Ok(_) => match fs::read_dir(destination).map(|mut entries| entries.next().is_none()) {
            Ok(true) => Ok(()),
            Ok(false) => refuse("it is not empty"),
            Err(error) => Err(ArchiveError::host("look into", destination, error)),
        },
    }
}

fn staging_path(destination: &Path) -> Result<PathBuf, ArchiveError> {
    let Some(name) = destination.file_name() else {
        let problem = "it has no name of its own";
        return Err(ArchiveError::Destination { path: destination.to_owned(), problem });
    };
    let mut hidden = OsString::from(".");
    hidden.push(name);
    hidden.push(".partial");
    Ok(destination.with_file_name(hidden))
}

fn remove(path: &Path) -> Result<(), ArchiveError> {
    match remove_tree(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(ArchiveError::host("remove", path, error)),
    }
}
