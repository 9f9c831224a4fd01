//! Waits for the kernel's news of directories.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Becomes ready when there is something to look at.
#[derive(Debug)]
pub struct Changes(AsyncFd<OwnedFd>);

impl Changes {
    /// Of a descriptor that is read by its owner; needs a runtime with I/O.
    ///
    /// # Errors
    /// When there are no descriptors left.
    pub(super) fn new(descriptor: BorrowedFd<'_>) -> io::Result<Self> {
        let own = descriptor.try_clone_to_owned()?;
        // SAFETY: an OwnedFd gives the same descriptor each time, keeps it open as long as it lives, and lives inside
        // of the AsyncFd.
        #[allow(unsafe_code)]
        let registered = unsafe { AsyncFd::register_with_interest(own, Interest::READABLE) };
        registered.map(Self).map_err(|error| error.into_parts().1)
    }

    /// Waits for the next change since the last call.
    pub async fn next(&self) {
        match self.0.readable().await {
            Ok(mut ready) => ready.clear_ready(),
            // The runtime ends.
            Err(_) => std::future::pending().await,
        }
    }
}
