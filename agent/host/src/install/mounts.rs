//! Which mounted file system a directory is on, so that the files of an unmounted file system are not taken for gone.
//!
//! A file system is recognised by the directory on which it is mounted, which `/etc/fstab` keeps the same over reboots
//! for every kind; `st_dev` and the `f_fsid` of most kinds (XFS, NFS, tmpfs) may change with each reboot. If a mount
//! point has another file system now, an administrator put it there: the files on the old one are gone for the Install.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::fmt;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, OFlags, StatxFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::InstallError;
use super::error::host;
use super::places::open_below;

/// A mounted file system as it was when an Install began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FileSystemRecord {
    /// Its mount point.
    pub mount: PathBuf,
    /// Its kind, as `/proc/mounts` writes it.
    pub kind: String,
    /// The mounted device, as `/proc/mounts` writes it.
    pub source: String,
    /// Its `f_fsid`.
    pub id: u64,
}

impl fmt::Display for FileSystemRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the {} file system {} at {}", self.kind, self.source, self.mount.display())
    }
}

impl FileSystemRecord {
    /// Whether another file system is mounted in the same place now.
    fn is_another_than(&self, now: &Self) -> bool {
        // Their number is made of the UUID; other file systems may get another number with each mount.
        let lasting = ["ext2", "ext3", "ext4", "btrfs"].contains(&self.kind.as_str());
        self.kind != now.kind || (lasting && self.id != now.id)
    }
}

/// The current mounts; empty where `/proc` does not list them.
#[derive(Debug, Default)]
pub(super) struct Mounts {
    by_id: HashMap<u64, FileSystemRecord>,
}

impl Mounts {
    pub fn read() -> Self {
        let bytes = std::fs::read("/proc/self/mountinfo").unwrap_or_default();
        let lines = bytes.split(|byte| *byte == b'\n');
        Self { by_id: lines.filter_map(parse).collect() }
    }

    /// The file system of an open directory; `None` where the kernel does not say.
    pub fn of(&self, directory: BorrowedFd<'_>) -> Option<FileSystemRecord> {
        let found = self.by_id.get(&mount_id(directory)?)?;
        let id = nix::sys::statvfs::fstatvfs(directory).map_or(0, |found| found.filesystem_id());
        Some(FileSystemRecord { id, ..found.clone() })
    }

    fn has(&self, point: &Path) -> bool {
        self.by_id.values().any(|mounted| mounted.mount == point)
    }
}

/// The mount's number in `/proc/self/mountinfo`.
fn mount_id(directory: BorrowedFd<'_>) -> Option<u64> {
    if let Ok(found) = rustix::fs::statx(directory, c"", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)
        && StatxFlags::from_bits_retain(found.stx_mask).contains(StatxFlags::MNT_ID)
    {
        return Some(found.stx_mnt_id);
    }
    // Before Linux 5.8.
    let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", directory.as_raw_fd())).ok()?;
    text.lines().find_map(|line| line.strip_prefix("mnt_id:")).and_then(|id| id.trim().parse().ok())
}

/// One line of mountinfo: `id parent dev root POINT options [optional …] - KIND SOURCE options`.
fn parse(line: &[u8]) -> Option<(u64, FileSystemRecord)> {
    let mut fields = line.split(|byte| *byte == b' ');
    let id = std::str::from_utf8(fields.next()?).ok()?.parse().ok()?;
    let mount = PathBuf::from(OsString::from_vec(unescape(fields.nth(3)?)));
    let mut rest = fields.skip_while(|field| *field != b"-").skip(1);
    let mut text = || Some(String::from_utf8_lossy(&unescape(rest.next()?)).into_owned());
    let (kind, source) = (text()?, text()?);
    Some((id, FileSystemRecord { mount, kind, source, id: 0 }))
}

/// Blanks and backslashes are written as three octal digits.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..3).filter(|_| *first == b'\\').and_then(|d| std::str::from_utf8(d).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = after.get(3..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    bytes
}

/// The file systems of an Install that begins, each once.
#[derive(Debug, Default)]
pub(super) struct Noted {
    mounts: Mounts,
    pub records: Vec<FileSystemRecord>,
}

impl Noted {
    pub fn new() -> Self {
        Self { mounts: Mounts::read(), records: Vec::new() }
    }

    /// The number under which the directory's file system is recorded.
    pub fn add(&mut self, directory: &OwnedFd) -> Option<usize> {
        let found = self.mounts.of(directory.as_fd())?;
        let known = self.records.iter().position(|record| *record == found);
        Some(known.unwrap_or_else(|| {
            self.records.push(found);
            self.records.len() - 1
        }))
    }
}

/// The file systems of an Install that is being settled, and the current mounts.
#[derive(Debug)]
pub(super) struct Reach {
    mounts: Mounts,
    records: Vec<FileSystemRecord>,
    /// Whether an operator has declared unmounted file systems lost.
    given_up: bool,
}

impl Reach {
    pub fn new(records: Vec<FileSystemRecord>, given_up: bool) -> Self {
        let mounts = if records.is_empty() { Mounts::default() } else { Mounts::read() };
        Self { mounts, records, given_up }
    }

    /// Whether a directory is the one in which the Install worked. `found` is the directory at the real path, if it has
    /// the recorded inode.
    ///
    /// # Errors
    /// Its file system is not mounted, or is hidden by another one, so that the answer is not known yet.
    pub fn is_there(
        &self,
        real: &Path,
        recorded: Option<usize>,
        found: Option<&OwnedFd>,
    ) -> Result<bool, InstallError> {
        let Some(was) = recorded.and_then(|number| self.records.get(number)) else { return Ok(found.is_some()) };
        let now = match found {
            Some(directory) => self.mounts.of(directory.as_fd()),
            None => self.nearest(real)?,
        };
        match now {
            None => Ok(found.is_some()),
            Some(now) if now.mount == was.mount => Ok(found.is_some() && !was.is_another_than(&now)),
            // A directory seen through another mount counts as the same: mounted on itself, for example.
            Some(now) if found.is_some() && now.id != 0 && (now.id, &now.kind) == (was.id, &was.kind) => Ok(true),
            Some(_) if self.given_up => Ok(false),
            Some(now) => {
                let (path, was, now) = (real.to_owned(), was.to_string(), now.to_string());
                Err(InstallError::NotMounted { path, was, now })
            }
        }
    }

    /// The file system of the nearest directory that exists.
    fn nearest(&self, real: &Path) -> Result<Option<FileSystemRecord>, InstallError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let top = rustix::fs::open("/", flags, rustix::fs::Mode::empty()).map_err(host("open", Path::new("/")))?;
        for ancestor in real.ancestors() {
            let below = ancestor.strip_prefix("/").unwrap_or(ancestor);
            let below = if below.as_os_str().is_empty() { Path::new(".") } else { below };
            match open_below(top.as_fd(), below, flags) {
                Ok(directory) => return Ok(self.mounts.of(directory.as_fd())),
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                Err(errno) => return Err(host("open", ancestor)(errno)),
            }
        }
        Ok(None)
    }
}

/// A file system with installed files that is not mounted any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostMount {
    /// Its mount point.
    pub point: PathBuf,
    /// The file system, for people.
    pub was: String,
}

/// The file systems that are no longer mounted in their old places.
pub(super) fn lost(records: &[FileSystemRecord]) -> Vec<LostMount> {
    if records.is_empty() {
        return Vec::new();
    }
    // An automount point mounts its file system on access.
    records.iter().for_each(|record| drop(std::fs::read_dir(&record.mount)));
    let now = Mounts::read();
    if now.by_id.is_empty() {
        return Vec::new();
    }
    let lost = records.iter().filter(|record| !now.has(&record.mount));
    let mut found: Vec<LostMount> =
        lost.map(|record| LostMount { point: record.mount.clone(), was: record.to_string() }).collect();
    let mut seen = HashSet::new();
    found.retain(|lost| seen.insert(lost.point.clone()));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_mountinfo_is_read_whatever_its_names_hold() {
        let line =
            br"36 35 98:0 /mnt1 /srv/a\040b\134c rw,noatime shared:1 master:2 - ext3 /dev/root rw,errors=continue";
        let (id, found) = parse(line).unwrap();
        assert_eq!((id, found.mount.to_str().unwrap()), (36, r"/srv/a b\c"));
        assert_eq!((found.kind.as_str(), found.source.as_str()), ("ext3", "/dev/root"));
        assert_eq!(parse(b"36 35 98:0 / /srv rw - nfs4"), None);
        assert_eq!(parse(b""), None);
    }

    #[test]
    fn every_open_directory_has_a_mount_that_is_known() {
        let mounts = Mounts::read();
        for path in ["/", "/proc", "/dev"] {
            let directory = std::fs::File::open(path).unwrap();
            assert_eq!(mounts.of(directory.as_fd()).unwrap().mount, Path::new(path), "{path}");
        }
        assert!(lost(&[mounts.of(std::fs::File::open("/").unwrap().as_fd()).unwrap()]).is_empty());
    }

    #[test]
    fn an_id_tells_file_systems_apart_only_where_it_lasts() {
        let of =
            |kind: &str, id| FileSystemRecord { mount: "/x".into(), kind: kind.into(), source: "/dev/x".into(), id };
        assert!(of("ext4", 1).is_another_than(&of("ext4", 2)));
        assert!(!of("xfs", 1).is_another_than(&of("xfs", 2)));
        assert!(of("xfs", 1).is_another_than(&of("ext4", 1)));
    }
}
