//! Restarting this host.

use std::process::{Command, Stdio};

/// The host could not be asked to restart.
#[derive(Debug, thiserror::Error)]
pub enum PowerError {
    /// The program could not be run.
    #[error("cannot run systemctl")]
    Run(#[source] std::io::Error),
    /// systemd refused.
    #[error("systemctl reboot: {0}")]
    Refused(String),
}

/// Asks systemd for an orderly restart and returns when it has been accepted; this process is ended by it.
///
/// # Errors
/// When there is no systemd, or it refuses (not root, or something inhibits it).
pub fn reboot() -> Result<(), PowerError> {
    let output = Command::new("systemctl").arg("reboot").stdin(Stdio::null()).output().map_err(PowerError::Run)?;
    if output.status.success() {
        return Ok(());
    }
    Err(PowerError::Refused(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
}
