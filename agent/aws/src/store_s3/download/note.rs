//! Which parts of a download are complete: a line that names the download, then the number of each part as it arrives.

use std::fs::File;
use std::io::{self, Read as _};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;

use hostler_core::store::ETag;
use serde::{Deserialize, Serialize};

use crate::store_s3::object::Facts;

/// Most bytes of a note that are read: far more than the note of the largest bundle has.
const MOST_BYTES: u64 = 1 << 20;

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Header {
    version: u32,
    etag: ETag,
    size: u64,
    part_bytes: u64,
}

/// The parts of one download.
#[derive(Debug)]
pub(super) struct Note {
    file: Option<File>,
    length: u64,
    header: Header,
    parts: Vec<bool>,
    /// How many parts at the beginning are all complete.
    first: usize,
}

impl Note {
    /// Reads the note if it is about the same content in the same parts; begins a new one otherwise.
    pub(super) fn open(file: Option<File>, facts: &Facts, part_bytes: u64) -> io::Result<Self> {
        let header = Header { version: 1, etag: facts.etag.clone(), size: facts.size, part_bytes };
        let count = usize::try_from(facts.size.div_ceil(part_bytes)).map_err(io::Error::other)?;
        let mut note = Self { file, length: 0, header, parts: vec![false; count], first: 0 };
        if !note.read()? {
            note.clear()?;
        }
        Ok(note)
    }

    fn read(&mut self) -> io::Result<bool> {
        let Some(file) = &self.file else { return Ok(false) };
        let mut text = String::new();
        // If it is not text, the agent did not write it to its end.
        if file.take(MOST_BYTES).read_to_string(&mut text).is_err() {
            return Ok(false);
        }
        let mut lines = text.split_inclusive('\n').map_while(|line| line.strip_suffix('\n'));
        let header = lines.next().and_then(|line| serde_json::from_str::<Header>(line).ok());
        if header.as_ref() != Some(&self.header) {
            return Ok(false);
        }
        for number in lines {
            if let Some(part) = number.parse().ok().and_then(|index: usize| self.parts.get_mut(index)) {
                *part = true;
            }
        }
        // A line that a kill cut off is overwritten.
        self.length = text.rfind('\n').map_or(0, |at| at as u64 + 1);
        self.advance();
        Ok(true)
    }

    /// Begins again: nothing is complete.
    pub(super) fn clear(&mut self) -> io::Result<()> {
        self.parts.fill(false);
        self.first = 0;
        let header = format!("{}\n", serde_json::to_string(&self.header)?);
        if let Some(file) = &self.file {
            file.set_len(0)?;
            file.write_all_at(header.as_bytes(), 0)?;
        }
        self.length = header.len() as u64;
        Ok(())
    }

    /// Notes a part that is complete in the file.
    pub(super) fn done(&mut self, index: usize) -> io::Result<()> {
        let line = format!("{index}\n");
        if let Some(file) = &self.file {
            file.write_all_at(line.as_bytes(), self.length)?;
        }
        self.length += line.len() as u64;
        if let Some(part) = self.parts.get_mut(index) {
            *part = true;
        }
        self.advance();
        Ok(())
    }

    fn advance(&mut self) {
        self.first += self.parts.iter().skip(self.first).take_while(|done| **done).count();
    }

    pub(super) fn any_done(&self) -> bool {
        self.parts.contains(&true)
    }

    pub(super) fn missing(&self) -> Vec<usize> {
        self.parts.iter().enumerate().filter(|(_, done)| !**done).map(|(index, _)| index).collect()
    }

    pub(super) fn missing_bytes(&self) -> u64 {
        self.missing().into_iter().map(|index| self.range(index)).map(|range| range.end - range.start).sum()
    }

    /// The bytes of a part.
    pub(super) fn range(&self, index: usize) -> Range<u64> {
        let from = index as u64 * self.header.part_bytes;
        from..self.header.size.min(from + self.header.part_bytes)
    }

    /// The offset up to which everything is complete.
    pub(super) fn complete_up_to(&self) -> u64 {
        self.header.size.min(self.first as u64 * self.header.part_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(etag: &str) -> Facts {
        Facts { size: 25, etag: ETag::new(etag), version_id: None }
    }

    fn open(file: &File, etag: &str) -> Note {
        use std::io::Seek as _;
        let mut file = file.try_clone().unwrap();
        file.rewind().unwrap();
        Note::open(Some(file), &facts(etag), 10).unwrap()
    }

    #[test]
    fn what_is_noted_is_known_again_for_the_same_content_only() {
        let file = tempfile::tempfile().unwrap();
        let mut note = open(&file, "a");
        assert_eq!((note.missing(), note.missing_bytes(), note.complete_up_to()), (vec![0, 1, 2], 25, 0));
        note.done(2).unwrap();
        note.done(0).unwrap();
        assert_eq!(note.complete_up_to(), 10);
        let mut again = open(&file, "a");
        assert_eq!((again.missing(), again.missing_bytes(), again.complete_up_to()), (vec![1], 10, 10));
        again.done(1).unwrap();
        assert_eq!(again.complete_up_to(), 25);
        assert!(!open(&file, "b").any_done());
        assert!(!open(&file, "a").any_done(), "the note of b took the place of that of a");
    }

    #[test]
    fn a_line_that_was_cut_off_is_not_believed() {
        let file = tempfile::tempfile().unwrap();
        let mut note = open(&file, "a");
        note.done(1).unwrap();
        let length = file.metadata().unwrap().len();
        file.write_all_at(b"2", length).unwrap();
        let mut again = open(&file, "a");
        assert_eq!(again.missing(), [0, 2]);
        again.done(0).unwrap();
        assert_eq!(open(&file, "a").missing(), [2]);
    }
}
