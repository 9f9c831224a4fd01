//! One script while it runs: a loop over its output, its end, its deadline and requests to end it.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use hostler_core::hook::output::{Stream, note_entry};
use hostler_core::hook::{HookOutcome, HookRun};
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use nix::sys::signal::Signal;
use nix::sys::signalfd::SignalFd;
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

use super::directory::{Lock, RunDirectory, Started};
use super::output::Output;
use super::processes::{self, Ended, ProcessTree};
use super::spawn::Spawned;
use super::supervisor::write_result;
use crate::clock::{now_ms, seconds, since_boot};
use crate::memory;

/// How often the processes are looked at while they are being ended.
const LOOK: Duration = Duration::from_millis(25);

/// How long processes may take to disappear after SIGKILL before the outcome is reported with them alive. A process
/// that waits for a device cannot be killed.
const KILL_PATIENCE: Duration = Duration::from_secs(10);

/// Milliseconds without an event after which the supervisor frees the memory that it needs to handle one.
const QUIET: u16 = 500;

/// How long the result waits for the end of the outputs once the script has ended. Bash does not wait for a process
/// that it started by `exec > >(tee LOG)`, and the script's last line, which often says why it failed, is then still on
/// its way. A child that keeps the outputs open holds up the event no longer than this.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// How often the supervisor looks for the request to cancel where inotify is not available.
const CANCEL_POLL: u16 = 1000;

/// Why the script's processes are being ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reason {
    Deadline,
    Request,
    /// The supervisor is stopped: the host goes down, or an operator signals it.
    Stopped,
}

#[derive(Debug)]
enum Phase {
    Running,
    /// SIGTERM was sent; SIGKILL follows at this time since boot.
    Terminating(Reason, Duration),
    /// SIGKILL was sent for these reasons; the rest is given up at this time since boot.
    Killing(Reason, Vec<String>, Duration),
}

pub(super) struct Supervision<'a> {
    directory: &'a RunDirectory,
    run: &'a HookRun,
    signals: SignalFd,
    timer: TimerFd,
    requests: Option<Inotify>,
    pipes: [Option<OwnedFd>; 2],
    tree: ProcessTree,
    script: i32,
    ended: Option<Ended>,
    started: Started,
    phase: Phase,
    output: Output,
    /// Whether the supervisor itself was asked to end.
    stopped: bool,
}

impl<'a> Supervision<'a> {
    /// Begins to watch a script that was just started; its deadline counts from here.
    pub fn new(
        directory: &'a RunDirectory,
        run: &'a HookRun,
        signals: SignalFd,
        spawned: Spawned,
        tree: ProcessTree,
        started: Started,
        output: Output,
    ) -> io::Result<Self> {
        let timer = TimerFd::new(ClockId::CLOCK_BOOTTIME, TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK)?;
        // At least a nanosecond: zero would turn the timer off.
        let timeout = seconds(run.timeout_seconds).max(Duration::from_nanos(1));
        timer.set(Expiration::OneShot(TimeSpec::from_duration(timeout)), TimerSetTimeFlags::empty())?;
        Ok(Self {
            directory,
            run,
            signals,
            timer,
            requests: watch_requests(directory).ok(),
            pipes: [Some(spawned.stdout), Some(spawned.stderr)],
            tree,
            script: spawned.pid,
            ended: None,
            started,
            phase: Phase::Running,
            output,
            stopped: false,
        })
    }

    /// Waits for the script, writes the result, lets the lock go, and reads on for the processes that still hold the
    /// pipes.
    pub fn watch_to_the_end(mut self, lock: Lock, reserved: &File) -> io::Result<()> {
        // A request may have come before the watch began.
        let mut look_for_request = true;
        let outcome = loop {
            if (look_for_request || self.requests.is_none()) && self.directory.cancel_requested() {
                self.end(Reason::Request)?;
            }
            if let Some(outcome) = self.outcome()? {
                break outcome;
            }
            let patience = if self.requests.is_some() { PollTimeout::NONE } else { CANCEL_POLL.into() };
            let ready = self.wait(patience)?;
            self.read_pipes(ready.pipes);
            if ready.signal {
                self.take_signals();
            }
            if self.stopped {
                self.end(Reason::Stopped)?;
            }
            if ready.timer {
                // Read, so that it is quiet until the next time.
                let _ = self.timer.wait();
                self.end(Reason::Deadline)?;
            }
            look_for_request = ready.request;
            if let Some(requests) = self.requests.as_ref().filter(|_| ready.request) {
                let _ = requests.read_events();
            }
        };
        let finished_ms = now_ms();
        self.timer.unset()?;
        // Closed after the result is written: the kernel takes milliseconds for it.
        let requests = self.requests.take();
        self.hear_last_words()?;
        self.drain();
        self.output.finish_lines();
        self.note_outcome(&outcome);
        self.output.settle();
        let times = (self.started.started_ms, finished_ms);
        write_result(self.directory, reserved, &self.output.result(outcome, times));
        drop(lock);
        drop(requests);
        self.read_on()
    }

    /// The script's outcome, once that is certain.
    fn outcome(&mut self) -> io::Result<Option<HookOutcome>> {
        let now = since_boot();
        match &mut self.phase {
            Phase::Running => Ok(self.ended.map(|ended| match ended {
                Ended::Exited(code) => HookOutcome::Exited { code },
                Ended::Signaled(signal) => HookOutcome::Signaled { signal },
            })),
            Phase::Terminating(reason, until) => {
                let living = self.tree.living();
                if living.is_empty() && self.ended.is_some() {
                    return Ok(Some(ended_because(*reason, Vec::new())));
                }
                if now >= *until {
                    let reason = *reason;
                    self.tree.kill();
                    self.phase = Phase::Killing(reason, living, now + KILL_PATIENCE);
                }
                Ok(None)
            }
            Phase::Killing(reason, killed, until) => {
                let living = self.tree.living();
                if living.is_empty() && self.ended.is_some() {
                    return Ok(Some(ended_because(*reason, std::mem::take(killed))));
                }
                if now >= *until {
                    let mut killed = std::mem::take(killed);
                    killed.extend(living.into_iter().map(|process| format!("{process} (still there)")));
                    return Ok(Some(ended_because(*reason, killed)));
                }
                self.tree.kill();
                Ok(None)
            }
        }
    }

    /// Begins to end the script's processes, unless that has begun.
    fn end(&mut self, reason: Reason) -> io::Result<()> {
        // A script that has just ended by itself has its own outcome.
        if !matches!(self.phase, Phase::Running) || self.ended.is_some() {
            return Ok(());
        }
        self.phase = Phase::Terminating(reason, since_boot() + seconds(self.run.grace_seconds));
        self.tree.terminate();
        let look = TimeSpec::from_duration(LOOK);
        Ok(self.timer.set(Expiration::Interval(look), TimerSetTimeFlags::empty())?)
    }

    fn wait(&self, patience: PollTimeout) -> io::Result<Ready> {
        let ready = self.look(QUIET.into())?;
        if ready.any() {
            return Ok(ready);
        }
        // It may be hours until something happens.
        memory::forget_program_pages();
        self.look(patience)
    }

    /// The events that are there now, or come within the time.
    fn look(&self, patience: PollTimeout) -> io::Result<Ready> {
        let readable = |fd| PollFd::new(fd, PollFlags::POLLIN);
        let mut waiting = vec![readable(self.signals.as_fd()), readable(self.timer.as_fd())];
        waiting.extend(self.requests.as_ref().map(|requests| readable(requests.as_fd())));
        let before_pipes = waiting.len();
        waiting.extend(self.pipes.iter().flatten().map(|pipe| readable(pipe.as_fd())));
        match poll(&mut waiting, patience) {
            Ok(_) | Err(nix::Error::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        let is_ready = |at: usize| waiting.get(at).and_then(PollFd::any).unwrap_or(false);
        let mut next = before_pipes;
        let pipes = [0, 1].map(|stream: usize| {
            let open = self.pipes[stream].is_some();
            next += usize::from(open);
            open && is_ready(next - 1)
        });
        Ok(Ready { signal: is_ready(0), timer: is_ready(1), request: before_pipes > 2 && is_ready(2), pipes })
    }

    fn read_pipes(&mut self, ready: [bool; 2]) {
        for (at, stream) in [Stream::Stdout, Stream::Stderr].into_iter().enumerate() {
            if ready[at] {
                self.read_pipe(at, stream);
            }
        }
    }

    /// Reads the bytes in the pipe, at most one pipe's worth; returns how many it read.
    fn read_pipe(&mut self, at: usize, stream: Stream) -> usize {
        let Some(pipe) = &self.pipes[at] else { return 0 };
        let mut buffer = [0; 16 << 10];
        match nix::unistd::read(pipe, &mut buffer) {
            Ok(0) => {
                self.pipes[at] = None;
                0
            }
            Ok(count) => {
                self.output.take(stream, &buffer[..count]);
                count
            }
            Err(nix::Error::EAGAIN | nix::Error::EINTR) => 0,
            Err(_) => {
                self.pipes[at] = None;
                0
            }
        }
    }

    /// Reads until no process holds the script's outputs any more, for a short time.
    fn hear_last_words(&mut self) -> io::Result<()> {
        let until = since_boot() + LAST_WORDS;
        while self.has_open_pipe() && !self.stopped {
            let left = until.saturating_sub(since_boot());
            if left.is_zero() {
                break;
            }
            // Rounded up: a rest of less than a millisecond would be asked for again and again.
            let milliseconds = u16::try_from(left.as_millis()).unwrap_or(u16::MAX).saturating_add(1);
            let ready = self.look(milliseconds.into())?;
            self.read_pipes(ready.pipes);
            if ready.signal {
                self.take_signals();
            }
        }
        Ok(())
    }

    fn has_open_pipe(&self) -> bool {
        self.pipes.iter().any(Option::is_some)
    }

    /// Reads the bytes in the pipes at this moment, and no more: a child that goes on writing must not hold up the
    /// event.
    fn drain(&mut self) {
        for (at, stream) in [Stream::Stdout, Stream::Stderr].into_iter().enumerate() {
            let mut left = self.pipes[at].as_ref().map_or(0, bytes_in_pipe);
            while left > 0 {
                match self.read_pipe(at, stream) {
                    0 => break,
                    count => left = left.saturating_sub(count),
                }
            }
        }
    }

    /// Reaps ended processes, and notes whether a signal asks the supervisor to end.
    fn take_signals(&mut self) {
        while let Ok(Some(signal)) = self.signals.read_signal() {
            self.stopped |= signal.ssi_signo != Signal::SIGCHLD as u32;
        }
        for (pid, ended) in processes::reap() {
            if pid == self.script && self.ended.is_none() {
                self.ended = Some(ended);
            }
        }
    }

    fn note_outcome(&mut self, outcome: &HookOutcome) {
        let note = match outcome {
            HookOutcome::TimedOut { .. } => format!("{outcome}, after {} seconds", self.run.timeout_seconds),
            HookOutcome::Exited { .. } => return,
            outcome => outcome.to_string(),
        };
        self.output.log(note_entry(&note));
    }

    /// Logs for children of the finished script until they close its pipes. They are left alone, whatever they do.
    fn read_on(mut self) -> io::Result<()> {
        self.output.forget_tail();
        while self.has_open_pipe() && !self.stopped {
            let ready = self.wait(PollTimeout::NONE)?;
            self.read_pipes(ready.pipes);
            if ready.signal {
                self.take_signals();
            }
        }
        self.output.finish_lines();
        self.output.settle();
        Ok(())
    }
}

/// The events that can be handled without waiting.
#[derive(Debug)]
struct Ready {
    signal: bool,
    timer: bool,
    request: bool,
    pipes: [bool; 2],
}

impl Ready {
    fn any(&self) -> bool {
        self.signal || self.timer || self.request || self.pipes.contains(&true)
    }
}

fn ended_because(reason: Reason, killed: Vec<String>) -> HookOutcome {
    match reason {
        Reason::Deadline => HookOutcome::TimedOut { killed },
        Reason::Request => HookOutcome::Aborted { killed },
        Reason::Stopped => HookOutcome::Interrupted,
    }
}

fn watch_requests(directory: &RunDirectory) -> io::Result<Inotify> {
    let requests = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
    requests.add_watch(directory.path(), AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO)?;
    Ok(requests)
}

#[allow(unsafe_code)]
fn bytes_in_pipe(pipe: &OwnedFd) -> usize {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the descriptor is open, and FIONREAD writes one int to the address that it gets.
    let answer = unsafe { libc::ioctl(pipe.as_raw_fd(), libc::FIONREAD, &raw mut bytes) };
    if answer == 0 { usize::try_from(bytes).unwrap_or(0) } else { 0 }
}
