//! Bytes of a file to events: single lines, several lines joined by a pattern, and lines that are too long.

use std::ops::Range;

use regex::bytes::Regex;

use super::service::MESSAGE_BYTES;
use super::timestamp::TimestampFormat;

/// The mark after a piece of an event that was cut, because the service accepts no longer event.
pub const CUT_MARK: &str = " [hostler: continued in the next event]";

/// Raw bytes at which an event is cut, with room for the mark.
pub const EVENT_BYTES: usize = MESSAGE_BYTES - CUT_MARK.len();

/// The width of a newline: in encodings of two bytes a line ends only at an even offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Newline {
    /// One byte, in UTF-8 and all ASCII-compatible encodings.
    #[default]
    OneByte,
    /// `0A 00`.
    Utf16Le,
    /// `00 0A`.
    Utf16Be,
}

impl Newline {
    fn width(self) -> usize {
        if self == Self::OneByte { 1 } else { 2 }
    }

    /// Where the first newline in `bytes` begins.
    fn find(self, bytes: &[u8]) -> Option<usize> {
        let pair: [u8; 2] = match self {
            Self::OneByte => return memchr::memchr(b'\n', bytes),
            Self::Utf16Le => [b'\n', 0],
            Self::Utf16Be => [0, b'\n'],
        };
        bytes.chunks_exact(2).position(|unit| unit == pair).map(|at| at * 2)
    }
}

/// Where an event of several lines begins.
#[derive(Debug, Clone)]
pub enum StartPattern {
    /// At a line that matches.
    Regex(Regex),
    /// At a line with a time in it: `{datetime_format}`.
    Timestamp(TimestampFormat),
}

impl StartPattern {
    fn begins(&self, line: &[u8]) -> bool {
        match self {
            Self::Regex(regex) => regex.is_match(line),
            Self::Timestamp(format) => format.is_in(line),
        }
    }
}

/// What may follow the available bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// More bytes: an incomplete event must wait.
    More,
    /// Nothing, or nothing came for a while: the available bytes are an event.
    Complete,
}

/// The next event in a range of bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// Bytes that belong to it, its newline included.
    pub end: usize,
    /// Its text; empty for an empty line.
    pub text: Range<usize>,
    /// Whether there is text: false for a range of zero bytes, with which a truncated file may begin.
    pub is_event: bool,
    /// It continues in the next event.
    pub cut: bool,
}

/// Cuts bytes into events.
#[derive(Debug, Clone, Default)]
pub struct Assembler {
    /// How lines end.
    pub newline: Newline,
    /// Where events begin, if not at every line.
    pub start: Option<StartPattern>,
}

impl Assembler {
    /// The event at the beginning of `bytes`; `None` when it is not complete.
    pub fn next(&self, bytes: &[u8], ending: Ending) -> Option<Piece> {
        if bytes.is_empty() {
            return None;
        }
        if self.newline == Newline::OneByte && bytes[0] == 0 {
            let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
            return Some(Piece { end: zeros, text: 0..0, is_event: false, cut: false });
        }
        let Some(first) = self.newline.find(bytes) else { return self.unfinished(bytes, ending) };
        let first_end = first + self.newline.width();
        if first > EVENT_BYTES {
            return Some(self.cut(bytes));
        }
        match &self.start {
            None => Some(self.whole(bytes, first, first_end)),
            Some(pattern) => self.several(bytes, first, first_end, pattern, ending),
        }
    }

    /// Lines from the first up to the next that begins an event.
    fn several(
        &self,
        bytes: &[u8],
        first: usize,
        first_end: usize,
        pattern: &StartPattern,
        ending: Ending,
    ) -> Option<Piece> {
        let (mut text_end, mut end) = (first, first_end);
        loop {
            let Some(at) = self.newline.find(&bytes[end..]) else {
                let rest = bytes.len() - end;
                if bytes.len() > EVENT_BYTES + 2 {
                    return Some(self.whole(bytes, text_end, end));
                }
                return match ending {
                    Ending::More => None,
                    // A last line that begins an event is the next event.
                    Ending::Complete if rest > 0 && !pattern.begins(&bytes[end..]) => {
                        Some(self.whole(bytes, bytes.len(), bytes.len()))
                    }
                    Ending::Complete => Some(self.whole(bytes, text_end, end)),
                };
            };
            let line = &bytes[end..end + at];
            if pattern.begins(line) || end + at > EVENT_BYTES {
                return Some(self.whole(bytes, text_end, end));
            }
            text_end = end + at;
            end = text_end + self.newline.width();
        }
    }

    fn unfinished(&self, bytes: &[u8], ending: Ending) -> Option<Piece> {
        if bytes.len() > EVENT_BYTES + 2 {
            return Some(self.cut(bytes));
        }
        (ending == Ending::Complete).then(|| self.whole(bytes, bytes.len(), bytes.len()))
    }

    /// A piece of a line that is too long, cut between two characters.
    fn cut(&self, bytes: &[u8]) -> Piece {
        let mut end = EVENT_BYTES - EVENT_BYTES % self.newline.width();
        if self.newline == Newline::OneByte {
            let is_inside = |byte: u8| byte & 0b1100_0000 == 0b1000_0000;
            // One character has at most four bytes; otherwise it is not UTF-8 and any position will do.
            end = (end - 3..=end).rev().find(|at| !is_inside(bytes[*at])).unwrap_or(end);
        }
        Piece { end, text: 0..end, is_event: true, cut: true }
    }

    fn whole(&self, bytes: &[u8], text_end: usize, end: usize) -> Piece {
        let carriage_return = self.newline == Newline::OneByte && text_end > 0 && bytes[text_end - 1] == b'\r';
        Piece { end, text: 0..text_end - usize::from(carriage_return), is_event: true, cut: false }
    }
}
