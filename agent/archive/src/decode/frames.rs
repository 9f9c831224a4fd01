//! Gzip members and Zstandard frames, one after the other. Zeros may follow the last one, as gzip(1) and tar(1) have
//! it; anything else is refused.

use std::fmt;
use std::io::{self, BufRead, Read};
use std::mem;

use flate2::bufread::GzDecoder;
use zstd::stream::raw::{DParameter, Decoder, Operation as _};

use crate::foreign::follower;

/// The largest accepted Zstandard window, in bytes: 128 MiB, the largest that libzstd reads by itself (`--long`).
/// Prevents: a frame that takes gigabytes of memory.
pub(crate) const MAX_WINDOW: u64 = 1 << MAX_WINDOW_LOG;
const MAX_WINDOW_LOG: u32 = 27;

/// libzstd's message for a window above its bound (`ZSTD_error_frameParameter_windowTooLarge` in zstd_errors.h).
const WINDOW_TOO_LARGE: &str = "Frame requires too much memory for decoding";

/// Why an undamaged stream is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A frame's window is too large; its bytes, if they are known.
    Window(Option<u64>),
    /// Something follows the compressed data.
    Trailing(&'static str),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

impl std::error::Error for Fault {}

fn fault(fault: Fault) -> io::Error {
    io::Error::other(fault)
}

/// The bytes between two members.
enum Next {
    Member,
    End,
}

/// Looks at the bytes after a member. The first member may be damaged in any way: its decoder reports that.
fn next(input: &mut impl BufRead, is_first: bool, begins: fn(&[u8]) -> bool) -> io::Result<Next> {
    let available = input.fill_buf()?;
    if available.is_empty() {
        return if is_first { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(Next::End) };
    }
    if is_first || begins(available) {
        return Ok(Next::Member);
    }
    loop {
        let available = input.fill_buf()?;
        if available.is_empty() {
            return Ok(Next::End);
        }
        if available.iter().any(|byte| *byte != 0) {
            return Err(fault(Fault::Trailing(follower(available))));
        }
        let count = available.len();
        input.consume(count);
    }
}

/// Unpacks gzip members.
pub(super) struct Gzip<R> {
    state: Member<R>,
    is_first: bool,
}

enum Member<R> {
    Inside(Box<GzDecoder<R>>),
    Between(R),
    Ended,
}

impl<R: BufRead> Gzip<R> {
    pub(super) fn new(input: R) -> Self {
        Self { state: Member::Between(input), is_first: true }
    }
}

impl<R: BufRead> Read for Gzip<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match mem::replace(&mut self.state, Member::Ended) {
                Member::Ended => return Ok(0),
                Member::Between(mut input) => {
                    let begins = |bytes: &[u8]| bytes.first() == Some(&0x1f);
                    if let Next::Member = next(&mut input, mem::take(&mut self.is_first), begins)? {
                        self.state = Member::Inside(Box::new(GzDecoder::new(input)));
                    }
                }
                Member::Inside(mut decoder) => match decoder.read(buffer)? {
                    0 if !buffer.is_empty() => self.state = Member::Between(decoder.into_inner()),
                    count => {
                        self.state = Member::Inside(decoder);
                        return Ok(count);
                    }
                },
            }
        }
    }
}

/// Unpacks Zstandard frames, and passes over skippable frames.
pub(super) struct Zstd<R> {
    input: R,
    decoder: Decoder<'static>,
    is_first: bool,
    in_frame: bool,
    /// The window of the frame, if its header gives it.
    window: Option<u64>,
}

impl<R: BufRead> Zstd<R> {
    pub(super) fn new(input: R) -> io::Result<Self> {
        let mut decoder = Decoder::new()?;
        decoder.set_parameter(DParameter::WindowLogMax(MAX_WINDOW_LOG))?;
        Ok(Self { input, decoder, is_first: true, in_frame: false, window: None })
    }
}

impl<R: BufRead> Read for Zstd<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if !self.in_frame {
                let begins = |bytes: &[u8]| matches!(bytes.first(), Some(0x28 | 0x50..=0x5f));
                match next(&mut self.input, mem::take(&mut self.is_first), begins)? {
                    Next::Member => self.decoder.reinit()?,
                    Next::End => return Ok(0),
                }
                self.window = window(self.input.fill_buf()?);
                self.in_frame = true;
            }
            let available = self.input.fill_buf()?;
            let at_end = available.is_empty();
            let status = self.decoder.run_on_buffers(available, buffer).map_err(|error| match self.window {
                window if error.to_string() == WINDOW_TOO_LARGE => fault(Fault::Window(window)),
                _ => error,
            })?;
            self.input.consume(status.bytes_read);
            self.in_frame = status.remaining != 0;
            if status.bytes_written > 0 || buffer.is_empty() {
                return Ok(status.bytes_written);
            }
            if at_end && self.in_frame {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

/// The window of the frame that begins with these bytes (RFC 8878, section 3.1.1.1); `None` if they do not give it.
fn window(head: &[u8]) -> Option<u64> {
    let descriptor = *head.get(4).filter(|_| head.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]))?;
    let is_single_segment = descriptor & 1 << 5 != 0;
    if !is_single_segment {
        let byte = *head.get(5)?;
        let base = 1_u64 << (10 + u32::from(byte >> 3));
        return Some(base + (base / 8) * u64::from(byte & 7));
    }
    // The window is the whole content, whose size follows the dictionary's name.
    let dictionary_bytes = [0, 1, 2, 4].get(usize::from(descriptor & 3))?;
    let (size_bytes, least) = match descriptor >> 6 {
        0 => (1, 0),
        1 => (2, 256),
        2 => (4, 0),
        _ => (8, 0),
    };
    let field = head.get(5 + dictionary_bytes..)?.get(..size_bytes)?;
    Some(least + field.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frames_window_is_read_from_its_header() {
        let frame = |rest: &[u8]| [&[0x28, 0xb5, 0x2f, 0xfd], rest].concat();
        assert_eq!(window(&frame(&[0, 0b10001 << 3])), Some(128 << 20));
        assert_eq!(window(&frame(&[0, 0b10001 << 3 | 1])), Some(144 << 20));
        assert_eq!(window(&frame(&[1 << 5, 7])), Some(7));
        assert_eq!(window(&frame(&[1 << 6 | 1 << 5 | 1, 9, 1, 2])), Some(256 + 0x201));
        assert_eq!(window(&frame(&[2 << 6 | 1 << 5, 0, 0, 0, 0x10])), Some(256 << 20));
        assert_eq!(window(&frame(&[])), None);
        assert_eq!(window(&[0x50, 0x2a, 0x4d, 0x18, 0, 0]), None);
    }
}
