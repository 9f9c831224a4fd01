//! The configured file of certificate authorities.

use std::fs::{FileType, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::Path;

use nix::fcntl::OFlag;

/// Most bytes of the file. Prevents: a wrong path that takes the memory.
const MOST_BYTES: u64 = 8 << 20;

/// Reads the bundle. Opening it never waits for a pipe's writer.
///
/// # Errors
/// It cannot be read, is no regular file (`InvalidInput`), or is too long (`FileTooLarge`).
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    let flags = OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits()).open(path)?;
    let found = file.metadata()?.file_type();
    if !found.is_file() {
        let what = format!("it is {}, not a regular file", name_of(found));
        return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
    }
    let mut bytes = Vec::new();
    file.take(MOST_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it has more than {MOST_BYTES} bytes")));
    }
    Ok(bytes)
}

fn name_of(found: FileType) -> &'static str {
    match found {
        _ if found.is_dir() => "a directory",
        _ if found.is_fifo() => "a named pipe",
        _ => "a device",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_no_file_of_certificates() {
        let error = read(Path::new("/dev/zero")).unwrap_err();
        assert!(error.to_string().contains("it is a device, not a regular file"), "{error}");
    }
}
