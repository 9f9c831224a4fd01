//! The fate of a file since the last look, and which of its neighbours hold its content.

use super::identity::{Fingerprint, Identity};

/// The facts about a file from the last look.
#[derive(Debug, Clone, Copy)]
pub struct Known<'k> {
    /// Its identity.
    pub identity: &'k Identity,
    /// The position up to which it was read.
    pub offset: u64,
    /// The bytes right before the position.
    pub trail: Fingerprint,
}

/// The facts about a file from the current look.
#[derive(Debug, Clone, Copy)]
pub struct Found<'f> {
    /// The device's number.
    pub device: u64,
    /// The inode's number.
    pub inode: u64,
    /// Its birth in nanoseconds since 1970; 0 if the file system does not record it.
    pub born_ns: u64,
    /// Its size in bytes.
    pub size: u64,
    /// Its first bytes, at most [`super::identity::HEAD_BYTES`].
    pub head: &'f [u8],
    /// The bytes right before [`Known::offset`], at most [`super::identity::TRAIL_BYTES`]; empty if the file is
    /// shorter.
    pub before: &'f [u8],
}

/// The fate of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sameness {
    /// It is the same, perhaps longer.
    Same,
    /// The same inode with other content: truncated, perhaps grown past the position again, or rewritten. The content
    /// read before is gone.
    Rewritten,
    /// Another file.
    Other,
}

/// Compares a known file with the current look at a path.
pub fn compare(known: Known<'_>, found: Found<'_>) -> Sameness {
    if !known.identity.same_inode(found.device, found.inode, found.born_ns) {
        return Sameness::Other;
    }
    if has_content_of(known, found) { Sameness::Same } else { Sameness::Rewritten }
}

/// Whether a file with any inode begins with the known file's content: a copy (`copytruncate`), or an unpacked
/// compressed file. No file counts as a copy of an empty one.
pub fn is_copy(known: Known<'_>, found: Found<'_>) -> bool {
    known.identity.head.bytes > 0 && has_content_of(known, found)
}

fn has_content_of(known: Known<'_>, found: Found<'_>) -> bool {
    found.size >= known.offset && known.identity.head.begins(found.head) && known.trail.ends(found.before)
}

/// The compression of a file, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Packing {
    /// None.
    Plain,
    /// gzip.
    Gzip,
    /// Zstandard.
    Zstd,
    /// A format that hostler does not read.
    Other,
}

/// The compression of a file with this name.
pub fn packing(name: &str) -> Packing {
    let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
    match ending.to_ascii_lowercase().as_str() {
        "gz" | "tgz" => Packing::Gzip,
        "zst" | "zstd" => Packing::Zstd,
        "bz2" | "xz" | "lzma" | "lz4" | "z" | "zip" | "tar" | "rar" | "7z" => Packing::Other,
        _ => Packing::Plain,
    }
}

/// Whether `name` is a rotation tool's name for an older `base`: `base.1`, `base-20261120`, `base.2026-11-20_10`,
/// `base.old`, or with the number before the extension (`app-20261120.log`), each perhaps compressed. `None` for other
/// names.
pub fn rotated_name(base: &str, name: &str) -> Option<Packing> {
    let packing = packing(name);
    let plain = if packing == Packing::Plain { name } else { name.rsplit_once('.').map_or(name, |(plain, _)| plain) };
    if plain == base {
        // Compressed in place.
        return (packing != Packing::Plain).then_some(packing);
    }
    let behind = plain.strip_prefix(base);
    let inside = || {
        let (stem, ending) = base.rsplit_once('.')?;
        plain.strip_prefix(stem)?.strip_suffix(ending)?.strip_suffix('.')
    };
    behind.or_else(inside).is_some_and(is_rotation_suffix).then_some(packing)
}

fn is_rotation_suffix(suffix: &str) -> bool {
    let Some(rest) = suffix.strip_prefix(['.', '-', '_', '~']) else { return false };
    let numbered = rest.bytes().any(|byte| byte.is_ascii_digit())
        && rest
            .bytes()
            .all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'_' | b':' | b'+' | b'T' | b'Z'));
    numbered || matches!(rest, "old" | "prev" | "bak")
}
