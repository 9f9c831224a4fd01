//! What is asked for: a revision, for a group, under a policy.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::appspec::AppspecName;
use crate::appspec::spec::FileExistsBehavior;
use crate::bundle::BundleType;
use crate::codedeploy::specification::RevisionLocation;
use crate::event_order::LifecycleEvent;
use crate::ids::{DeploymentId, GroupKey, Sha256Digest};
use crate::release::{Highest, Trust};

/// A revision by its content, or by its place where the content is not known yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revision {
    /// Where it comes from, as text for people.
    pub location: String,
    /// SHA-256 of the bundle; `None` for a directory.
    pub digest: Option<Sha256Digest>,
    /// Bytes of the bundle; `None` for a directory.
    pub size: Option<u64>,
    /// Its form; `None` until it was looked at.
    pub bundle_type: Option<BundleType>,
}

/// Who asked for a deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Creator {
    /// A release in the group's channel.
    Channel,
    /// `hostler deploy`.
    Cli,
    /// The CodeDeploy service.
    CodeDeploy,
    /// A rollback, by hand or automatic.
    Rollback,
    /// The Auto Scaling group or EC2.
    Lifecycle,
}

/// Where a bundle is fetched from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Source {
    /// An object of a store.
    Store {
        /// The store as configured.
        store: String,
        /// The object's key.
        key: String,
    },
    /// What is in no store of ours: `s3://bucket/key?versionId=…`, `https://host/path`.
    Location {
        /// Where it is.
        location: String,
    },
    /// A file or directory on this host.
    Path {
        /// Absolute path.
        path: PathBuf,
    },
    /// Where a deployment of the CodeDeploy service has its bundle.
    CodeDeploy {
        /// The place.
        location: RevisionLocation,
        /// The deployment whose bundle may be used again instead.
        reuse: Option<DeploymentId>,
    },
    /// The unpacked bundle of an earlier deployment of the group.
    Kept {
        /// That deployment.
        deployment: DeploymentId,
    },
}

/// What was asked for; it does not change while the deployment goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The group.
    pub key: GroupKey,
    /// Who asked.
    pub creator: Creator,
    /// Who asked, in words: a user, a release.
    pub asked_by: String,
    /// Where the bundle is.
    pub source: Source,
    /// The revision as far as it is known.
    pub revision: Revision,
    /// The release that asks for it, as it is accepted.
    pub release: Option<Highest>,
    /// Who signed it; a rollback keeps the word for the revision that it returns to.
    #[serde(default)]
    pub trust: Trust,
    /// The failure that this one makes good, for a rollback that nobody asked for by hand.
    pub rolls_back: Option<RollsBack>,
    /// Whether the group's files are taken off the host, with nothing in their place.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub removes: bool,
    /// Whether the application is only stopped, for the lifecycle action with this number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stops: Option<Stop>,
    /// How it is done.
    pub policy: Policy,
}

impl Request {
    /// The sequence of the release that asks for it.
    pub fn sequence(&self) -> Option<u64> {
        self.release.map(|release| release.sequence)
    }
}

/// Why and by when an application is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stop {
    /// Number of the lifecycle action.
    pub entry: u64,
    /// When its scripts must have ended, milliseconds since 1970.
    pub deadline_ms: Option<u64>,
}

/// The failed deployment that an automatic rollback follows, and what has to be put right after it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RollsBack {
    /// The deployment that failed.
    pub deployment: DeploymentId,
    /// How much of the failed deployment has to be undone.
    pub extent: RollbackExtent,
}

/// How much of a failed deployment has to be undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RollbackExtent {
    /// The old files are in place: the old application is only started again.
    Restart,
    /// The new files are in place and the new application was not started.
    Reinstall,
    /// The new application was started, so its ApplicationStop runs first.
    StopAndReinstall,
}

/// How a deployment is done: the group's settings with the deployment's own on top.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Go on when a script of the old revision fails in ApplicationStop, BeforeBlockTraffic or AfterBlockTraffic.
    pub ignore_application_stop_failures: bool,
    /// Remove what the last deployment installed and this one does not.
    pub cleanup: bool,
    /// What to do with files that are there and were not installed by the last deployment.
    pub file_exists_behavior: FileExistsBehavior,
    /// When an event fails, return to the last good revision.
    pub rollback: RollbackPolicy,
    /// Revisions that are kept on the host, the current and the last good among them; at least 2.
    pub max_revisions: u32,
    /// Bytes that the kept revisions may take; what is on the host and the last good one stay whatever they take.
    #[serde(default)]
    pub max_revision_bytes: Option<u64>,
    /// Keep the bundle of the last deployment packed, where there is room, so that the next one fetches less.
    #[serde(default = "yes")]
    pub keep_bundle: bool,
    /// Name of the appspec file in the bundle, where it is not appspec.yml or appspec.yaml. A deployment that returns to an
    /// earlier revision has that revision's.
    pub appspec_name: Option<String>,
    /// Whether that name was given for this deployment, so that no other file is taken in its place.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub appspec_only: bool,
    /// Seconds after the host is back in service in which its health checks must stay healthy, unless the appspec says
    /// otherwise; 0 is none.
    #[serde(default)]
    pub bake_seconds: u64,
}

fn yes() -> bool {
    true
}

impl Policy {
    /// Which appspec of the bundle is meant.
    pub fn appspec(&self) -> AppspecName<'_> {
        let name = self.appspec_name.as_deref();
        if self.appspec_only { AppspecName::only(name) } else { AppspecName::or_usual(name) }
    }
}

/// After which failures the last good revision is put back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RollbackPolicy {
    /// Never.
    Never,
    /// After the failure of any event that touched the host.
    Always,
    /// After the failure of one of these.
    Events(Vec<LifecycleEvent>),
}

impl RollbackPolicy {
    /// Whether the failure of this event is followed by a rollback.
    pub fn covers(&self, event: LifecycleEvent) -> bool {
        match self {
            Self::Never => false,
            Self::Always => true,
            Self::Events(events) => events.contains(&event),
        }
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            ignore_application_stop_failures: false,
            cleanup: true,
            file_exists_behavior: FileExistsBehavior::Disallow,
            rollback: RollbackPolicy::Always,
            max_revisions: 5,
            max_revision_bytes: None,
            keep_bundle: true,
            appspec_name: None,
            appspec_only: false,
            bake_seconds: 0,
        }
    }
}
