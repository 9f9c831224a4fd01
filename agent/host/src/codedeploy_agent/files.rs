//! The files that both agents read and write. Other users may have put something else in their place: no link is
//! followed, only regular files count, and opening one never waits.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use hostler_core::codedeploy::exposure::{By, Place, Rule};
use nix::errno::Errno;
use nix::fcntl::OFlag;

use super::places::{agent, place_of};

/// A file's content, and which users may change it; `None` if there is no file.
///
/// # Errors
/// It is a link or no regular file (`InvalidInput`), has more than `most` bytes (`FileTooLarge`), or cannot be read.
pub fn read(path: &Path, most: u64) -> io::Result<Option<(Vec<u8>, Place)>> {
    let file = match open(path, OpenOptions::new().read(true)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let place = place_of(path, file.as_fd())?;
    let mut bytes = Vec::new();
    file.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it has more than {most} bytes")));
    }
    Ok(Some((bytes, place)))
}

/// Opens one of the agent's files to append to it; makes it if there is none.
///
/// # Errors
/// It is a link or no regular file, has further names, is another user's or may be written by others (`InvalidInput`),
/// or cannot be opened.
pub fn append(path: &Path, mode: u32) -> io::Result<File> {
    let file = open(path, OpenOptions::new().append(true).create(true).mode(mode))?;
    check_own(path, &file)?;
    Ok(file)
}

/// Writes a small file anew. Any other file in its place that is not the agent's own is removed, never written through.
/// Nothing is synced.
///
/// # Errors
/// It cannot be written.
pub fn write(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let opened = open(path, OpenOptions::new().write(true)).and_then(|file| check_own(path, &file).map(|()| file));
    let mut file = match opened {
        Ok(file) => file,
        Err(error) => {
            if error.kind() != io::ErrorKind::NotFound {
                fs::remove_file(path)?;
            }
            OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?
        }
    };
    file.set_len(0)?;
    file.write_all(bytes)
}

fn open(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let refused = |problem: &str| io::Error::new(io::ErrorKind::InvalidInput, problem.to_owned());
    let file = options.custom_flags(flags.bits()).open(path).map_err(|error| {
        match error.raw_os_error().map(Errno::from_raw) {
            Some(Errno::ELOOP) => refused("it is a symbolic link, and none is followed here"),
            _ => error,
        }
    })?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(refused("it is not a regular file")) }
}

fn check_own(path: &Path, file: &File) -> io::Result<()> {
    let place = place_of(path, file.as_fd())?;
    let problem = match agent().judge(Rule::Own, &place).map(|exposed| exposed.by) {
        None if file.metadata()?.nlink() == 1 => return Ok(()),
        None => "it has further names (hard links)".to_owned(),
        Some(By::Owner) => format!("user {} owns it", place.uid),
        Some(By::Group | By::List | By::Everybody) => format!("others may write to it (mode {:04o})", place.mode),
    };
    Err(io::Error::new(io::ErrorKind::InvalidInput, problem))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn nothing_is_read_or_written_through_a_link_or_another_name() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::write(at("canary"), "untouched").unwrap();
        symlink(at("canary"), at("link")).unwrap();
        fs::hard_link(at("canary"), at("name")).unwrap();
        nix::unistd::mkfifo(&at("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        for (name, why) in [("link", "symbolic link"), ("pipe", "regular file"), ("name", "hard links")] {
            let error = append(&at(name), 0o644).unwrap_err().to_string();
            assert!(error.contains(why) || name == "pipe", "{name}: {error}");
        }
        for name in ["link", "pipe"] {
            assert_eq!(read(&at(name), 100).unwrap_err().kind(), io::ErrorKind::InvalidInput, "{name}");
        }
        assert!(read(&at("nothing"), 100).unwrap().is_none());
        assert_eq!(read(&at("canary"), 8).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        for name in ["link", "name", "pipe"] {
            write(&at(name), b"new", 0o644).unwrap();
            assert_eq!(read(&at(name), 100).unwrap().unwrap().0, b"new", "{name}");
        }
        assert_eq!(fs::read_to_string(at("canary")).unwrap(), "untouched");
    }

    #[test]
    fn a_file_that_others_may_write_to_is_not_appended_to() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        append(&path, 0o644).unwrap().write_all(b"one\n").unwrap();
        append(&path, 0o644).unwrap().write_all(b"two\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        let error = append(&path, 0o644).unwrap_err();
        assert!(error.to_string().contains("others may write to it (mode 0666)"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "one\ntwo\n");
    }
}
