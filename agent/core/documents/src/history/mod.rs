//! The history of this host: an append-only chain of records, each bound to the one before by its digest.
//!
//! ```text
//! history.ndjson   one record a line: {domain, seq, prev_hash, host, boot_id, time_ms, agent_version, kind, …}
//! hash             SHA-256(domain ‖ the line's exact bytes without its newline); the next record's prev_hash
//! anchor           (seq, hash) kept somewhere else: what it covers cannot be edited or cut off unseen
//! ```
//!
//! The following order survives a crash: append to [`HistoryState`] → persist the ledger with it → write the line to
//! the file → sync the file once per deployment → [`HistoryState::settled`]. At the start [`reconcile`] reconciles the
//! file with the ledger. No number is used twice.
//!
//! It proves that records that an anchor covers were not changed; it does not prove that root told the truth
//! (docs/protocols/signing.md#what-it-proves).

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::ids::{InstanceId, Sha256Digest};

mod kind;
mod purpose;
mod reconcile;
mod summary;
#[cfg(test)]
mod tests;
mod verify;

pub use kind::{DeploymentOutcome, EventOutcome, Kind, Recovered, Requester, RequesterKind};
pub use purpose::DeploymentPurpose;
pub use reconcile::{Reconciled, Scan, reconcile};
pub use summary::{Selection, Summary, Wanted, named};
pub use verify::{Anchor, Finding, Verifier, verify};

/// The prefix of each record and of its hash.
pub const DOMAIN: &str = "hostler/history/1";

/// Why a record cannot be made or read.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// It cannot be written as JSON.
    #[error("cannot write record {seq}")]
    Write {
        /// Its number.
        seq: u64,
        /// The problem.
        #[source]
        source: serde_json::Error,
    },
    /// A line is not a record of this format.
    #[error("this line is not a history record: {problem}")]
    NotARecord {
        /// The problem.
        problem: String,
    },
}

/// The writer of a record, and the time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Context {
    /// This host.
    pub host: InstanceId,
    /// The kernel's boot id.
    pub boot_id: String,
    /// Milliseconds since 1970.
    pub time_ms: u64,
    /// The agent's version.
    pub agent_version: String,
}

/// A record as it is read back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Always [`DOMAIN`].
    pub domain: String,
    /// Its number: 0, 1, 2 … on each host.
    pub seq: u64,
    /// Hash of the record before; `None` for the first.
    pub prev_hash: Option<Sha256Digest>,
    /// The host.
    pub host: InstanceId,
    /// The kernel's boot id.
    pub boot_id: String,
    /// Milliseconds since 1970.
    pub time_ms: u64,
    /// The agent's version.
    pub agent_version: String,
    /// The action.
    #[serde(flatten)]
    pub kind: Kind,
}

impl Entry {
    /// Reads one line.
    ///
    /// # Errors
    /// It is not a record of this format.
    pub fn parse(line: &[u8]) -> Result<Self, HistoryError> {
        Link::parse(line)?;
        serde_json::from_slice(line).map_err(|e| HistoryError::NotARecord { problem: e.to_string() })
    }
}

/// The part of a record that forms the chain. It is read alone, so that a chain verifies whatever its records contain.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Link {
    domain: String,
    seq: u64,
    prev_hash: Option<Sha256Digest>,
}

impl Link {
    fn parse(line: &[u8]) -> Result<Self, HistoryError> {
        let link: Self =
            serde_json::from_slice(line).map_err(|e| HistoryError::NotARecord { problem: e.to_string() })?;
        if link.domain != DOMAIN {
            let problem = format!("its domain is {:?} and must be {DOMAIN:?}", link.domain);
            return Err(HistoryError::NotARecord { problem });
        }
        Ok(link)
    }
}

/// The hash of a record, from the exact bytes of its line without the newline.
pub fn hash(line: &[u8]) -> Sha256Digest {
    Sha256Digest::from_bytes(Sha256::new().chain_update(DOMAIN).chain_update(line).finalize().into())
}

/// A record as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Its number.
    pub seq: u64,
    /// The line, without its newline.
    pub line: String,
}

/// The end of a chain: everything that an append needs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chain {
    /// The number of the next record.
    pub next_seq: u64,
    /// Hash of the last record; `None` when there is none.
    pub head: Option<Sha256Digest>,
}

impl Chain {
    /// Makes the next record. On an error the chain stays as it was.
    ///
    /// # Errors
    /// The record cannot be written as JSON.
    pub fn append(&mut self, context: &Context, kind: Kind) -> Result<Record, HistoryError> {
        let seq = self.next_seq;
        let entry = Entry {
            domain: DOMAIN.to_owned(),
            seq,
            prev_hash: self.head,
            host: context.host.clone(),
            boot_id: context.boot_id.clone(),
            time_ms: context.time_ms,
            agent_version: context.agent_version.clone(),
            kind,
        };
        let line = serde_json::to_string(&entry).map_err(|source| HistoryError::Write { seq, source })?;
        *self = Self { next_seq: seq.saturating_add(1), head: Some(hash(line.as_bytes())) };
        Ok(Record { seq, line })
    }

    /// The anchor of everything up to the last record; `None` without records.
    pub fn anchor(&self) -> Option<Anchor> {
        self.head.map(|hash| Anchor { seq: self.next_seq.saturating_sub(1), hash })
    }
}

/// The ledger's part of the history: the end of the chain, and the records that the file may not have yet.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryState {
    /// The end of the chain, including pending records.
    pub chain: Chain,
    /// Records that may not be synced yet, oldest first.
    #[serde(default)]
    pub pending: Vec<Record>,
    /// Number of records that were not made because the pending ones took all the room. The next record reports it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub left_out: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Bytes of pending records above which the agent writes and syncs them before other work.
const SYNC_ABOVE_BYTES: usize = 32 << 10;

/// Bytes of pending records above which the agent makes no more until it can write them. Prevents: a full disk, on
/// which deployments fail again and again, outgrows the ledger.
const MOST_PENDING_BYTES: usize = 64 << 10;

impl HistoryState {
    /// Makes a record and keeps it as pending. The ledger is persisted before the line goes to the file.
    ///
    /// # Errors
    /// The record cannot be written as JSON.
    pub fn append(&mut self, context: &Context, kind: Kind) -> Result<Record, HistoryError> {
        let record = self.chain.append(context, kind)?;
        self.pending.push(record.clone());
        Ok(record)
    }

    /// Makes a record and keeps it as pending, while there is room. Records that are left out are counted, and reported
    /// by a record once there is room again.
    ///
    /// # Errors
    /// The record cannot be written as JSON.
    pub fn note(&mut self, context: &Context, kind: Kind) -> Result<(), HistoryError> {
        if self.pending_bytes() > MOST_PENDING_BYTES {
            self.left_out = self.left_out.saturating_add(1);
            return Ok(());
        }
        if self.left_out > 0 {
            self.append(context, Kind::RecordsLeftOut { records: self.left_out })?;
            self.left_out = 0;
        }
        self.append(context, kind)?;
        Ok(())
    }

    /// Whether enough is pending to write and sync it now.
    pub fn wants_sync(&self) -> bool {
        self.pending_bytes() > SYNC_ABOVE_BYTES
    }

    fn pending_bytes(&self) -> usize {
        self.pending.iter().map(|record| record.line.len()).sum()
    }

    /// The anchor of everything that the file must have in any case: all records before the first pending one.
    pub fn anchor(&self) -> Option<Anchor> {
        let Some(first) = self.pending.first() else { return self.chain.anchor() };
        let link = Link::parse(first.line.as_bytes()).ok()?;
        Some(Anchor { seq: link.seq.checked_sub(1)?, hash: link.prev_hash? })
    }

    /// Forgets the pending records after the file was synced with them.
    pub fn settled(&mut self) {
        self.pending.clear();
    }
}
