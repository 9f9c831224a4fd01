//! A log that a rotation tool packed. It is unpacked as a stream, within the bounds of bundles, a slice at a time: a
//! small file may unpack to more than a day's work.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hostler_core::limits::Limits;
use hostler_core::logs::identity::{HEAD_BYTES, TRAIL_BYTES};
use hostler_core::logs::rotation::Packing;

use super::log_reader::open;
use crate::safe_path::Opener;

/// Unpacked bytes that are kept, so that a batch that begins where the last one ended needs no second unpacking: more
/// than one read of [`super::fill`] is long.
const KEPT_BYTES: usize = 1280 << 10;

/// Unpacked bytes of a step.
const STEP_BYTES: usize = 64 << 10;

/// 32 MiB, enough for `zstd -20`. Prevents: a log file that asks for 128 MiB of the agent's memory, and more.
const ZSTD_WINDOW_LOG: u32 = 25;

/// Most packed bytes that unpack to nothing. Prevents: reading gigabytes of empty parts for one line.
const IDLE_BYTES: u64 = 16 << 20;

/// Bytes that are unpacked between two looks at everything else.
pub(super) const SLICE_BYTES: u64 = 8 << 20;

/// The bounds of a packed file's unpacked size, as for a bundle.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Bytes below which the ratio does not count.
    pub floor: u64,
    ratio: u64,
    most: u64,
}

impl Bounds {
    pub fn new(limits: &Limits) -> Self {
        Self { floor: limits.expansion_floor_bytes, ratio: limits.expansion_ratio, most: limits.unpacked_bytes }
    }

    fn check(&self, packed: u64, unpacked: u64) -> io::Result<()> {
        let most = packed.saturating_mul(self.ratio).max(self.floor).min(self.most);
        if unpacked <= most {
            return Ok(());
        }
        let what = format!("{packed} bytes of it unpack to {unpacked} bytes or more, and {most} are the most");
        Err(io::Error::other(what))
    }
}

/// The bytes that went into a decoder and came out.
#[derive(Debug, Default)]
struct Meter {
    taken: AtomicU64,
    given: AtomicU64,
}

/// The packed bytes, counted.
struct Metered {
    file: File,
    meter: Arc<Meter>,
}

impl Read for Metered {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (taken, given) = (self.meter.taken.load(Ordering::Relaxed), self.meter.given.load(Ordering::Relaxed));
        if taken > given.saturating_mul(2).saturating_add(IDLE_BYTES) {
            let what = format!("{taken} bytes of it unpack to {given} bytes only");
            return Err(io::Error::other(what));
        }
        let count = self.file.read(buffer)?;
        self.meter.taken.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

/// A packed file, unpacked from its beginning on.
pub(super) struct Packed {
    /// Open, because its name may belong to another file after the next rotation.
    file: File,
    packing: Packing,
    bounds: Bounds,
    /// Made when the first byte is needed: it may take much memory.
    decoder: Option<Box<dyn Read + Send>>,
    meter: Arc<Meter>,
    /// The decoder's position, in unpacked bytes.
    at: u64,
    /// The unpacked bytes right before that.
    kept: Vec<u8>,
    /// The end, in unpacked bytes, once known.
    end: Option<u64>,
}

impl std::fmt::Debug for Packed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Packed").field("file", &self.file).field("at", &self.at).finish_non_exhaustive()
    }
}

impl Packed {
    /// Opens it; `None` for a packing that is not supported.
    pub fn open(opener: &Opener, path: &Path, packing: Packing, bounds: Bounds) -> io::Result<Option<Self>> {
        if matches!(packing, Packing::Plain | Packing::Other) {
            return Ok(None);
        }
        let (file, kept, meter) = (open(opener, path)?, Vec::new(), Arc::default());
        Ok(Some(Self { file, packing, bounds, decoder: None, meter, at: 0, kept, end: None }))
    }

    /// The file itself.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Unpacked bytes in it, once it was unpacked to its end.
    pub fn end(&self) -> Option<u64> {
        self.end
    }

    /// The position of the unpacking, in unpacked bytes.
    pub fn at(&self) -> u64 {
        self.at
    }

    /// Whether it holds the memory for unpacking.
    pub fn is_active(&self) -> bool {
        self.decoder.is_some()
    }

    /// Frees the memory for unpacking, which then begins at the beginning again.
    pub fn rest(&mut self) {
        (self.decoder, self.kept, self.at) = (None, Vec::new(), 0);
    }

    /// Reads at an offset until the buffer is full or nothing comes any more.
    pub fn read_at(&mut self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        if !self.keeps(offset) {
            self.rest();
        }
        while self.at < offset + buffer.len() as u64 {
            if self.unpack()? == 0 {
                break;
            }
        }
        let from = usize::try_from(offset - self.kept_from()).unwrap_or(usize::MAX);
        let there = self.kept.get(from..).unwrap_or_default();
        let count = there.len().min(buffer.len());
        buffer[..count].copy_from_slice(&there[..count]);
        Ok(count)
    }

    /// Unpacks until the bytes around an offset can be read at once, but at most a slice. Returns whether it got there.
    ///
    /// # Errors
    /// It cannot be unpacked, or goes beyond its bounds.
    pub fn reach(&mut self, offset: u64, slice: &mut u64) -> io::Result<bool> {
        if !self.keeps(offset.saturating_sub(TRAIL_BYTES as u64)) {
            self.rest();
        }
        while self.at < offset && self.end != Some(self.at) {
            if *slice == 0 {
                return Ok(false);
            }
            self.step(slice)?;
        }
        Ok(true)
    }

    /// Unpacks a step of a slice; returns its length in bytes.
    ///
    /// # Errors
    /// As [`Packed::reach`].
    pub fn step(&mut self, slice: &mut u64) -> io::Result<usize> {
        let before = self.meter.taken.load(Ordering::Relaxed);
        let count = self.unpack()?;
        let taken = self.meter.taken.load(Ordering::Relaxed).saturating_sub(before);
        let work = (count as u64).max(taken).max(1);
        *slice = slice.saturating_sub(work);
        Ok(count)
    }

    /// The last bytes before an offset that was just passed.
    pub fn before(&self, offset: u64) -> &[u8] {
        let at = |offset: u64| usize::try_from(offset.saturating_sub(self.kept_from())).unwrap_or(usize::MAX);
        self.kept.get(at(offset.saturating_sub(TRAIL_BYTES as u64))..at(offset)).unwrap_or_default()
    }

    /// Its first bytes, right after the first step.
    pub fn head(&self) -> &[u8] {
        self.kept.get(..HEAD_BYTES).unwrap_or(&self.kept)
    }

    fn kept_from(&self) -> u64 {
        self.at - self.kept.len() as u64
    }

    fn keeps(&self, offset: u64) -> bool {
        offset >= self.kept_from()
    }

    /// Unpacks the next bytes and forgets the oldest.
    fn unpack(&mut self) -> io::Result<usize> {
        if self.end == Some(self.at) {
            return Ok(0);
        }
        let mut next = vec![0; STEP_BYTES];
        let mut count = 0;
        while count < next.len() {
            match self.decoder()?.read(&mut next[count..]) {
                // A file that is cut off may still be written: the bytes up to there can be read.
                Ok(0) => self.end = Some(self.at + count as u64),
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => self.end = Some(self.at + count as u64),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
                Ok(more) => count += more,
            }
            let given = self.at + count as u64;
            self.meter.given.store(given, Ordering::Relaxed);
            self.bounds.check(self.meter.taken.load(Ordering::Relaxed), given)?;
            if self.end.is_some() {
                break;
            }
        }
        if self.kept.len() + count > 2 * KEPT_BYTES {
            self.kept.drain(..self.kept.len() - KEPT_BYTES);
        }
        self.kept.extend_from_slice(&next[..count]);
        self.at += count as u64;
        Ok(count)
    }

    /// The decoder, from the beginning on.
    fn decoder(&mut self) -> io::Result<&mut Box<dyn Read + Send>> {
        if self.decoder.is_none() {
            let mut file = self.file.try_clone()?;
            file.rewind()?;
            self.meter = Arc::default();
            let metered = Metered { file, meter: Arc::clone(&self.meter) };
            self.decoder = Some(match self.packing {
                Packing::Gzip => Box::new(flate2::read::MultiGzDecoder::new(BufReader::new(metered))),
                _ => {
                    let mut decoder = zstd::stream::read::Decoder::new(metered)?;
                    decoder.window_log_max(ZSTD_WINDOW_LOG)?;
                    Box::new(decoder)
                }
            });
        }
        self.decoder.as_mut().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}
