//! What happened to a file since it was last looked at, and which of its neighbours hold what was in it.

use super::identity::{Fingerprint, Identity};

/// What is known of a file.
#[derive(Debug, Clone, Copy)]
pub struct Known<'k> {
    /// Which one it is.
    pub identity: &'k Identity,
    /// How far it was read.
    pub offset: u64,
    /// The bytes right before that.
    pub trail: Fingerprint,
}

/// What a look at a file shows.
#[derive(Debug, Clone, Copy)]
pub struct Found<'f> {
    /// The device's number.
    pub device: u64,
    /// The inode's number.
    pub inode: u64,
    /// Nanoseconds since 1970 at its birth; 0 where the file system does not say.
    pub born_ns: u64,
    /// Its bytes.
    pub size: u64,
    /// The first of them, at most [`super::identity::HEAD_BYTES`].
    pub head: &'f [u8],
    /// Those right before [`Known::offset`], at most [`super::identity::TRAIL_BYTES`]; empty if it is shorter.
    pub before: &'f [u8],
}

/// What became of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sameness {
    /// It is the same, perhaps longer.
    Same,
    /// The same inode with other content: truncated, perhaps grown again past the position, or written anew. What was read
    /// before is not in it any more.
    Rewritten,
    /// Another file.
    Other,
}

/// Compares a file with what a look at a path shows.
pub fn compare(known: Known<'_>, found: Found<'_>) -> Sameness {
    if !known.identity.same_inode(found.device, found.inode, found.born_ns) {
        return Sameness::Other;
    }
    if has_content_of(known, found) { Sameness::Same } else { Sameness::Rewritten }
}

/// Whether a file, whatever its inode, begins with what was seen and read of the known one: a copy (`copytruncate`), or what
/// was unpacked from a compressed one. Nothing is said to be a copy of a file that was empty.
pub fn is_copy(known: Known<'_>, found: Found<'_>) -> bool {
    known.identity.head.bytes > 0 && has_content_of(known, found)
}

fn has_content_of(known: Known<'_>, found: Found<'_>) -> bool {
    found.size >= known.offset && known.identity.head.begins(found.head) && known.trail.ends(found.before)
}

/// How a file is packed, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Packing {
    /// Not at all.
    Plain,
    /// gzip.
    Gzip,
    /// Zstandard.
    Zstd,
    /// In a way that is not read here.
    Other,
}

/// How a file of this name is packed.
pub fn packing(name: &str) -> Packing {
    let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
    match ending.to_ascii_lowercase().as_str() {
        "gz" | "tgz" => Packing::Gzip,
        "zst" | "zstd" => Packing::Zstd,
        "bz2" | "xz" | "lzma" | "lz4" | "z" | "zip" | "tar" | "rar" | "7z" => Packing::Other,
        _ => Packing::Plain,
    }
}

/// Whether `name` is what a rotation tool calls an older `base`: `base.1`, `base-20261120`, `base.2026-11-20_10`,
/// `base.old`, or with the number before the ending (`app-20261120.log`), each perhaps packed. `None` for other names.
pub fn rotated_name(base: &str, name: &str) -> Option<Packing> {
    let packing = packing(name);
    let plain = if packing == Packing::Plain { name } else { name.rsplit_once('.').map_or(name, |(plain, _)| plain) };
    if plain == base {
        // Packed where it stood.
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
