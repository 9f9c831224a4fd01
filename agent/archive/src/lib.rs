//! Revision bundles: finds out a file's kind of archive, unpacks it safely, and packs one reproducibly.
//!
//! Promises, for every archive type:
//! - The destination appears complete or not at all; after an error nothing is left of it. A crash leaves at most
//!   `.NAME.partial` beside it, which the next unpack removes.
//! - Nothing is written outside the destination, and nothing is ever written or hard-linked through a symbolic link.
//!   A link that leads out of the bundle is content and is kept as it is.
//! - Content is streamed. Memory holds the listing and some buffers, whatever the bundle's size.
//! - Modes and modification times are kept (zero means the time of unpacking), and the agent owns every file. Every
//!   user may enter the top directory.
//! - Names that begin with slashes lose them, with a warning. Two entries that get the same name that way are refused.
//! - Zeros after the end are accepted, as the usual tools do. Anything else there is refused.
//! - If a path occurs twice, the last entry counts, as with tar; if the two are of different kinds, the bundle is
//!   refused. Names that differ only in case or in Unicode normalisation are different names.
//! - A single top-level directory that contains a name with `appspec` in it (any case) is stripped, as the CodeDeploy
//!   agent does; not for a bundle that is a directory.
//!
//! ```text
//! open     reading below one descriptor
//! policy   what an entry may be, how large a bundle may get      tree     entries -> settled listing
//! beneath  writing below one descriptor                          staging  complete or not at all
//! adapted  what was changed or left out, for a warning           foreign  other archives, by their names
//! tar zip directory   read one form each, write through beneath  walk     a tree on disk, in order
//! decode   the second thread of a compressed tar                  pack     the way back
//! digest   size and SHA-256 while bytes pass                      remove_tree  away with trees that others built
//! ```
//!
//! This is a crate of its own, which `hostler-host` re-exports as `archive`, `digest` and `remove_tree`: the code that
//! reads untrusted bytes is fuzzed, and a fuzz target is built without TLS, HTTP and processes.

mod adapted;
mod beneath;
mod decode;
pub mod digest;
mod directory;
mod error;
mod fingerprint;
mod foreign;
mod open;
mod pack;
mod policy;
pub mod remove_tree;
mod staging;
mod tar;
#[cfg(test)]
#[path = "../../host/src/test_support.rs"]
mod test_support;
#[cfg(test)]
mod tests;
mod tree;
mod walk;
mod zip;

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use hostler_core::bundle::{BundleListing, BundlePath, BundleType, EntryKind};
use hostler_core::limits::Limits;

pub use adapted::{Unpacked, adapted};
pub use error::{ArchiveError, EntryProblem, Place};
pub use fingerprint::fingerprint;
pub use foreign::Foreign;
pub use open::open_beneath;
pub use pack::{Packed, pack};
pub use policy::UnpackOptions;
pub use zip::ZipSpans;

use staging::Staging;

/// Bytes of a bundle that tell its type: a tar header and one block more.
pub const HEAD_BYTES: usize = 1024;

/// The kind of this bundle, by its content; the name plays no part. A directory counts if it can be opened as a
/// directory.
///
/// # Errors
/// It is not of an accepted type (if the type is known, the error names it), or it could not be read.
pub fn detect(bundle: &File) -> Result<BundleType, ArchiveError> {
    let read = |source| ArchiveError::host("read", Path::new("the bundle"), source);
    if bundle.metadata().map_err(read)?.is_dir() {
        return Ok(BundleType::Directory);
    }
    let mut head = [0; HEAD_BYTES];
    let mut filled = 0;
    while let Some(rest) = head.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match bundle.read_at(rest, filled as u64).map_err(read)? {
            0 => break,
            count => filled += count,
        }
    }
    let head = head.get(..filled).unwrap_or_default();
    match detect_head(head) {
        Err(ArchiveError::UnknownType { .. }) if zip::has_end(bundle).map_err(read)? => {
            Err(ArchiveError::Foreign(Foreign::BehindSomething))
        }
        found => found,
    }
}

/// The kind of bundle that begins with these bytes, of which [`HEAD_BYTES`] are enough.
///
/// # Errors
/// It is not of an accepted type; if the type is known, the error names it.
pub fn detect_head(head: &[u8]) -> Result<BundleType, ArchiveError> {
    match head {
        [0x1f, 0x8b, ..] => Ok(BundleType::Tgz),
        // A frame, or a skippable frame before it.
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Ok(BundleType::TarZst),
        // An entry, or the end of an archive without entries.
        [b'P', b'K', 3, 4, ..] | [b'P', b'K', 5, 6, ..] => Ok(BundleType::Zip),
        // `zip -s` writes this if one piece is enough (APPNOTE.TXT 8.5.4 and 8.5.5).
        [b'P', b'K', 7 | b'0', 8 | b'0', b'P', b'K', 3, 4, ..] => Ok(BundleType::Zip),
        _ if is_tar(head) => Ok(BundleType::Tar),
        _ => Err(match Foreign::of(head) {
            Some(foreign) => ArchiveError::Foreign(foreign),
            None => ArchiveError::UnknownType { begins: begins(head) },
        }),
    }
}

fn is_tar(head: &[u8]) -> bool {
    tar::is_header(head) || head.len() == HEAD_BYTES && head.iter().all(|byte| *byte == 0)
}

fn begins(head: &[u8]) -> String {
    let line = head.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = line.get(..line.len().min(60)).unwrap_or_default().trim_ascii();
    if !line.is_empty() && line.iter().all(|byte| matches!(byte, b' '..=b'~')) {
        return format!("the text {:?}", String::from_utf8_lossy(line));
    }
    match head.get(..head.len().min(8)) {
        None | Some([]) => "nothing: it is empty".to_owned(),
        Some(bytes) => bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" "),
    }
}

/// Unpacks a bundle of the given type into `destination`, which does not exist yet or is an empty directory; its parent
/// exists. The file's position is neither used nor moved. Nothing is fsynced; see [`sync_filesystem`].
///
/// # Errors
/// The bundle is refused or damaged, or the host failed. Nothing is left behind.
pub fn unpack(
    bundle: &File,
    kind: BundleType,
    destination: &Path,
    options: &UnpackOptions,
) -> Result<Unpacked, ArchiveError> {
    let metadata = bundle.metadata().map_err(|e| ArchiveError::host("read", Path::new("the bundle"), e))?;
    policy::check_bundle_bytes(metadata.len(), &options.limits)?;
    let staging = Staging::create(destination)?;
    match kind {
        BundleType::Tar | BundleType::Tgz | BundleType::TarZst => {
            tar::unpack(bundle, metadata.len(), kind, staging, options)
        }
        BundleType::Zip => zip::unpack(bundle, metadata.len(), staging, options),
        BundleType::Directory => directory::copy(bundle, staging, options),
    }
}

/// The listing of a bundle that was unpacked before, from the disk.
///
/// # Errors
/// An entry has a kind that a bundle may not hold, there are too many, or it could not be read.
pub fn list(directory: &Path) -> Result<BundleListing, ArchiveError> {
    let root = File::open(directory).map_err(|e| ArchiveError::host("open the directory", directory, e))?;
    let mut entries = Vec::new();
    let limits = Limits::default();
    let mut meter = policy::Meter::new(&limits, u64::MAX);
    walk::walk(&root, directory, &mut |found| {
        let entry = found.entry()?;
        let name = entry.path.as_path().as_os_str().as_encoded_bytes();
        meter.entry(name)?;
        if let EntryKind::Symlink { target } = &entry.kind {
            meter.path(target.len() as u64, name)?;
        }
        entries.push(entry);
        Ok(())
    })?;
    Ok(BundleListing::new(entries))
}

/// The first `most` bytes of a file of an unpacked bundle. Links are followed as long as they stay in it.
///
/// # Errors
/// The file does not exist (`NotFound`), it is no regular file or a link leads out of the bundle (`InvalidInput`), or
/// it cannot be read.
pub fn read_beneath(archive: &Path, path: &BundlePath, most: u64) -> io::Result<Vec<u8>> {
    let file = match open_beneath(archive, path.as_path()) {
        Ok(opened) => File::from(opened),
        Err(nix::Error::EXDEV) => {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a link leads out of the bundle"));
        }
        Err(errno) => return Err(errno.into()),
    };
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Writes everything that is cached of the filesystem under `path` to the disk: one call for a whole bundle instead of
/// one for each file.
///
/// # Errors
/// `path` cannot be opened, or the disk failed.
pub fn sync_filesystem(path: &Path) -> Result<(), ArchiveError> {
    let directory = File::open(path).map_err(|e| ArchiveError::host("open", path, e))?;
    nix::unistd::syncfs(&directory).map_err(ArchiveError::errno("write to the disk", path))
}
