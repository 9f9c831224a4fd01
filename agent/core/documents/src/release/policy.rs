//! The rollout policy in a release. The rollout's reducer decides what it means for a fleet.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How a fleet goes from one release to the next. Every field has a default, so that `{}` is a policy: one host at a
/// time, halting at the first failure.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// The strategy.
    pub strategy: Strategy,
    /// Most hosts that may be out of service at once; required by `rolling`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_unavailable: Option<Amount>,
    /// Fewest hosts that stay healthy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minimum_healthy: Option<Amount>,
    /// The first hosts; required by `canary`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canary: Option<Canary>,
    /// Seconds for which each zone, and the whole fleet at the end, is watched before it counts as good.
    #[serde(skip_serializing_if = "is_zero")]
    pub bake_seconds: u64,
    /// Hosts that may fail before the rollout halts; none by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure_budget: Option<Amount>,
    /// Whether a halt automatically returns to the release's `previous` revision.
    #[serde(skip_serializing_if = "is_false")]
    pub auto_rollback: bool,
    /// CloudWatch alarms that halt the rollout.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub alarms: Vec<String>,
    /// Whether a person must approve after the canaries.
    #[serde(skip_serializing_if = "is_false")]
    pub approval_after_canary: bool,
    /// The SNS topic that is notified of each phase.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notify_topic: Option<String>,
}

impl Policy {
    /// Whether nothing was chosen.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

fn is_zero(seconds: &u64) -> bool {
    *seconds == 0
}

fn is_false(flag: &bool) -> bool {
    !*flag
}

/// The named strategies (docs/protocols/rollout.md#named-strategies). CodeDeploy's configurations have their own names,
/// because they judge success differently.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    /// Every host as soon as it is ready.
    AllAtOnce,
    /// At most half of the hosts.
    HalfAtATime,
    /// One host after the other.
    #[default]
    OneAtATime,
    /// At most `max_unavailable` hosts.
    Rolling,
    /// `canary` first, then at most `max_unavailable` hosts (one, when it is not given).
    Canary,
    /// Zone after zone, within a zone at most `max_unavailable` hosts (one, when it is not given).
    Zonal,
    /// CodeDeploy's AllAtOnce: succeeds when one host does.
    #[serde(rename = "CodeDeployDefault.AllAtOnce")]
    CodeDeployAllAtOnce,
    /// CodeDeploy's HalfAtATime: succeeds when half of the hosts do.
    #[serde(rename = "CodeDeployDefault.HalfAtATime")]
    CodeDeployHalfAtATime,
    /// CodeDeploy's OneAtATime: forgives the last host.
    #[serde(rename = "CodeDeployDefault.OneAtATime")]
    CodeDeployOneAtATime,
}

/// A number of hosts or a percentage; written as `3` or `"25%"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "WrittenAmount", into = "WrittenAmount")]
pub enum Amount {
    /// Hosts.
    Count(u32),
    /// Percent of the members, 0 to 100.
    Percent(u8),
}

#[derive(Serialize, Deserialize)]
#[serde(untagged, expecting = "a number of hosts, as 3, or a share of them, as \"25%\"")]
enum WrittenAmount {
    Count(u32),
    Text(String),
}

impl TryFrom<WrittenAmount> for Amount {
    type Error = String;
    fn try_from(written: WrittenAmount) -> Result<Self, String> {
        match written {
            WrittenAmount::Count(count) => Ok(Self::Count(count)),
            WrittenAmount::Text(text) => text
                .strip_suffix('%')
                .filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()))
                .and_then(|digits| digits.parse().ok())
                .filter(|percent| *percent <= 100)
                .map(Self::Percent)
                .ok_or_else(|| format!("is {text:?} and must be a number, as 3, or 0% to 100%, as \"25%\"")),
        }
    }
}

impl From<Amount> for WrittenAmount {
    fn from(amount: Amount) -> Self {
        match amount {
            Amount::Count(count) => Self::Count(count),
            Amount::Percent(_) => Self::Text(amount.to_string()),
        }
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => write!(f, "{count}"),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

/// The canary hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Canary {
    /// Their number.
    pub count: u32,
    /// Seconds for which they are watched before other hosts follow.
    #[serde(default)]
    pub bake_seconds: u64,
}

impl Policy {
    /// Checks that the fields that a strategy needs are there, and refuses fields that it would ignore: their author
    /// relied on them.
    pub(super) fn check(&self) -> Result<(), (&'static str, String)> {
        let name = self.strategy.name();
        let takes_width = matches!(self.strategy, Strategy::Rolling | Strategy::Canary | Strategy::Zonal);
        match (self.strategy, self.max_unavailable) {
            (Strategy::Rolling, None) => {
                return Err(("max_unavailable", "is missing; rolling needs it, as 2 or \"25%\"".to_owned()));
            }
            (_, Some(Amount::Count(0) | Amount::Percent(0))) => {
                return Err(("max_unavailable", "is 0, so that no host could ever be updated".to_owned()));
            }
            (_, Some(_)) if !takes_width => {
                return Err(("max_unavailable", format!("has no meaning with {name}; use rolling, canary or zonal")));
            }
            _ => {}
        }
        match (self.strategy, self.canary) {
            (Strategy::Canary, None) => Err(("canary", "is missing; this strategy needs {\"count\": …}".to_owned())),
            (Strategy::Canary, Some(canary)) if canary.count == 0 => {
                Err(("canary.count", "is 0; at least one host goes first".to_owned()))
            }
            (Strategy::Canary, Some(_)) => Ok(()),
            (_, Some(_)) => Err(("canary", format!("has no meaning with {name}; use the strategy canary"))),
            (_, None) if self.approval_after_canary => {
                Err(("approval_after_canary", format!("has no meaning with {name}; use the strategy canary")))
            }
            (_, None) => Ok(()),
        }
    }
}

impl Strategy {
    /// The name as it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::AllAtOnce => "all-at-once",
            Self::HalfAtATime => "half-at-a-time",
            Self::OneAtATime => "one-at-a-time",
            Self::Rolling => "rolling",
            Self::Canary => "canary",
            Self::Zonal => "zonal",
            Self::CodeDeployAllAtOnce => "CodeDeployDefault.AllAtOnce",
            Self::CodeDeployHalfAtATime => "CodeDeployDefault.HalfAtATime",
            Self::CodeDeployOneAtATime => "CodeDeployDefault.OneAtATime",
        }
    }
}
