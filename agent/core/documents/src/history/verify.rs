//! Finds records that were edited, removed, reordered or cut off.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Link, hash};
use crate::ids::Sha256Digest;

/// A number and the hash of its record, kept where the history's owner cannot change it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Anchor {
    /// The number.
    pub seq: u64,
    /// The hash that this record had.
    pub hash: Sha256Digest,
}

/// A deviation from the written history. Lines count from 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "finding", rename_all = "snake_case")]
pub enum Finding {
    /// A line is not a record.
    NotARecord {
        /// The line.
        line: u64,
        /// The problem.
        problem: String,
    },
    /// Numbers are missing between two records (or before the first).
    Missing {
        /// The line at which they are missing.
        line: u64,
        /// The first missing number.
        from: u64,
        /// The last missing number.
        to: u64,
    },
    /// A number that should have come earlier.
    OutOfOrder {
        /// The line.
        line: u64,
        /// Its number.
        seq: u64,
        /// The expected number.
        due: u64,
    },
    /// A record does not follow from the line before: one of the two was edited or replaced.
    BrokenLink {
        /// The line of the later one.
        line: u64,
        /// Its number.
        seq: u64,
    },
    /// The record that an anchor covers has another hash: it was edited, or everything up to it was rewritten.
    NotAsAnchored {
        /// Its number.
        seq: u64,
    },
    /// The record that an anchor covers is missing: the end was cut off.
    Cut {
        /// The number that an anchor covers.
        anchored: u64,
        /// The highest existing number; `None` without records.
        highest: Option<u64>,
    },
    /// The last line has no end: a write was interrupted, or the end was cut off.
    Torn {
        /// Its length in bytes.
        bytes: u64,
    },
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotARecord { line, problem } => write!(f, "line {line}: {problem}"),
            Self::Missing { line, from, to } if from == to => {
                write!(f, "line {line}: record {from} is missing before it")
            }
            Self::Missing { line, from, to } => write!(f, "line {line}: records {from} to {to} are missing before it"),
            Self::OutOfOrder { line, seq, due } => {
                write!(f, "line {line}: is record {seq} where record {due} was due: put in another order or repeated")
            }
            Self::BrokenLink { line, seq } => {
                write!(f, "line {line}: record {seq} does not follow from the line before it: one of them was changed")
            }
            Self::NotAsAnchored { seq } => {
                write!(f, "record {seq} is not the one that was anchored: it or a record before it was changed")
            }
            Self::Cut { anchored, highest: Some(highest) } => {
                write!(f, "record {anchored} was anchored and the last one is {highest}: the end was cut off")
            }
            Self::Cut { anchored, highest: None } => {
                write!(f, "record {anchored} was anchored and there are no records: the history was removed")
            }
            Self::Torn { bytes } => write!(f, "the last line is torn after {bytes} bytes"),
        }
    }
}

/// Verifies a history line by line; only the findings and anchors take memory.
#[derive(Debug)]
pub struct Verifier {
    /// Anchors that no record has met yet.
    anchors: BTreeMap<u64, Vec<Sha256Digest>>,
    line: u64,
    due: u64,
    highest: Option<u64>,
    /// Hash of the record before; `None` before the first.
    before: Option<Sha256Digest>,
    findings: Vec<Finding>,
}

impl Verifier {
    /// Begins with the facts from elsewhere: anchors, and the ledger's own head.
    pub fn new(anchors: impl IntoIterator<Item = Anchor>) -> Self {
        let mut by_seq: BTreeMap<u64, Vec<Sha256Digest>> = BTreeMap::new();
        for anchor in anchors {
            by_seq.entry(anchor.seq).or_default().push(anchor.hash);
        }
        Self { anchors: by_seq, line: 0, due: 0, highest: None, before: None, findings: Vec::new() }
    }

    /// Takes the next line, without its newline.
    pub fn line(&mut self, bytes: &[u8]) {
        self.line += 1;
        let line = self.line;
        let link = match Link::parse(bytes) {
            Ok(link) => link,
            Err(error) => {
                self.findings.push(Finding::NotARecord { line, problem: error.to_string() });
                return;
            }
        };
        let seq = link.seq;
        if seq > self.due {
            self.findings.push(Finding::Missing { line, from: self.due, to: seq - 1 });
        } else if seq < self.due {
            self.findings.push(Finding::OutOfOrder { line, seq, due: self.due });
        } else if link.prev_hash != self.before {
            self.findings.push(Finding::BrokenLink { line, seq });
        }
        let own = hash(bytes);
        if let Some(hashes) = self.anchors.get_mut(&seq) {
            // A copy elsewhere in the file may be the right one: only an anchor that never matches counts, at the end.
            hashes.retain(|anchored| *anchored != own);
        }
        self.before = Some(own);
        self.highest = self.highest.max(Some(seq));
        self.due = seq.saturating_add(1);
    }

    /// Takes a last line that has no newline.
    pub fn torn(&mut self, bytes: u64) {
        self.findings.push(Finding::Torn { bytes });
    }

    /// The findings; empty for an unchanged history.
    pub fn finish(mut self) -> Vec<Finding> {
        for (seq, hashes) in self.anchors {
            if hashes.is_empty() {
                continue;
            }
            self.findings.push(match self.highest {
                Some(highest) if highest >= seq => Finding::NotAsAnchored { seq },
                highest => Finding::Cut { anchored: seq, highest },
            });
        }
        self.findings
    }
}

/// Verifies a history in memory.
pub fn verify<'a>(
    lines: impl IntoIterator<Item = &'a [u8]>,
    anchors: impl IntoIterator<Item = Anchor>,
) -> Vec<Finding> {
    let mut verifier = Verifier::new(anchors);
    lines.into_iter().for_each(|line| verifier.line(line));
    verifier.finish()
}
