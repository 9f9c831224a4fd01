//! The limits that a script begins with: at least as many open files as the agent's service has. If the appspec names a
//! user, the limits are those of the user's sessions.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use hostler_core::hook::{HookRun, LimitedUser, UNLIMITED, UserLimits, user_limits};
use nix::libc;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::regular;
use crate::users::{self, User};

/// Most bytes of a file of limits. Prevents: a wrong link that takes the memory.
const MOST_BYTES: usize = 1 << 20;

/// One limit, ready to be set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Limit {
    resource: Resource,
    soft: u64,
    hard: u64,
}

/// The limits that a child sets before it becomes the script's user.
#[derive(Debug, Default)]
pub(super) struct Limits {
    limits: Vec<Limit>,
    priority: Option<i32>,
}

impl Limits {
    /// The limits of this run, and the lines of the host's files that were not understood.
    pub fn of(run: &HookRun, user: &User) -> (Self, Vec<String>) {
        let named = run.user.as_ref().and(run.security.as_ref());
        let wanted = named.map(|directory| of_user(directory, user)).unwrap_or_default();
        let mut limits: Vec<Limit> = run.open_files.and_then(at_least).into_iter().collect();
        for (resource, bounds) in &wanted.bounds {
            let resource = system_resource(*resource);
            let value = |value| if resource == Resource::RLIMIT_NOFILE { most_open_files(value) } else { value };
            let before = limits.iter().find(|limit| limit.resource == resource).copied();
            let set = limit(resource, |inherited| {
                let (soft, hard) = before.map_or(inherited, |limit| (limit.soft, limit.hard));
                let hard = bounds.hard().map_or(hard, value);
                (bounds.soft().map_or(soft, value).min(hard), hard)
            });
            limits.retain(|limit| limit.resource != resource);
            limits.extend(set);
        }
        (Self { limits, priority: wanted.priority }, wanted.faults)
    }

    /// Sets them; calls back with the number of each that cannot be set. Between fork and exec: only system calls.
    pub fn set(&self, mut failed: impl FnMut(usize)) {
        for (number, limit) in self.limits.iter().enumerate() {
            if setrlimit(limit.resource, limit.soft, limit.hard).is_err() {
                failed(number);
            }
        }
        if let Some(priority) = self.priority {
            // SAFETY: a system call without memory.
            #[allow(unsafe_code, reason = "between fork and exec there is no safe way")]
            let set = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, priority) };
            if set == -1 {
                failed(self.limits.len());
            }
        }
    }

    /// The name of the limit for a number that [`Self::set`] called back with.
    pub fn name(&self, number: usize) -> String {
        self.limits.get(number).map_or_else(|| "priority".to_owned(), |limit| format!("{:?}", limit.resource))
    }
}

/// The soft and the hard limit of open files of this process, which come from the agent's service.
pub fn open_files() -> Option<(u64, u64)> {
    getrlimit(Resource::RLIMIT_NOFILE).ok()
}

/// The limit of open files, if the child would inherit a lower limit than the service has.
fn at_least(service: (u64, u64)) -> Option<Limit> {
    limit(Resource::RLIMIT_NOFILE, |(soft, hard)| (soft.max(service.0), hard.max(service.1)))
}

/// A limit, if it differs from the one that the child inherits.
fn limit(resource: Resource, change: impl FnOnce((u64, u64)) -> (u64, u64)) -> Option<Limit> {
    let inherited = getrlimit(resource).ok()?;
    let (soft, hard) = change(inherited);
    (inherited != (soft, hard)).then_some(Limit { resource, soft, hard })
}

/// The kernel knows no unlimited number of open files.
fn most_open_files(value: u64) -> u64 {
    let most = || fs::read_to_string("/proc/sys/fs/nr_open").ok()?.trim().parse().ok();
    if value == UNLIMITED { most().unwrap_or(value) } else { value }
}

/// `limits.conf`, then `limits.d/*.conf` in the order of their bytes, as pam_limits(8) reads them.
fn of_user(directory: &Path, user: &User) -> UserLimits {
    let user = LimitedUser {
        name: &user.name,
        uid: user.uid,
        gid: user.gid,
        groups: &user.groups,
        group_named: &users::group_id,
    };
    let mut limits = UserLimits::default();
    let more = directory.join("limits.d");
    let files = match configuration_files(&more) {
        Ok(files) => files,
        Err(error) => {
            limits.faults.push(format!("{}: {error}", more.display()));
            Vec::new()
        }
    };
    for file in [vec![directory.join("limits.conf")], files].concat() {
        match regular::read(&file, MOST_BYTES) {
            Ok(text) => limits.read(&file.display().to_string(), &String::from_utf8_lossy(&text), &user),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => limits.faults.push(format!("{}: {error}", file.display())),
        }
    }
    limits
}

fn configuration_files(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut files: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
    let is_hidden = |path: &Path| path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    files.retain(|path| path.extension().is_some_and(|extension| extension == "conf") && !is_hidden(path));
    files.sort();
    Ok(files)
}

fn system_resource(resource: user_limits::Resource) -> Resource {
    use user_limits::Resource as Limited;
    match resource {
        Limited::AddressSpace => Resource::RLIMIT_AS,
        Limited::Core => Resource::RLIMIT_CORE,
        Limited::Cpu => Resource::RLIMIT_CPU,
        Limited::Data => Resource::RLIMIT_DATA,
        Limited::FileSize => Resource::RLIMIT_FSIZE,
        Limited::Locks => Resource::RLIMIT_LOCKS,
        Limited::LockedMemory => Resource::RLIMIT_MEMLOCK,
        Limited::MessageQueues => Resource::RLIMIT_MSGQUEUE,
        Limited::Nice => Resource::RLIMIT_NICE,
        Limited::OpenFiles => Resource::RLIMIT_NOFILE,
        Limited::Processes => Resource::RLIMIT_NPROC,
        Limited::Resident => Resource::RLIMIT_RSS,
        Limited::RealTimePriority => Resource::RLIMIT_RTPRIO,
        Limited::PendingSignals => Resource::RLIMIT_SIGPENDING,
        Limited::Stack => Resource::RLIMIT_STACK,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_services_limit_of_open_files_raises_and_never_lowers() {
        let (soft, hard) = open_files().unwrap();
        assert_eq!([at_least((0, 0)), at_least((soft, hard)), at_least((soft - 1, hard - 1))], [None; 3]);
        let raised = Limit { resource: Resource::RLIMIT_NOFILE, soft: soft.max(7), hard: UNLIMITED };
        assert_eq!(at_least((7, UNLIMITED)), (hard != UNLIMITED).then_some(raised));
    }

    #[test]
    fn files_are_read_in_the_order_of_their_bytes_and_none_is_waited_for() {
        let security = tempfile::tempdir().unwrap();
        let at = |file: &str| security.path().join(file);
        let user = User {
            name: "app".into(),
            uid: 1500,
            gid: 1500,
            groups: vec![1500],
            home: "/".into(),
            shell: "/bin/sh".into(),
        };
        assert!(of_user(security.path(), &user).faults.is_empty());
        fs::create_dir(at("limits.d")).unwrap();
        for (file, value) in [("limits.conf", 1), ("limits.d/b.conf", 3), ("limits.d/B.conf", 2), ("limits.d/c", 4)] {
            fs::write(at(file), format!("app - nofile {value}\n")).unwrap();
        }
        fs::write(at("limits.d/.x.conf"), "app - nofile 5\n").unwrap();
        let open_files = |limits: &UserLimits| limits.bounds[&user_limits::Resource::OpenFiles].soft();
        let limits = of_user(security.path(), &user);
        assert_eq!((open_files(&limits), limits.faults.as_slice()), (Some(3), &[][..]));
        nix::unistd::mkfifo(&at("limits.d/z.conf"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let limits = of_user(security.path(), &user);
        assert_eq!(open_files(&limits), Some(3));
        assert!(limits.faults[0].contains("z.conf") && limits.faults[0].contains("named pipe"), "{limits:?}");
    }
}
