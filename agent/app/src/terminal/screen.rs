//! The terminal on which a line is rewritten.

use std::io;

use console::{Term, is_dumb};
use indicatif::TermLike;
use rustix::termios::tcgetwinsize;

use super::live_line::Target;

/// A terminal whose columns count also where its rows are unknown, as on a serial line after `stty cols 30`. (The crate
/// takes such a terminal for one of 80 columns, and a line that is too long is cleared in part.)
#[derive(Debug, Clone)]
pub struct Screen {
    terminal: Term,
    target: Target,
}

impl Screen {
    /// The terminal of this stream.
    pub fn of(target: Target) -> Self {
        let terminal = match target {
            Target::Stdout => Term::buffered_stdout(),
            Target::Stderr => Term::buffered_stderr(),
        };
        Self { terminal, target }
    }

    /// The stream.
    pub fn target(&self) -> Target {
        self.target
    }

    /// Whether a line can be rewritten there: it is a terminal, and TERM is neither unset nor `dumb`.
    pub fn is_rewritable(&self) -> bool {
        self.terminal.is_term() && !is_dumb()
    }

    /// How many columns it has.
    pub fn columns(&self) -> u16 {
        let asked = match self.target {
            Target::Stdout => tcgetwinsize(io::stdout()),
            Target::Stderr => tcgetwinsize(io::stderr()),
        };
        let known = asked.map(|size| size.ws_col).ok().filter(|columns| *columns > 0);
        known.unwrap_or_else(|| self.terminal.size().1)
    }
}

impl TermLike for Screen {
    fn width(&self) -> u16 {
        self.columns()
    }

    fn height(&self) -> u16 {
        self.terminal.size().0
    }

    fn move_cursor_up(&self, n: usize) -> io::Result<()> {
        self.terminal.move_cursor_up(n)
    }

    fn move_cursor_down(&self, n: usize) -> io::Result<()> {
        self.terminal.move_cursor_down(n)
    }

    fn move_cursor_right(&self, n: usize) -> io::Result<()> {
        self.terminal.move_cursor_right(n)
    }

    fn move_cursor_left(&self, n: usize) -> io::Result<()> {
        self.terminal.move_cursor_left(n)
    }

    fn write_line(&self, s: &str) -> io::Result<()> {
        self.terminal.write_line(s)
    }

    fn write_str(&self, s: &str) -> io::Result<()> {
        self.terminal.write_str(s)
    }

    fn clear_line(&self) -> io::Result<()> {
        self.terminal.clear_line()
    }

    fn flush(&self) -> io::Result<()> {
        self.terminal.flush()
    }
}
