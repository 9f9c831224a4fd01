//! The lifecycle events, their order in channel and CLI mode, and whose scripts run in them.

use serde::{Deserialize, Serialize};

/// A lifecycle event of a deployment, as CodeDeploy names them (specs/codedeploy.md §4.3, §4.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum LifecycleEvent {
    /// The bundle is fetched, verified, unpacked and checked. No scripts.
    DownloadBundle,
    /// Before the host is taken out of service.
    BeforeBlockTraffic,
    /// The host is taken out of service. No scripts.
    BlockTraffic,
    /// After the host was taken out of service.
    AfterBlockTraffic,
    /// The old revision's application is stopped.
    ApplicationStop,
    /// Before the files are put in place.
    BeforeInstall,
    /// The files are put in place. No scripts.
    Install,
    /// After the files are in place.
    AfterInstall,
    /// The application is started.
    ApplicationStart,
    /// The application is checked.
    ValidateService,
    /// Before the host is put back into service.
    BeforeAllowTraffic,
    /// The host is put back into service. No scripts.
    AllowTraffic,
    /// After the host was put back into service.
    AfterAllowTraffic,
}

use LifecycleEvent::{
    AfterAllowTraffic, AfterBlockTraffic, AfterInstall, AllowTraffic, ApplicationStart, ApplicationStop,
    BeforeAllowTraffic, BeforeBlockTraffic, BeforeInstall, BlockTraffic, DownloadBundle, Install, ValidateService,
};

impl LifecycleEvent {
    /// All events in the order of channel and CLI mode (design §5): everything is fetched and checked while the old
    /// revision still serves.
    pub const ORDER: [Self; 13] = [
        DownloadBundle,
        BeforeBlockTraffic,
        BlockTraffic,
        AfterBlockTraffic,
        ApplicationStop,
        BeforeInstall,
        Install,
        AfterInstall,
        ApplicationStart,
        ValidateService,
        BeforeAllowTraffic,
        AllowTraffic,
        AfterAllowTraffic,
    ];

    /// The name as the appspec, the environment and the logs write it.
    pub fn name(self) -> &'static str {
        match self {
            DownloadBundle => "DownloadBundle",
            BeforeBlockTraffic => "BeforeBlockTraffic",
            BlockTraffic => "BlockTraffic",
            AfterBlockTraffic => "AfterBlockTraffic",
            ApplicationStop => "ApplicationStop",
            BeforeInstall => "BeforeInstall",
            Install => "Install",
            AfterInstall => "AfterInstall",
            ApplicationStart => "ApplicationStart",
            ValidateService => "ValidateService",
            BeforeAllowTraffic => "BeforeAllowTraffic",
            AllowTraffic => "AllowTraffic",
            AfterAllowTraffic => "AfterAllowTraffic",
        }
    }

    /// Whether the scripts come from the revision that is on the host, not from the one that is being deployed.
    pub fn runs_old_revision(self) -> bool {
        matches!(self, BeforeBlockTraffic | AfterBlockTraffic | ApplicationStop)
    }

    /// Whether an appspec can bind scripts to it.
    pub fn has_scripts(self) -> bool {
        !matches!(self, DownloadBundle | BlockTraffic | Install | AllowTraffic)
    }

    /// Whether `ignore_application_stop_failures` covers it
    /// (<https://docs.aws.amazon.com/codedeploy/latest/APIReference/API_CreateDeployment.html>).
    pub fn failure_may_be_ignored(self) -> bool {
        self.runs_old_revision()
    }
}

impl std::fmt::Display for LifecycleEvent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
