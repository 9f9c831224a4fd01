//! The list of the controllers beside the engine.

use hostler_core::ids::InstanceId;
use tokio::task::JoinHandle;

use super::state_line::StateLine;
use crate::backups::Backups;
use crate::cfn_signals::Signaller;
use crate::codedeploy::source::Following;
use crate::controller::{self, Controller, Sources};
use crate::engine::Handle;
use crate::health::{HealthWatch, Monitor, UnhealthyReport};
use crate::host_report::{HostReports, ReportStatuses};
use crate::machine_events::Members;
use crate::rollback_retry::RollbackRetry;
use crate::shipping::Metrics;

/// What controllers are made of.
#[derive(Clone)]
pub struct Beside {
    pub sources: Sources,
    pub handle: Handle,
    pub health_watch: HealthWatch,
    pub instance: InstanceId,
    pub reports: ReportStatuses,
    pub following: Following,
}

impl Beside {
    /// Starts all of them; each goes on until its task is aborted, or the engine ends.
    pub fn start(&self) -> Vec<JoinHandle<()>> {
        vec![
            self.run(|own| StateLine::new(own.following.why_not())),
            self.run(|own| Monitor::new(own.health_watch.clone())),
            self.run(|own| HostReports::new(own.instance.clone(), own.reports.clone())),
            self.run(|own| UnhealthyReport::new(own.handle.state(), own.health_watch.watch(), own.instance.clone())),
            self.run(|own| Metrics::new(own.instance.clone())),
            self.run(|own| Members::new(own.handle.clone(), own.instance.clone())),
            self.run(|own| RollbackRetry::new(own.handle.clone())),
            self.run(|_| Backups::new()),
            self.run(|own| Signaller::new(own.handle.clone(), own.instance.clone())),
        ]
    }

    fn run<C: Controller + 'static>(&self, begin: fn(&Self) -> C) -> JoinHandle<()> {
        let own = self.clone();
        controller::start(&self.sources, move || begin(&own))
    }
}
