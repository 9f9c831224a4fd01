//! Code that tests of this crate and of `hostler-archive` share.

#[path = "../../../tests/support/requirement.rs"]
mod requirement;

pub use requirement::skip;

/// Runs `does` on a thread of another user, without root's rights. An agent without root is that user already.
#[allow(unsafe_code)]
pub fn without_root<T: Send>(does: impl FnOnce() -> T + Send) -> T {
    let thread = move || {
        if nix::unistd::geteuid().is_root() {
            // SAFETY: the call takes numbers. It is the kernel's own, which changes this thread and no other.
            let changed = unsafe { nix::libc::syscall(nix::libc::SYS_setresuid, NOBODY, NOBODY, NOBODY) };
            assert_eq!(changed, 0, "{}", std::io::Error::last_os_error());
        }
        does()
    };
    std::thread::scope(|scope| match scope.spawn(thread).join() {
        Ok(done) => done,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

const NOBODY: nix::libc::c_long = 65_534;

/// Makes a chain of this many directories, with a file in the last one.
pub fn build_deep(top: &std::path::Path, levels: usize) {
    use rustix::fs::{CWD, Mode, OFlags};
    let directory = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut at = rustix::fs::openat(CWD, top, directory, Mode::empty()).unwrap();
    for _ in 0..levels {
        rustix::fs::mkdirat(&at, "d", Mode::RWXU).unwrap();
        at = rustix::fs::openat(&at, "d", directory, Mode::empty()).unwrap();
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC;
    rustix::fs::openat(&at, "file", flags, Mode::RUSR).unwrap();
}
