//! The notes beside a journal's document: files that could not be put back, and files that an operator gave up.

use std::fs::File;

use serde::Deserialize;

use super::journal::{Journal, Phase, failed, read_json, read_json_if_whole, write_json};
use super::mounts::{FileSystemRecord, LostMount, lost};
use super::steps::Steps;
use super::{InstallError, Left};

const LEFT: &str = "install.left.json";
const GIVEN_UP: &str = "install.given-up";

impl Journal {
    /// The file systems on which the Install worked and which are not mounted any more.
    pub fn lost_mounts(&self, phase: Phase) -> Result<Vec<LostMount>, InstallError> {
        #[derive(Deserialize)]
        struct Document {
            #[serde(default)]
            file_systems: Vec<FileSystemRecord>,
        }
        let document: Document = read_json(&self.path().join(phase.file()))?;
        Ok(if self.is_given_up()? { Vec::new() } else { lost(&document.file_systems) })
    }

    /// Whether an operator has declared unreachable files lost.
    pub fn is_given_up(&self) -> Result<bool, InstallError> {
        let path = self.path().join(GIVEN_UP);
        path.try_exists().map_err(|source| failed("read", &path, source))
    }

    pub fn give_up(&self, steps: &impl Steps) -> Result<(), InstallError> {
        let path = self.path().join(GIVEN_UP);
        File::create(&path).map_err(|source| failed("write", &path, source))?;
        self.sync(steps)
    }

    /// The files that no pass so far could put back; the last pass alone may not know of them any more.
    pub fn read_left(&self) -> Result<Vec<Left>, InstallError> {
        let path = self.path().join(LEFT);
        match path.try_exists().map_err(|source| failed("read", &path, source))? {
            true => Ok(read_json_if_whole(&path)?.unwrap_or_default()),
            false => Ok(Vec::new()),
        }
    }

    /// Adds files that could not be put back. On disk with the next mark.
    pub fn add_left(&self, more: &[Left], steps: &impl Steps) -> Result<(), InstallError> {
        let mut left = self.read_left()?;
        let before = left.len();
        for new in more {
            if !left.contains(new) {
                left.push(new.clone());
            }
        }
        if left.len() == before {
            return Ok(());
        }
        let path = self.path().join(LEFT);
        let file = write_json(&path, &left)?;
        steps.sync(&file).map_err(|source| failed("write", &path, source))
    }
}
