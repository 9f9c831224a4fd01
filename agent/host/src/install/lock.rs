//! One Install at a time on a host, by any process.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Held until it is dropped or the process ends, however it ends. The file is never removed: a lock on a removed file
/// would exclude no other process.
#[derive(Debug)]
pub struct InstallLock(File);

impl InstallLock {
    /// Waits until no other process has it.
    ///
    /// # Errors
    /// When the file cannot be made or locked.
    pub fn wait(path: &Path) -> io::Result<Self> {
        let options = &mut OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600).custom_flags(nix::libc::O_NOFOLLOW);
        let file = options.open(path)?;
        file.lock()?;
        Ok(Self(file))
    }
}

impl Drop for InstallLock {
    fn drop(&mut self) {
        // Closing would not do: a child that another thread is just starting has the descriptor too until it has
        // executed its program.
        let _ = self.0.unlock();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn who_comes_second_waits_and_a_link_is_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("install.lock");
        let first = InstallLock::wait(&path).unwrap();
        let (sender, receiver) = mpsc::channel();
        let theirs = path.clone();
        let second = std::thread::spawn(move || {
            let lock = InstallLock::wait(&theirs).unwrap();
            sender.send(()).unwrap();
            drop(lock);
        });
        assert!(File::open(&path).unwrap().try_lock().is_err(), "it is held");
        assert!(receiver.try_recv().is_err());
        drop(first);
        receiver.recv().unwrap();
        second.join().unwrap();
        let link = directory.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(InstallLock::wait(&link).is_err());
    }
}
