//! What a plan needs from file systems and directories: bytes, inodes, the right to write.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::facts::{DirectoryFact, HostFacts};
use super::problem::{Problem, ProblemCode, shown};
use super::problems::Problems;

/// File systems hand out space in blocks; 4 KiB is the usual one and no smaller than what small files take.
const BLOCK: u64 = 4096;

/// Adds up what the actions need.
#[derive(Default)]
pub(super) struct Needs {
    devices: BTreeMap<u64, Need>,
    unwritable: BTreeSet<PathBuf>,
}

struct Need {
    bytes: u64,
    inodes: u64,
    /// Some path on the device, for the message.
    example: PathBuf,
}

impl Needs {
    /// Something of so many bytes is made on a device. What it replaces stays until the deployment has succeeded, so
    /// it gives no space back.
    pub(super) fn make(&mut self, device: u64, path: &Path, bytes: u64) {
        let need = self.need(device, path);
        need.bytes = need.bytes.saturating_add(bytes.div_ceil(BLOCK).saturating_mul(BLOCK));
        need.inodes += 1;
    }

    /// An entry of an existing directory is made, replaced or removed.
    pub(super) fn change(&mut self, directory: &DirectoryFact, path: &Path) {
        self.need(directory.device, path);
        if !directory.writable {
            self.unwritable.insert(path.parent().unwrap_or(path).to_owned());
        }
    }

    fn need(&mut self, device: u64, path: &Path) -> &mut Need {
        self.devices.entry(device).or_insert_with(|| Need { bytes: 0, inodes: 0, example: path.to_owned() })
    }

    /// What cannot be met.
    pub(super) fn unmet(self, facts: &HostFacts, problems: &mut Problems) {
        let mut read_only = BTreeSet::new();
        for (device, need) in &self.devices {
            let Some(fact) = facts.devices.get(device) else { continue };
            let path = &need.example;
            if fact.read_only {
                read_only.insert(*device);
                let message = format!("the file system of {} is mounted read-only", shown(path));
                let hint = "mount it read-write, or name a destination on another one";
                problems.push(Problem::new(ProblemCode::ReadOnlyFileSystem, message, hint).path(path));
                continue;
            }
            if need.bytes > fact.free_bytes {
                let (needed, free) = (need.bytes, fact.free_bytes);
                let message =
                    format!("the file system of {} has {free} bytes free and {needed} are needed", shown(path));
                let hint = "free space; old and new files are kept side by side until the deployment has succeeded";
                problems.push(Problem::new(ProblemCode::NoSpace, message, hint).path(path));
            }
            if let Some(free) = fact.free_inodes.filter(|free| need.inodes > *free) {
                let needed = need.inodes;
                let message =
                    format!("the file system of {} has {free} inodes free and {needed} are needed", shown(path));
                problems.push(
                    Problem::new(ProblemCode::NoInodes, message, "remove files that are no longer used").path(path),
                );
            }
        }
        for directory in &self.unwritable {
            // Nothing is writable on a read-only file system, and that was said already.
            if facts.directory(directory).is_some_and(|d| read_only.contains(&d.device)) {
                continue;
            }
            let message = format!("the agent (user {}) may not write in {}", facts.agent.uid, shown(directory));
            let hint = "change the directory's owner or mode, or run the agent as root";
            problems.push(Problem::new(ProblemCode::NotWritable, message, hint).path(directory));
        }
    }
}
