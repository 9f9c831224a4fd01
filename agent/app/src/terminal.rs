//! What the program does with a terminal: colours, a line that is rewritten, and less output for users who want less.

mod live_line;
mod screen;

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use anstream::AutoStream;
use anstyle::{AnsiColor, Style};
use hostler_core::text::printable;
use indicatif::ProgressBar;
use nix::sys::stat::{SFlag, fstat};

pub use live_line::{LiveLine, REFRESH, is_live, shown, stdout_waits};

/// Good: green.
pub const GOOD: Style = AnsiColor::Green.on_default();
/// Wrong: red.
pub const BAD: Style = AnsiColor::Red.on_default().bold();
/// To be looked at: yellow.
pub const CAUTION: Style = AnsiColor::Yellow.on_default();
/// What helps: cyan.
pub const HELP: Style = AnsiColor::Cyan.on_default();

/// Words, and how they are painted where they are found in a line; words after `^` only at its beginning.
pub type Paint<'a> = (&'a str, Style);

/// The words at the beginning of a finding.
pub const FINDINGS: &[Paint<'static>] = &[("^error", BAD), ("^warning", CAUTION), ("^ok ", GOOD)];

/// The user wants only errors and the result.
static QUIET: AtomicBool = AtomicBool::new(false);

/// The line that is rewritten now. Everything else that the program prints goes above it.
static CURRENT: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// From now on prints only errors and the result that the user asked for.
pub fn be_quiet() {
    QUIET.store(true, Ordering::Relaxed);
}

/// Whether only errors and the result are printed.
pub fn is_quiet() -> bool {
    QUIET.load(Ordering::Relaxed)
}

/// Whether colours are used is the user's wish (`--color`) or, with [`anstream::ColorChoice::Auto`], depends on the
/// terminal, NO_COLOR and CLICOLOR.
pub fn use_colours(choice: anstream::ColorChoice) {
    choice.write_global();
}

/// Whether a stream is a character device, as a terminal is, also one that is gone.
pub fn is_device(stream: &impl AsFd) -> bool {
    fstat(stream).is_ok_and(|found| SFlag::from_bits_truncate(found.st_mode) & SFlag::S_IFMT == SFlag::S_IFCHR)
}

/// Writes something above the line that is rewritten, if there is one.
pub fn above<T>(write: impl FnOnce() -> T) -> T {
    let current = CURRENT.lock().unwrap_or_else(PoisonError::into_inner).clone();
    match current {
        Some(bar) => bar.suspend(write),
        None => write(),
    }
}

/// Writes text to standard output.
///
/// # Errors
/// When standard output is closed or full.
pub fn to_stdout(text: &str) -> io::Result<()> {
    above(|| {
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes()).and_then(|()| out.flush())
    })
}

/// Writes text to standard output, painted. Control characters are escaped.
///
/// # Errors
/// When standard output is closed or full.
pub fn painted_to_stdout(text: &str, paints: &[Paint<'_>]) -> io::Result<()> {
    let text = with_paint(&printable(text), paints);
    above(|| {
        let mut out = AutoStream::auto(io::stdout().lock());
        out.write_all(text.as_bytes()).and_then(|()| out.flush())
    })
}

/// Writes text to standard error, painted. Control characters are escaped. If standard error is closed, no output is
/// possible.
pub fn painted_to_stderr(text: &str, paints: &[Paint<'_>]) {
    let text = with_paint(&printable(text), paints);
    above(|| {
        let mut out = AutoStream::auto(io::stderr().lock());
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    });
}

/// Paints in each line the words that come first. The text has no control characters: only the paint has.
fn with_paint(text: &str, paints: &[Paint<'_>]) -> String {
    let mut painted = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let found = paints.iter().filter_map(|(words, style)| match words.strip_prefix('^') {
            Some(words) => line.starts_with(words).then_some((0, words, style)),
            None => Some((line.find(words)?, *words, style)),
        });
        match found.min_by_key(|(at, ..)| *at).and_then(|(at, words, style)| {
            let (before, rest) = line.split_at_checked(at)?;
            Some((before, words, rest.strip_prefix(words)?, style))
        }) {
            Some((before, words, after, style)) => {
                painted.push_str(&format!("{before}{style}{words}{style:#}{after}"));
            }
            None => painted.push_str(line),
        }
    }
    painted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_words_of_each_line_are_painted_and_no_other_byte_changes() {
        let paints = [("^error:", BAD), ("hint:", HELP)];
        let text = "error: a hint: b\nplain\nhint: c\nno error: d\n";
        let painted = with_paint(text, &paints);
        let wanted = format!("{BAD}error:{BAD:#} a hint: b\nplain\n{HELP}hint:{HELP:#} c\nno error: d\n");
        assert_eq!(painted, wanted);
        assert_eq!(anstream::adapter::strip_str(&painted).to_string(), text);
        assert_eq!(with_paint(text, &[]), text);
    }
}
