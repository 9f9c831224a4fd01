//! What a record can say.

use serde::{Deserialize, Serialize};

use crate::hook::HookOutcome;
use crate::ids::{DeploymentId, GroupKey, InstanceId, Sha256Digest};
use crate::release::{KeyId, Trust};

/// Who asked for something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requester {
    /// By which way.
    pub by: RequesterKind,
    /// The user on this host, or the service's own id of the request, where one is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// The ways in which something is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RequesterKind {
    /// The CodeDeploy service.
    Service,
    /// A release in the channel.
    Channel,
    /// A person or script at the command line.
    Cli,
    /// The Auto Scaling group, or EC2.
    Lifecycle,
    /// The agent, to go back to the last good revision.
    Rollback,
}

/// How a lifecycle event ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventOutcome {
    /// All its work was done.
    Succeeded,
    /// It was not.
    Failed,
    /// It failed, and the deployment goes on because it was told so.
    FailedAndIgnored,
    /// There was nothing to do.
    Skipped,
}

/// How a deployment ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeploymentOutcome {
    /// The new revision runs.
    Succeeded,
    /// It failed, and what was there before its Install is there.
    Failed,
    /// Someone stopped it.
    Stopped,
}

/// What was done. A kind that this version does not know reads as [`Kind::Unknown`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Kind {
    /// A deployment began.
    DeploymentStarted {
        /// The deployment.
        deployment: DeploymentId,
        /// Its application and group.
        group: GroupKey,
        /// The revision, where it is known before the download.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        revision: Option<Sha256Digest>,
        /// Where the revision comes from.
        location: String,
        /// The release's sequence, where a release asked.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sequence: Option<u64>,
        /// Digest of the release's payload, where a release asked.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        release_digest: Option<Sha256Digest>,
        /// Who signed it, or that nobody did.
        #[serde(default)]
        signature: Trust,
        /// Who asked.
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
        /// Exit status or what happened instead.
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
        /// Why.
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
    /// It was decided to go back to an earlier revision. The deployment that does it follows with records of its own.
    Rollback {
        /// The deployment that is rolled back, where one failed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        failed: Option<DeploymentId>,
        /// The application and group.
        group: GroupKey,
        /// The deployment whose revision is put back.
        to: DeploymentId,
        /// That revision; a directory has no digest.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        revision: Option<Sha256Digest>,
        /// Who asked.
        requested: Requester,
    },
    /// The channel is not followed until a higher sequence or `resume`.
    Hold {
        /// The application and group.
        group: GroupKey,
        /// The sequence that is held.
        sequence: u64,
        /// Who asked.
        requested: Requester,
    },
    /// The channel is followed again.
    Resume {
        /// The application and group.
        group: GroupKey,
        /// Who asked.
        requested: Requester,
    },
    /// Other keys than before must sign the group's releases.
    KeysAccepted {
        /// The application and group.
        group: GroupKey,
        /// Version of the key policy.
        version: u64,
        /// How many of the keys must sign.
        threshold: u32,
        /// The keys.
        key_ids: Vec<KeyId>,
    },
    /// The group's files were taken off this host.
    Removed {
        /// The application and group.
        group: GroupKey,
        /// Who asked.
        requested: Requester,
    },
    /// The state belonged to another instance, or to none: the host was started from an image. A chain begins with it.
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
    /// Records before this one were not made: the disk was full for so long that the ledger had no more room for them.
    RecordsLeftOut {
        /// How many.
        records: u64,
    },
    /// The history was brought together with the ledger after a crash.
    Recovered(Recovered),
    /// Something that a newer version of the agent wrote.
    #[serde(other)]
    Unknown,
}

/// What was lost or found when the history was brought together with the ledger.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recovered {
    /// Bytes that were cut off the file's end: a torn line, or lines that were never synced and never acknowledged.
    /// Records among them that the ledger held were written again.
    pub lost_bytes: u64,
    /// The file does not hold the last synced record as it was written: it was damaged or changed.
    #[serde(default)]
    pub changed: bool,
    /// The first of the synced records that the file's end lacks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing_from: Option<u64>,
    /// The last of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing_to: Option<u64>,
    /// Records that the file held and the ledger did not know: the ledger was lost or is older than the file.
    #[serde(default)]
    pub unknown_to_ledger: u64,
}
