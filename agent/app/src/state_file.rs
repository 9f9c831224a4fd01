//! The state as the ledger has it: read, or held under its lock before anything has begun.

use anyhow::Context as _;
use hostler_core::codes::ExitCode;
use hostler_core::machine::state::STATE_VERSION;
use hostler_core::machine::{State, room};
use hostler_host::ledger::{Ledger, LedgerError, StateLock};

use crate::failure::Failure;
use crate::setup::Setup;

/// The state, held: nobody else can write it, and nothing has begun.
#[derive(Debug)]
pub struct LockedState {
    /// The ledger, whose lock this is.
    pub ledger: Ledger,
    /// The state as it was found.
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

    /// The lock, as witness for the other files of the state directory.
    pub fn lock(&self) -> &StateLock {
        self.ledger.lock()
    }

    /// Replaces the state by another one, in both places of the ledger: nothing of the old one stays readable.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn replace(&mut self, mut state: State) -> anyhow::Result<()> {
        room::fit(&mut state, self.ledger.room());
        let mut bytes = serde_json::to_vec(&state)?;
        // The old state may have been longer; JSON ends with as many blanks as one likes.
        bytes.resize(bytes.len().max(self.ledger.room()), b' ');
        self.ledger.persist(&bytes)?;
        self.ledger.persist(&bytes)?;
        self.state = state;
        Ok(())
    }
}

/// The state as the ledger holds it; a fresh ledger holds nothing.
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

/// The exit code that a ledger error means.
pub fn ledger_failure(error: LedgerError) -> Failure {
    match error {
        LedgerError::LockHeld { .. } => Failure::new(ExitCode::LockHeld, error),
        other => Failure::new(ExitCode::Failed, other),
    }
}
