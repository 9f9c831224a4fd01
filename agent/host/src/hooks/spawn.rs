//! Executes a script as the user and in the environment that its run asks for.

use std::ffi::{CString, OsString};
use std::io::{self, PipeReader, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use hostler_core::hook::{DEFAULT_PATH, HookRun, may_inherit};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::libc;
use nix::unistd::{Gid, Uid, fchown};

use super::limits::Limits;
use super::processes::ControlGroup;
use super::script;
use crate::users::User;

/// A running script, and the reading ends of its pipes.
#[derive(Debug)]
pub(super) struct Spawned {
    pub pid: i32,
    pub stdout: OwnedFd,
    pub stderr: OwnedFd,
    /// Limits that the kernel did not let this process set.
    pub unset: Vec<String>,
}

/// The environment of the script: the agent's saved one, then the run's variables, then the user's; later ones win.
pub(super) fn environment(run: &HookRun, inherited: &[u8], user: &User) -> Vec<(OsString, OsString)> {
    let mut variables: Vec<(OsString, OsString)> = Vec::new();
    let mut set = |name: OsString, value: OsString| {
        variables.retain(|(known, _)| *known != name);
        variables.push((name, value));
    };
    set("PATH".into(), DEFAULT_PATH.into());
    for variable in inherited.split(|b| *b == 0) {
        if let Some(equals) = variable.iter().position(|b| *b == b'=').filter(|at| *at > 0) {
            let part = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
            set(part(&variable[..equals]), part(&variable[equals + 1..]));
        }
    }
    for (name, value) in &run.environment {
        set(name.into(), value.into());
    }
    set("HOME".into(), user.home.clone().into_os_string());
    set("USER".into(), user.name.clone().into());
    set("LOGNAME".into(), user.name.clone().into());
    set("SHELL".into(), user.shell.clone().into_os_string());
    variables
}

/// This process's environment, to be saved for a hook that inherits it, without the variables that no hook may have.
pub(super) fn inheritable() -> Vec<u8> {
    let mut saved = Vec::new();
    for (name, value) in std::env::vars_os() {
        if may_inherit(&name.to_string_lossy()) {
            saved.extend([name.as_bytes(), b"=", value.as_bytes(), b"\0"].concat());
        }
    }
    saved
}

/// The steps between fork and exec, in order, so that a failure can be named.
const STEPS: [&str; 8] = [
    "make a session",
    "enter the control group",
    "set its groups",
    "set its primary group",
    "set its user",
    "bind it to its supervisor",
    "enter the working directory",
    "execute it",
];

/// With a limit's number added: the child's message in the pipe of steps that it cannot set this limit.
const UNSET_LIMIT: u8 = 128;

/// Everything that the child needs, made before the fork: the child must not allocate.
struct Child {
    supervisor: libc::pid_t,
    control_group: Option<CString>,
    /// Only root can change its user; any other user keeps its own.
    user: Option<(Vec<libc::gid_t>, libc::gid_t, libc::uid_t)>,
    umask: libc::mode_t,
    directory: CString,
    /// Without systemd the script would inherit the agent's own limits and priorities.
    reset_inherited: bool,
    limits: Arc<Limits>,
    step: OwnedFd,
}

/// Starts the script. The error names the failed step, for the user's eyes.
pub(super) fn spawn(
    path: &Path,
    run: &HookRun,
    inherited: &[u8],
    user: &User,
    limits: Limits,
    control_group: Option<&ControlGroup>,
) -> Result<Spawned, String> {
    if let Some(refused) = script::cannot_run(path, crate::programs::machine()) {
        return Err(refused);
    }
    let failed = |what: &str| {
        let what = what.to_owned();
        move |error: io::Error| format!("cannot start {}: {what}: {error}", path.display())
    };
    let (stdout, stdout_of_child) = output_pipe(user).map_err(failed("make a pipe for its output"))?;
    let (stderr, stderr_of_child) = output_pipe(user).map_err(failed("make a pipe for its output"))?;
    let (mut steps, step) = io::pipe().map_err(failed("make a pipe"))?;
    let text = |path: &Path| CString::new(path.as_os_str().as_bytes()).map_err(io::Error::from);
    let privileged = Uid::effective().is_root();
    let limits = Arc::new(limits);
    let child = Child {
        supervisor: nix::unistd::getpid().as_raw(),
        control_group: control_group.map(|group| text(&group.members_file())).transpose().map_err(failed("name"))?,
        user: privileged.then(|| (user.groups.clone(), user.gid, user.uid)),
        umask: run.umask,
        directory: text(&run.working_directory).map_err(failed("name its working directory"))?,
        reset_inherited: control_group.is_none(),
        limits: Arc::clone(&limits),
        step: step.into(),
    };
    // It ends in execvp(3), which hands a file that the kernel does not know (no `#!`) to /bin/sh, as shells do.
    let mut command = Command::new(path);
    command.env_clear().envs(environment(run, inherited, user));
    command.stdin(Stdio::null()).stdout(stdout_of_child).stderr(stderr_of_child);
    let spawned = spawn_with(command, child);
    // Its other end is closed by now, because exec closes the child's.
    let mut reached = Vec::new();
    let _ = steps.read_to_end(&mut reached);
    match spawned {
        Ok(pid) => {
            let unset = reached.iter().filter_map(|step| step.checked_sub(UNSET_LIMIT));
            let unset = unset.map(|number| limits.name(usize::from(number))).collect();
            Ok(Spawned { pid, stdout: stdout.into(), stderr: stderr.into(), unset })
        }
        Err(error) => Err(match reached.last().map(|step| usize::from(*step)) {
            Some(step) if step + 1 == STEPS.len() => script::explain(path, &user.name, &error),
            Some(6) => format!(
                "cannot start {} as user {}: enter its working directory {}: {error}",
                path.display(),
                user.name,
                run.working_directory.display()
            ),
            step => {
                let what = step.and_then(|step| STEPS.get(step)).unwrap_or(&"make a process");
                format!("cannot start {} as user {}: {what}: {error}", path.display(), user.name)
            }
        }),
    }
}

/// A pipe that the script's user owns, so that it can open `/dev/stdout` and `/dev/stderr`.
fn output_pipe(user: &User) -> io::Result<(PipeReader, Stdio)> {
    let (reader, writer) = io::pipe()?;
    if Uid::effective().is_root() {
        fchown(&writer, Some(Uid::from_raw(user.uid)), Some(Gid::from_raw(user.gid)))?;
    }
    // Its own description: the script's end stays blocking.
    fcntl(&reader, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok((reader, writer.into()))
}

#[allow(unsafe_code, reason = "between fork and exec there is no safe way")]
fn spawn_with(mut command: Command, child: Child) -> io::Result<i32> {
    // SAFETY: `Child::become_script` calls only functions that are safe between fork and exec, and neither allocates
    // nor takes locks.
    unsafe { command.pre_exec(move || child.become_script()) };
    let spawned = command.spawn();
    // The command holds the script's ends of the pipes and of the step pipe; they must close, or no end is ever seen.
    drop(command);
    let pid = spawned?.id();
    i32::try_from(pid).map_err(io::Error::other)
}

impl Child {
    #[allow(unsafe_code, reason = "between fork and exec there is no safe way")]
    fn become_script(&self) -> io::Result<()> {
        // SAFETY: system calls on memory that was made before the fork and outlives the call; nothing is shared with
        // another thread, because the child has none.
        unsafe {
            self.at(0);
            reset_signals();
            check(libc::setsid())?;
            self.at(1);
            self.enter_control_group()?;
            if self.reset_inherited {
                reset_priorities();
            }
            self.limits.set(|number| self.at(u8::try_from(number).map_or(u8::MAX, |number| UNSET_LIMIT | number)));
            // It is the script's directory even if its user may not enter it, as under su(1) and sudo(8).
            let entered = libc::chdir(self.directory.as_ptr()) == 0;
            if let Some((groups, gid, uid)) = &self.user {
                self.at(2);
                check(libc::setgroups(groups.len(), groups.as_ptr()))?;
                self.at(3);
                check(libc::setresgid(*gid, *gid, *gid))?;
                self.at(4);
                check(libc::setresuid(*uid, *uid, *uid))?;
            }
            self.at(5);
            // After the change of user, which clears it. If the supervisor is killed, the script dies too: an
            // unsupervised script must not go on beside a rollback.
            check(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL))?;
            if libc::getppid() != self.supervisor {
                return Err(io::Error::from_raw_os_error(libc::ESRCH));
            }
            self.at(6);
            // Again, because on some network file systems only the script's user may enter it.
            if libc::chdir(self.directory.as_ptr()) == -1 && !entered {
                return Err(io::Error::last_os_error());
            }
            libc::umask(self.umask);
            self.at(7);
        }
        Ok(())
    }

    #[allow(unsafe_code, reason = "between fork and exec there is no safe way")]
    fn at(&self, step: u8) {
        // SAFETY: writes one byte of the stack to a descriptor that is open. It cannot block: the pipe is empty.
        let _ = unsafe { libc::write(self.step.as_raw_fd(), (&raw const step).cast(), 1) };
    }

    #[allow(unsafe_code, reason = "between fork and exec there is no safe way")]
    fn enter_control_group(&self) -> io::Result<()> {
        let Some(members) = &self.control_group else { return Ok(()) };
        // SAFETY: the path is a C string, the text a static one, and the descriptor is closed by exec.
        unsafe {
            let file = check(libc::open(members.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC))?;
            check(i32::try_from(libc::write(file, c"0".as_ptr().cast(), 1)).unwrap_or(-1))?;
        }
        Ok(())
    }
}

fn check(answer: i32) -> io::Result<i32> {
    if answer == -1 { Err(io::Error::last_os_error()) } else { Ok(answer) }
}

/// Resets every signal as in a fresh process: none ignored, none blocked.
#[allow(unsafe_code, reason = "between fork and exec there is no safe way")]
fn reset_signals() {
    // Not by signal(3): the C library refuses the numbers that it keeps for threads, which may be inherited ignored.
    // All zero is the default action, no flags and an empty mask; it is larger than the kernel's structure anywhere.
    let default = [0_u64; 8];
    let none = [0_u64; 1];
    // SAFETY: system calls that read memory of the stack; the kernel refuses to reset SIGKILL and SIGSTOP.
    unsafe {
        for signal in 1..=64 {
            libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), std::ptr::null_mut::<u64>(), 8_usize);
        }
        let no_answer = std::ptr::null_mut::<u64>();
        libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, none.as_ptr(), no_answer, 8_usize);
    }
}

/// Drops settings that the agent may have been given for itself: a protected OOM score, a priority.
#[allow(unsafe_code, reason = "between fork and exec there is no safe way")]
pub(crate) fn reset_priorities() {
    // SAFETY: system calls on static strings and memory of the stack. A failure leaves the inherited value.
    unsafe {
        let score = libc::open(c"/proc/self/oom_score_adj".as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
        if score >= 0 {
            let _ = libc::write(score, c"0".as_ptr().cast(), 1);
            libc::close(score);
        }
        libc::setpriority(libc::PRIO_PROCESS, 0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_users_variables_win_over_the_runs_and_those_over_the_inherited() {
        let mut run: HookRun = serde_json::from_value(serde_json::json!({
            "version": 1, "deployment": "d-ABCDEFGHI", "event": "e", "first_of_event": true, "location": "a.sh",
            "archive": "/a", "working_directory": "/", "user": null, "environment": [], "inherit_environment": true,
            "timeout_seconds": 60, "grace_seconds": 5, "start_seconds": 30, "umask": 18, "tasks_max": null,
            "scripts_log": "/l", "deployments_log": null, "log_bytes": 1, "log_bytes_per_second": 0, "line_bytes": 1,
            "tail_lines": 1
        }))
        .unwrap();
        run.environment = [("A", "run"), ("HOME", "run"), ("A", "last")].map(|(n, v)| (n.into(), v.into())).into();
        let user = User {
            name: "web".into(),
            uid: 1,
            gid: 1,
            groups: vec![1],
            home: "/srv".into(),
            shell: "/usr/sbin/nologin".into(),
        };
        let environment = environment(&run, b"A=agent\0B=x=y\0=bad\0bad\0USER=root\0", &user);
        let mut shown: Vec<String> =
            environment.iter().map(|(n, v)| format!("{}={}", n.to_string_lossy(), v.to_string_lossy())).collect();
        shown.sort();
        let path = format!("PATH={DEFAULT_PATH}");
        assert_eq!(
            shown,
            ["A=last", "B=x=y", "HOME=/srv", "LOGNAME=web", &path, "SHELL=/usr/sbin/nologin", "USER=web"]
        );
    }
}
