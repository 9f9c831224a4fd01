//! Facts about this machine for `hostler doctor`. Nothing is changed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The free and the total amount on a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// The part that is free for this user.
    pub free: u64,
    /// The whole.
    pub all: u64,
}

/// Bytes and inodes of the file system of a path that exists or will be made; inodes are `None` where the file system
/// has no fixed number of them.
///
/// # Errors
/// When the system does not say.
pub fn room(path: &Path) -> std::io::Result<(Room, Option<Room>)> {
    let existing = path.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    let found = nix::sys::statvfs::statvfs(existing)?;
    let bytes = Room {
        free: found.blocks_available() as u64 * found.fragment_size() as u64,
        all: found.blocks() as u64 * found.fragment_size() as u64,
    };
    let inodes = Room { free: found.files_available() as u64, all: found.files() as u64 };
    Ok((bytes, (inodes.all > 0).then_some(inodes)))
}

/// Whether this process may write in a directory.
pub fn may_write(directory: &Path) -> bool {
    use nix::unistd::{AccessFlags, access};
    access(directory, AccessFlags::W_OK | AccessFlags::X_OK).is_ok()
}

/// Properties of a unit from `systemctl show`, the values of one that is printed several times as lines; `None` where systemd does not manage this host or does not answer.
pub fn unit_properties(unit: &str) -> Option<BTreeMap<String, String>> {
    if !Path::new("/run/systemd/system").is_dir() {
        return None;
    }
    let output = Command::new("systemctl").args(["show", "--no-pager", unit]).stdin(Stdio::null()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok().filter(|_| output.status.success())?;
    let mut properties: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in text.lines().filter_map(|line| line.split_once('=')) {
        let of_name = properties.entry(name.to_owned()).or_default();
        if !of_name.is_empty() {
            of_name.push('\n');
        }
        of_name.push_str(value);
    }
    Some(properties)
}

/// Whether control groups of version 2 with `cgroup.kill` are there (Linux 5.14): all processes of a hook are ended at
/// once.
pub fn ends_control_groups() -> bool {
    let own = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let below = own.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
    // The root group has none, so this process's own group, or any that systemd made.
    let places = [PathBuf::from("/sys/fs/cgroup").join(below), PathBuf::from("/sys/fs/cgroup/init.scope")];
    places.iter().any(|place| place.join("cgroup.kill").exists())
}

/// Processes whose command line names this program, without our own.
pub fn processes_of(program: &str) -> Vec<u32> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let is_it = |pid: &u32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let words = line.split(|byte| *byte == 0).take(2).map(String::from_utf8_lossy);
        let named = |word: std::borrow::Cow<'_, str>| {
            // The agent's master and children name themselves "codedeploy-agent: master 1234".
            let first = word.split([':', ' ']).next().unwrap_or_default().to_owned();
            Path::new(&first).file_name().is_some_and(|name| name == program)
        };
        words.into_iter().any(named)
    };
    pids.filter(|pid| *pid != std::process::id()).filter(is_it).collect()
}
