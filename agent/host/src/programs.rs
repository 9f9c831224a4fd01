//! Which programs this host runs.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use hostler_core::elf::{Emulation, HostMachine, Machine, is_emulator};

/// More than an entry of binfmt_misc holds: it is made from one line of at most 1,920 bytes (kernel,
/// admin-guide/binfmt-misc).
const ENTRY_BYTES: u64 = 8192;

/// The machine whose programs this host runs, if known.
pub fn machine() -> Option<HostMachine> {
    let found = nix::sys::utsname::uname().ok()?;
    let machine = Machine::named(found.machine().to_str()?)?;
    let emulation = emulates(Path::new("/proc"))
        .map_or(Emulation::Unknown, |emulates| if emulates { Emulation::Present } else { Emulation::Absent });
    Some(HostMachine { machine, emulation })
}

/// Whether this host runs programs of other machines. A container may lack the file system that says so.
fn emulates(proc: &Path) -> Option<bool> {
    let known = fs::read_to_string(proc.join("filesystems")).ok()?;
    if !known.split_whitespace().any(|name| name == "binfmt_misc") {
        return Some(false);
    }
    let directory = proc.join("sys/fs/binfmt_misc");
    if !directory.join("status").exists() {
        return None;
    }
    for entry in fs::read_dir(directory).ok()?.flatten().filter(|entry| entry.file_name() != "register") {
        let mut text = String::new();
        File::open(entry.path()).ok()?.take(ENTRY_BYTES).read_to_string(&mut text).ok()?;
        if is_emulator(&text) {
            return Some(true);
        }
    }
    Some(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_runs_programs_of_others_where_the_kernel_was_told_how() {
        let proc = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(proc.path().join(name), text).unwrap();
        write("filesystems", "nodev\ttmpfs\n\text4\n");
        assert_eq!(emulates(proc.path()), Some(false));
        write("filesystems", "nodev\ttmpfs\nnodev\tbinfmt_misc\n\text4\n");
        assert_eq!(emulates(proc.path()), None, "not mounted");
        fs::create_dir_all(proc.path().join("sys/fs/binfmt_misc")).unwrap();
        write("sys/fs/binfmt_misc/status", "enabled\n");
        write("sys/fs/binfmt_misc/python3.11", "enabled\ninterpreter /usr/bin/python3.11\nmagic a70d0d0a\n");
        assert_eq!(emulates(proc.path()), Some(false));
        write("sys/fs/binfmt_misc/qemu-aarch64", "enabled\ninterpreter /usr/bin/qemu\nmagic 7f454c460201\n");
        assert_eq!(emulates(proc.path()), Some(true));
    }

    #[test]
    fn the_machine_of_this_host_runs_this_program() {
        let program = hostler_core::elf::read(&fs::read("/proc/self/exe").unwrap()).unwrap();
        assert!(machine().is_none_or(|host| program.machine.runs_on(host.machine)));
    }
}
