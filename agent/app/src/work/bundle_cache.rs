//! The bundles of a group on this host: the kept packed bundle, a bundle being downloaded, and the unpacked bundles of
//! earlier deployments.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use hostler_core::ids::{GroupKey, Sha256Digest};
use hostler_core::machine::event::WorkFailure;
use hostler_core::machine::state::Group;
use hostler_core::store::Content;
use hostler_host::archive;
use hostler_host::digest::digest_file;
use hostler_host::layout::{DeploymentPaths, Layout};

use crate::access;
use crate::setup::Setup;
use crate::threads::blocking;

/// Creates or empties a file that only the agent's own user can read.
pub fn create_private(path: &Path) -> io::Result<File> {
    File::options().read(true).write(true).create(true).truncate(true).mode(0o600).open(path)
}

/// The failure to write a packed bundle.
pub fn cannot_write(path: &Path, error: &io::Error) -> WorkFailure {
    WorkFailure::because(format!("cannot write {}: {error}", path.display()), error)
}

/// A group's packed bundles: the kept one, named by its digest, and the one being fetched.
pub struct Bundles {
    layout: Layout,
    key: GroupKey,
    directory: PathBuf,
}

impl Bundles {
    /// The bundles of a group. Their directory is made when it is first needed.
    pub fn of(layout: &Layout, key: &GroupKey) -> Self {
        Self { layout: layout.clone(), key: key.clone(), directory: layout.bundles(key) }
    }

    fn make_directory(&self) -> Result<(), WorkFailure> {
        access::make_private(&self.layout, &self.key, &self.directory)
    }

    /// The kept bundle.
    pub fn kept(&self) -> Option<PathBuf> {
        self.paths().into_iter().find(|path| path.extension().is_none())
    }

    fn paths(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.directory).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect()
    }

    /// Opens the files for fetching a bundle, with the data of an earlier try. Removes those of other bundles.
    pub fn begin(&self, name: &Sha256Digest) -> Result<Partial, WorkFailure> {
        self.make_directory()?;
        let path = |suffix: &str| self.directory.join(format!("{}.{suffix}", name.hex()));
        let (path, note_path) = (path("partial"), path("parts"));
        for other in self.paths() {
            if other.extension().is_some() && other != path && other != note_path {
                let _ = fs::remove_file(other);
            }
        }
        let open = |path: &Path| {
            let options = &mut File::options();
            let opened = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
            opened.map_err(|e| cannot_write(path, &e))
        };
        Ok(Partial { file: open(&path)?, note: open(&note_path)?, path, note_path })
    }

    /// Whether the kept bundle has this content.
    pub async fn kept_is(&self, content: &Content) -> Result<bool, WorkFailure> {
        match self.kept().filter(|kept| kept.ends_with(content.sha256.hex())) {
            Some(kept) => is_here(&kept, content).await,
            None => Ok(false),
        }
    }

    /// Links the kept bundle to another path.
    pub fn share(&self, at: &Path) -> Result<(), WorkFailure> {
        let Some(kept) = self.kept() else { return Ok(()) };
        match fs::remove_file(at) {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(cannot_write(at, &e)),
            _ => {}
        }
        fs::hard_link(kept, at).map_err(|e| cannot_write(at, &e))
    }

    /// Keeps this bundle and drops the one kept before.
    pub fn keep(&self, bundle: &Path, digest: &Sha256Digest) -> io::Result<()> {
        let place = self.directory.join(digest.hex());
        self.make_directory().map_err(|failure| io::Error::other(failure.message))?;
        for other in self.paths() {
            if other != place && other.extension().is_none() {
                fs::remove_file(other)?;
            }
        }
        fs::rename(bundle, place)?;
        // Renaming a file to another name of the same file leaves both names.
        match fs::remove_file(bundle) {
            Err(e) if e.kind() != ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        }
    }

    /// Deletes the kept bundle; returns whether there was one.
    pub fn drop_cached(&self) -> bool {
        self.kept().is_some_and(|kept| fs::remove_file(kept).is_ok())
    }
}

/// A bundle being fetched.
pub struct Partial {
    /// Its bytes.
    pub file: File,
    /// The parts that are already here.
    pub note: File,
    path: PathBuf,
    note_path: PathBuf,
}

impl Partial {
    /// Moves the complete bundle to the deployment's path.
    pub fn finish(self, bundle: &Path) -> Result<(), WorkFailure> {
        fs::rename(&self.path, bundle).map_err(|e| cannot_write(bundle, &e))?;
        let _ = fs::remove_file(&self.note_path);
        Ok(())
    }

    /// Whether an earlier try has fetched parts of it.
    pub fn is_begun(&self) -> bool {
        self.note.metadata().is_ok_and(|note| note.len() > 0)
    }

    /// Discards the fetched parts.
    pub fn remove(&self) {
        // If this fails, the next fetch of another bundle removes them.
        let _ = fs::remove_file(&self.path);
        let _ = fs::remove_file(&self.note_path);
    }
}

/// The unpacked bundle of an earlier deployment with the same digest, if it is unchanged since.
pub async fn unpacked_before(
    setup: &Setup,
    group: &Group,
    digest: &Sha256Digest,
) -> Result<Option<PathBuf>, WorkFailure> {
    let earlier = group.finished.iter().rev().filter(|d| d.request.revision.digest.as_ref() == Some(digest));
    let candidates: Vec<_> = earlier.map(|d| setup.layout.deployment(&group.key, d.archive())).collect();
    blocking(move || {
        let unchanged = |paths: &DeploymentPaths| {
            let noted = fs::read_to_string(paths.fingerprint()).ok();
            noted.is_some() && noted == archive::fingerprint(&paths.archive()).ok().map(|found| found.to_string())
        };
        Ok(candidates.iter().find(|paths| unchanged(paths)).map(DeploymentPaths::archive))
    })
    .await
}

/// Whether a file has exactly this content.
pub async fn is_here(path: &Path, content: &Content) -> Result<bool, WorkFailure> {
    let (path, content) = (path.to_owned(), *content);
    blocking(move || {
        let found = File::open(path).and_then(|file| digest_file(&file));
        Ok(found.is_ok_and(|found| found == (content.size, content.sha256)))
    })
    .await
}

/// Whether the next bundle and its files would fit beside this one, judging by this one's size.
pub fn has_room(packed: &Path) -> bool {
    let size = fs::metadata(packed).map(|metadata| metadata.len());
    let free = nix::sys::statvfs::statvfs(packed).map(|found| found.blocks_available() * found.fragment_size());
    matches!((size, free), (Ok(size), Ok(free)) if free / 3 >= size)
}
