//! The mounted file systems, as this process sees them.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use nix::sys::statvfs::{FsFlags, statvfs};

/// The mount of a path, or of a path that will be made; `None` where the kernel does not say.
pub fn mount_point(path: &Path) -> Option<PathBuf> {
    let real = existing(path)?;
    let table = std::fs::read("/proc/self/mountinfo").ok()?;
    deepest(&table, &real)
}

/// The mount of a path that exists or will be made, if nothing on it can be executed.
pub fn noexec_mount(path: &Path) -> Option<PathBuf> {
    let real = existing(path)?;
    let flags = statvfs(&real).ok()?.flags();
    flags.contains(FsFlags::ST_NOEXEC).then(|| mount_point(&real).unwrap_or(real))
}

fn existing(path: &Path) -> Option<PathBuf> {
    path.ancestors().find_map(|path| std::fs::canonicalize(path).ok())
}

/// The deepest mount point above a path; of several at one place the last one hides the others.
fn deepest(table: &[u8], path: &Path) -> Option<PathBuf> {
    let points = table.split(|b| *b == b'\n').filter_map(|line| line.split(|b| *b == b' ').nth(4)).map(unescaped);
    points.filter(|point| path.starts_with(point)).max_by_key(|point| point.as_os_str().len())
}

/// The kernel writes blanks and backslashes as three octal digits behind a backslash.
fn unescaped(field: &[u8]) -> PathBuf {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, after)) = rest.split_first() {
        let digits = after.get(..3).filter(|_| byte == b'\\');
        let code = digits.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        plain.push(code.unwrap_or(byte));
        rest = if code.is_some() { after.get(3..).unwrap_or_default() } else { after };
    }
    PathBuf::from(OsString::from_vec(plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[u8] = b"22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n\
        30 22 0:25 / /srv rw - tmpfs tmpfs rw\n\
        31 30 8:1 /x /srv/my\\040app ro - ext4 /dev/sda1 rw\n\
        32 22 0:26 / /srv/a\\134b rw - tmpfs tmpfs rw\n";

    #[test]
    fn the_mount_of_a_path_is_the_deepest_one_above_it() {
        for (path, expected) in [
            ("/etc/x", "/"),
            ("/srv", "/srv"),
            ("/srv/my", "/srv"),
            ("/srv/my app/x", "/srv/my app"),
            ("/srv/a\\b", "/srv/a\\b"),
            ("/srvx", "/"),
        ] {
            assert_eq!(deepest(TABLE, Path::new(path)).as_deref(), Some(Path::new(expected)), "{path}");
        }
        assert_eq!(deepest(b"", Path::new("/")), None);
    }

    #[test]
    fn what_does_not_exist_yet_is_on_the_mount_of_what_is_above_it() {
        assert_eq!(mount_point(Path::new("/proc/no/such/path")).as_deref(), Some(Path::new("/proc")));
    }
}
