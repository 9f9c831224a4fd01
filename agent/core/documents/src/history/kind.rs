//! The content of a record.

use serde::{Deserialize, Serialize};

use super::DeploymentPurpose;
use crate::hook::HookOutcome;
use crate::ids::{DeploymentId, GroupKey, InstanceId, Sha256Digest};
use crate::label::Label;
use crate::release::{KeyId, Trust};

/// The source of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requester {
    /// The way of the request.
    pub by: RequesterKind,
    /// The user on this host, or the service's own id of the request, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// The ways of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RequesterKind {
    /// The CodeDeploy service.
    Service,
    /// A release in the channel.
    Channel,
    /// A user or a script at the command line.
    Cli,
    /// The Auto Scaling group, or EC2.
    Lifecycle,
    /// The agent itself, to return to the last good revision.
    Rollback,
}

/// How a lifecycle event ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventOutcome {
    /// All its work succeeded.
    Succeeded,
    /// Some of its work failed.
    Failed,
    /// It failed, and the deployment continues because its policy says so.
    FailedAndIgnored,
    /// It had no work.
    Skipped,
}

/// How a deployment ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeploymentOutcome {
    /// The new revision runs.
    Succeeded,
    /// It failed, and the host is as it was before its Install.
    Failed,
    /// A user stopped it.
    Stopped,
}

impl DeploymentOutcome {
    /// The word for users: the one that JSON has, too.
    pub fn word(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
        }
    }
}

/// The action of a record. A kind that this version does not know reads as [`Kind::Unknown`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Kind {
    /// A deployment began.
    DeploymentStarted {
        /// The deployment.
        deployment: DeploymentId,
        /// Its application and group.
        group: GroupKey,
        /// What it is for. Older agents did not record it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        purpose: Option<DeploymentPurpose>,
        /// The revision, if it is known before the download.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        revision: Option<Sha256Digest>,
        /// What the revision's publisher calls it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        label: Option<Label>,
        /// The place of the revision.
        location: String,
        /// The release's sequence, if a release requested it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sequence: Option<u64>,
        /// Digest of the release's payload, if a release requested it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        release_digest: Option<Sha256Digest>,
        /// Which keys signed it, if any.
        #[serde(default)]
        signature: Trust,
        /// The caller.
        requested: Requester,
    },
    /// A lifecycle event ended.
    EventFinished {
        /// The deployment.
        deployment: DeploymentId,
        /// The event.
        event: String,
        /// How it ended.
        outcome: EventOutcome,
        /// Why, when it failed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        message: Option<String>,
    },
    /// A hook script ended.
    HookFinished {
        /// The deployment.
        deployment: DeploymentId,
        /// The event.
        event: String,
        /// The script, as the appspec writes it.
        location: String,
        /// Exit status, or another end.
        outcome: HookOutcome,
        /// When it was started, milliseconds since 1970.
        started_ms: u64,
        /// When it ended, milliseconds since 1970.
        finished_ms: u64,
        /// Digest of its logged output.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        output_digest: Option<Sha256Digest>,
    },
    /// An Install put its plan in place.
    InstallFinished {
        /// The deployment.
        deployment: DeploymentId,
        /// Paths that the group owns now.
        entries: u64,
        /// Digest of the list of those paths with their kinds.
        entries_digest: Sha256Digest,
    },
    /// An Install was undone.
    InstallUndone {
        /// The deployment.
        deployment: DeploymentId,
        /// The reason.
        reason: String,
    },
    /// A deployment ended.
    DeploymentFinished {
        /// The deployment.
        deployment: DeploymentId,
        /// How it ended.
        outcome: DeploymentOutcome,
        /// Why, unless it succeeded.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        message: Option<String>,
    },
    /// The agent or a caller decided to return to an earlier revision. The deployment that does so has its own records.
    Rollback {
        /// The deployment that is rolled back, if one failed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        failed: Option<DeploymentId>,
        /// The application and group.
        group: GroupKey,
        /// The deployment whose revision is restored.
        to: DeploymentId,
        /// That revision; a directory has no digest.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        revision: Option<Sha256Digest>,
        /// The caller.
        requested: Requester,
    },
    /// The agent does not follow the channel until a higher sequence or `resume`.
    Hold {
        /// The application and group.
        group: GroupKey,
        /// The sequence that is held.
        sequence: u64,
        /// The caller.
        requested: Requester,
    },
    /// The agent follows the channel again.
    Resume {
        /// The application and group.
        group: GroupKey,
        /// The caller.
        requested: Requester,
    },
    /// Different keys must sign the group's releases from now on.
    KeysAccepted {
        /// The application and group.
        group: GroupKey,
        /// Version of the key policy.
        version: u64,
        /// Number of keys that must sign.
        threshold: u32,
        /// The keys.
        key_ids: Vec<KeyId>,
    },
    /// The group's files were removed from this host.
    Removed {
        /// The application and group.
        group: GroupKey,
        /// The caller.
        requested: Requester,
    },
    /// The state belonged to another instance or to none: the host was started from an image. A chain begins with it.
    Sealed {
        /// The instance whose chain the image held.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        former: Option<InstanceId>,
        /// The number of that chain's last record.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        former_seq: Option<u64>,
        /// The hash of that record.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        former_hash: Option<Sha256Digest>,
    },
    /// The agent made no records before this one: the disk was full until the ledger had no more room for them.
    RecordsLeftOut {
        /// Their number.
        records: u64,
    },
    /// The agent reconciled the history with the ledger after a crash.
    Recovered(Recovered),
    /// A record of a newer version of the agent.
    #[serde(other)]
    Unknown,
}

impl Kind {
    /// The deployment that the record is one of.
    pub fn deployment(&self) -> Option<&DeploymentId> {
        match self {
            Self::DeploymentStarted { deployment, .. }
            | Self::EventFinished { deployment, .. }
            | Self::HookFinished { deployment, .. }
            | Self::InstallFinished { deployment, .. }
            | Self::InstallUndone { deployment, .. }
            | Self::DeploymentFinished { deployment, .. } => Some(deployment),
            _ => None,
        }
    }

    /// The group that the record names.
    pub fn group(&self) -> Option<&GroupKey> {
        match self {
            Self::DeploymentStarted { group, .. }
            | Self::Rollback { group, .. }
            | Self::Hold { group, .. }
            | Self::Resume { group, .. }
            | Self::KeysAccepted { group, .. }
            | Self::Removed { group, .. } => Some(group),
            _ => None,
        }
    }
}

/// What the agent lost or found when it reconciled the history with the ledger.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recovered {
    /// Bytes cut off the file's end: a torn line, or lines that were never synced and never acknowledged. Records of
    /// the ledger among them were written again.
    pub lost_bytes: u64,
    /// The last synced record in the file is not as it was written: it was damaged or changed.
    #[serde(default)]
    pub changed: bool,
    /// The first synced record that is missing at the file's end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing_from: Option<u64>,
    /// The last of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing_to: Option<u64>,
    /// Records in the file that the ledger did not know: the ledger was lost or is older than the file.
    #[serde(default)]
    pub unknown_to_ledger: u64,
}
