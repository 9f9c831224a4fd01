//! The journal records that operators alert on: their names and message ids, which never change.

/// A record with a message id (`journalctl MESSAGE_ID=…`). Stated in docs/usage/troubleshooting.md.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OperatorEvent {
    /// A deployment failed.
    DeploymentFailed,
    /// The last good revision is on the host again after a failure.
    RolledBack,
    /// A failure without an automatic remedy: the host stays as it is until an operator acts.
    NeedsOperator,
    /// An Install cannot be undone yet: old and new files may be side by side until an operator acts.
    InstallNotUndone,
    /// The channel's content must not be followed: wrong, unsigned, expired, too old.
    ChannelRefused,
    /// The state cannot be written: the daemon ends and is started again.
    StateWriteFailed,
    /// The state came from another instance and was forgotten.
    InstanceChanged,
    /// A configuration was refused; the previous one stays in force.
    ConfigurationRefused,
    /// A part of a log was not shipped and never will be.
    LogsLost,
    /// A script of a machine event failed, or must not be run.
    MachineEventFailed,
    /// The Auto Scaling group was told that this host is unhealthy, and replaces it.
    ReportedUnhealthy,
}

impl OperatorEvent {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::DeploymentFailed,
        Self::RolledBack,
        Self::NeedsOperator,
        Self::InstallNotUndone,
        Self::ChannelRefused,
        Self::StateWriteFailed,
        Self::InstanceChanged,
        Self::ConfigurationRefused,
        Self::LogsLost,
        Self::MachineEventFailed,
        Self::ReportedUnhealthy,
    ];

    /// The journal's field HOSTLER_EVENT.
    pub fn name(self) -> &'static str {
        match self {
            Self::DeploymentFailed => "deployment-failed",
            Self::RolledBack => "rolled-back",
            Self::NeedsOperator => "needs-operator",
            Self::InstallNotUndone => "install-not-undone",
            Self::ChannelRefused => "channel-refused",
            Self::StateWriteFailed => "state-write-failed",
            Self::InstanceChanged => "instance-changed",
            Self::ConfigurationRefused => "configuration-refused",
            Self::LogsLost => "logs-lost",
            Self::MachineEventFailed => "machine-event-failed",
            Self::ReportedUnhealthy => "reported-unhealthy",
        }
    }

    /// The journal's field MESSAGE_ID.
    pub fn message_id(self) -> &'static str {
        match self {
            Self::DeploymentFailed => "91e5c8f6a0b44c0cb2d0a7d3f4b6e111",
            Self::RolledBack => "0c8b27d16a8a4e5f9d34c1f2a7756a12",
            Self::NeedsOperator => "7d1f4be0c2fd4a0e8b3c5e9a61d08b13",
            Self::InstallNotUndone => "8ad1239946df410787351f5868915264",
            Self::ChannelRefused => "b6a90d3e58174dd3a1c7f0e24c93d514",
            Self::StateWriteFailed => "2f63e7a94bd1443f86c05d8b1ea7c215",
            Self::InstanceChanged => "e4d05b7c91aa4c6db8e23f6079c1fd16",
            Self::ConfigurationRefused => "583ac1f7d2e64b1f97e0b48c6d2a9e17",
            Self::LogsLost => "c19e6d02b75f4f3a8d4471e0a6b3cf18",
            Self::MachineEventFailed => "c7a1d90f4e3b4b6d8f52960be1d47a18",
            Self::ReportedUnhealthy => "fb0a8e5506274749b1b35ffd5e190408",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_ids_are_unique_and_of_the_journals_form() {
        for (at, one) in OperatorEvent::ALL.into_iter().enumerate() {
            assert!(one.message_id().len() == 32 && one.message_id().bytes().all(|b| b.is_ascii_hexdigit()), "{one:?}");
            for other in &OperatorEvent::ALL[at + 1..] {
                assert!(one.name() != other.name() && one.message_id() != other.message_id(), "{one:?} {other:?}");
            }
        }
    }
}
