//! The bundles of a group that are on this host: the packed one that is kept, one on its way here, and unpacked ones of
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
use crate::failure::fail;
use crate::setup::Setup;
use crate::threads::blocking;

/// Creates or empties a file that only the agent's own user reads.
pub fn create_private(path: &Path) -> io::Result<File> {
    File::options().read(true).write(true).create(true).truncate(true).mode(0o600).open(path)
}

/// The failure to write a packed bundle.
pub fn cannot_write(path: &Path, error: &io::Error) -> WorkFailure {
    fail(format!("cannot write {}: {error}", path.display()))
}

/// A group's packed bundles: one that is kept, named by its digest, and one that is being fetched.
pub struct Bundles {
    layout: Layout,
    key: GroupKey,
    directory: PathBuf,
}

impl Bundles {
    /// Those of a group. Their directory is made when there is something to put into it.
    pub fn of(layout: &Layout, key: &GroupKey) -> Self {
        Self { layout: layout.clone(), key: key.clone(), directory: layout.bundles(key) }
    }

    fn make_directory(&self) -> Result<(), WorkFailure> {
        access::make_private(&self.layout, &self.key, &self.directory)
    }

    /// The bundle that is kept.
    pub fn kept(&self) -> Option<PathBuf> {
        self.paths().into_iter().find(|path| path.extension().is_none())
    }

    fn paths(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.directory).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect()
    }

    /// Files for a bundle that is fetched: what an earlier try brought of the same one is in them. Those of others go.
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

    /// Whether the kept bundle is this one.
    pub async fn kept_is(&self, content: &Content) -> Result<bool, WorkFailure> {
        match self.kept().filter(|kept| kept.ends_with(content.sha256.hex())) {
            Some(kept) => is_here(&kept, content).await,
            None => Ok(false),
        }
    }

    /// The kept bundle, also at another path.
    pub fn share(&self, at: &Path) -> Result<(), WorkFailure> {
        let Some(kept) = self.kept() else { return Ok(()) };
        match fs::remove_file(at) {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(cannot_write(at, &e)),
            _ => {}
        }
        fs::hard_link(kept, at).map_err(|e| cannot_write(at, &e))
    }

    /// Keeps a bundle instead of the one that is kept.
    pub fn keep(&self, bundle: &Path, digest: &Sha256Digest) -> io::Result<()> {
        let place = self.directory.join(digest.hex());
        self.make_directory().map_err(|failure| io::Error::other(failure.message))?;
        for other in self.paths() {
            if other != place && other.extension().is_none() {
                fs::remove_file(other)?;
            }
        }
        fs::rename(bundle, place)?;
        // A rename from one name of a file to another of the same file leaves both.
        match fs::remove_file(bundle) {
            Err(e) if e.kind() != ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        }
    }

    /// Deletes what is kept; whether there was anything.
    pub fn drop_cached(&self) -> bool {
        self.kept().is_some_and(|kept| fs::remove_file(kept).is_ok())
    }
}

/// A bundle that is being fetched.
pub struct Partial {
    /// Its bytes.
    pub file: File,
    /// Which parts of it are here.
    pub note: File,
    path: PathBuf,
    note_path: PathBuf,
}

impl Partial {
    /// Puts the complete bundle where the deployment has it.
    pub fn finish(self, bundle: &Path) -> Result<(), WorkFailure> {
        fs::rename(&self.path, bundle).map_err(|e| cannot_write(bundle, &e))?;
        let _ = fs::remove_file(&self.note_path);
        Ok(())
    }

    /// Whether an earlier try has brought parts of it.
    pub fn is_begun(&self) -> bool {
        self.note.metadata().is_ok_and(|note| note.len() > 0)
    }

    /// Gives up what was brought.
    pub fn remove(&self) {
        // The next fetch of another bundle removes them too.
        let _ = fs::remove_file(&self.path);
        let _ = fs::remove_file(&self.note_path);
    }
}

/// The unpacked bundle of an earlier deployment of the same digest, if it is as it was unpacked.
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

/// Whether a file is exactly this content.
pub async fn is_here(path: &Path, content: &Content) -> Result<bool, WorkFailure> {
    let (path, content) = (path.to_owned(), *content);
    blocking(move || {
        let found = File::open(path).and_then(|file| digest_file(&file));
        Ok(found.is_ok_and(|found| found == (content.size, content.sha256)))
    })
    .await
}

/// Whether the next bundle and its files fit beside this one, by the size of this one.
pub fn has_room(packed: &Path) -> bool {
    let size = fs::metadata(packed).map(|metadata| metadata.len());
    let free = nix::sys::statvfs::statvfs(packed).map(|found| found.blocks_available() * found.fragment_size());
    matches!((size, free), (Ok(size), Ok(free)) if free / 3 >= size)
}
