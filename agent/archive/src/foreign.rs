//! Archives and other files that are no bundles, by their first bytes. The signatures come from file(1)'s magic
//! database and from each format's own specification.

use std::fmt;

/// A known kind of file that is no bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Foreign {
    /// A stream of another compressor, which may hold a tar archive.
    Compressed(&'static str),
    /// An archive of another kind.
    Archive(&'static str),
    /// A zip archive with bytes in front of it, such as a self-extracting one.
    BehindSomething,
    /// The kind of file that came in the place of an archive.
    Instead(&'static str),
}

const PAGE: Foreign =
    Foreign::Instead("a web page, as of a login or an error; look at it, and download the archive again");
const XML: Foreign =
    Foreign::Instead("an XML document, as S3 sends it with an error; look at it, and download the archive again");
/// The text comes from the specification of Git LFS.
const POINTER: Foreign =
    Foreign::Instead("a pointer of Git LFS; get the file itself (`git lfs pull`) before it is packed");

const SIGNATURES: &[(&[u8], Foreign)] = &[
    (b"\xfd7zXZ\0", Foreign::Compressed("xz")),
    (b"BZh", Foreign::Compressed("bzip2")),
    (b"\x04\x22\x4d\x18", Foreign::Compressed("lz4")),
    (b"\x02\x21\x4c\x18", Foreign::Compressed("lz4")),
    (b"LZIP", Foreign::Compressed("lzip")),
    (b"\x5d\0\0", Foreign::Compressed("lzma")),
    (b"\x89LZO\0", Foreign::Compressed("lzop")),
    (b"\x1f\x9d", Foreign::Compressed("compress")),
    (b"7z\xbc\xaf\x27\x1c", Foreign::Archive("7z")),
    (b"Rar!\x1a\x07", Foreign::Archive("rar")),
    (b"MSCF\0\0\0\0", Foreign::Archive("cab")),
    (b"!<arch>\n", Foreign::Archive("ar, as Debian packages are")),
    (b"\xed\xab\xee\xdb", Foreign::Archive("rpm")),
    (b"070701", Foreign::Archive("cpio")),
    (b"070702", Foreign::Archive("cpio")),
    (b"070707", Foreign::Archive("cpio")),
    (b"\xc7\x71", Foreign::Archive("cpio")),
    // The first piece of several; the last one, which has the table of contents, begins anywhere.
    (b"PK\x07\x08", Foreign::Archive("zip in several pieces")),
    (b"version https://git-lfs.github.com/spec/", POINTER),
    (b"<!DOCTYPE html", PAGE),
    (b"<!doctype html", PAGE),
    (b"<html", PAGE),
    (b"<?xml", XML),
    (b"<Error>", XML),
];

impl Foreign {
    /// The kind of file that begins with these bytes; `None` if it is not known.
    pub(super) fn of(head: &[u8]) -> Option<Self> {
        SIGNATURES.iter().find(|(signature, _)| head.starts_with(signature)).map(|(_, foreign)| *foreign)
    }
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Compressed(by) => write!(f, "the bundle is compressed by {by}, which is not read")?,
            Self::Archive(kind) => write!(f, "the bundle is an archive of the kind {kind}, which is not read")?,
            Self::BehindSomething => f.write_str(
                "the bundle is a zip archive behind something else, as one that unpacks itself is, which is not read",
            )?,
            Self::Instead(what) => return write!(f, "the bundle is no archive but {what}"),
        }
        f.write_str("; pack again as tar.gz, tar.zst or zip")
    }
}

/// A description of the bytes after the end of an archive.
pub(super) fn follower(bytes: &[u8]) -> &'static str {
    let start = bytes.iter().position(|byte| *byte != 0).unwrap_or_default();
    let rest = bytes.get(start..).unwrap_or_default();
    let is_text = |byte: &u8| byte.is_ascii_graphic() || byte.is_ascii_whitespace();
    match super::detect_head(rest) {
        Err(super::ArchiveError::Foreign(Foreign::Instead(_))) => "text",
        Ok(_) | Err(super::ArchiveError::Foreign(_)) => "another archive",
        _ if super::tar::is_header(bytes) => "another archive",
        _ if rest.iter().take_while(|byte| **byte != 0).all(is_text) => "text",
        _ => "something that is no archive",
    }
}
