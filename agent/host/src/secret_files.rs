//! Files whose lines are secrets. They are read so that their lines can be taken out of logs, and kept in memory only.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use hostler_core::path_rule::UnsafePaths;

use crate::safe_path::{Opener, Purpose};

/// A file of secrets that exists but cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BadSecretFile {
    /// It cannot be read.
    #[error("cannot read the secrets in {path}: {source}")]
    Unreadable {
        /// Its path.
        path: PathBuf,
        /// Why it cannot be read.
        source: io::Error,
    },
    /// It is too long for a file of secrets.
    #[error("{path} has more than {most_bytes} bytes: a file of secrets has one in each line and nothing else")]
    TooLong {
        /// Its path.
        path: PathBuf,
        /// Most bytes that are read of such a file.
        most_bytes: u64,
    },
}

/// The secrets in the files now; none for a file that does not exist. The path rule for reading holds.
///
/// # Errors
/// The first that is there and cannot be used.
pub fn read(paths: &[PathBuf], most_bytes: u64, opener: &Opener) -> Result<Vec<String>, BadSecretFile> {
    paths.iter().map(|path| read_one(path, most_bytes, opener)).collect()
}

fn read_one(path: &Path, most_bytes: u64, opener: &Opener) -> Result<String, BadSecretFile> {
    let unreadable = |source| BadSecretFile::Unreadable { path: path.to_owned(), source };
    let file = match opener.open(path, Purpose::Secrets) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(String::new()),
        Err(error) => return Err(unreadable(error)),
    };
    let mut bytes = Vec::new();
    file.take(most_bytes + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > most_bytes {
        return Err(BadSecretFile::TooLong { path: path.to_owned(), most_bytes });
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Files that are read again and again. Earlier contents of a file stay known, even when it is emptied or removed:
/// lines with them may still wait for shipping.
#[derive(Default)]
pub struct SecretFiles {
    paths: Vec<PathBuf>,
    most_bytes: u64,
    opener: Opener,
    now: Vec<String>,
    before: Vec<String>,
}

impl SecretFiles {
    /// Nothing is read yet.
    pub fn new(paths: Vec<PathBuf>, most_bytes: u64, unsafe_paths: UnsafePaths) -> Self {
        let none = vec![String::new(); paths.len()];
        let opener = Opener::new(unsafe_paths);
        Self { paths, most_bytes, opener, now: none.clone(), before: none }
    }

    /// Reads them; returns the secrets to take out from now on, if they have changed.
    ///
    /// # Errors
    /// As [`read`]; the secrets known before stay known.
    pub fn refresh(&mut self) -> Result<Option<Vec<String>>, BadSecretFile> {
        let mut is_new = false;
        for (at, text) in read(&self.paths, self.most_bytes, &self.opener)?.into_iter().enumerate() {
            // An empty file is usually about to be written.
            if !text.is_empty() && text != self.now[at] {
                self.before[at] = std::mem::replace(&mut self.now[at], text);
                is_new = true;
            }
        }
        Ok(is_new.then(|| self.now.iter().chain(&self.before).cloned().collect()))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_changed_file_is_noticed_and_what_was_in_it_stays_known_once_more() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("password");
        let mut files = SecretFiles::new(vec![path.clone()], 10, UnsafePaths::Refuse);
        assert_eq!(files.refresh().unwrap(), None, "it does not exist yet");
        for (text, known) in [("one", ["one", ""]), ("two", ["two", "one"]), ("three", ["three", "two"])] {
            fs::write(&path, text).unwrap();
            assert_eq!(files.refresh().unwrap().unwrap(), known);
            fs::write(&path, "").unwrap();
            assert_eq!(files.refresh().unwrap(), None, "it is being written");
        }
        fs::write(&path, "much too long").unwrap();
        assert!(files.refresh().unwrap_err().to_string().contains("more than 10 bytes"));
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(files.refresh().unwrap_err().to_string().contains("cannot read the secrets"));
        fs::remove_dir(&path).unwrap();
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
        assert!(files.refresh().unwrap_err().to_string().contains("not a regular file"), "and nobody waits");
    }
}
