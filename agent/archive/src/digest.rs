//! SHA-256 while bytes pass by: readers, writers and copies that count, cap and hash in one pass.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt as _;

use hostler_core::ids::Sha256Digest;
use sha2::{Digest as _, Sha256};

const BUFFER_BYTES: usize = 256 << 10;

/// Why a copy differs from the expected content.
#[derive(Debug, thiserror::Error)]
pub enum DigestError {
    /// More bytes came than the cap allows; the cap in bytes.
    #[error("it is larger than {0} bytes, the most that is accepted")]
    TooLarge(u64),
    /// The number of bytes differs from the promised one.
    #[error("it has {found} bytes, but {expected} were promised")]
    Size {
        /// Bytes promised.
        expected: u64,
        /// Bytes that came.
        found: u64,
    },
    /// The bytes have another digest than the promised one.
    #[error("its digest is {found}, but {expected} was promised")]
    Mismatch {
        /// The digest promised.
        expected: Sha256Digest,
        /// The digest of the received bytes.
        found: Sha256Digest,
    },
    /// The source could not be read.
    #[error("it could not be read")]
    Read(#[source] io::Error),
    /// The copy could not be written.
    #[error("the copy could not be written")]
    Write(#[source] io::Error),
}

/// Counts and hashes bytes, up to the cap.
struct Tally {
    hasher: Sha256,
    bytes: u64,
    cap: u64,
}

impl Tally {
    fn new(cap: u64) -> Self {
        Self { hasher: Sha256::new(), bytes: 0, cap }
    }

    fn add(&mut self, bytes: &[u8]) -> Result<(), DigestError> {
        self.bytes += bytes.len() as u64;
        if self.bytes > self.cap {
            return Err(DigestError::TooLarge(self.cap));
        }
        self.hasher.update(bytes);
        Ok(())
    }

    fn finish(self) -> (u64, Sha256Digest) {
        (self.bytes, Sha256Digest::from_bytes(self.hasher.finalize().into()))
    }
}

/// Hashes the bytes that are read through it, and fails after more than `cap` bytes.
pub struct DigestReader<R> {
    inner: R,
    tally: Tally,
}

impl<R: Read> DigestReader<R> {
    /// Reads from `inner`; at most `cap` bytes.
    pub fn new(inner: R, cap: u64) -> Self {
        Self { inner, tally: Tally::new(cap) }
    }

    /// The number of bytes that were read, and their digest.
    pub fn finish(self) -> (u64, Sha256Digest) {
        self.tally.finish()
    }
}

impl<R: Read> Read for DigestReader<R> {
    /// The error for too many bytes wraps [`DigestError::TooLarge`].
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.tally.add(buffer.get(..count).unwrap_or_default()).map_err(io::Error::other)?;
        Ok(count)
    }
}

/// Hashes the bytes that are written through it, and fails after more than `cap` bytes.
pub struct DigestWriter<W> {
    inner: W,
    tally: Tally,
}

impl<W: Write> DigestWriter<W> {
    /// Writes to `inner`; at most `cap` bytes.
    pub fn new(inner: W, cap: u64) -> Self {
        Self { inner, tally: Tally::new(cap) }
    }

    /// The inner writer, the number of bytes that were written, and their digest. Does not flush.
    pub fn finish(self) -> (W, u64, Sha256Digest) {
        let (bytes, digest) = self.tally.finish();
        (self.inner, bytes, digest)
    }
}

impl<W: Write> Write for DigestWriter<W> {
    /// The error for too many bytes wraps [`DigestError::TooLarge`].
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.tally.add(bytes.get(..count).unwrap_or_default()).map_err(io::Error::other)?;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// The length in bytes and the digest of a whole file. The file's own position is neither used nor moved.
///
/// # Errors
/// The error of reading the file.
pub fn digest_file(file: &File) -> io::Result<(u64, Sha256Digest)> {
    let mut tally = Tally::new(u64::MAX);
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let count = match file.read_at(&mut buffer, tally.bytes) {
            Ok(0) => return Ok(tally.finish()),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        tally.add(buffer.get(..count).unwrap_or_default()).map_err(io::Error::other)?;
    }
}

/// Copies all of `from` to `to` (at its position), hashing on the way, and compares with the size and digest that were
/// promised. Does not fsync.
///
/// # Errors
/// More than `cap` bytes, another size or digest than expected, or a failed read or write. After an error `to` is
/// empty.
pub fn copy_verified(
    from: impl Read,
    to: &File,
    expected: Option<(u64, Sha256Digest)>,
    cap: u64,
) -> Result<(u64, Sha256Digest), DigestError> {
    let result = copy_and_compare(from, to, expected, cap);
    if result.is_err() {
        // The caller gets the first error.
        let _ = to.set_len(0);
    }
    result
}

fn copy_and_compare(
    mut from: impl Read,
    mut to: &File,
    expected: Option<(u64, Sha256Digest)>,
    cap: u64,
) -> Result<(u64, Sha256Digest), DigestError> {
    let promised_bytes = expected.map(|(bytes, _)| bytes);
    let mut tally = Tally::new(cap);
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let count = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(DigestError::Read(error)),
        };
        let bytes = buffer.get(..count).unwrap_or_default();
        tally.add(bytes)?;
        // Stops at the first byte too many: the rest of a wrong object need not fill the disk.
        if let Some(expected) = promised_bytes.filter(|promised| tally.bytes > *promised) {
            return Err(DigestError::Size { expected, found: tally.bytes });
        }
        to.write_all(bytes).map_err(DigestError::Write)?;
    }
    let (found_bytes, found) = tally.finish();
    match expected {
        Some((bytes, _)) if bytes != found_bytes => Err(DigestError::Size { expected: bytes, found: found_bytes }),
        Some((_, digest)) if digest != found => Err(DigestError::Mismatch { expected: digest, found }),
        _ => Ok((found_bytes, found)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file_with(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    #[test]
    fn readers_writers_and_files_agree() {
        let content = vec![7; BUFFER_BYTES + 3];
        let expected = (content.len() as u64, Sha256Digest::of(&content));

        let mut reader = DigestReader::new(content.as_slice(), expected.0);
        io::copy(&mut reader, &mut io::sink()).unwrap();
        assert_eq!(reader.finish(), expected);

        let mut writer = DigestWriter::new(Vec::new(), expected.0);
        writer.write_all(&content).unwrap();
        let (written, bytes, digest) = writer.finish();
        assert_eq!((bytes, digest), expected);
        assert_eq!(written, content);

        assert_eq!(digest_file(&file_with(&content)).unwrap(), expected);
    }

    #[test]
    fn one_byte_over_the_cap_is_an_error() {
        let mut reader = DigestReader::new(&b"12345"[..], 4);
        assert!(io::copy(&mut reader, &mut io::sink()).unwrap_err().to_string().contains("larger than 4 bytes"));
        let mut writer = DigestWriter::new(Vec::new(), 4);
        assert!(writer.write_all(b"12345").is_err());
    }

    #[test]
    fn a_copy_that_is_not_what_was_promised_leaves_nothing() {
        let digest = Sha256Digest::of(b"good");
        type IsRight = fn(&DigestError) -> bool;
        let cases: [(&[u8], u64, IsRight); 4] = [
            (b"evil", 9, |e| matches!(e, DigestError::Mismatch { .. })),
            (b"goo", 9, |e| matches!(e, DigestError::Size { expected: 4, found: 3 })),
            (b"good!", 9, |e| matches!(e, DigestError::Size { expected: 4, .. })),
            (b"good", 3, |e| matches!(e, DigestError::TooLarge(3))),
        ];
        for (content, cap, is_right) in cases {
            let to = tempfile::tempfile().unwrap();
            let error = copy_verified(content, &to, Some((4, digest)), cap).unwrap_err();
            assert!(is_right(&error), "{content:?}: {error:?}");
            assert_eq!(to.metadata().unwrap().len(), 0);
        }
        let to = tempfile::tempfile().unwrap();
        assert_eq!(copy_verified(&b"good"[..], &to, Some((4, digest)), 9).unwrap(), (4, digest));
        assert_eq!(digest_file(&to).unwrap(), (4, digest));
    }
}
