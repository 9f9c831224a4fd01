//! The line of a terminal that is rewritten while something goes on: what, how many bytes, and for how long. At most one
//! is on the terminal.

use std::future::Future;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use hostler_core::machine::Moment;
use hostler_core::text::printable;
use hostler_core::transfer::{Meter, Transferred};
use indicatif::{HumanBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::screen::Screen;
use super::{CURRENT, is_quiet};

/// The time between two looks at what goes on. A line that says the same is not written again.
pub const REFRESH: Duration = Duration::from_millis(500);

/// Where the line is.
#[derive(Debug, Clone, Copy)]
pub enum Target {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Target {
    fn takes_output(self) -> bool {
        match self {
            Self::Stdout => takes_output(std::io::stdout().as_fd()),
            Self::Stderr => takes_output(std::io::stderr().as_fd()),
        }
    }
}

/// Whether a write to standard output would wait. One that is closed refuses it at once.
pub fn stdout_waits() -> bool {
    let stdout = std::io::stdout();
    let mut asked = [PollFd::new(stdout.as_fd(), PollFlags::POLLOUT)];
    poll(&mut asked, PollTimeout::ZERO) == Ok(0)
}

/// Whether a write would not wait: a terminal that its user stopped (^S) must not hold up the work.
fn takes_output(descriptor: BorrowedFd<'_>) -> bool {
    let mut asked = [PollFd::new(descriptor, PollFlags::POLLOUT)];
    let answered = poll(&mut asked, PollTimeout::ZERO).is_ok_and(|ready| ready > 0);
    answered && asked[0].revents() == Some(PollFlags::POLLOUT)
}

/// The line of one thing that goes on. It is taken off the terminal when it is dropped.
#[derive(Debug)]
pub struct LiveLine {
    bar: ProgressBar,
    screen: Screen,
    head: String,
    began: Instant,
    shown: String,
}

impl LiveLine {
    /// A line on standard output; `None` where lines are not rewritten: standard output is no terminal, TERM is unset or
    /// `dumb`, or the user wants less.
    pub fn on_stdout(head: &str) -> Option<Self> {
        Self::begin(Screen::of(Target::Stdout), head)
    }

    /// The same on standard error, for verbs whose result is on standard output.
    pub fn on_stderr(head: &str) -> Option<Self> {
        Self::begin(Screen::of(Target::Stderr), head)
    }

    fn begin(screen: Screen, head: &str) -> Option<Self> {
        if is_quiet() || !screen.is_rewritable() {
            return None;
        }
        let target = ProgressDrawTarget::term_like_with_hz(Box::new(screen.clone()), 20);
        let bar = ProgressBar::with_draw_target(None, target);
        // A template without braces of its own cannot be wrong.
        bar.set_style(ProgressStyle::with_template("{msg}").unwrap_or_else(|_| ProgressStyle::default_spinner()));
        *CURRENT.lock().unwrap_or_else(PoisonError::into_inner) = Some(bar.clone());
        let head = printable(head).into_owned();
        let mut line = Self { bar, screen, head, began: Instant::now(), shown: String::new() };
        line.show(&Moment::default());
        Some(line)
    }

    /// Shows what goes on now. A terminal that is gone, or whose user has stopped it, changes nothing.
    pub fn show(&mut self, moment: &Moment) {
        if !self.screen.target().takes_output() {
            return;
        }
        let mut per_second = 0.0;
        if let Some(transferred) = &moment.transferred {
            if self.bar.position() == 0 {
                // What an earlier try brought says nothing of the speed.
                self.bar.set_position(transferred.bytes);
                self.bar.reset_eta();
            }
            self.bar.set_position(transferred.bytes);
            per_second = self.bar.per_sec();
        }
        let width = usize::from(self.screen.columns());
        let line = line(&self.head, &detail(moment, per_second), self.began.elapsed(), width);
        if line != self.shown {
            self.bar.set_message(line.clone());
            self.shown = line;
        }
    }
}

impl Drop for LiveLine {
    fn drop(&mut self) {
        *CURRENT.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.bar.finish_and_clear();
    }
}

/// Does work, and shows the bytes meanwhile on standard error, if that is a terminal.
pub async fn shown<T>(head: &str, meter: &Meter, work: impl Future<Output = T>) -> T {
    let Some(mut line) = LiveLine::on_stderr(head) else { return work.await };
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return done,
            () = tokio::time::sleep(REFRESH) => line.show(&Moment { script: None, transferred: meter.now() }),
        }
    }
}

/// Whether lines of standard output are rewritten.
pub fn is_live() -> bool {
    !is_quiet() && Screen::of(Target::Stdout).is_rewritable()
}

fn detail(moment: &Moment, per_second: f64) -> String {
    match (&moment.transferred, &moment.script) {
        (Some(transferred), _) => bytes(transferred, per_second),
        (None, Some(script)) => printable(script).into_owned(),
        (None, None) => String::new(),
    }
}

fn bytes(transferred: &Transferred, per_second: f64) -> String {
    let mut text = HumanBytes(transferred.bytes).to_string();
    if let Some(total) = transferred.total {
        text.push_str(&format!(" of {}", HumanBytes(total)));
    }
    if per_second >= 1.0 {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is positive, and saturates")]
        text.push_str(&format!(", {}/s", HumanBytes(per_second as u64)));
    }
    text
}

/// One line that is shorter than the terminal is wide. What is cut is in the middle: the time stays.
fn line(head: &str, detail: &str, passed: Duration, width: usize) -> String {
    let most = width.saturating_sub(1);
    let tail = format!(" … {}", passed_text(passed.as_secs()));
    let mut text: String = format!("{head}{detail}").trim_end().to_owned();
    let room = most.saturating_sub(tail.chars().count());
    if text.chars().count() > room {
        text = text.chars().take(room).collect::<String>().trim_end().to_owned();
    }
    text.push_str(&tail);
    text.chars().take(most).collect()
}

fn passed_text(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_fits_the_terminal_and_keeps_its_time() {
        let of = |width| line("  ApplicationStart     ", "hooks/start-the-server.sh", Duration::from_secs(12), width);
        assert_eq!(of(80), "  ApplicationStart     hooks/start-the-server.sh … 12 s");
        assert_eq!(of(40), "  ApplicationStart     hooks/sta … 12 s");
        assert_eq!(of(20), "  Applicatio … 12 s");
        for width in 0..60 {
            assert!(of(width).chars().count() < width.max(1), "{width}: {:?}", of(width));
        }
    }

    #[test]
    fn a_reader_that_is_gone_or_does_not_read_is_not_waited_for() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        assert!(takes_output(writer.as_fd()));
        let full = nix::fcntl::fcntl(writer.as_fd(), nix::fcntl::FcntlArg::F_SETPIPE_SZ(4096)).unwrap();
        std::io::Write::write_all(&mut writer, &vec![0; usize::try_from(full).unwrap()]).unwrap();
        assert!(!takes_output(writer.as_fd()), "it is full");
        drop(reader);
        assert!(!takes_output(writer.as_fd()), "it is closed");
    }

    #[test]
    fn long_times_are_in_larger_units() {
        for (seconds, text) in [(0, "0 s"), (59, "59 s"), (61, "1 min 1 s"), (3599, "59 min 59 s"), (7260, "2 h 1 min")]
        {
            assert_eq!(passed_text(seconds), text);
        }
    }

    #[test]
    fn bytes_have_a_rate_and_a_whole_where_they_are_known() {
        let of = |total| bytes(&Transferred { bytes: 3 << 20, total }, 2_097_152.0);
        assert_eq!(of(Some(300 << 20)), "3.00 MiB of 300.00 MiB, 2.00 MiB/s");
        assert_eq!(of(None), "3.00 MiB, 2.00 MiB/s");
        assert_eq!(bytes(&Transferred { bytes: 0, total: Some(2048) }, 0.0), "0 B of 2.00 KiB");
    }
}
