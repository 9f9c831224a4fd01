//! Disks of hosts. A state holds inode numbers (an install journal, positions in logs) and absolute paths. Therefore
//! the repository keeps file systems instead of archives, always mounted at the same place, in a mount namespace of the
//! test's own thread.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

use super::age;
use crate::support::host::{HOSTLER, Host, PATIENCE, root_or_skip};
use crate::support::{eventually, skip};

/// The boot id in which every disk was left, and another one. No machine has them.
const BOOTS: [&str; 2] = ["0844db30-0844-4db3-8000-000000000001\n", "0844db30-0844-4db3-8000-000000000002\n"];

/// Files of the thread's namespace, in memory, deleted with it.
const MEMORY: &str = "/srv";

/// Bytes of a disk. Empty space takes no room once it is packed.
const DISK_BYTES: u64 = 32 << 20;

/// The boot that a program sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Boot {
    /// The boot in which the disk was left; its processes no longer exist.
    Same,
    /// Another boot: the host was restarted.
    Another,
}

/// The host with the disk of this name, in this boot. `None`, with the reason printed, without root.
pub fn kept(name: &str, boot: Boot) -> Option<Host> {
    if !own_namespace() {
        return None;
    }
    forge(boot);
    done(Command::new("zstd").args(["-d", "-q", "-o", image()]).arg(packed(name)));
    let host = mounted();
    age::make_young(&host);
    Some(host)
}

/// Makes the disk of this name again: `leave` runs the old program on the host and returns whether the result is as
/// desired; if not, it is called again, on a new disk, with the next number.
pub fn make(name: &str, old_program: &Path, mut leave: impl FnMut(Host, u32) -> bool) {
    assert!(own_namespace(), "only root makes disks");
    forge(Boot::Same);
    bind(old_program, Path::new(HOSTLER));
    for number in 1.. {
        let file = fs::File::create(image()).unwrap();
        file.set_len(DISK_BYTES).unwrap();
        done(Command::new("mkfs.ext4").args(["-q", "-N", "1024", "-O", "^has_journal", image()]));
        let host = mounted();
        let place = host.path("");
        fs::remove_dir(place.join("lost+found")).unwrap();
        let left = leave(host, number);
        // Processes of the program may still be ending.
        eventually("the disk is let go", PATIENCE, || {
            umount2(&place, MntFlags::empty()).map_err(|error| error.to_string())
        });
        fs::remove_dir(place).unwrap();
        if left {
            break;
        }
    }
    done(Command::new("zstd").args(["-q", "-f", "-19", "-o"]).arg(packed(name)).arg(image()));
}

fn packed(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/state-0844db3").join(format!("{name}.ext4.zst"))
}

fn image() -> &'static str {
    "/srv/disk"
}

/// Mounts the disk at its place, `/srv/hostler`.
fn mounted() -> Host {
    // The disk's contents stay; the mount point is deleted with the namespace.
    let mut place = tempfile::Builder::new();
    let place = place.prefix("hostler").rand_bytes(0).disable_cleanup(true).tempdir_in(MEMORY).unwrap();
    done(Command::new("mount").args(["-o", "loop"]).arg(image()).arg(place.path()));
    Host::in_directory(place)
}

/// Later mounts of this thread are visible only to it and its children. Without systemd's directory, hooks stay there
/// too.
fn own_namespace() -> bool {
    if !root_or_skip("mounting a disk") {
        return false;
    }
    if let Err(error) = unshare(CloneFlags::CLONE_NEWNS) {
        skip(format_args!("no mount namespace: {error}"));
        return false;
    }
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).unwrap();
    let in_memory =
        |place: &str| mount(Some("tmpfs"), place, Some("tmpfs"), MsFlags::empty(), Some("mode=755")).unwrap();
    in_memory(MEMORY);
    if Path::new("/run/systemd/system").is_dir() {
        in_memory("/run/systemd");
    }
    true
}

/// From now on children of this thread see this boot.
fn forge(boot: Boot) {
    fs::write("/srv/boot", BOOTS[usize::from(boot == Boot::Another)]).unwrap();
    bind(Path::new("/srv/boot"), Path::new("/proc/sys/kernel/random/boot_id"));
}

fn bind(from: &Path, to: &Path) {
    mount(Some(from), to, None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
}

fn done(command: &mut Command) {
    let ended = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(ended.status.success(), "{command:?}: {ended:?}");
}
