//! A request: a revision for a group under a policy.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Purpose;
use crate::appspec::AppspecName;
use crate::appspec::spec::FileExistsBehavior;
use crate::bundle::BundleType;
use crate::codedeploy::specification::RevisionLocation;
use crate::event_order::LifecycleEvent;
use crate::ids::{DeploymentId, GroupKey, Sha256Digest};
use crate::label::{Label, revision_name};
use crate::release::Trust;

/// A revision: its content, or its place while the content is unknown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revision {
    /// Where it comes from, as text for users.
    pub location: String,
    /// SHA-256 of the bundle; `None` for a directory.
    pub digest: Option<Sha256Digest>,
    /// Bytes of the bundle; `None` for a directory.
    pub size: Option<u64>,
    /// Its format; `None` until the agent has read it.
    pub bundle_type: Option<BundleType>,
    /// What its publisher calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<Label>,
}

impl Revision {
    /// The revision for people: its label and the beginning of its digest, or its place while it has no digest.
    pub fn name(&self) -> String {
        match (&self.digest, &self.label) {
            (Some(digest), label) => revision_name(label.as_ref(), digest),
            (None, Some(label)) => format!("{label} ({})", self.location),
            (None, None) => self.location.clone(),
        }
    }

    /// The same with its place.
    pub fn name_and_place(&self) -> String {
        match self.digest {
            Some(_) => format!("{} from {}", self.name(), self.location),
            None => self.name(),
        }
    }
}

/// The source of a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Source {
    /// An object of a store.
    Store {
        /// The store's configured name.
        store: String,
        /// The object's key.
        key: String,
    },
    /// A place outside all configured stores: `s3://bucket/key?versionId=…`, `https://host/path`.
    Location {
        /// The place.
        location: String,
    },
    /// A file or directory on this host.
    Path {
        /// Absolute path.
        path: PathBuf,
    },
    /// The bundle's place as a deployment of the CodeDeploy service names it.
    CodeDeploy {
        /// The place.
        location: RevisionLocation,
        /// The deployment whose bundle may be reused instead.
        reuse: Option<DeploymentId>,
    },
    /// The unpacked bundle of an earlier deployment of the group.
    Kept {
        /// That deployment.
        deployment: DeploymentId,
    },
}

/// A request. It does not change while the deployment runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The group.
    pub key: GroupKey,
    /// What the deployment is for.
    #[serde(flatten)]
    pub purpose: Purpose,
    /// The caller in words: a user, a release.
    pub asked_by: String,
    /// Where the bundle is.
    pub source: Source,
    /// The revision as far as known.
    pub revision: Revision,
    /// Which keys signed it, if any; a rollback keeps those of the revision that it returns to.
    #[serde(default)]
    pub trust: Trust,
    /// The policy.
    pub policy: Policy,
}

impl Request {
    /// The sequence of the release that requests it.
    pub fn sequence(&self) -> Option<u64> {
        self.purpose.release().map(|release| release.sequence)
    }
}

/// How to deploy: the group's settings, overridden by the deployment's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Go on when a script of the old revision fails in ApplicationStop, BeforeBlockTraffic or AfterBlockTraffic.
    pub ignore_application_stop_failures: bool,
    /// Remove files that the last deployment installed and this one does not.
    pub cleanup: bool,
    /// What to do with existing files that the last deployment did not install.
    pub file_exists_behavior: FileExistsBehavior,
    /// When an event fails, return to the last good revision.
    pub rollback: RollbackPolicy,
    /// Revisions kept on the host, including the current and the last good one; at least 2.
    pub max_revisions: u32,
    /// Bytes that the kept revisions may take. The installed and the last good revision stay regardless of their size.
    #[serde(default)]
    pub max_revision_bytes: Option<u64>,
    /// Keep the last deployment's bundle packed, if there is room, so that the next one fetches less.
    #[serde(default = "yes")]
    pub keep_bundle: bool,
    /// Name of the appspec file in the bundle, if it is not appspec.yml or appspec.yaml. A deployment that returns to
    /// an earlier revision has that revision's.
    pub appspec_name: Option<String>,
    /// Whether the name was given for this deployment, so that no other file replaces it.
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
    /// The appspec of the bundle that the policy names.
    pub fn appspec(&self) -> AppspecName<'_> {
        let name = self.appspec_name.as_deref();
        if self.appspec_only { AppspecName::only(name) } else { AppspecName::or_usual(name) }
    }
}

/// The failures after which the agent restores the last good revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RollbackPolicy {
    /// Never.
    Never,
    /// After the failure of any event that touched the host.
    Always,
    /// After the failure of one of these events.
    Events(Vec<LifecycleEvent>),
}

impl RollbackPolicy {
    /// Whether a rollback follows the failure of this event.
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
