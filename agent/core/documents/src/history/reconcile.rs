//! Reconciles the history file with the ledger after any crash.

use super::{Chain, Context, HistoryError, HistoryState, Kind, Link, Record, Recovered, hash};
use crate::ids::Sha256Digest;

/// A scan of a history file, line by line, in constant memory.
///
/// Only the ledger's pending records may be unsynced. So the file has a *settled* part, which is never cut, followed by
/// a part that is compared with the pending records byte by byte.
#[derive(Debug)]
pub struct Scan<'a> {
    pending: &'a [Record],
    left_out: u64,
    /// The record that ends the settled part, from the ledger; `None` without a ledger.
    settled: Option<Settled>,
    /// End of the complete lines so far.
    complete: u64,
    last: Option<(u64, Sha256Digest)>,
    /// End of the last record; the rest is no record.
    last_end: u64,
    highest: Option<u64>,
    /// The end of the settled part, once its last record was seen, and the records after it.
    tail: Option<Tail>,
}

#[derive(Debug, Clone, Copy)]
struct Settled {
    next_seq: u64,
    head: Option<Sha256Digest>,
}

#[derive(Debug)]
struct Tail {
    good_to: u64,
    chain: Chain,
    matched: usize,
    beyond: u64,
    diverged: bool,
}

impl<'a> Scan<'a> {
    /// Begins with the ledger's state; `None` without one.
    pub fn new(state: Option<&'a HistoryState>) -> Self {
        let pending = state.map_or(&[][..], |s| s.pending.as_slice());
        let settled = state.map(|s| match pending.first() {
            None => Settled { next_seq: s.chain.next_seq, head: s.chain.head },
            Some(first) => {
                let head = Link::parse(first.line.as_bytes()).ok().and_then(|link| link.prev_hash);
                Settled { next_seq: first.seq, head }
            }
        });
        // A ledger that never saw a record knows nothing about the file, and must not lead to a cut.
        let settled = settled.filter(|s| s.next_seq > 0 || !pending.is_empty());
        let left_out = state.map_or(0, |s| s.left_out);
        let mut scan =
            Self { pending, left_out, settled, complete: 0, last: None, last_end: 0, highest: None, tail: None };
        if settled.is_some_and(|s| s.next_seq == 0) {
            scan.begin_tail(Chain::default());
        }
        scan
    }

    /// The first number above all in the file.
    fn next_in_file(&self) -> u64 {
        self.highest.map_or(0, |seq| seq.saturating_add(1))
    }

    fn begin_tail(&mut self, chain: Chain) {
        self.tail = Some(Tail { good_to: self.complete, chain, matched: 0, beyond: 0, diverged: false });
    }

    /// Takes the next complete line: its bytes without the newline, and its length in the file with it. (The beginning
    /// is enough for a line longer than any record: it is no record.)
    pub fn line(&mut self, bytes: &[u8], length: u64) {
        self.complete += length;
        let link = Link::parse(bytes).ok();
        let own = hash(bytes);
        if let Some(link) = &link {
            self.last = Some((link.seq, own));
            self.last_end = self.complete;
            self.highest = self.highest.max(Some(link.seq));
        }
        if let (Some(link), Some(settled)) = (&link, self.settled)
            && link.seq.checked_add(1) == Some(settled.next_seq)
            && settled.head == Some(own)
        {
            // If the record is there more than once, the last one counts: the lines in between are evidence and stay.
            self.begin_tail(Chain { next_seq: settled.next_seq, head: Some(own) });
        } else if let Some(tail) = &mut self.tail {
            tail.line(bytes, link.as_ref(), own, self.pending, self.complete);
        }
    }
}

impl Tail {
    fn line(&mut self, bytes: &[u8], link: Option<&Link>, own: Sha256Digest, pending: &[Record], end: u64) {
        let follows = link.is_some_and(|l| l.seq == self.chain.next_seq && l.prev_hash == self.chain.head);
        let expected = match pending.get(self.matched) {
            Some(record) => record.line.as_bytes() == bytes,
            // The ledger is older than the file. The file's records count if they form a chain.
            None => true,
        };
        if self.diverged || !follows || !expected {
            self.diverged = true;
            return;
        }
        if self.matched < pending.len() {
            self.matched += 1;
        } else {
            self.beyond += 1;
        }
        self.good_to = end;
        self.chain = Chain { next_seq: self.chain.next_seq.saturating_add(1), head: Some(own) };
    }
}

/// The changes to the file, and the ledger's state to persist before them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reconciled {
    /// The file's length after the cut; its current length without a cut.
    pub keep_bytes: u64,
    /// Lines to append after the cut: the pending records that the file lacks, then the `recovered` record.
    pub append: Vec<Record>,
    /// The ledger's state from now on; persisted before the file changes.
    pub state: HistoryState,
    /// Irregularities; `None` when file and ledger agreed or the file only lacked records that are appended.
    pub recovered: Option<Recovered>,
}

/// Decides how to reconcile file and ledger. `file_bytes` is the file's length, including a torn last line.
///
/// # Errors
/// The `recovered` record cannot be written as JSON.
pub fn reconcile(scan: Scan<'_>, file_bytes: u64, context: &Context) -> Result<Reconciled, HistoryError> {
    let pending = scan.pending.to_vec();
    let found = match (&scan.tail, scan.settled) {
        (Some(tail), _) => from_tail(&scan, tail),
        (None, Some(settled)) => from_damaged(&scan, settled),
        (None, None) => from_file_alone(&scan),
    };
    let Plan { keep_bytes, mut append, chain, mut recovered } = found;
    recovered.lost_bytes = file_bytes.saturating_sub(keep_bytes);
    let mut state = HistoryState { chain, pending, left_out: scan.left_out };
    if recovered == Recovered::default() {
        return Ok(Reconciled { keep_bytes, append, state, recovered: None });
    }
    append.push(state.append(context, Kind::Recovered(recovered))?);
    Ok(Reconciled { keep_bytes, append, state, recovered: Some(recovered) })
}

struct Plan {
    keep_bytes: u64,
    append: Vec<Record>,
    chain: Chain,
    recovered: Recovered,
}

/// The file has the settled records, and then some of the pending ones.
fn from_tail(scan: &Scan<'_>, tail: &Tail) -> Plan {
    let append: Vec<Record> = scan.pending.iter().skip(tail.matched).cloned().collect();
    let chain = chain_after(&append).unwrap_or(tail.chain);
    let recovered = Recovered { unknown_to_ledger: tail.beyond, ..Recovered::default() };
    Plan { keep_bytes: tail.good_to, append, chain, recovered }
}

/// The file's last settled record differs from the written one: it was damaged or changed. Every complete line stays as
/// evidence. Numbers continue above both, from the ledger's head if possible, so that the change stays visible.
fn from_damaged(scan: &Scan<'_>, settled: Settled) -> Plan {
    let file_next = scan.next_in_file();
    let append: Vec<Record> = scan.pending.iter().filter(|record| record.seq >= file_next).cloned().collect();
    let ledger_end = chain_after(scan.pending).unwrap_or(Chain { next_seq: settled.next_seq, head: settled.head });
    if ledger_end.next_seq == file_next && ledger_end.head == scan.last.map(|(_, hash)| hash) {
        // The damage was reported and all pending records were written before the next crash.
        return Plan { keep_bytes: scan.complete, append, chain: ledger_end, recovered: Recovered::default() };
    }
    let chain = if file_next > ledger_end.next_seq {
        Chain { next_seq: file_next, head: scan.last.map(|(_, hash)| hash) }
    } else {
        ledger_end
    };
    let lost = (file_next < settled.next_seq).then(|| (file_next, settled.next_seq - 1));
    let recovered = Recovered {
        lost_bytes: 0,
        changed: true,
        missing_from: lost.map(|(from, _)| from),
        missing_to: lost.map(|(_, to)| to),
        unknown_to_ledger: file_next.saturating_sub(ledger_end.next_seq),
    };
    Plan { keep_bytes: scan.complete, append, chain, recovered }
}

/// There is no ledger: the agent knows only the file's records, and the chain continues after the last one.
fn from_file_alone(scan: &Scan<'_>) -> Plan {
    let file_next = scan.next_in_file();
    let chain = Chain { next_seq: file_next, head: scan.last.map(|(_, hash)| hash) };
    let recovered = Recovered { unknown_to_ledger: file_next, ..Recovered::default() };
    Plan { keep_bytes: scan.last_end, append: Vec::new(), chain, recovered }
}

fn chain_after(records: &[Record]) -> Option<Chain> {
    let last = records.last()?;
    Some(Chain { next_seq: last.seq.saturating_add(1), head: Some(hash(last.line.as_bytes())) })
}
