//! Opens files in an unpacked bundle, and nothing outside of it.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::sys::stat;

/// Opens a file below a directory, wherever links may point. Not blocking: it could be a FIFO.
///
/// # Errors
/// The file does not exist, a link leads out of the directory (`EXDEV`), or it cannot be opened.
pub fn open_beneath(archive: &Path, relative: &Path) -> nix::Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC | OFlag::O_NOCTTY;
    let top = OFlag::O_DIRECTORY | OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let top = open(archive, top, stat::Mode::empty())?;
    let how = OpenHow::new().flags(flags).resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    match openat2(top.as_fd(), relative, how) {
        // Kernels before 5.6, and sandboxes, do not know the call.
        Err(nix::Error::ENOSYS | nix::Error::EPERM) => {
            let errno = |error: io::Error| nix::Error::from_raw(error.raw_os_error().unwrap_or(nix::libc::EIO));
            let top = archive.canonicalize().map_err(errno)?;
            let real = top.join(relative).canonicalize().map_err(errno)?;
            if !real.starts_with(&top) {
                return Err(nix::Error::EXDEV);
            }
            open(&real, flags | OFlag::O_NOFOLLOW, stat::Mode::empty())
        }
        other => other,
    }
}
