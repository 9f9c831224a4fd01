//! An active systemd unit, by systemctl.

use std::process::Stdio;

use hostler_core::hook::DEFAULT_PATH;
use tokio::process::Command;

pub(super) async fn ask(unit: &str) -> Result<(), String> {
    let mut command = Command::new("systemctl");
    command.env_clear().env("PATH", DEFAULT_PATH);
    command.args(["is-active", "--", unit]).stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    let output = command.output().await.map_err(|e| format!("cannot run systemctl: {e}"))?;
    // `activating` and `reloading` end with another status than 0 or are on their way; the word says it.
    match String::from_utf8_lossy(&output.stdout).trim() {
        "active" => Ok(()),
        "" => Err("systemd does not answer".to_owned()),
        state => Err(state.to_owned()),
    }
}
