//! What was taken away from this host, in the ledger.

use serde::{Deserialize, Serialize};

use crate::ids::{DeploymentId, GroupKey};
use crate::retry::Backoff;
use crate::text::bounded;

/// Between two tries to put a host back.
const BETWEEN_TRIES: Backoff = Backoff { first_ms: 5000, most_ms: 600_000 };

/// Bytes of what went wrong last. Prevents: an answer of a service that fills the ledger.
const MOST_OF_PROBLEM: usize = 1 << 10;

/// What the effect Traffic does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrafficPhase {
    /// Find out in what this host serves. Changes nothing.
    Look,
    /// Take it out of that, and wait until nothing comes any more.
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
    /// What it was taken out of.
    pub place: Place,
    /// Whether EC2's application status checks are suppressed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub suppresses_status_checks: bool,
    /// Whether the application was stopped or replaced since and has not proved good again: only a deployment puts the
    /// host back then.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub touched: bool,
    /// The effect that puts it back outside of a deployment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_flight: Option<PutBack>,
    /// What went wrong last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
}

/// An effect of the machine that puts the host back. In the ledger it is written as each of its effects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PutBack {
    /// Unique on this host.
    pub number: u64,
    /// What is done.
    pub work: PutBackWork,
    /// When it began, milliseconds since 1970.
    pub begun_ms: u64,
    /// The kernel's boot in which it began.
    pub boot_id: String,
}

/// What puts a host back: of all that the machine's effects do, only this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "work", rename_all = "snake_case")]
pub enum PutBackWork {
    /// The effect Traffic.
    Traffic {
        /// Which of that.
        phase: TrafficPhase,
    },
}

/// What a host was taken out of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "snake_case")]
pub enum Place {
    /// Service in its Auto Scaling group: it is in Standby.
    Standby {
        /// The Auto Scaling group.
        auto_scaling_group: String,
        /// Whether the group's desired capacity was lowered by one.
        lowers_desired_capacity: bool,
    },
    /// Target groups.
    Targets {
        /// Each registration that was taken away.
        targets: Vec<Target>,
    },
    /// Nothing: it stays where it is, and only the status checks are suppressed.
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

/// What went wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// In words.
    pub why: String,
    /// When, milliseconds since 1970.
    pub at_ms: u64,
    /// How often it was tried to put the host back, in a row.
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

    /// Notes that it could not be taken out or put back. Only tries to put it back keep the next one waiting.
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

    /// Whether it is put back without a deployment that does so: what is on the host could serve.
    pub fn may_return(&self) -> bool {
        !self.touched || !self.is_out_of_service()
    }
}

/// What it is out of, for people.
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
