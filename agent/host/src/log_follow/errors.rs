//! The problems of single logs, for people.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use hostler_core::logs::lag::SourceReport;
use hostler_core::operator_events::OperatorEvent;

use super::StreamName;
use crate::safe_path::refusal;

/// How many paths get a complaint in the log, once each. Prevents: a log about logs that fills the disk.
const MOST_SAID: usize = 1000;

/// The last errors of streams, and the files that are not followed.
#[derive(Debug, Default)]
pub(super) struct Errors {
    pub of_streams: BTreeMap<String, String>,
    said: BTreeSet<PathBuf>,
    /// Files and directories that are not read, since the last look at everything.
    refused: BTreeMap<PathBuf, SourceReport>,
    refused_before: BTreeSet<PathBuf>,
    /// Packed files that are no logs, by their inodes' numbers, as long as they are there.
    left_out: BTreeMap<PathBuf, (u64, SourceReport)>,
}

impl Errors {
    pub fn note(&mut self, stream: &str, message: String) {
        self.of_streams.insert(stream.to_owned(), message);
    }

    /// A log of a stream could not be opened.
    pub fn opened(&mut self, name: &StreamName, path: &Path, error: &io::Error) {
        if error.kind() == io::ErrorKind::NotFound {
            return;
        }
        if refusal(error).is_some() {
            return self.refuse(name, path, &error.to_string());
        }
        self.note(&name.key(), format!("cannot read {}: {error}", path.display()));
        if self.said.len() < MOST_SAID && self.said.insert(path.to_owned()) {
            log::warn!(path:% = path.display(), error:%; "the log {} cannot be read: {error}", path.display());
        }
    }

    /// A log is not read in its present state: logged once, and shown while that lasts.
    pub fn refuse(&mut self, name: &StreamName, path: &Path, reason: &str) {
        if self.refused.len() >= MOST_SAID || self.refused.contains_key(path) {
            return;
        }
        if !self.refused_before.contains(path) {
            log::warn!(path:% = path.display(), reason; "the log {} is not shipped: {reason}", path.display());
        }
        self.refused.insert(path.to_owned(), not_shipped(name, path, reason));
    }

    /// A packed file, or the rest of one, is left out: logged at once, and shown as long as the file is there.
    pub fn leave_out(&mut self, name: &StreamName, path: &Path, reason: &str) {
        log::error!(
            message_id = OperatorEvent::LogsLost.message_id(), hostler_event = OperatorEvent::LogsLost.name(),
            path:% = path.display(), reason; "the packed log {} is left out: {reason}", path.display()
        );
        if let Ok(found) = path.metadata()
            && self.left_out.len() < MOST_SAID
        {
            self.left_out.insert(path.to_owned(), (found.ino(), not_shipped(name, path, reason)));
        }
    }

    /// Forgets the refusals, which the sweep finds anew.
    pub fn begin_sweep(&mut self) {
        self.refused_before = std::mem::take(&mut self.refused).into_keys().collect();
        self.left_out.retain(|path, (inode, _)| path.metadata().is_ok_and(|found| found.ino() == *inode));
    }

    pub fn refused(&self) -> impl Iterator<Item = &SourceReport> {
        self.refused.values().chain(self.left_out.values().map(|(_, report)| report))
    }

    pub fn too_many(&mut self, pattern: &str, most: usize) {
        if self.said.len() < MOST_SAID && self.said.insert(PathBuf::from(pattern)) {
            log::warn!(pattern, most; "the pattern {pattern} finds more than {most} files or directories: the first ones are followed, narrow it down");
        }
    }
}

fn not_shipped(name: &StreamName, path: &Path, reason: &str) -> SourceReport {
    SourceReport {
        source: path.display().to_string(),
        log_group: name.group.clone(),
        log_stream: name.stream.clone(),
        position: "0".to_owned(),
        last_error: Some(format!("it is not shipped: {reason}")),
        ..SourceReport::default()
    }
}
