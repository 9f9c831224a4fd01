//! What a look at the host says while a log is followed: the ledger is read again only after it was written.

use std::time::{Duration, Instant, SystemTime};

use hostler_host::{clock, ledger};

use super::which::{Known, known};
use crate::failure::Failure;
use crate::setup::Setup;
use crate::verbs::CONTROL_TIMEOUT;

/// The times of files may be coarse: a write so soon after another one may leave the file's time as it is.
const COARSE: Duration = Duration::from_secs(1);

/// The deployments of this host, and whether an agent works on them.
#[derive(Debug, Default)]
pub struct Watch {
    all: Vec<Known>,
    /// When the ledger was written that `all` comes from, if a later write is sure to show.
    written: Option<SystemTime>,
    /// When an agent had the state last.
    held: Option<Instant>,
}

impl Watch {
    /// The deployments as they are now.
    ///
    /// # Errors
    /// They cannot be read at this moment.
    pub async fn look(&mut self, setup: &Setup) -> Result<&[Known], Failure> {
        let written = ledger::written(setup.layout.state());
        if written.is_none() || written != self.written {
            let is_sure = |at: &SystemTime| clock::system_time().duration_since(*at).is_ok_and(|age| age > COARSE);
            let written = written.filter(is_sure);
            self.all = known(setup).await?;
            self.written = written;
        }
        Ok(&self.all)
    }

    /// Whether an agent has the state, or had it a short while ago: an agent that is restarted goes on soon.
    pub fn has_agent(&mut self, setup: &Setup) -> bool {
        if ledger::is_held(setup.layout.state()) {
            self.held = Some(Instant::now());
        }
        self.held.is_some_and(|at| at.elapsed() < CONTROL_TIMEOUT)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::state_file::LockedState;
    use crate::test_support::setup;

    #[tokio::test]
    async fn the_ledger_is_read_again_only_after_it_was_written() {
        let root = tempfile::tempdir().unwrap();
        let setup = setup(root.path(), "");
        drop(LockedState::take(&setup).unwrap());
        let path = setup.layout.state().join("ledger");
        let written = |at| fs::File::options().write(true).open(&path).unwrap().set_modified(at).unwrap();
        let long_ago = clock::system_time() - Duration::from_secs(3600);
        let mut watch = Watch::default();
        written(long_ago);
        assert!(watch.look(&setup).await.unwrap().is_empty());
        fs::write(&path, "no ledger").unwrap();
        written(long_ago);
        assert!(watch.look(&setup).await.is_ok(), "it is not read");
        written(long_ago + Duration::from_secs(1));
        assert!(watch.look(&setup).await.is_err(), "it is read");
    }

    #[tokio::test]
    async fn a_ledger_that_was_just_written_is_read_each_time() {
        let root = tempfile::tempdir().unwrap();
        let setup = setup(root.path(), "");
        drop(LockedState::take(&setup).unwrap());
        let path = setup.layout.state().join("ledger");
        let mut watch = Watch::default();
        // As if the clock were set back meanwhile, which makes a time even less sure.
        let later = clock::system_time() + Duration::from_secs(3600);
        fs::File::options().write(true).open(&path).unwrap().set_modified(later).unwrap();
        assert!(watch.look(&setup).await.is_ok());
        fs::write(&path, "no ledger").unwrap();
        fs::File::options().write(true).open(&path).unwrap().set_modified(later).unwrap();
        assert!(watch.look(&setup).await.is_err(), "the same time, and read again");
    }

    #[test]
    fn an_agent_that_was_there_may_be_restarting_and_one_that_never_was_is_not() {
        let root = tempfile::tempdir().unwrap();
        let setup = setup(root.path(), "");
        let hold = LockedState::take(&setup).unwrap();
        let mut watch = Watch::default();
        assert!(watch.has_agent(&setup));
        drop(hold);
        assert!(watch.has_agent(&setup), "it may be restarting");
        assert!(!Watch::default().has_agent(&setup), "no agent was seen");
        watch.held = Instant::now().checked_sub(CONTROL_TIMEOUT);
        assert!(!watch.has_agent(&setup), "it did not come back");
    }
}
