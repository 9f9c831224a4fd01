//! Opens directories and files along ways that the path rule allows.

mod reading;
mod walker;

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use hostler_core::path_rule::{UnsafeStep, Way};
use hostler_core::plan::Identity;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, StatxFlags};
use rustix::io::Errno;

pub use reading::{Opener, Purpose, Refused, look_into, open_file, refusal};
use walker::{LOOK, walk_from};
pub use walker::{Seen, Walked, walk};

/// `f_type` of an overlay.
const OVERLAY: u64 = 0x794c_7630;

/// A directory to which a way led.
#[derive(Debug)]
pub struct There {
    /// The directory, for looking and for going on from it (`O_PATH`).
    pub directory: OwnedFd,
    /// Its path without links.
    pub real: PathBuf,
    /// The user id of its owner.
    pub owner: u32,
    /// The id of its device.
    pub device: u64,
    /// Whether a user other than root and the agent's user owns something on the way before it.
    pub by_user: bool,
}

impl There {
    /// The start of a way without a check: a root prefix. `real` has no links.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn begin(real: &Path) -> Result<Self, Errno> {
        Self::at(rustix::fs::openat(CWD, real, LOOK | OFlags::DIRECTORY, Mode::empty())?, real)
    }

    /// An open directory, from which a way begins.
    ///
    /// # Errors
    /// The kernel does not give its identity.
    pub fn at(directory: OwnedFd, real: &Path) -> Result<Self, Errno> {
        let stat = rustix::fs::fstat(&directory)?;
        Ok(Self { directory, real: real.to_owned(), owner: stat.st_uid, device: stat.st_dev, by_user: false })
    }

    /// Goes on to the directory with a name, following links; also by an unsafe step, which is then returned.
    ///
    /// # Errors
    /// The kernel refuses; `ENOTDIR` if no directory is at the end.
    pub fn follow(&self, name: &OsStr) -> Result<(Self, Option<UnsafeStep>), Errno> {
        let mut way = Way::of(crate::users::own_uid());
        let mut refused = None;
        let directory = rustix::io::fcntl_dupfd_cloexec(&self.directory, 0)?;
        let walked = walk_from(directory, &self.real, name, &mut |seen| -> Result<(), Errno> {
            if let Err(step) = way.step(&seen.place(false), seen.coming) {
                refused.get_or_insert(step);
            }
            Ok(())
        })?;
        refused = refused.or(way.end().err());
        let Walked { directory, real, stat, .. } = walked.into_directory()?;
        let by_user = self.by_user || way.is_by_user();
        Ok((Self { directory, real, owner: stat.st_uid, device: stat.st_dev, by_user }, refused))
    }

    /// Opens the directory itself.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn open(&self, flags: OFlags) -> Result<OwnedFd, Errno> {
        rustix::fs::openat(&self.directory, ".", flags | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
    }
}

/// The marks by which a directory is recognised.
///
/// # Errors
/// The kernel does not give them.
pub fn identity(directory: impl AsFd) -> Result<Identity, Errno> {
    let directory = directory.as_fd();
    let kind = rustix::fs::fstatfs(directory)?.f_type as u64;
    let looked = rustix::fs::statx(directory, c"", AtFlags::EMPTY_PATH, StatxFlags::INO | StatxFlags::BTIME);
    let Ok(found) = looked else {
        // Linux before 4.11, or a system call filter.
        return Ok(Identity { kind, inode: rustix::fs::fstat(directory)?.st_ino, born: None });
    };
    // In an overlay the time is the layer's, and changes with the first change.
    let has_born = kind != OVERLAY && StatxFlags::from_bits_retain(found.stx_mask).contains(StatxFlags::BTIME);
    let born = has_born.then_some((found.stx_btime.tv_sec, found.stx_btime.tv_nsec));
    Ok(Identity { kind, inode: found.stx_ino, born })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{lchown, symlink};

    use super::*;
    use crate::test_support::skip;

    /// Directories and links with their owners; `None` where only root may give files away.
    fn tree() -> Option<tempfile::TempDir> {
        let top = tempfile::tempdir().unwrap();
        let at = |name: &str| top.path().join(name);
        std::fs::create_dir_all(at("app")).unwrap();
        std::fs::create_dir_all(at("shared/theirs")).unwrap();
        symlink(at("shared/theirs"), at("app/by-root")).unwrap();
        symlink(at("shared/theirs"), at("app/by-user")).unwrap();
        symlink("../shared/theirs", at("app/relative")).unwrap();
        symlink(".", at("app/here")).unwrap();
        symlink("loop", at("app/loop")).unwrap();
        symlink("nothing", at("app/dangling")).unwrap();
        symlink("file", at("app/to-file")).unwrap();
        symlink("file/x", at("app/through-file")).unwrap();
        std::fs::write(at("app/file"), "").unwrap();
        symlink(at("shared"), at("app/away")).unwrap();
        std::fs::set_permissions(top.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        for name in ["app/by-user", "app/away", "app/here", "shared/theirs"] {
            lchown(at(name), Some(33), None).ok()?;
        }
        Some(top)
    }

    #[test]
    fn a_way_is_walked_by_safe_steps_only() {
        let Some(top) = tree() else {
            skip("only root may give files away");
            return;
        };
        let real = top.path().canonicalize().unwrap();
        let app = There::begin(&real.join("app")).unwrap();
        let follow = |name: &str| app.follow(name.as_ref()).map(|(there, refused)| (there.real, refused));
        for name in ["by-root", "by-user", "relative"] {
            assert_eq!(follow(name).unwrap(), (real.join("shared/theirs"), None), "{name}");
        }
        for (name, to) in [("away", real.join("shared")), ("here", real.join("app"))] {
            let step = follow(name).unwrap().1.unwrap_or_else(|| panic!("{name} is taken for safe"));
            assert_eq!((step.from, step.from_owner, step.to_owner), (real.join("app").join(name), 33, 0));
            assert_eq!(step.to, to);
        }
        for (name, errno) in [
            ("loop", Errno::LOOP),
            ("dangling", Errno::NOENT),
            ("file", Errno::NOTDIR),
            ("to-file", Errno::NOTDIR),
            ("through-file", Errno::NOTDIR),
        ] {
            assert_eq!(follow(name).unwrap_err(), errno, "{name}");
        }
    }
}
