//! The CodeDeploy agent on this host: only one of the two agents may serve it.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hostler_core::ids::DeploymentId;

use crate::atomic;
use crate::clock;
use crate::remove_tree::remove_tree;

pub mod files;
pub mod places;

/// Most bytes of a pid file or a tracking file: a number, or a command's identifier.
const MOST_LINE_BYTES: u64 = 16 << 10;

/// The CodeDeploy agent, running.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunningAgent {
    /// Its process.
    pub pid: u32,
}

/// The running CodeDeploy agent, by its pid file and by the names of the processes that `users` started. A pid that now
/// belongs to another program does not count. Every user can give a process the agent's name, so processes of other
/// users do not count: otherwise each of them could keep this host from being served.
pub fn running(pid_file: &Path, users: &[u32]) -> Option<RunningAgent> {
    let written = small(pid_file).and_then(|text| text.trim().parse::<u32>().ok());
    // Listing all processes costs more than the poll before which this is asked.
    let processes = if users.is_empty() { None } else { fs::read_dir("/proc").ok() };
    let pids = processes.into_iter().flatten().flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let named = pids.filter(|pid| is_the_agent(*pid) && started_by(*pid).is_some_and(|uid| users.contains(&uid)));
    written.into_iter().filter(|pid| is_the_agent(*pid)).chain(named).next().map(|pid| RunningAgent { pid })
}

/// The user who started a process: its real user, which programs with the set-user-ID bit keep. The owner of its
/// directory in /proc says less: a process can make that root (proc(5)).
fn started_by(pid: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

/// The text of a file of one line; `None` if there is no such file.
fn small(path: &Path) -> Option<String> {
    let (bytes, _) = files::read(path, MOST_LINE_BYTES).ok()??;
    String::from_utf8(bytes).ok()
}

/// The Ruby agent names its processes `codedeploy-agent: …`; the one in Rust is a program of that name, which hostler
/// itself may be too (hostler-codedeploy-compat).
fn is_the_agent(pid: u32) -> bool {
    // Asked first: hardly any process passes it, and the check runs for every process.
    let Ok(line) = fs::read(format!("/proc/{pid}/cmdline")) else { return false };
    let program = line.split(|byte| *byte == 0).next().unwrap_or_default();
    let named = line.starts_with(b"codedeploy-agent: ")
        || program.ends_with(b"/codedeploy-agent")
        || program == b"codedeploy-agent";
    named && executable("self") != executable(&pid.to_string())
}

/// The path of the program that a process runs. The kernel marks a program that an update replaced with ` (deleted)`.
fn executable(process: &str) -> Option<PathBuf> {
    let path = fs::read_link(format!("/proc/{process}/exe")).ok()?;
    let bytes = path.as_os_str().as_bytes();
    let bytes = bytes.strip_suffix(b" (deleted)").unwrap_or(bytes);
    Some(PathBuf::from(OsStr::from_bytes(bytes)))
}

/// Writes into the CodeDeploy agent's pid file that this process serves the host.
///
/// # Errors
/// When it cannot be written.
pub fn write_pid_file(path: &Path) -> Result<(), atomic::AtomicError> {
    if let Some(directory) = path.parent() {
        atomic::create_directories(directory, 0o755)?;
    }
    atomic::replace(path, format!("{}\n", std::process::id()).as_bytes(), 0o644)
}

/// Removes the pid file if it is still this process's.
pub fn remove_pid_file(path: &Path) {
    let ours = small(path).is_some_and(|text| text.trim() == std::process::id().to_string());
    if ours {
        // The next agent checks whether the process lives, and does not rely on the file.
        let _ = fs::remove_file(path);
    }
}

/// The commands that a CodeDeploy agent was carrying out when it went down, by its tracking files of the last `age`.
///
/// # Errors
/// When the directory is there and cannot be read.
pub fn interrupted_commands(directory: &Path, age: Duration) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let mut commands = Vec::new();
    for entry in entries {
        let entry = entry?;
        let modified = entry.metadata()?.modified()?;
        let old = clock::system_time().duration_since(modified).is_ok_and(|passed| passed > age);
        if !old && let Some(text) = small(&entry.path()) {
            commands.extend(Some(text.trim().to_owned()).filter(|command| !command.is_empty()));
        }
    }
    Ok(commands)
}

/// Writes a tracking file: the deployment's command is being carried out, in the CodeDeploy agent's form. It is not
/// needed after a power loss, so it is not synced.
///
/// # Errors
/// When it cannot be written.
pub fn write_tracking_file(directory: &Path, deployment: &str, command: &str) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    files::write(&directory.join(deployment), command.as_bytes(), 0o644)
}

/// Removes a tracking file: no command of the deployment is being carried out.
///
/// # Errors
/// When the file is there and cannot be deleted.
pub fn remove_tracking_file(directory: &Path, deployment: &str) -> io::Result<()> {
    gone(fs::remove_file(directory.join(deployment)))
}

/// Deletes the tracking files, once their contents are in the ledger, except those of the deployments in `but`; also
/// deletes the directory, when it is empty.
///
/// # Errors
/// A file cannot be deleted.
pub fn forget_interrupted_commands(directory: &Path, but: &[DeploymentId]) -> io::Result<()> {
    if but.is_empty() {
        return gone(remove_tree(directory));
    }
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        if !but.iter().any(|deployment| name == deployment.as_str()) {
            gone(remove_tree(&entry.path()))?;
        }
    }
    Ok(())
}

/// Treats a missing file as deleted.
fn gone(removed: io::Result<()>) -> io::Result<()> {
    removed.or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::CommandExt as _;
    use std::process::Command;

    #[test]
    fn a_pid_file_counts_only_while_its_process_is_the_agent() {
        let directory = tempfile::tempdir().unwrap();
        let pid_file = directory.path().join("codedeploy-agent.pid");
        assert_eq!(running(&pid_file, &[]), None);
        let mut agent = Command::new("sleep").arg0("codedeploy-agent: master 1").arg("600").spawn().unwrap();
        fs::write(&pid_file, format!("{}\n", agent.id())).unwrap();
        // Its arguments appear a moment after its program.
        let deadline = std::time::Instant::now() + Duration::from_secs(60);
        while running(&pid_file, &[]) != Some(RunningAgent { pid: agent.id() }) {
            assert!(std::time::Instant::now() < deadline, "it is not found");
            std::thread::yield_now();
        }
        // Without a pid file, its name counts only for a process of one of those users.
        let own = nix::unistd::getuid().as_raw();
        let nowhere = directory.path().join("none");
        let found = running(&nowhere, &[own]);
        assert!(found.is_some(), "this one, or another test's");
        assert_eq!(running(&nowhere, &[u32::MAX]), None, "a process of another user is not the agent");
        agent.kill().unwrap();
        agent.wait().unwrap();
        assert_eq!(running(&pid_file, &[]), None, "it has ended");
        let mut other = Command::new("sleep").arg("600").spawn().unwrap();
        fs::write(&pid_file, other.id().to_string()).unwrap();
        assert_eq!(running(&pid_file, &[]), None, "the pid is another program's");
        other.kill().unwrap();
        other.wait().unwrap();
    }

    #[test]
    fn ones_own_pid_file_is_written_and_taken_away_and_no_other() {
        let directory = tempfile::tempdir().unwrap();
        let pid_file = directory.path().join("state/.pid/codedeploy-agent.pid");
        write_pid_file(&pid_file).unwrap();
        assert_eq!(fs::read_to_string(&pid_file).unwrap().trim(), std::process::id().to_string());
        remove_pid_file(&pid_file);
        assert!(!pid_file.exists());
        fs::write(&pid_file, "1").unwrap();
        remove_pid_file(&pid_file);
        assert!(pid_file.exists());
    }

    #[test]
    fn commands_that_were_interrupted_lately_are_found() {
        let directory = tempfile::tempdir().unwrap();
        let tracking = directory.path().join("ongoing-deployment");
        assert!(interrupted_commands(&tracking, Duration::from_secs(60)).unwrap().is_empty());
        fs::create_dir(&tracking).unwrap();
        fs::write(tracking.join("d-NEW"), "command-1\n").unwrap();
        fs::write(tracking.join("d-EMPTY"), "").unwrap();
        let old = fs::File::create(tracking.join("d-OLD")).unwrap();
        old.set_modified(clock::system_time() - Duration::from_secs(3600)).unwrap();
        assert_eq!(interrupted_commands(&tracking, Duration::from_secs(60)).unwrap(), ["command-1"]);
        write_tracking_file(&tracking, "d-NEW", "command-2").unwrap();
        assert_eq!(interrupted_commands(&tracking, Duration::from_secs(60)).unwrap(), ["command-2"]);
        remove_tracking_file(&tracking, "d-NEW").unwrap();
        remove_tracking_file(&tracking, "d-NEW").unwrap();
        assert!(interrupted_commands(&tracking, Duration::from_secs(60)).unwrap().is_empty());
        write_tracking_file(&tracking, "d-OURS", "command-3").unwrap();
        let ours = ["d-OURS".parse().unwrap()];
        forget_interrupted_commands(&tracking, &ours).unwrap();
        let left: Vec<_> = fs::read_dir(&tracking).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["d-OURS"]);
        forget_interrupted_commands(&tracking, &[]).unwrap();
        assert!(!tracking.exists());
        forget_interrupted_commands(&tracking, &ours).unwrap();
    }
}
