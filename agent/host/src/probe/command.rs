//! A check by a script's exit status.

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use hostler_core::hook::DEFAULT_PATH;
use nix::libc;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::{Pid, Uid};
use tokio::process::Command;

use super::outside;
use crate::hooks::{reset_priorities, script_of_bundle};
use crate::locale;
use crate::users::{self, User};

/// The script, and its user.
#[derive(Debug, Clone)]
pub(super) struct CommandWay {
    location: String,
    runas: Option<String>,
    archive: Option<PathBuf>,
}

/// Ends all processes that the script left in its process group, also when the probe is given up.
struct ProcessGroup(Option<Pid>);

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // It has ended already, as a rule.
            let _ = killpg(group, Signal::SIGKILL);
        }
    }
}

impl CommandWay {
    pub(super) fn new(location: &str, runas: Option<&str>, archive: Option<&Path>) -> Self {
        Self { location: location.to_owned(), runas: runas.map(str::to_owned), archive: archive.map(Path::to_owned) }
    }

    /// Runs the script in the place where hooks run.
    pub(super) async fn ask(&self) -> Result<(), String> {
        if outside::is_possible().await {
            return outside::ask(&self.location, self.runas.as_deref(), self.archive.as_deref()).await;
        }
        self.ask_here().await
    }

    /// Runs the script as a child of this process.
    pub(super) async fn ask_here(&self) -> Result<(), String> {
        let path = match &self.archive {
            Some(archive) => script_of_bundle(archive, &self.location).map_err(|e| e.to_string())?,
            None => PathBuf::from(&self.location),
        };
        let user = self.runas.as_deref().map_or_else(users::current, users::lookup).map_err(|e| e.to_string())?;
        let mut command = Command::new(&path);
        command.env_clear().envs(locale::of_host(Path::new("/")));
        command.env("PATH", DEFAULT_PATH).env("HOME", &user.home).env("SHELL", &user.shell);
        command.env("USER", &user.name).env("LOGNAME", &user.name);
        command.current_dir(self.archive.as_deref().unwrap_or(Path::new("/")));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.process_group(0);
        become_user(&mut command, user);
        let mut child = command.spawn().map_err(|e| format!("cannot execute {}: {e}", path.display()))?;
        let group = child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
        let group = ProcessGroup(group);
        let status = child.wait().await.map_err(|e| e.to_string())?;
        drop(group);
        match (status.code(), status.signal()) {
            (Some(0), _) => Ok(()),
            (Some(code), _) => Err(format!("exit status {code}")),
            (None, signal) => Err(format!("ended by signal {}", signal.unwrap_or_default())),
        }
    }
}

/// The command runs as a hook's script does: as its user with that user's groups, and without the agent's
/// descriptors, umask and priorities. Only root can change its user; any other user keeps its own.
#[allow(unsafe_code)]
fn become_user(command: &mut Command, user: User) {
    let is_root = Uid::effective().is_root();
    let check = |answer: i32| if answer == -1 { Err(std::io::Error::last_os_error()) } else { Ok(()) };
    // SAFETY: between fork and exec these are system calls on memory that was made before the fork.
    unsafe {
        command.pre_exec(move || {
            // The agent's own descriptors close themselves; this closes inherited ones. Kernels before 5.11 cannot.
            libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC);
            libc::umask(0o022);
            reset_priorities();
            if is_root {
                check(libc::setgroups(user.groups.len(), user.groups.as_ptr()))?;
                check(libc::setgid(user.gid))?;
                check(libc::setuid(user.uid))?;
            }
            Ok(())
        });
    }
}
