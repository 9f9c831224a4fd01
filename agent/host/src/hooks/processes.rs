//! The processes of a hook: how the agent finds and ends them.
//!
//! A hook's processes are the descendants of its supervisor, which is their subreaper, so that a process that forked
//! twice or made a session of its own is still a descendant; and, under systemd, every process in the hook's control
//! group. Both are asked: `sudo` may move a process to another control group, and a program may adopt other processes.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use super::directory::ProcessId;
use super::launch::UNIT_PREFIX;

/// How long to chase processes that fork faster than they are stopped; then those found are killed.
const CHASE: Duration = Duration::from_secs(2);

/// One line of the process table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Process {
    pub pid: i32,
    name: String,
    dead: bool,
    parent: i32,
    group: i32,
    pub session: i32,
    pub start_time: u64,
}

/// Reads one `/proc/PID/stat` (proc_pid_stat(5)). The name is in parentheses and may hold any character.
fn parse_stat(stat: &str) -> Option<Process> {
    let (before, after) = stat.rsplit_once(')')?;
    let (pid, name) = before.split_once(" (")?;
    let fields: Vec<&str> = after.split_ascii_whitespace().collect();
    Some(Process {
        pid: pid.parse().ok()?,
        name: name.to_owned(),
        dead: matches!(*fields.first()?, "Z" | "X" | "x"),
        parent: fields.get(1)?.parse().ok()?,
        group: fields.get(2)?.parse().ok()?,
        session: fields.get(3)?.parse().ok()?,
        start_time: fields.get(19)?.parse().ok()?,
    })
}

fn read_process(pid: i32) -> Option<Process> {
    // Lossily: a name may have bytes that are not UTF-8.
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    parse_stat(&String::from_utf8_lossy(&stat))
}

/// All processes that are not dead.
pub(super) fn process_table() -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter_map(read_process).filter(|process| !process.dead).collect()
}

/// A process with its start time; `None` if no process has this number.
pub(super) fn identify(pid: i32) -> Option<ProcessId> {
    read_process(pid).map(|process| ProcessId { pid, start_time: process.start_time })
}

/// The control group of a hook, below the group of its supervisor's unit.
#[derive(Debug, Clone)]
pub(super) struct ControlGroup {
    path: PathBuf,
}

impl ControlGroup {
    /// Makes the hook's control group if this process is the main process of a supervisor's unit, else returns `None`.
    pub fn create() -> io::Result<Option<Self>> {
        let own = fs::read_to_string("/proc/self/cgroup")?;
        let Some(unit) = own_unit(&own, Path::new("/sys/fs/cgroup")) else { return Ok(None) };
        let path = unit.join("script");
        match fs::create_dir(&path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => Ok(Some(Self { path })),
        }
    }

    /// The control group that another supervisor made.
    pub fn at(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A process that writes `0` here moves itself into the group.
    pub fn members_file(&self) -> PathBuf {
        self.path.join("cgroup.procs")
    }

    /// Every process in it and in the groups that the hook made below it.
    fn members(&self) -> Vec<i32> {
        let mut pids = Vec::new();
        let mut groups = vec![self.path.clone()];
        while let Some(group) = groups.pop() {
            let listed = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
            pids.extend(listed.lines().filter_map(|line| line.parse::<i32>().ok()));
            let below = fs::read_dir(&group).into_iter().flatten().filter_map(Result::ok);
            groups.extend(below.filter(|entry| entry.file_type().is_ok_and(|t| t.is_dir())).map(|entry| entry.path()));
        }
        pids
    }

    /// Ends all members at once; false where the kernel (before 5.14, or cgroup v1) cannot.
    fn kill(&self) -> bool {
        fs::write(self.path.join("cgroup.kill"), "1").is_ok()
    }

    /// Ends all members, one by one if they cannot be ended at once.
    pub fn end(&self) {
        if !self.kill() {
            for pid in self.members() {
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
        }
    }
}

/// Where the control group of this supervisor's own unit is mounted, by `/proc/self/cgroup`; `None` in any other group.
fn own_unit(own: &str, mount: &Path) -> Option<PathBuf> {
    let is_own = |path: &str| {
        let name = path.rsplit('/').next().unwrap_or_default();
        name.starts_with(UNIT_PREFIX) && name.ends_with(".service")
    };
    let find = |hierarchy: &str| own.lines().find_map(|line| line.strip_prefix(hierarchy)).filter(|path| is_own(path));
    // cgroup v2 alone, then v2 beside v1, then systemd's own v1 hierarchy.
    let v1 = own.lines().find_map(|line| Some(line.split_once(":name=systemd:")?.1)).filter(|path| is_own(path));
    let candidates = [(find("0::"), ""), (find("0::"), "unified"), (v1, "systemd")];
    candidates.into_iter().find_map(|(path, below)| {
        let unit = mount.join(below).join(path?.trim_start_matches('/'));
        unit.join("cgroup.procs").exists().then_some(unit)
    })
}

/// The processes of one hook.
#[derive(Debug, Clone)]
pub(super) struct ProcessTree {
    /// The subreaper: itself no member.
    supervisor: i32,
    /// The script: leader of its session and process group.
    script: i32,
    control_group: Option<ControlGroup>,
}

impl ProcessTree {
    pub fn new(supervisor: i32, script: i32, control_group: Option<ControlGroup>) -> Self {
        Self { supervisor, script, control_group }
    }

    fn members(&self) -> Vec<Process> {
        let table = process_table();
        let mut ours = descendants(&table, self.supervisor);
        ours.extend(self.control_group.iter().flat_map(ControlGroup::members));
        ours.remove(&self.supervisor);
        table.into_iter().filter(|process| ours.contains(&process.pid)).collect()
    }

    /// The living members as `pid name`.
    pub fn living(&self) -> Vec<String> {
        self.members().iter().map(|process| format!("{} {}", process.pid, process.name)).collect()
    }

    /// Asks every member to end: SIGTERM once, and SIGCONT, without which a stopped process would not receive it.
    pub fn terminate(&self) {
        for signal in [Signal::SIGTERM, Signal::SIGCONT] {
            self.signal(signal, &self.members());
        }
    }

    fn signal(&self, signal: Signal, members: &[Process]) {
        // The group at once: the kernel lets no fork slip through between. Only while it has members, or the number may
        // belong to another group.
        if members.iter().any(|member| member.group == self.script) {
            let _ = killpg(Pid::from_raw(self.script), signal);
        }
        members.iter().filter(|member| member.group != self.script).for_each(|member| send(member, signal));
    }

    /// Ends every member by SIGKILL.
    pub fn kill(&self) {
        if let Some(group) = &self.control_group {
            group.kill();
        }
        let caught = self.stop();
        self.signal(Signal::SIGKILL, &self.members());
        for pid in caught {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }

    /// Stops every member, so that none forks while it is killed, until it finds no new process. Returns the processes.
    ///
    /// Each process is stopped before its children are listed: an earlier fork is among the children, and a stopped
    /// process forks no more. A look at the whole process table takes longer than a fork, and would lose.
    fn stop(&self) -> HashSet<i32> {
        let begun = Instant::now();
        let mut before = HashSet::new();
        loop {
            let mut open = match children(self.supervisor) {
                Some(children) => children,
                None => self.members().iter().map(|member| member.pid).collect(),
            };
            open.extend(self.control_group.iter().flat_map(ControlGroup::members));
            let mut found = HashSet::new();
            while let Some(pid) = open.pop() {
                if pid != self.supervisor && found.insert(pid) {
                    let _ = kill(Pid::from_raw(pid), Signal::SIGSTOP);
                    open.extend(children(pid).unwrap_or_default());
                }
            }
            if found == before || begun.elapsed() > CHASE {
                return found;
            }
            before = found;
        }
    }
}

/// The children of a process; `None` if there is no such process, or on kernels that do not list them.
fn children(pid: i32) -> Option<Vec<i32>> {
    let mut children = Vec::new();
    for thread in fs::read_dir(format!("/proc/{pid}/task")).ok()? {
        let listed = fs::read_to_string(thread.ok()?.path().join("children")).ok()?;
        children.extend(listed.split_ascii_whitespace().filter_map(|child| child.parse::<i32>().ok()));
    }
    Some(children)
}

/// All descendants of a process, without itself.
fn descendants(table: &[Process], ancestor: i32) -> HashSet<i32> {
    let mut children: HashMap<i32, Vec<i32>> = HashMap::new();
    for process in table {
        children.entry(process.parent).or_default().push(process.pid);
    }
    let mut found = HashSet::new();
    let mut open = vec![ancestor];
    while let Some(pid) = open.pop() {
        open.extend(children.get(&pid).into_iter().flatten().filter(|child| found.insert(**child)));
    }
    found
}

/// Signals a process if its number still means the same process.
pub(super) fn send(process: &Process, signal: Signal) {
    if read_process(process.pid).is_some_and(|now| now.start_time == process.start_time) {
        // It may end in between, or belong to root while the agent does not: the next look finds it again.
        let _ = kill(Pid::from_raw(process.pid), signal);
    }
}

/// The inode of this process's pid namespace: in another namespace the same number is another process.
pub(super) fn pid_namespace() -> Option<u64> {
    fs::metadata("/proc/self/ns/pid").ok().map(|metadata| metadata.ino())
}

/// Reaps every ended child, and returns how each ended.
pub(super) fn reap() -> Vec<(i32, Ended)> {
    use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
    let mut ended = Vec::new();
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, code)) => ended.push((pid.as_raw(), Ended::Exited(code))),
            Ok(WaitStatus::Signaled(pid, signal, _)) => ended.push((pid.as_raw(), Ended::Signaled(signal as i32))),
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return ended,
            Err(Errno::EINTR) | Ok(_) => {}
            Err(_) => return ended,
        }
    }
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    Exited(i32),
    Signaled(i32),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_process_table_is_read_whatever_the_name() {
        let stat = "42 (a) b (c)) S 1 40 39 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 777 8 9\n";
        let process = parse_stat(stat).unwrap();
        assert_eq!(process.name, "a) b (c)");
        assert_eq!((process.pid, process.parent, process.group, process.session), (42, 1, 40, 39));
        assert_eq!((process.start_time, process.dead), (777, false));
        assert!(parse_stat(&stat.replace(" S ", " Z ")).unwrap().dead);
        assert_eq!(parse_stat("42 (a"), None);
    }

    #[test]
    fn descendants_are_found_over_generations() {
        let process = |pid, parent| Process {
            pid,
            parent,
            name: String::new(),
            dead: false,
            group: 0,
            session: 0,
            start_time: 0,
        };
        let table = [process(2, 1), process(3, 2), process(4, 3), process(5, 1), process(6, 5)];
        assert_eq!(descendants(&table, 2), HashSet::from([3, 4]));
        assert_eq!(descendants(&table, 4), HashSet::new());
    }

    #[test]
    fn the_own_unit_is_found_in_each_layout_of_control_groups() {
        let unit = "system.slice/hostler-hook-d-1-x.service";
        let mount = |below: &str| {
            let directory = tempfile::tempdir().unwrap();
            let group = directory.path().join(below).join(unit);
            fs::create_dir_all(&group).unwrap();
            fs::write(group.join("cgroup.procs"), "").unwrap();
            (directory, group)
        };
        let both = format!("1:name=systemd:/{unit}\n0::/{unit}\n");
        for below in ["", "unified", "systemd"] {
            let (directory, group) = mount(below);
            assert_eq!(own_unit(&both, directory.path()), Some(group), "{below:?}");
        }
        let (directory, _) = mount("");
        assert_eq!(own_unit("0::/system.slice/hostler.service\n", directory.path()), None);
        assert_eq!(own_unit("0::/\n", directory.path()), None);
    }

    #[test]
    fn a_process_is_told_from_a_later_one_with_its_number() {
        let own = i32::try_from(std::process::id()).unwrap();
        let identity = identify(own).unwrap();
        assert_eq!(identify(own), Some(identity));
        assert_eq!(identify(i32::MAX), None);
        assert!(!crate::clock::read_boot_id().unwrap().is_empty());
    }
}
