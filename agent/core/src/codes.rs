//! Exit codes: a caller can branch on them without reading text.

/// The exit code of a process. Stated in SEMANTICS.md.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitCode {
    /// Done.
    Ok = 0,
    /// The deployment, the check or the work failed.
    Failed = 1,
    /// The command line or the configuration is wrong; nothing was done.
    Usage = 2,
    /// The command is not allowed in this state.
    Refused = 3,
    /// Another process holds the state.
    LockHeld = 4,
    /// The revision, deployment or release that was named does not exist.
    NotFound = 5,
    /// A digest, size or signature does not match.
    VerificationFailed = 6,
}
