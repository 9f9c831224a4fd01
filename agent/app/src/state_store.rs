//! The state on disk: ledger and history together.

use hostler_core::history;
use hostler_core::ids::InstanceId;
use hostler_core::limits::Limits;
use hostler_core::machine::{State, room};
use hostler_host::history_file::{self, HistoryFile, HistoryFileError};
use hostler_host::ledger::Ledger;
use hostler_host::{clock, journal};

use crate::controller::LogOnce;
use crate::engine::Identity;
use crate::ports::StateStore;

/// The ledger and the history, written in this order: records that the history lacks after a crash or on a full disk
/// are still in the ledger.
#[derive(Debug)]
pub struct LedgerAndHistory {
    ledger: Ledger,
    history: HistoryFile,
    /// The number of the state's pending records that are in the file already.
    appended: usize,
    full: LogOnce,
    /// The host of the history's chain.
    host: InstanceId,
}

impl LedgerAndHistory {
    /// Opens history and ledger and reconciles them after any earlier end.
    ///
    /// # Errors
    /// When history or ledger cannot be read or written.
    pub fn open(mut ledger: Ledger, state: &mut State, identity: &Identity, limits: &Limits) -> anyhow::Result<Self> {
        let context = history::Context {
            host: identity.host.clone(),
            boot_id: identity.boot_id.clone(),
            time_ms: clock::now_ms(),
            agent_version: identity.agent_version.clone(),
        };
        let fresh = ledger.current().state.is_empty();
        let known = (!fresh).then_some(&state.history);
        let reconciled = history_file::survey(ledger.lock(), known, &context, limits)?;
        state.history.clone_from(&reconciled.state);
        if !fresh || !state.history.pending.is_empty() {
            write_ledger(&mut ledger, state)?;
        }
        let history = HistoryFile::open(ledger.lock(), &reconciled)?;
        let appended = state.history.pending.len().saturating_sub(reconciled.append.len());
        let mut store = Self { ledger, history, appended, full: LogOnce::default(), host: identity.host.clone() };
        store.write_history(state, true)?;
        Ok(store)
    }

    /// Brings the file up to date. On a full disk the records stay in the ledger, which has its room, and are written
    /// when there is space again: no outcome and no deployment is lost.
    fn write_history(&mut self, state: &mut State, settled: bool) -> anyhow::Result<()> {
        match self.append_and_sync(state, settled) {
            Err(error) if error.is_full() => {
                if self.full.begins() {
                    let error = anyhow::Error::new(error);
                    log::warn!("the ledger keeps the newest records of the history until there is space: {error:#}");
                }
                Ok(())
            }
            Err(error) => Err(anyhow::Error::new(error).context("cannot write the history")),
            Ok(()) => {
                self.full.ends();
                Ok(())
            }
        }
    }

    fn append_and_sync(&mut self, state: &mut State, settled: bool) -> Result<(), HistoryFileError> {
        for record in state.history.pending.iter().skip(self.appended) {
            self.history.append(record)?;
            self.appended += 1;
        }
        if settled && !state.history.pending.is_empty() {
            self.history.sync()?;
            state.history.settled();
            self.appended = 0;
            if let Some(anchor) = state.history.chain.anchor() {
                journal::send_anchor(self.ledger.lock().directory(), &self.host, &anchor);
            }
        }
        Ok(())
    }
}

/// Writes the state, shortened if necessary: a host must not stop because of records that only people read.
fn write_ledger(ledger: &mut Ledger, state: &mut State) -> anyhow::Result<()> {
    let mut bytes = serde_json::to_vec(state)?;
    if bytes.len() > ledger.room() {
        room::fit(state, ledger.room());
        log::warn!(
            "the agent's state had {} bytes and its ledger has room for {}: output, warnings and messages of the oldest \
             deployments are not kept any more",
            bytes.len(),
            ledger.room()
        );
        bytes = serde_json::to_vec(state)?;
    }
    Ok(ledger.persist(&bytes)?)
}

impl StateStore for LedgerAndHistory {
    fn room(&self) -> usize {
        self.ledger.room()
    }

    fn persist(&mut self, state: &mut State, settled: bool) -> anyhow::Result<()> {
        let settled = settled || state.history.wants_sync();
        write_ledger(&mut self.ledger, state)?;
        self.write_history(state, settled)?;
        if settled {
            // From then on only the ledger holds the file's length, which reveals a tail that was cut off.
            write_ledger(&mut self.ledger, state)?;
        }
        Ok(())
    }
}
