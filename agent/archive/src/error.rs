//! Why a bundle was not unpacked, packed or listed.

use std::io;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use super::decode::MAX_WINDOW;
use super::foreign::Foreign;

/// Why a bundle was not unpacked, packed or listed. Nothing is left behind at the destination.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// One entry is never acceptable.
    #[error("{entry:?} in the bundle {problem}")]
    Entry {
        /// The entry as the archive names it.
        entry: String,
        /// The problem with it, and the remedy.
        problem: EntryProblem,
    },
    /// The archive is cut short, corrupt or not of the kind that it claims.
    #[error("the bundle is damaged {place}: {problem}")]
    Damaged {
        /// The place: in or after which entry.
        place: Place,
        /// The finding there.
        problem: String,
        /// The error of the decompressor or the disk.
        #[source]
        source: Option<io::Error>,
    },
    /// The whole bundle exceeds a limit.
    #[error("the bundle {what}, more than the limit of {limit}{entry}", entry = at_entry(entry))]
    TooLarge {
        /// The part that is too large, with its size.
        what: String,
        /// The limit.
        limit: u64,
        /// The entry at which this was found.
        entry: Option<String>,
    },
    /// The file is not an accepted archive.
    #[error(
        "the bundle is no archive that is known: it begins with {begins}; accepted are tar, tgz, tar.zst, zip and directories"
    )]
    UnknownType {
        /// The first bytes: a line of text as it is, else in hexadecimal; or that there are none.
        begins: String,
    },
    /// The file is of a known kind, but no bundle.
    #[error("{0}")]
    Foreign(Foreign),
    /// The content of a compressed file is no tar archive.
    #[error(
        "the bundle is compressed, and what it holds is no tar archive but {holds}; pack the directory with tar, as `tar -czf` \
         does"
    )]
    NotTar {
        /// The content.
        holds: &'static str,
    },
    /// A Zstandard frame needs more memory than allowed.
    #[error(
        "the bundle's Zstandard window{}, and {limit} MiB is the largest that is read; compress it without `--long`, or with \
         `--long={log}`", window(bytes), limit = MAX_WINDOW >> 20, log = MAX_WINDOW.ilog2()
    )]
    Window {
        /// The window in bytes, if it is known.
        bytes: Option<u64>,
    },
    /// Something other than zeros follows the end of the archive.
    #[error(
        "{found} follows the end of the bundle's {what}, where only zeros may be: it is not deployed, because tools differ in \
         whether they read on; pack all into one archive, or cut it off"
    )]
    Trailing {
        /// The archive that ends there.
        what: &'static str,
        /// The bytes that follow.
        found: &'static str,
    },
    /// The destination cannot be used.
    #[error("{path:?} cannot be the destination: {problem}")]
    Destination {
        /// The destination.
        path: PathBuf,
        /// The reason.
        problem: &'static str,
    },
    /// This host failed, not the bundle: no space, no permission, a broken disk.
    #[error("could not {action} {path:?}")]
    Host {
        /// The attempted operation.
        action: &'static str,
        /// The path.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
}

fn at_entry(entry: &Option<String>) -> String {
    entry.as_ref().map(|entry| format!(" (at {entry:?})")).unwrap_or_default()
}

fn window(bytes: &Option<u64>) -> String {
    match bytes {
        Some(bytes) => format!(" is {} MiB", bytes.div_ceil(1 << 20)),
        None => " is too large".to_owned(),
    }
}

/// The problem with one entry; completes a sentence that begins with the entry's name.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryProblem {
    /// Two names are equal without their leading slashes.
    #[error("comes twice, once with and once without a slash before its name; pack it once, with a relative name")]
    SlashTwin,
    /// See the message.
    #[error("has `..` in its path, which could lead out of the bundle")]
    ParentComponent,
    /// See the message.
    #[error("has a name that is not UTF-8; rename it before packing")]
    NotUtf8,
    /// See the message.
    #[error("has a NUL byte in its name")]
    NulByte,
    /// See the message.
    #[error("has no name")]
    NoName,
    /// See the message.
    #[error(
        "has backslashes as separators, as PowerShell 5 writes them; pack again with PowerShell 7, 7-Zip or `tar -a -cf`, \
         which write slashes"
    )]
    Backslashes,
    /// The path is longer than the limit in bytes.
    #[error("has a path longer than {limit} bytes")]
    PathTooLong {
        /// The limit in bytes.
        limit: usize,
    },
    /// The path is deeper than the limit in levels.
    #[error("lies deeper than {limit} directories")]
    TooDeep {
        /// The limit in levels.
        limit: usize,
    },
    /// It lies below something that is not a directory.
    #[error("lies below {ancestor:?}, which is not a directory but a file or a symbolic link")]
    BelowNonDirectory {
        /// The path that is no directory.
        ancestor: String,
    },
    /// Two entries with one name are of different kinds.
    #[error("comes twice, first as {first} and then as {second}")]
    KindChanges {
        /// Its first kind.
        first: &'static str,
        /// Its later kind.
        second: &'static str,
    },
    /// See the message.
    #[error(
        "has the setuid or setgid bit; take it away (chmod u-s,g-s), and set it by mode below permissions in the appspec"
    )]
    Setuid,
    /// A device, fifo, socket or the like.
    #[error("is {what}; a bundle may hold only files, directories and links")]
    Unsupported {
        /// Its kind.
        what: String,
    },
    /// A hard link to something that is not an earlier file of the bundle.
    #[error("is a hard link to {target:?}, which {problem}")]
    HardLink {
        /// The target as the archive names it.
        target: String,
        /// The problem with the target.
        problem: &'static str,
    },
    /// A symbolic link whose target is not possible.
    #[error("is a symbolic link with a target that {problem}")]
    LinkTarget {
        /// The problem with the target.
        problem: &'static str,
    },
    /// The two headers of a zip entry differ.
    #[error("has another {field} in its local header than in the central directory")]
    HeadersDisagree {
        /// The field that differs.
        field: &'static str,
    },
    /// See the message.
    #[error("is encrypted, and hostler has no password; pack it without one")]
    Encrypted,
    /// A compression method other than stored and deflate.
    #[error(
        "is compressed by {} (method {method}); stored (0) and Deflate (8) are read: pack again with `zip`, or choose Deflate",
        method_name(*method)
    )]
    Method {
        /// The method's number in the zip specification.
        method: u16,
    },
    /// See the message.
    #[error("overlaps the data of another entry")]
    Overlap,
    /// The unpacked size differs from the one in the header.
    #[error("does not unpack to the {expected} bytes that its header promises")]
    Size {
        /// Bytes promised.
        expected: u64,
    },
    /// See the message.
    #[error("has a wrong CRC-32: its content is damaged")]
    Crc,
    /// The compressed data make no sense.
    #[error("cannot be decompressed: {message}")]
    Compressed {
        /// The decompressor's message.
        message: String,
    },
    /// A sparse file's map makes no sense.
    #[error("is a sparse file whose map {problem}")]
    SparseMap {
        /// The problem with the map.
        problem: &'static str,
    },
    /// The file became something else while it was read.
    #[error("changed while it was being read; pack or copy a tree that nothing writes to")]
    Changed,
}

/// The names of APPNOTE.TXT, section 4.4.5.
fn method_name(method: u16) -> &'static str {
    match method {
        9 => "Deflate64",
        12 => "bzip2",
        14 => "LZMA",
        93 => "Zstandard",
        95 => "xz",
        98 => "PPMd",
        99 => "AES encryption",
        _ => "an unknown method",
    }
}

/// A place in an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Before any entry.
    Beginning,
    /// In this entry.
    In(String),
    /// Somewhere between this entry and the next one.
    After(String),
    /// In the table of contents or behind the last entry.
    End,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Beginning => f.write_str("at its beginning"),
            Self::In(entry) => write!(f, "in {entry:?}"),
            Self::After(entry) => write!(f, "after {entry:?}"),
            Self::End => f.write_str("at its end"),
        }
    }
}

impl ArchiveError {
    pub(super) fn entry(entry: impl AsRef<[u8]>, problem: EntryProblem) -> Self {
        Self::Entry { entry: String::from_utf8_lossy(entry.as_ref()).into_owned(), problem }
    }

    pub(super) fn at(path: &Path, problem: EntryProblem) -> Self {
        Self::Entry { entry: path.to_string_lossy().into_owned(), problem }
    }

    pub(super) fn damaged(place: Place, problem: impl Into<String>) -> Self {
        Self::Damaged { place, problem: problem.into(), source: None }
    }

    /// The most usual damage: a download or a copy was broken off. `part` names the part of the archive.
    pub(super) fn cut_short(place: Place, part: &str) -> Self {
        Self::damaged(place, format!("the archive is cut short{part}; bring it here whole, or pack it again"))
    }

    pub(super) fn host(action: &'static str, path: &Path, source: impl Into<io::Error>) -> Self {
        Self::Host { action, path: path.to_owned(), source: source.into() }
    }

    /// For use in `map_err` after a system call on `path`.
    pub(super) fn errno(action: &'static str, path: &Path) -> impl Fn(Errno) -> Self {
        move |errno| Self::host(action, path, errno)
    }
}
