//! From the bytes of a script's output to log lines.
//!
//! ```text
//! bytes -> LineSplitter -> clean -> redact -> OutputBudget -> entry -> log line
//! ```

use std::borrow::Cow;
use std::collections::VecDeque;

use jiff::civil::DateTime;

use crate::ids::DeploymentId;

/// One of a script's two outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Stream {
    /// The mark before a line of it: `[stdout]` or `[stderr]`.
    pub fn mark(self) -> &'static str {
        match self {
            Self::Stdout => "[stdout]",
            Self::Stderr => "[stderr]",
        }
    }

    /// A line as a log entry: `[stdout]…` or `[stderr]…`, with nothing in between.
    pub fn entry(self, line: &str) -> String {
        format!("{}{line}", self.mark())
    }
}

/// An entry as it is shown to people: a space stands behind the mark.
pub fn shown_entry(entry: &str) -> String {
    for stream in [Stream::Stdout, Stream::Stderr] {
        if let Some(line) = entry.strip_prefix(stream.mark()) {
            return format!("{} {line}", stream.mark());
        }
    }
    entry.to_owned()
}

/// The entry that begins an event.
pub fn event_entry(event: &str) -> String {
    format!("LifecycleEvent - {}", clean(event.as_bytes()))
}

/// The entry that begins a script.
pub fn script_entry(location: &str) -> String {
    format!("Script - {}", clean(location.as_bytes()))
}

/// An entry of hostler's own, such as how many lines were dropped.
pub fn note_entry(text: &str) -> String {
    format!("[hostler]{}", clean(text.as_bytes()))
}

/// A line of `scripts.log`, with its newline, as the CodeDeploy agent writes it: local time, no zone.
pub fn scripts_log_line(at: DateTime, entry: &str) -> String {
    format!("{} {entry}\n", at.strftime("%Y-%m-%d %H:%M:%S"))
}

/// A line of the log of all deployments, with its newline, as the CodeDeploy agent writes it: the entry trimmed.
pub fn deployments_log_line(at: DateTime, deployment: &DeploymentId, entry: &str) -> String {
    let milliseconds = at.subsec_nanosecond() / 1_000_000;
    format!("[{}.{milliseconds:03}] [{deployment}]{}\n", at.strftime("%Y-%m-%d %H:%M:%S"), entry.trim())
}

/// Text that is safe on a terminal: without ANSI escape sequences and control characters (tabs stay, a carriage return
/// inside the line becomes a space), and with U+FFFD for bytes that are not UTF-8.
pub fn clean(line: &[u8]) -> String {
    let text: Cow<'_, str> = String::from_utf8_lossy(line);
    let text = text.trim_end_matches('\r');
    if !text.chars().any(|c| c.is_control() && c != '\t') {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        match c {
            '\u{1b}' => skip_escape(&mut rest),
            // The 8-bit forms of "ESC [" and of the strings.
            '\u{9b}' => skip_control_sequence(&mut rest),
            '\u{90}' | '\u{98}' | '\u{9d}' | '\u{9e}' | '\u{9f}' => skip_string(&mut rest),
            '\r' => out.push(' '),
            '\t' => out.push('\t'),
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out
}

/// ECMA-48: the character after ESC decides the length of the sequence.
fn skip_escape(rest: &mut std::str::Chars<'_>) {
    let mut next = rest.clone();
    match next.next() {
        Some('[') => {
            *rest = next;
            skip_control_sequence(rest);
        }
        Some(']' | 'P' | 'X' | '^' | '_') => {
            *rest = next;
            skip_string(rest);
        }
        Some(first @ ' '..='~') => {
            *rest = next;
            let mut last = first;
            // Intermediate bytes continue until the final one.
            while (' '..='/').contains(&last) {
                match rest.next() {
                    Some(c) => last = c,
                    None => return,
                }
            }
        }
        _ => {}
    }
}

fn skip_control_sequence(rest: &mut std::str::Chars<'_>) {
    loop {
        let mut next = rest.clone();
        match next.next() {
            Some(' '..='?') => *rest = next,
            Some('@'..='~') => {
                *rest = next;
                return;
            }
            // It is not a sequence: the character is text.
            _ => return,
        }
    }
}

fn skip_string(rest: &mut std::str::Chars<'_>) {
    while let Some(c) = rest.next() {
        match c {
            '\u{7}' | '\u{9c}' => return,
            '\u{1b}' if rest.as_str().starts_with('\\') => {
                rest.next();
                return;
            }
            _ => {}
        }
    }
}

/// Cuts a stream of bytes into lines, with a bound on the memory for one line.
#[derive(Debug)]
pub struct LineSplitter {
    line: Vec<u8>,
    most: usize,
    cut: u64,
    begun: bool,
}

impl LineSplitter {
    /// Lines longer than `most` bytes are cut there and marked with the number of missing bytes.
    pub fn new(most: usize) -> Self {
        Self { line: Vec::new(), most, cut: 0, begun: false }
    }

    /// Takes the next bytes and passes on each line that they complete, cleaned.
    pub fn push(&mut self, bytes: &[u8], mut each: impl FnMut(String)) {
        let mut rest = bytes;
        while let Some(end) = rest.iter().position(|b| *b == b'\n') {
            self.keep(&rest[..end]);
            each(self.take());
            rest = &rest[end + 1..];
        }
        if !rest.is_empty() {
            self.keep(rest);
            self.begun = true;
        }
    }

    /// The unfinished last line, if any.
    pub fn finish(&mut self) -> Option<String> {
        self.begun.then(|| self.take())
    }

    fn keep(&mut self, bytes: &[u8]) {
        let room = self.most.saturating_sub(self.line.len()).min(bytes.len());
        self.line.extend_from_slice(&bytes[..room]);
        self.cut += (bytes.len() - room) as u64;
    }

    fn take(&mut self) -> String {
        let mut text = clean(&self.line);
        if self.cut > 0 {
            // The cut may have split a character.
            let whole = text.trim_end_matches('\u{fffd}').len();
            text.truncate(whole);
            text.push_str(&format!(" [cut: {} more bytes]", self.cut));
        }
        self.line.clear();
        self.line.shrink_to(1024);
        self.cut = 0;
        self.begun = false;
        text
    }
}

/// The rest of the output that a script may log.
#[derive(Debug)]
pub struct OutputBudget {
    left: u64,
    per_second: u64,
    burst: u64,
    at_ms: u64,
    dropped: u64,
    noted: u64,
}

impl OutputBudget {
    /// At most `bytes` in all and `per_second` on average (0: no limit), with bursts of four seconds' worth.
    pub fn new(bytes: u64, per_second: u64, now_ms: u64) -> Self {
        let burst = per_second.saturating_mul(4);
        Self { left: bytes, per_second, burst, at_ms: now_ms, dropped: 0, noted: 0 }
    }

    /// Whether to log a line of this many bytes; otherwise the line is counted.
    pub fn admit(&mut self, bytes: usize, now_ms: u64) -> bool {
        let bytes = bytes as u64;
        if self.per_second > 0 {
            let earned = now_ms.saturating_sub(self.at_ms).saturating_mul(self.per_second) / 1000;
            if earned > 0 {
                self.burst = self.burst.saturating_add(earned).min(self.per_second.saturating_mul(4));
                self.at_ms = now_ms;
            }
        }
        if bytes > self.left || (self.per_second > 0 && bytes > self.burst) {
            self.dropped += 1;
            return false;
        }
        self.left -= bytes;
        self.burst = self.burst.saturating_sub(bytes);
        true
    }

    /// Counts a line that was admitted but could not be written.
    pub fn lost(&mut self, lines: u64) {
        self.dropped += lines;
    }

    /// Lines dropped until now.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Lines dropped since the last call: for the note in the log.
    pub fn newly_dropped(&mut self) -> u64 {
        let new = self.dropped - self.noted;
        self.noted = self.dropped;
        new
    }
}

/// The last entries of an output.
#[derive(Debug)]
pub struct Tail {
    entries: VecDeque<String>,
    most: usize,
}

impl Tail {
    /// Keeps at most this many.
    pub fn new(most: usize) -> Self {
        Self { entries: VecDeque::new(), most }
    }

    /// Adds an entry and drops the oldest if there are too many.
    pub fn push(&mut self, entry: &str) {
        if self.most == 0 {
            return;
        }
        if self.entries.len() == self.most {
            self.entries.pop_front();
        }
        self.entries.push_back(entry.to_owned());
    }

    /// The entries, oldest first; the tail is empty afterwards.
    pub fn take(&mut self) -> Vec<String> {
        std::mem::take(&mut self.entries).into()
    }
}

#[cfg(test)]
mod tests;
