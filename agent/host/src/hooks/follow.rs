//! Follows `scripts.log` while a deployment writes it: the live progress of hooks.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often the log is looked at while a caller follows it.
const LOOK: Duration = Duration::from_millis(100);

/// Most bytes that are taken at once.
const CHUNK: u64 = 256 << 10;

/// A place in a log that only grows.
#[derive(Debug)]
pub struct LogFollower {
    path: PathBuf,
    offset: u64,
}

impl LogFollower {
    /// Follows a log from a byte offset on; 0 is its beginning. The file need not exist yet.
    pub fn new(path: &Path, offset: u64) -> Self {
        Self { path: path.to_owned(), offset }
    }

    /// The byte up to which whole lines were returned.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The whole lines that came since the last call, without waiting and without their newlines.
    ///
    /// # Errors
    /// When the log cannot be read; a log that does not exist has no lines.
    pub fn new_lines(&mut self) -> io::Result<Vec<String>> {
        let mut file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        file.seek(SeekFrom::Start(self.offset))?;
        let mut bytes = Vec::new();
        file.take(CHUNK).read_to_end(&mut bytes)?;
        let Some(end) = bytes.iter().rposition(|b| *b == b'\n') else { return Ok(Vec::new()) };
        self.offset += end as u64 + 1;
        Ok(bytes[..end].split(|b| *b == b'\n').map(|line| String::from_utf8_lossy(line).into_owned()).collect())
    }

    /// Waits until there is a new line. Dropping the future loses nothing.
    ///
    /// # Errors
    /// As [`LogFollower::new_lines`].
    pub async fn next_lines(&mut self) -> io::Result<Vec<String>> {
        loop {
            let lines = self.new_lines()?;
            if !lines.is_empty() {
                return Ok(lines);
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn lines_are_given_once_and_whole() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("scripts.log");
        let mut follower = LogFollower::new(&path, 0);
        assert!(follower.new_lines().unwrap().is_empty());
        let mut file = File::create(&path).unwrap();
        file.write_all(b"one\ntwo\nthr").unwrap();
        assert_eq!(follower.new_lines().unwrap(), ["one", "two"]);
        assert!(follower.new_lines().unwrap().is_empty());
        file.write_all(b"ee\n\n").unwrap();
        assert_eq!(follower.new_lines().unwrap(), ["three", ""]);
        assert_eq!(follower.offset(), 15);
        assert_eq!(LogFollower::new(&path, 8).new_lines().unwrap(), ["three", ""]);
    }

    #[test]
    fn who_waits_is_given_what_comes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("scripts.log");
        let mut follower = LogFollower::new(&path, 0);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let lines = runtime.block_on(async {
            let waiting = tokio::spawn(async move { follower.next_lines().await });
            tokio::task::yield_now().await;
            std::fs::write(&path, "x\n").unwrap();
            waiting.await
        });
        assert_eq!(lines.unwrap().unwrap(), ["x"]);
    }
}
