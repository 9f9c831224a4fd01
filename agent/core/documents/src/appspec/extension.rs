//! The content of the top-level key `hostler:`, which the CodeDeploy agent ignores.
//!
//! Reading is strict, unlike the rest of the file: an unknown key or an unusable value is an error, because no program
//! older than hostler has read it. `packaging/schema/appspec.schema.json` tells editors the same.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use crate::health_check::Check;
use crate::yaml::Position;

use super::values::Values;

mod health;
mod read;

pub use health::{Scripts, health};
pub(super) use read::read;

/// The readers of this block.
const VALUES: Values = Values::EXTENSION;
/// Bounds of a duration in seconds: more than thirty days is more likely a mistake.
const DURATION: RangeInclusive<u64> = 1..=30 * 86_400;
/// Bounds of a count.
const COUNT: RangeInclusive<u64> = 1..=u64::MAX;

/// hostler's own part of an appspec.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Extension {
    /// Check the host only after BeforeInstall (`install: {recheck_after: BeforeInstall}`).
    pub recheck_after_before_install: bool,
    /// Variables for every hook, in the order written.
    pub environment: Vec<(String, String)>,
    /// Variables whose value is fetched at deployment time; a hook gets those in its options' list.
    pub secrets: Vec<Secret>,
    /// Options for single scripts, as written; `HookScript::options` already has each script's own.
    pub hooks: Vec<HookEntry>,
    /// Health checks of the installed application.
    pub health: Vec<HealthCheck>,
    /// Seconds after the host is back in service for which the checks must stay healthy; `None` leaves it to the host's
    /// configuration.
    pub bake_seconds: Option<u64>,
    /// How the host leaves and enters service.
    pub traffic: Traffic,
}

/// A variable and the reference to its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Secret {
    /// Name of the variable.
    pub name: String,
    /// The reference to the value.
    pub reference: SecretReference,
    /// The position of the reference.
    pub at: Position,
}

/// A reference to a secret's value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum SecretReference {
    /// `ssm:/path[:version-or-label]`: a parameter of the Parameter Store.
    Parameter {
        /// Name of the parameter.
        name: String,
        /// Version number or label.
        version: Option<String>,
    },
    /// `secretsmanager:id[#json-key][@stage-or-version]`: a secret of Secrets Manager.
    Secret {
        /// Name or ARN of the secret.
        id: String,
        /// Key in the secret's JSON text.
        json_key: Option<String>,
        /// Stage or version id.
        version: Option<String>,
    },
}

/// hostler's own options for a script.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookOptions {
    /// The script may run again after an interruption.
    pub repeatable: bool,
    /// The script runs on one host of the fleet.
    pub leader_only: bool,
    /// Most processes and threads.
    pub tasks_max: Option<u64>,
    /// Most memory in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_max: Option<u64>,
    /// Variables for this script, in the order written; they override those for every hook.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub environment: Vec<(String, String)>,
    /// Names of the secrets that this script gets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<String>,
}

/// Options for one script, as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookEntry {
    /// The lifecycle event.
    pub event: String,
    /// The script.
    pub location: String,
    /// Its options.
    pub options: HookOptions,
    /// The position of the location.
    pub at: Position,
}

/// One health check, as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthCheck {
    /// The check.
    pub check: Check,
    /// Its position.
    pub at: Position,
}

/// How a host leaves service before ApplicationStop and comes back after ValidateService.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Traffic {
    /// The way; `None` leaves it to the host's configuration.
    pub method: Option<TrafficMethod>,
    /// ARNs of target groups, for [`TrafficMethod::TargetGroups`].
    pub target_groups: Vec<String>,
    /// Seconds to wait for connections to end.
    pub drain_timeout_seconds: u64,
    /// Seconds to wait until the load balancer reports the host as healthy.
    pub healthy_timeout_seconds: u64,
}

impl Default for Traffic {
    fn default() -> Self {
        // A target group's own deregistration delay is 300 seconds.
        Self { method: None, target_groups: Vec::new(), drain_timeout_seconds: 300, healthy_timeout_seconds: 300 }
    }
}

/// A way out of service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TrafficMethod {
    /// The host stays in service.
    None,
    /// The Auto Scaling group's Standby state.
    Standby,
    /// Deregistration from target groups.
    TargetGroups,
}
