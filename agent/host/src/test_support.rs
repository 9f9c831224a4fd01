//! What tests of this crate share.

#[path = "../../../tests/support/requirement.rs"]
mod requirement;

pub use requirement::skip;

/// Does something on a thread of another user, who may not do what only root may. An agent without root is that user
/// already.
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
