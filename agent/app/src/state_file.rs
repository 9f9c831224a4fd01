//! The state in the ledger: read, or held under its lock before any work begins.

use std::io::ErrorKind;

use anyhow::Context as _;
use hostler_core::codes::ExitCode;
use hostler_core::machine::state::STATE_VERSION;
use hostler_core::machine::{State, room};
use hostler_host::ledger::{Ledger, LedgerError, StateLock};

use crate::failure::Failure;
use crate::setup::Setup;

/// The locked state: no other process can write it, and no work has begun.
#[derive(Debug)]
pub struct LockedState {
    /// The ledger, which holds the lock.
    pub ledger: Ledger,
    /// The state as it was read.
    pub state: State,
}

impl LockedState {
    /// Takes the lock and reads the state.
    ///
    /// # Errors
    /// Lock held when another process has the state; failed when the ledger is damaged.
    pub fn take(setup: &Setup) -> Result<Self, Failure> {
        let ledger = Ledger::open(setup.layout.state(), &setup.limits).map_err(ledger_failure)?;
        let state = read_state(&ledger.current().state)?;
        Ok(Self { ledger, state })
    }

    /// The lock, as proof for the other files of the state directory.
    pub fn lock(&self) -> &StateLock {
        self.ledger.lock()
    }

    /// Replaces the state in both places of the ledger: nothing of the old one stays readable.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn replace(&mut self, mut state: State) -> anyhow::Result<()> {
        room::fit(&mut state, self.ledger.room());
        let mut bytes = serde_json::to_vec(&state)?;
        // The old state may have been longer; JSON may end with any number of blanks.
        bytes.resize(bytes.len().max(self.ledger.room()), b' ');
        self.ledger.persist(&bytes)?;
        self.ledger.persist(&bytes)?;
        self.state = state;
        Ok(())
    }
}

/// Reads the state from the ledger's bytes; a fresh ledger is an empty state.
///
/// # Errors
/// When a newer agent wrote it.
pub fn read_state(bytes: &[u8]) -> Result<State, Failure> {
    if bytes.is_empty() {
        return Ok(State::default());
    }
    let state: State =
        serde_json::from_slice(bytes).context("the ledger holds a state that this version cannot read")?;
    if state.version != STATE_VERSION {
        let message = format!("the ledger's state has version {} and this agent knows {STATE_VERSION}", state.version);
        return Err(Failure::say(ExitCode::Failed, message).hint("install the version of hostler that wrote it"));
    }
    Ok(state)
}

/// The advice where this process's user may not read the agent's state.
pub const WHO_READS: &str = "only root reads the agent's state: use sudo; members of the group hostler ask the daemon, \
                             while it runs";

/// Whether this process's user may not open the ledger.
pub fn is_closed(error: &LedgerError) -> bool {
    matches!(error, LedgerError::Io { source, .. } if source.kind() == ErrorKind::PermissionDenied)
}

/// The exit code of a ledger error.
pub fn ledger_failure(error: LedgerError) -> Failure {
    match error {
        LedgerError::LockHeld { .. } => Failure::new(ExitCode::LockHeld, error),
        closed if is_closed(&closed) => Failure::new(ExitCode::Failed, closed).hint(WHO_READS),
        other => Failure::new(ExitCode::Failed, other),
    }
}
