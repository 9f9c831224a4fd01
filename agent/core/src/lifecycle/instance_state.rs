//! The states of an instance in an Auto Scaling group, as IMDS and DescribeAutoScalingInstances write them.
//!
//! New states appear (2026 brought five). The agent keeps an unknown state as text and does nothing destructive for it.

use serde::{Deserialize, Serialize};

/// Where the group is taking the instance (IMDS `autoscaling/target-lifecycle-state`,
/// <https://docs.aws.amazon.com/autoscaling/ec2/userguide/retrieving-target-lifecycle-state-through-imds.html>).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum TargetLifecycleState {
    /// Into service.
    InService,
    /// Into Standby.
    Standby,
    /// To its end.
    Terminated,
    /// Out of the group, alive.
    Detached,
    /// Into the warm pool, or to its end there.
    WarmPool,
    /// A word that this version does not know.
    Unknown(String),
}

impl TargetLifecycleState {
    /// Reads IMDS's word.
    pub fn read(word: &str) -> Self {
        match word {
            "InService" => Self::InService,
            "Standby" => Self::Standby,
            "Terminated" | "Warmed:Terminated" => Self::Terminated,
            "Detached" => Self::Detached,
            "Warmed:Hibernated" | "Warmed:Running" | "Warmed:Stopped" => Self::WarmPool,
            other => Self::Unknown(other.to_owned()),
        }
    }
}

/// Where the instance is (`LifecycleState`,
/// <https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_AutoScalingInstanceDetails.html>).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum LifecycleState {
    /// On its way into service or into the pool, and no hook waits.
    Arriving,
    /// A launch hook waits on the way into service.
    PendingWait,
    /// A launch hook waits on the way into the warm pool.
    WarmedPendingWait,
    /// In the warm pool.
    WarmPool,
    /// In service.
    InService,
    /// On the way into Standby, or there.
    Standby,
    /// On its way out, and no hook waits.
    Departing,
    /// A termination hook waits.
    TerminatingWait,
    /// A termination hook of the warm pool waits.
    WarmedTerminatingWait,
    /// Retained after a termination hook was abandoned, until an administrator ends it.
    Retained,
    /// No member of a group.
    NotMember,
    /// A word that this version does not know.
    Unknown(String),
}

impl LifecycleState {
    /// Reads DescribeAutoScalingInstances' word.
    pub fn read(word: &str) -> Self {
        match word {
            "Pending" | "Pending:Proceed" | "Warmed:Pending" | "Warmed:Pending:Proceed" => Self::Arriving,
            "Pending:Wait" => Self::PendingWait,
            "Warmed:Pending:Wait" => Self::WarmedPendingWait,
            "Warmed:Stopped" | "Warmed:Running" | "Warmed:Hibernated" => Self::WarmPool,
            "InService" => Self::InService,
            "Standby" | "EnteringStandby" => Self::Standby,
            "Terminating"
            | "Terminating:Proceed"
            | "Terminated"
            | "Warmed:Terminating"
            | "Warmed:Terminating:Proceed"
            | "Warmed:Terminated"
            | "Detaching" => Self::Departing,
            "Terminating:Wait" => Self::TerminatingWait,
            "Warmed:Terminating:Wait" => Self::WarmedTerminatingWait,
            "Terminating:Retained" | "Warmed:Pending:Retained" | "Warmed:Terminating:Retained" => Self::Retained,
            "Detached" => Self::NotMember,
            other => Self::Unknown(other.to_owned()),
        }
    }

    /// Whether a hook waits here to be completed.
    pub fn waits(&self) -> bool {
        matches!(
            self,
            Self::PendingWait | Self::WarmedPendingWait | Self::TerminatingWait | Self::WarmedTerminatingWait
        )
    }
}
