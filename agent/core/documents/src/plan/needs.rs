//! A plan's needs of file systems and directories: bytes, inodes, write permission.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::facts::{DirectoryFact, HostFacts};
use super::guards::Guarded;
use super::problem::{Problem, ProblemCode, shown};
use super::problems::Problems;

/// File systems allocate space in blocks; 4 KiB is the usual size, and not below what small files take.
const BLOCK: u64 = 4096;

/// Adds up the needs of the actions.
#[derive(Default)]
pub(super) struct Needs {
    /// The protected paths that the plan would change.
    pub(super) guarded: Guarded,
    devices: BTreeMap<u64, Need>,
    unwritable: BTreeSet<PathBuf>,
}

struct Need {
    bytes: u64,
    inodes: u64,
    /// Whether any directory on it is writable; otherwise its space does not matter.
    writable: bool,
    /// Some path on the device, for the message.
    example: PathBuf,
}

impl Needs {
    /// Notes an object of this many bytes, made on a device. A replaced object stays until the deployment has
    /// succeeded, so it frees no space.
    pub(super) fn make(&mut self, device: u64, path: &Path, bytes: u64) {
        let need = self.need(device, path);
        need.bytes = need.bytes.saturating_add(bytes.div_ceil(BLOCK).saturating_mul(BLOCK));
        need.inodes += 1;
    }

    /// Notes that an entry of an existing directory is made, replaced or removed.
    pub(super) fn change(&mut self, directory: &DirectoryFact, path: &Path) {
        self.need(directory.device, path).writable |= directory.writable;
        if !directory.writable {
            self.unwritable.insert(path.parent().unwrap_or(path).to_owned());
        }
    }

    fn need(&mut self, device: u64, path: &Path) -> &mut Need {
        let new = || Need { bytes: 0, inodes: 0, writable: false, example: path.to_owned() };
        self.devices.entry(device).or_insert_with(new)
    }

    /// Reports the needs that cannot be met.
    pub(super) fn unmet(self, facts: &HostFacts, problems: &mut Problems) {
        for (device, need) in self.devices.iter().filter(|(_, need)| need.writable) {
            let Some(fact) = facts.devices.get(device) else { continue };
            let path = &need.example;
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
        self.guarded.problems(facts, self.unwritable, problems);
    }
}
