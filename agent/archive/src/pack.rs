//! Packs a directory so that the same tree gives the same bytes: names, contents, mode bits and link targets count,
//! owners and times do not.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use flate2::{Compression, GzBuilder};
use hostler_core::bundle::{BundleEntry, BundleListing, BundleType, EntryKind};
use hostler_core::ids::Sha256Digest;
use rawzip::path::EntryPath;
use rawzip::{CompressionMethod, ZipArchiveWriter};
use tar::{EntryType, Header};

use super::error::{ArchiveError, EntryProblem};
use super::walk::{Found, walk};
use crate::digest::DigestWriter;

/// 255 is "unknown": the bytes must not depend on the system that made them.
const GZIP_SYSTEM_UNKNOWN: u8 = 255;
const ZSTD_LEVEL: i32 = 3;
const COPY_BYTES: usize = 128 << 10;

/// A packed bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packed {
    /// Bytes of the bundle.
    pub size: u64,
    /// Digest of the bundle.
    pub digest: Sha256Digest,
    /// Its listing.
    pub listing: BundleListing,
}

/// Packs everything below `directory`, sorted by path, and writes the bundle to `writer`. Symbolic links are kept, hard
/// links become files. Nothing is left out.
///
/// # Errors
/// Names the path of a socket, fifo or device, of a name that is not UTF-8, of a file that cannot be read or that
/// changes while it is read; a failure of `writer`; [`BundleType::Directory`], which is no file.
pub fn pack(directory: &Path, writer: impl Write, kind: BundleType) -> Result<Packed, ArchiveError> {
    let writer = DigestWriter::new(writer, u64::MAX);
    let (writer, entries) = match kind {
        BundleType::Tar => tar(directory, writer)?,
        BundleType::Tgz => {
            let gzip = GzBuilder::new().mtime(0).operating_system(GZIP_SYSTEM_UNKNOWN);
            let (gzip, entries) = tar(directory, gzip.write(writer, Compression::default()))?;
            (gzip.finish().map_err(write_failed)?, entries)
        }
        BundleType::TarZst => {
            let mut zstd = zstd::stream::write::Encoder::new(writer, ZSTD_LEVEL).map_err(write_failed)?;
            zstd.include_checksum(true).map_err(write_failed)?;
            let (zstd, entries) = tar(directory, zstd)?;
            (zstd.finish().map_err(write_failed)?, entries)
        }
        BundleType::Zip => zip(directory, writer)?,
        BundleType::Directory => {
            let problem = "a directory is no archive that could be written; choose tgz, tar, tar.zst or zip";
            return Err(ArchiveError::Destination { path: directory.to_owned(), problem });
        }
    };
    let (mut writer, size, digest) = writer.finish();
    writer.flush().map_err(write_failed)?;
    Ok(Packed { size, digest, listing: BundleListing::new(entries) })
}

fn write_failed(source: io::Error) -> ArchiveError {
    ArchiveError::host("write", Path::new("the bundle"), source)
}

fn open(directory: &Path) -> Result<File, ArchiveError> {
    File::open(directory).map_err(|e| ArchiveError::host("open the directory", directory, e))
}

fn tar<W: Write>(directory: &Path, writer: W) -> Result<(W, Vec<BundleEntry>), ArchiveError> {
    let mut builder = tar::Builder::new(writer);
    let mut entries = Vec::new();
    walk(&open(directory)?, directory, &mut |found| {
        let entry = found.entry()?;
        tar_entry(&mut builder, &found, &entry)?;
        entries.push(entry);
        Ok(())
    })?;
    Ok((builder.into_inner().map_err(write_failed)?, entries))
}

fn tar_entry<W: Write>(
    builder: &mut tar::Builder<W>,
    found: &Found<'_>,
    entry: &BundleEntry,
) -> Result<(), ArchiveError> {
    let mut header = Header::new_gnu();
    header.set_mode(entry.mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(0);
    let path = entry.path.as_path();
    match &entry.kind {
        EntryKind::Directory => {
            header.set_entry_type(EntryType::Directory);
            builder.append_data(&mut header, with_slash(path), io::empty()).map_err(write_failed)
        }
        EntryKind::Symlink { target } => {
            header.set_entry_type(EntryType::Symlink);
            builder.append_link(&mut header, path, Path::new(target)).map_err(write_failed)
        }
        EntryKind::File { size } => {
            header.set_entry_type(EntryType::Regular);
            header.set_size(*size);
            let mut content = Content::open(found, *size)?;
            let result = builder.append_data(&mut header, path, &mut content);
            content.check(found, result.map_err(write_failed))
        }
    }
}

/// Directories end with a slash in both formats.
fn with_slash(path: &Path) -> String {
    let mut text = path.to_string_lossy().into_owned();
    text.push('/');
    text
}

fn zip<W: Write>(directory: &Path, writer: W) -> Result<(W, Vec<BundleEntry>), ArchiveError> {
    let mut archive = ZipArchiveWriter::new(writer);
    let mut entries = Vec::new();
    walk(&open(directory)?, directory, &mut |found| {
        let entry = found.entry()?;
        zip_entry(&mut archive, &found, &entry)?;
        entries.push(entry);
        Ok(())
    })?;
    Ok((archive.finish().map_err(zip_failed)?, entries))
}

/// The name with unchanged bytes. `conformant` marks it as UTF-8, but takes backslashes and drive letters for Windows'
/// and changes them.
fn zip_name(name: &str) -> EntryPath<'static> {
    match name.is_ascii() || name.contains(['\\', ':']) {
        true => EntryPath::verbatim(name.as_bytes().to_vec()),
        false => EntryPath::conformant(name.to_owned()),
    }
}

fn zip_failed(error: rawzip::Error) -> ArchiveError {
    write_failed(io::Error::other(error))
}

fn zip_entry<W: Write>(
    archive: &mut ZipArchiveWriter<W>,
    found: &Found<'_>,
    entry: &BundleEntry,
) -> Result<(), ArchiveError> {
    let name = entry.path.as_path().to_string_lossy();
    match &entry.kind {
        EntryKind::Directory => {
            let directory =
                archive.new_dir(zip_name(&with_slash(entry.path.as_path()))).unix_permissions(0o040_000 | entry.mode);
            directory.create().map(|_| ()).map_err(zip_failed)
        }
        EntryKind::Symlink { target } => {
            let file = archive.new_file(zip_name(&name)).unix_permissions(0o120_000 | entry.mode);
            let (mut writer, config) = file.compression_method(CompressionMethod::STORE).start().map_err(zip_failed)?;
            let mut data = config.wrap(&mut writer);
            data.write_all(target.as_bytes()).map_err(write_failed)?;
            let (_, descriptor) = data.finish().map_err(zip_failed)?;
            writer.finish(descriptor).map(|_| ()).map_err(zip_failed)
        }
        EntryKind::File { size } => {
            let mut content = Content::open(found, *size)?;
            let file = archive.new_file(zip_name(&name)).unix_permissions(0o100_000 | entry.mode);
            let (mut writer, config) =
                file.compression_method(CompressionMethod::DEFLATE).start().map_err(zip_failed)?;
            let mut data = config.wrap(flate2::write::DeflateEncoder::new(&mut writer, Compression::default()));
            let copied = copy(&mut content, &mut data).map_err(write_failed);
            content.check(found, copied)?;
            let (encoder, descriptor) = data.finish().map_err(zip_failed)?;
            encoder.finish().map_err(write_failed)?;
            writer.finish(descriptor).map(|_| ()).map_err(zip_failed)
        }
    }
}

fn copy(from: &mut impl Read, to: &mut impl Write) -> io::Result<()> {
    let mut buffer = vec![0; COPY_BYTES];
    loop {
        match from.read(&mut buffer)? {
            0 => return Ok(()),
            count => to.write_all(buffer.get(..count).unwrap_or_default())?,
        }
    }
}

/// Reads exactly as many bytes as the header promised, and remembers whether the file caused an error.
struct Content {
    file: File,
    left: u64,
    failed: Option<io::Error>,
    changed: bool,
}

impl Content {
    fn open(found: &Found<'_>, size: u64) -> Result<Self, ArchiveError> {
        Ok(Self { file: found.open()?, left: size, failed: None, changed: false })
    }

    /// If the file had an error, it is nearer to the cause than the writer's error.
    fn check(self, found: &Found<'_>, written: Result<(), ArchiveError>) -> Result<(), ArchiveError> {
        match self.failed {
            Some(source) => Err(ArchiveError::host("read", &found.shown(), source)),
            None if self.changed => Err(ArchiveError::at(&found.shown(), EntryProblem::Changed)),
            None => written,
        }
    }
}

impl Read for Content {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = match self.file.read(buffer) {
            Ok(count) => count as u64,
            Err(error) => {
                let kind = error.kind();
                self.failed = Some(error);
                return Err(kind.into());
            }
        };
        // Shorter or longer than it was when its header was written.
        if count > self.left || count == 0 && self.left > 0 && !buffer.is_empty() {
            self.changed = true;
            return Err(io::ErrorKind::InvalidData.into());
        }
        self.left -= count;
        Ok(count as usize)
    }
}
