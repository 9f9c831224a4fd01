//! Brings the history file and the ledger together after any crash.

use super::{Chain, Context, HistoryError, HistoryState, Kind, Link, Record, Recovered, hash};
use crate::ids::Sha256Digest;

/// A look at a history file, line by line, in memory that does not grow with it.
///
/// The ledger's pending records are the only ones that may not be synced. So the file has a *settled* part, which is
/// never cut, and after it a part that is compared with the pending records byte by byte.
#[derive(Debug)]
pub struct Scan<'a> {
    pending: &'a [Record],
    left_out: u64,
    /// The record that ends the settled part, by the ledger; `None` when there is no ledger.
    settled: Option<Settled>,
    /// Complete lines so far end here.
    complete: u64,
    last: Option<(u64, Sha256Digest)>,
    /// The last record ends here; what comes after is no record.
    last_end: u64,
    highest: Option<u64>,
    /// Where the settled part ends, once its last record was seen, and what came after.
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
    /// Begins with what the ledger says; `None` when it says nothing.
    pub fn new(state: Option<&'a HistoryState>) -> Self {
        let pending = state.map_or(&[][..], |s| s.pending.as_slice());
        let settled = state.map(|s| match pending.first() {
            None => Settled { next_seq: s.chain.next_seq, head: s.chain.head },
            Some(first) => {
                let head = Link::parse(first.line.as_bytes()).ok().and_then(|link| link.prev_hash);
                Settled { next_seq: first.seq, head }
            }
        });
        // A ledger that never saw a record knows nothing about the file, and must not have it cut.
        let settled = settled.filter(|s| s.next_seq > 0 || !pending.is_empty());
        let left_out = state.map_or(0, |s| s.left_out);
        let mut scan =
            Self { pending, left_out, settled, complete: 0, last: None, last_end: 0, highest: None, tail: None };
        if settled.is_some_and(|s| s.next_seq == 0) {
            scan.begin_tail(Chain::default());
        }
        scan
    }

    /// The first number above all that the file holds.
    fn next_in_file(&self) -> u64 {
        self.highest.map_or(0, |seq| seq.saturating_add(1))
    }

    fn begin_tail(&mut self, chain: Chain) {
        self.tail = Some(Tail { good_to: self.complete, chain, matched: 0, beyond: 0, diverged: false });
    }

    /// Takes the next complete line: its bytes without the newline, and its length in the file with it. (Of a line
    /// that is longer than any record, the beginning is enough: it is no record.)
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
            // Should someone have repeated it, the last one counts: what lies between is evidence and stays.
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
            // More than the ledger knows: the ledger is an older one. The file's word stands if it makes a chain.
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

/// What has to be done to the file, and what the ledger has to hold before that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reconciled {
    /// The file's length after the cut; its length now when nothing is cut.
    pub keep_bytes: u64,
    /// Lines to append after the cut: the pending records that the file lacks, and the `recovered` record last.
    pub append: Vec<Record>,
    /// What the ledger holds from now on; persisted before the file is touched.
    pub state: HistoryState,
    /// What was out of the ordinary; `None` when file and ledger agreed or only lacked records that are appended.
    pub recovered: Option<Recovered>,
}

/// Decides how to bring file and ledger together. `file_bytes` is the file's length, torn last line included.
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

/// The file holds what was settled, and then some of the pending records.
fn from_tail(scan: &Scan<'_>, tail: &Tail) -> Plan {
    let append: Vec<Record> = scan.pending.iter().skip(tail.matched).cloned().collect();
    let chain = chain_after(&append).unwrap_or(tail.chain);
    let recovered = Recovered { unknown_to_ledger: tail.beyond, ..Recovered::default() };
    Plan { keep_bytes: tail.good_to, append, chain, recovered }
}

/// The file does not hold the last settled record as it was: it was damaged or changed. Every complete line stays, as
/// evidence; numbers go on above both, from the ledger's head where possible, so that the change stays visible.
fn from_damaged(scan: &Scan<'_>, settled: Settled) -> Plan {
    let file_next = scan.next_in_file();
    let append: Vec<Record> = scan.pending.iter().filter(|record| record.seq >= file_next).cloned().collect();
    let ledger_end = chain_after(scan.pending).unwrap_or(Chain { next_seq: settled.next_seq, head: settled.head });
    if ledger_end.next_seq == file_next && ledger_end.head == scan.last.map(|(_, hash)| hash) {
        // The damage was named and all pending records were written, and then came the next crash.
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

/// The ledger says nothing: the records in the file are all that is known, and the chain goes on after the last one.
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
