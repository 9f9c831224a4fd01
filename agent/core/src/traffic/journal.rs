//! The ledger's record of what the agent took away from this host.

use serde::{Deserialize, Serialize};

use crate::ids::{DeploymentId, GroupKey};
use crate::retry::Backoff;
use crate::text::bounded;

/// Wait between two tries to put a host back.
const BETWEEN_TRIES: Backoff = Backoff { first_ms: 5000, most_ms: 600_000 };

/// Bytes of the last problem. Prevents: an answer of a service that fills the ledger.
const MOST_OF_PROBLEM: usize = 1 << 10;

/// The phase of the effect Traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrafficPhase {
    /// Find out where this host serves. Changes nothing.
    Look,
    /// Take it out of there, and wait until no requests come any more.
    Block,
    /// Put it back, and wait until it serves.
    Allow,
}

/// A host that is out of service, or on its way there or back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Withdrawal {
    /// The group whose deployment took it out.
    pub group: GroupKey,
    /// That deployment.
    pub deployment: DeploymentId,
    /// Since when, milliseconds since 1970.
    pub since_ms: u64,
    /// The place that it was taken out of.
    pub place: Place,
    /// Whether EC2's application status checks are suppressed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub suppresses_status_checks: bool,
    /// Whether the application was stopped or replaced since and has not proved good again. Then only a deployment puts
    /// the host back.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub touched: bool,
    /// The effect that puts it back without a deployment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_flight: Option<PutBack>,
    /// The last problem.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
}

/// An effect of the machine that puts the host back. The ledger has it in the form of every effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PutBack {
    /// Unique on this host.
    pub number: u64,
    /// The work.
    pub work: PutBackWork,
    /// When it began, milliseconds since 1970.
    pub begun_ms: u64,
    /// The kernel's boot in which it began.
    pub boot_id: String,
}

/// The work that puts a host back: the only one of the machine's effects that does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "work", rename_all = "snake_case")]
pub enum PutBackWork {
    /// The effect Traffic.
    Traffic {
        /// The phase.
        phase: TrafficPhase,
    },
}

/// The place that a host was taken out of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "snake_case")]
pub enum Place {
    /// Its Auto Scaling group: it is in Standby.
    Standby {
        /// The Auto Scaling group.
        auto_scaling_group: String,
        /// Whether the group's desired capacity was lowered by one.
        lowers_desired_capacity: bool,
    },
    /// Target groups.
    Targets {
        /// Each registration that was removed.
        targets: Vec<Target>,
    },
    /// None: it stays where it is, and only the status checks are suppressed.
    InPlace,
}

/// One registration of this instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// ARN of the target group.
    pub target_group: String,
    /// The port.
    pub port: u16,
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // arn:aws:elasticloadbalancing:REGION:ACCOUNT:targetgroup/NAME/ID
        let name = self.target_group.split('/').nth(1).unwrap_or(&self.target_group);
        write!(f, "{name}:{}", self.port)
    }
}

/// A problem.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// In words.
    pub why: String,
    /// When, milliseconds since 1970.
    pub at_ms: u64,
    /// Number of tries in a row to put the host back.
    pub tries: u32,
}

impl Withdrawal {
    /// Whether it is in a Standby that this agent asked for.
    pub fn is_standby(&self) -> bool {
        matches!(self.place, Place::Standby { .. })
    }

    /// Whether requests stay away from the host.
    pub fn is_out_of_service(&self) -> bool {
        self.place != Place::InPlace
    }

    /// Notes that the host could not be taken out or put back. Only tries to put it back delay the next one.
    pub fn failed(&mut self, phase: TrafficPhase, why: String, now_ms: u64) {
        let before = self.problem.as_ref().map_or(0, |problem| problem.tries);
        let tries = if phase == TrafficPhase::Allow { before.saturating_add(1) } else { 0 };
        let why = bounded(&why, MOST_OF_PROBLEM, "");
        self.problem = Some(Problem { why, at_ms: now_ms, tries });
    }

    /// When the next try to put it back may begin, milliseconds since 1970.
    pub fn next_try_ms(&self) -> u64 {
        self.problem
            .as_ref()
            .map_or(0, |problem| problem.at_ms.saturating_add(BETWEEN_TRIES.wait_ms(problem.tries, problem.at_ms)))
    }

    /// Whether the agent puts it back without a deployment: the installed revision could serve.
    pub fn may_return(&self) -> bool {
        !self.touched || !self.is_out_of_service()
    }
}

/// The place that it is out of, for users.
impl std::fmt::Display for Withdrawal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.place {
            Place::Standby { auto_scaling_group, .. } => write!(f, "in Standby of {auto_scaling_group}")?,
            Place::Targets { targets } => {
                let names: Vec<String> = targets.iter().map(ToString::to_string).collect();
                write!(f, "out of the target groups {}", names.join(", "))?;
            }
            Place::InPlace => f.write_str("its application status checks are suppressed")?,
        }
        write!(f, ", by {}", self.deployment)?;
        match &self.problem {
            Some(problem) => write!(f, ": {}", problem.why),
            None => Ok(()),
        }
    }
}
