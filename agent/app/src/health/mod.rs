//! The health of the installed revisions: checked all the time, and during deployments.

mod checkup;
mod listener;
mod monitor;
mod replacement;

use std::sync::Arc;

use hostler_core::health::HealthReport;
use hostler_core::ids::GroupKey;
use hostler_core::machine::state::Installed;
use hostler_core::status::Health;
use tokio::sync::watch;

pub use checkup::{Checkup, Start};
pub use listener::listen;
pub use monitor::Monitor;
pub use replacement::UnhealthyReport;

use crate::setup::Setup;

/// The number of checks of the installed revision: those of its appspec and those of the configuration.
pub fn check_count(setup: &Setup, key: &GroupKey, installed: Option<&Installed>) -> usize {
    installed.map_or(0, |installed| installed.health.len()) + setup.settings.health(key).len()
}

/// The current results of this host's health checks. Never persisted: after a start the checks run again.
#[derive(Debug, Clone)]
pub struct HealthWatch(Arc<watch::Sender<Health>>);

impl Default for HealthWatch {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(Health::new())))
    }
}

impl HealthWatch {
    /// Sets a group's report, or removes it.
    pub fn put(&self, key: &GroupKey, report: Option<HealthReport>) {
        self.0.send_if_modified(|health| {
            let id = key.id();
            if health.get(&id) == report.as_ref() {
                return false;
            }
            match report {
                Some(report) => health.insert(id, report),
                None => health.remove(&id),
            };
            true
        });
    }

    /// A receiver of the reports: their current values and all changes.
    pub fn watch(&self) -> watch::Receiver<Health> {
        self.0.subscribe()
    }
}
