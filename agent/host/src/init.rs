//! Being process 1, as in a container: it has to reap the processes that lost their parents.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd, siginfo};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// The signals that are handed on to the program.
const HANDED_ON: [Signal; 7] = [
    Signal::SIGTERM,
    Signal::SIGINT,
    Signal::SIGHUP,
    Signal::SIGQUIT,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGCONT,
];

/// Whether this process is the first one of its pid namespace.
pub fn is_init() -> bool {
    std::process::id() == 1
}

/// Runs this same program again as a child, with the same arguments, and does the work of process 1 until it ends:
/// hands signals on and reaps orphaned processes. Returns the program's exit status, as a shell would.
///
/// This is a process of its own and not a task of the daemon, because waiting for every child would take away the
/// children that the daemon itself waits for.
///
/// # Errors
/// When the program cannot be started again, or signals cannot be received.
#[allow(unsafe_code, reason = "between fork and exec there is no safe way")]
pub fn run() -> io::Result<u8> {
    let mut signals = SigSet::empty();
    HANDED_ON.into_iter().chain([Signal::SIGCHLD]).for_each(|signal| signals.add(signal));
    signals.thread_block()?;
    let received = SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC)?;
    let mut arguments = std::env::args_os();
    // By its first argument, which may say which program it is.
    let name = arguments.next().unwrap_or_else(|| "hostler".into());
    let mut command = Command::new("/proc/self/exe");
    command.arg0(name).args(arguments);
    // SAFETY: one system call on memory of the closure; it neither allocates nor takes locks.
    unsafe { command.pre_exec(move || signals.thread_unblock().map_err(io::Error::from)) };
    let child = command.spawn()?;
    let program = Pid::from_raw(i32::try_from(child.id()).map_err(io::Error::other)?);
    loop {
        if let Some(status) = reap(program) {
            return Ok(status);
        }
        match received.read_signal() {
            Ok(Some(signal)) => hand_on(&signal, program),
            Ok(None) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn hand_on(received: &siginfo, program: Pid) {
    let signal = i32::try_from(received.ssi_signo).ok().and_then(|number| Signal::try_from(number).ok());
    // The terminal sends its signals to the program too.
    let is_from_terminal = received.ssi_code == libc::SI_KERNEL;
    if let Some(signal) = signal.filter(|signal| HANDED_ON.contains(signal) && !is_from_terminal) {
        // A program that has just ended is reaped next.
        let _ = kill(program, signal);
    }
}

/// Reaps ended processes; returns the exit status once the program is among them.
fn reap(program: Pid) -> Option<u8> {
    loop {
        let (pid, status) = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, code)) => (pid, code),
            Ok(WaitStatus::Signaled(pid, signal, _)) => (pid, 128 + signal as i32),
            Ok(WaitStatus::StillAlive) => return None,
            Ok(_) | Err(Errno::EINTR) => continue,
            // No children at all: the program is gone.
            Err(_) => return Some(1),
        };
        if pid == program {
            return Some(u8::try_from(status).unwrap_or(1));
        }
    }
}
