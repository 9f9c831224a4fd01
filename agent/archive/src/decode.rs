//! The byte stream of a tar archive: read as it is, or decompressed by a second thread while the first one writes.

mod frames;

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::FileExt as _;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread;

use hostler_core::bundle::BundleType;

use super::error::ArchiveError;
pub(super) use frames::{Fault, MAX_WINDOW};

const CHUNK_BYTES: usize = 128 << 10;
/// Chunks between the two threads, two megabytes: enough that on a busy host neither waits for the other at every turn.
const CHUNKS_AHEAD: usize = 16;

/// Reads a file from its beginning without using its position, which other owners of the descriptor share.
struct FromStart<'a> {
    file: &'a File,
    position: u64,
}

impl Read for FromStart<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.position)?;
        self.position += count as u64;
        Ok(count)
    }
}

fn buffered(file: &File) -> BufReader<FromStart<'_>> {
    BufReader::with_capacity(CHUNK_BYTES, FromStart { file, position: 0 })
}

/// Calls `consume` with the tar stream of the bundle.
pub(super) fn with_tar_stream<T>(
    bundle: &File,
    kind: BundleType,
    consume: impl FnOnce(&mut dyn BufRead) -> Result<T, ArchiveError>,
) -> Result<T, ArchiveError> {
    if kind == BundleType::Tar {
        return consume(&mut buffered(bundle));
    }
    thread::scope(|scope| {
        let (full, chunks) = sync_channel(CHUNKS_AHEAD);
        let (spent, buffers) = channel();
        let decode = move || decode(bundle, kind, &full, &buffers);
        thread::Builder::new()
            .name("decompress".to_owned())
            .spawn_scoped(scope, decode)
            .map_err(|e| ArchiveError::host("start a thread for", "decompression".as_ref(), e))?;
        // If `consume` gives up, the stream is dropped, sending fails, and the thread ends.
        let mut stream = Chunks { chunks, spent, current: Vec::new(), position: 0, failed: None };
        consume(&mut stream)
    })
}

fn decode(bundle: &File, kind: BundleType, full: &SyncSender<io::Result<Vec<u8>>>, buffers: &Receiver<Vec<u8>>) {
    let mut decoder: Box<dyn Read> = match kind {
        BundleType::TarZst => match frames::Zstd::new(buffered(bundle)) {
            Ok(decoder) => Box::new(decoder),
            Err(error) => {
                // A closed channel means that no reader is left.
                let _ = full.send(Err(error));
                return;
            }
        },
        _ => Box::new(frames::Gzip::new(buffered(bundle))),
    };
    loop {
        let mut chunk = buffers.try_recv().unwrap_or_default();
        chunk.resize(CHUNK_BYTES, 0);
        let (filled, end) = fill(&mut decoder, &mut chunk);
        chunk.truncate(filled);
        if filled > 0 && full.send(Ok(chunk)).is_err() {
            return;
        }
        match end {
            None => {}
            Some(Ok(())) => return,
            Some(Err(error)) => {
                let _ = full.send(Err(error));
                return;
            }
        }
    }
}

/// Reads until the chunk is full; also returns how the stream ended, if it did.
fn fill(decoder: &mut dyn Read, chunk: &mut [u8]) -> (usize, Option<io::Result<()>>) {
    let mut filled = 0;
    while let Some(rest) = chunk.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match decoder.read(rest) {
            Ok(0) => return (filled, Some(Ok(()))),
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (filled, Some(Err(error))),
        }
    }
    (filled, None)
}

/// The consumer's end: returns the buffers to be filled again.
struct Chunks {
    chunks: Receiver<io::Result<Vec<u8>>>,
    spent: Sender<Vec<u8>>,
    current: Vec<u8>,
    position: usize,
    failed: Option<io::ErrorKind>,
}

impl BufRead for Chunks {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.position >= self.current.len() {
            if let Some(kind) = self.failed {
                return Err(kind.into());
            }
            let spent = std::mem::take(&mut self.current);
            self.position = 0;
            if spent.capacity() > 0 {
                // The thread may have ended already.
                let _ = self.spent.send(spent);
            }
            match self.chunks.recv() {
                Ok(Ok(chunk)) => self.current = chunk,
                Ok(Err(error)) => {
                    self.failed = Some(error.kind());
                    return Err(error);
                }
                Err(_) => {}
            }
        }
        Ok(self.current.get(self.position..).unwrap_or_default())
    }

    fn consume(&mut self, count: usize) {
        self.position += count;
    }
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let count = available.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..count), available.get(..count)) {
            to.copy_from_slice(from);
        }
        self.consume(count);
        Ok(count)
    }
}
