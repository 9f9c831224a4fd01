//! Events to the body of one PutLogEvents request, within all limits of the service.

use std::io::Write as _;

use super::service::{BATCH_BYTES, BATCH_EVENTS, EVENT_OVERHEAD, MESSAGE_BYTES, SPAN_MS};

/// Bytes of a body from which a batch accepts no further event. Prevents: control characters, six bytes each in JSON,
/// that make the memory of a batch six times its size.
const BODY_BYTES: usize = 2 << 20;

/// Bytes that one event's text takes in a body besides its message: `{"timestamp":…,"message":"…"},`.
const FRAME_BYTES: usize = 48;

/// The result of adding an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Added {
    /// It is in the batch.
    Taken,
    /// The batch is full for it; send this one first.
    Full,
}

/// A request's body under construction. It is reused: [`Batch::begin`] keeps its memory.
#[derive(Debug, Default)]
pub struct Batch {
    body: Vec<u8>,
    /// To sort the events; the service requires rising times.
    index: Vec<Event>,
    sorted: Vec<u8>,
    /// The bytes before the first event.
    head: usize,
    counted: usize,
    oldest: i64,
    newest: i64,
    in_order: bool,
    /// The frame of the last event up to its message, since most events of a batch have the same time.
    frame: Vec<u8>,
    frame_at: Option<i64>,
}

#[derive(Debug, Clone, Copy)]
struct Event {
    at: i64,
    start: usize,
    end: usize,
}

impl Batch {
    /// Empties it and begins a request to a group's stream.
    pub fn begin(&mut self, group: &str, stream: &str) {
        self.body.clear();
        self.index.clear();
        self.body.extend_from_slice(b"{\"logGroupName\":\"");
        escape(&mut self.body, group);
        self.body.extend_from_slice(b"\",\"logStreamName\":\"");
        escape(&mut self.body, stream);
        self.body.extend_from_slice(b"\",\"logEvents\":[");
        self.head = self.body.len();
        self.counted = 0;
        self.in_order = true;
    }

    /// Events in it.
    pub fn events(&self) -> usize {
        self.index.len()
    }

    /// Bytes as the service counts them.
    pub fn counted_bytes(&self) -> usize {
        self.counted
    }

    /// The latest time in it; `None` while it is empty.
    pub fn newest(&self) -> Option<i64> {
        (!self.index.is_empty()).then_some(self.newest)
    }

    /// Whether no event of usual size fits any more.
    pub fn is_full(&self) -> bool {
        self.index.len() >= BATCH_EVENTS
            || self.counted + EVENT_OVERHEAD >= BATCH_BYTES
            || self.body.len() >= BODY_BYTES
    }

    /// Adds an event. The message must not be empty. It has at most [`MESSAGE_BYTES`] bytes and is cut there, so that
    /// no event can make the service refuse a whole batch.
    pub fn add(&mut self, at: i64, message: &str) -> Added {
        let message = &message[..message.floor_char_boundary(MESSAGE_BYTES)];
        if !self.has_room(at, message) {
            return Added::Full;
        }
        if self.index.is_empty() {
            (self.oldest, self.newest) = (at, at);
        } else {
            self.in_order &= at >= self.newest;
            self.oldest = self.oldest.min(at);
            self.newest = self.newest.max(at);
        }
        let start = self.body.len();
        self.put_frame(at);
        escape(&mut self.body, message);
        self.body.extend_from_slice(b"\"},");
        self.index.push(Event { at, start, end: self.body.len() });
        self.counted += message.len() + EVENT_OVERHEAD;
        Added::Taken
    }

    fn has_room(&self, at: i64, message: &str) -> bool {
        if self.index.is_empty() {
            return true;
        }
        self.index.len() < BATCH_EVENTS
            && self.counted + message.len() + EVENT_OVERHEAD <= BATCH_BYTES
            && self.newest.max(at) - self.oldest.min(at) < SPAN_MS
            && self.body.len() + message.len() + FRAME_BYTES <= BODY_BYTES
    }

    fn put_frame(&mut self, at: i64) {
        if self.frame_at != Some(at) {
            self.frame.clear();
            // Writing to memory does not fail.
            let _ = write!(self.frame, "{{\"timestamp\":{at},\"message\":\"");
            self.frame_at = Some(at);
        }
        self.body.extend_from_slice(&self.frame);
    }

    /// Ends the request and returns its body, with the events sorted by time; events of one time stay in the order in
    /// which they were added.
    pub fn finish(&mut self) -> &[u8] {
        if !self.in_order {
            self.index.sort_by_key(|event| event.at);
            self.sorted.clear();
            self.sorted.extend_from_slice(&self.body[..self.head]);
            for event in &self.index {
                self.sorted.extend_from_slice(&self.body[event.start..event.end]);
            }
            std::mem::swap(&mut self.body, &mut self.sorted);
        }
        if !self.index.is_empty() {
            self.body.pop();
        }
        self.body.extend_from_slice(b"]}");
        &self.body
    }

    /// Frees memory that only unusual batches need.
    pub fn shrink(&mut self) {
        self.sorted = Vec::new();
        self.body.clear();
        self.body.shrink_to(0);
        self.index = Vec::new();
    }
}

/// How a byte of a JSON text is written: 0 for itself, `u` for `\u00XX`, else the letter after the backslash.
const ESCAPES: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 32 {
        table[byte] = b'u';
        byte += 1;
    }
    table[0x08] = b'b';
    table[b'\t' as usize] = b't';
    table[b'\n' as usize] = b'n';
    table[0x0c] = b'f';
    table[b'\r' as usize] = b'r';
    table[b'"' as usize] = b'"';
    table[b'\\' as usize] = b'\\';
    table
};

/// Appends a text as the inside of a JSON string.
fn escape(out: &mut Vec<u8>, text: &str) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let bytes = text.as_bytes();
    let mut copied = 0;
    for (at, byte) in bytes.iter().enumerate() {
        let escape = ESCAPES[usize::from(*byte)];
        if escape == 0 {
            continue;
        }
        out.extend_from_slice(&bytes[copied..at]);
        if escape == b'u' {
            out.extend_from_slice(b"\\u00");
            out.push(DIGITS[usize::from(byte >> 4)]);
            out.push(DIGITS[usize::from(byte & 15)]);
        } else {
            out.extend_from_slice(&[b'\\', escape]);
        }
        copied = at + 1;
    }
    out.extend_from_slice(&bytes[copied..]);
}
