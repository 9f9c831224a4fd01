//! Files whose names other users may choose or replace, or that an operator mistyped: opening a file never waits, and
//! devices are refused.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt};
use std::path::Path;

use nix::fcntl::OFlag;
use rustix::fs::{FileType, major, minor};

/// Major and minor number of `/dev/null` (the kernel's admin-guide/devices).
const NULL_DEVICE: (u32, u32) = (1, 3);

/// Most bytes of a file of certificates. Prevents: a wrong path that takes the memory.
pub const MOST_PEM_BYTES: usize = 8 << 20;

/// Opens a regular file for reading. It never waits for a pipe's writer, never makes a terminal the agent's own, and
/// opens no device but the null device: all programs treat that as an empty file, and a link to it masks a file in a
/// directory of drop-ins (systemd.unit(5)).
///
/// # Errors
/// It cannot be opened, or is a directory, another device, pipe or socket (`InvalidInput`, with its type).
pub fn open(path: &Path) -> io::Result<File> {
    open_as(path, &[FileType::RegularFile])
}

/// The same for a bundle, which may be a directory.
///
/// # Errors
/// As [`open`].
pub fn open_bundle(path: &Path) -> io::Result<File> {
    open_as(path, &[FileType::RegularFile, FileType::Directory])
}

/// The same for a path on a command line: `/dev/stdin`, and the pipes that a shell makes of `<(...)`, are taken as they
/// are.
///
/// # Errors
/// As [`open`].
pub fn open_argument(path: &Path) -> io::Result<File> {
    if path == Path::new("/dev/stdin") || path.starts_with("/dev/fd") || path.starts_with("/proc/self/fd") {
        return File::open(path);
    }
    open(path)
}

fn open_as(path: &Path, types: &[FileType]) -> io::Result<File> {
    // Some devices act when they are opened.
    check_opened(&path.metadata()?, types)?;
    let flags = OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits()).open(path)?;
    check_opened(&file.metadata()?, types)?;
    Ok(file)
}

fn check_opened(found: &Metadata, types: &[FileType]) -> io::Result<()> {
    let number = (major(found.rdev()), minor(found.rdev()));
    let is_null = number == NULL_DEVICE && FileType::from_raw_mode(found.mode()) == FileType::CharacterDevice;
    if is_null { Ok(()) } else { check(found.mode(), types) }
}

/// Opens a file to append to it, and makes it if there is none. Never waits for a pipe's reader.
///
/// # Errors
/// As [`open`]; a link is not followed.
pub fn append(path: &Path, mode: u32) -> io::Result<File> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let mut options = OpenOptions::new();
    let file = options.append(true).create(true).mode(mode).custom_flags(flags.bits()).open(path)?;
    check(file.metadata()?.mode(), &[FileType::RegularFile])?;
    Ok(file)
}

/// The content of a regular file, if it has at most so many bytes.
///
/// # Errors
/// As [`open`]; `FileTooLarge`.
pub fn read(path: &Path, most_bytes: usize) -> io::Result<Vec<u8>> {
    read_opened(open(path)?, most_bytes)
}

/// The same for a path on a command line: see [`open_argument`].
///
/// # Errors
/// As [`read`].
pub fn read_argument(path: &Path, most_bytes: usize) -> io::Result<Vec<u8>> {
    read_opened(open_argument(path)?, most_bytes)
}

fn read_opened(file: File, most_bytes: usize) -> io::Result<Vec<u8>> {
    let most = u64::try_from(most_bytes).unwrap_or(u64::MAX);
    let mut bytes = Vec::new();
    file.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it has more than {most} bytes")));
    }
    Ok(bytes)
}

/// The same, as text.
///
/// # Errors
/// As [`read`]; `InvalidData` if it is not UTF-8.
pub fn read_text(path: &Path, most_bytes: usize) -> io::Result<String> {
    String::from_utf8(read(path, most_bytes)?)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8 text"))
}

fn check(mode: u32, types: &[FileType]) -> io::Result<()> {
    let found = FileType::from_raw_mode(mode);
    if types.contains(&found) {
        return Ok(());
    }
    let what = format!("it is {}, not a regular file", file_type_name(found));
    Err(io::Error::new(io::ErrorKind::InvalidInput, what))
}

/// The name of a type of file, with its article.
pub(crate) fn file_type_name(kind: FileType) -> &'static str {
    match kind {
        FileType::RegularFile => "a regular file",
        FileType::Directory => "a directory",
        FileType::Symlink => "a symbolic link",
        FileType::Fifo => "a named pipe",
        FileType::Socket => "a socket",
        FileType::CharacterDevice => "a character device",
        FileType::BlockDevice => "a block device",
        FileType::Unknown => "of an unknown type",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_regular_file_is_named_and_never_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        nix::unistd::mkfifo(&at("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        std::os::unix::fs::symlink("fifo", at("link")).unwrap();
        for (path, name) in [
            (at("fifo"), "a named pipe"),
            (at("link"), "a named pipe"),
            (at("socket"), "a socket"),
            (at(""), "a directory"),
            ("/dev/zero".into(), "a character device"),
        ] {
            let error = open(&path).unwrap_err().to_string();
            assert!(error.contains(&format!("it is {name}, not a regular file")), "{error}");
        }
        assert_eq!(read(Path::new("/dev/null"), 5).unwrap(), b"", "what is masked is empty");
        std::os::unix::fs::symlink("/dev/null", at("masked")).unwrap();
        assert_eq!(read(&at("masked"), 5).unwrap(), b"");
        assert!(append(Path::new("/dev/null"), 0o600).is_err(), "nothing is written to it by mistake");
        assert!(open_bundle(&at("")).is_ok() && open_bundle(&at("fifo")).is_err());
        assert!(append(&at("fifo"), 0o600).is_err() && append(&at("link"), 0o600).is_err());
        append(&at("new"), 0o600).unwrap();
        std::fs::write(at("file"), "12345").unwrap();
        assert_eq!(read_text(&at("file"), 5).unwrap(), "12345");
        assert!(read(&at("file"), 4).unwrap_err().to_string().contains("more than 4 bytes"));
    }
}
