//! What the configuration means: defaulted and checked.

use std::net::SocketAddr;

use crate::health::Check;
use crate::ids::{GroupKey, InstanceId};
use crate::machine::state::Policy;

/// Seconds between two looks at a channel, unless the configuration says otherwise (specs/rollout.md §3 rule 6).
pub const DEFAULT_POLL_SECONDS: u64 = 60;

/// The whole configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// Name of this host; `None` is its host name.
    pub instance_id: Option<InstanceId>,
    /// The deployment groups that this host follows.
    pub groups: Vec<GroupSettings>,
    /// How hooks are run.
    pub hooks: HookSettings,
    /// Where a load balancer's health check is answered; `None` is nowhere.
    pub health_listener: Option<SocketAddr>,
}

impl Settings {
    /// The settings of a group; those of a group that is not configured are the defaults.
    pub fn policy(&self, key: &GroupKey) -> Policy {
        self.groups.iter().find(|g| &g.key == key).map_or_else(Policy::default, |g| g.policy.clone())
    }

    /// The health checks that the configuration has for a group.
    pub fn health(&self, key: &GroupKey) -> &[Check] {
        self.groups.iter().find(|g| &g.key == key).map_or(&[], |g| &g.health)
    }
}

/// One deployment group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupSettings {
    /// Its names.
    pub key: GroupKey,
    /// The store with its channel; `None` for a group that is only deployed to by hand.
    pub channel: Option<String>,
    /// Seconds between two looks at the channel.
    pub poll_seconds: u64,
    /// How deployments are done.
    pub policy: Policy,
    /// Health checks beside those of the appspec.
    pub health: Vec<Check>,
}

/// How hooks are run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HookSettings {
    /// Pass the agent's whole environment, as the CodeDeploy agent does.
    pub inherit_environment: bool,
    /// The working directory; `None` is the unpacked bundle.
    pub working_directory: Option<std::path::PathBuf>,
}
