//! Users that only one test's host has.

use std::ffi::OsStr;
use std::fs;

use super::super::skip;
use super::Host;

impl Host {
    /// A host with these users, each with a group of its name, on which everything outside of the scratch directory is
    /// read-only: the program runs in its own mount namespace. Needs root and the requirements of `unshare`; `None`,
    /// with the reason printed, without them.
    pub fn with_users(users: &[&str]) -> Option<Self> {
        let mut host = Self::new();
        let (mut passwd, mut group) =
            (fs::read_to_string("/etc/passwd").unwrap(), fs::read_to_string("/etc/group").unwrap());
        let known = |text: &str, name: &str| text.lines().any(|line| line.starts_with(&format!("{name}:")));
        for (name, id) in users.iter().zip(64001..) {
            if !known(&passwd, name) {
                passwd.push_str(&format!("{name}:x:{id}:{id}::/home/{name}:/bin/sh\n"));
            }
            if !known(&group, name) {
                group.push_str(&format!("{name}:x:{id}:\n"));
            }
        }
        host.write("passwd", &passwd);
        host.write("group", &group);
        host.own_users = true;
        let probe = host.relative_command(OsStr::new("true"), &[]).output();
        match probe {
            Ok(output) if output.status.success() => Some(host),
            Ok(output) => {
                let reason = String::from_utf8_lossy(&output.stderr).into_owned();
                skip(format_args!("no mount namespace with users of its own: {}", reason.trim()));
                None
            }
            Err(error) => {
                skip(format_args!("no mount namespace with users of its own: {error}"));
                None
            }
        }
    }
}

/// Run by `sh` in a mount namespace. Arguments: the scratch directory, then the command. Without systemd's directory,
/// hooks stay in the namespace.
pub(super) const ENTER: &str = r#"
set -e
mount --bind "$1" "$1"
mount --bind "$1/passwd" /etc/passwd
mount --bind "$1/group" /etc/group
if [ -d /run/systemd/system ]; then mount -t tmpfs tmpfs /run/systemd; fi
mount -o remount,bind,ro /
cd "$1"
shift
exec "$@"
"#;
