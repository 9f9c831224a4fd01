//! Deployments by hand: as the user requests them, and as the state machine takes them.

use hostler_core::appspec::spec::FileExistsBehavior;
use hostler_core::codes::ExitCode;
use hostler_core::config::settings::Settings;
use hostler_core::ids::GroupKey;
use hostler_core::label::Label;
use hostler_core::machine::state::{Policy, Purpose, Request, RollbackPolicy, Source};
use hostler_core::store::Location;
use serde::{Deserialize, Serialize};

use crate::failure::Failure;
use crate::setup::Setup;
use crate::signatures;

/// A deployment by hand, as the user requests it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DeployRequest {
    /// The group.
    pub key: GroupKey,
    /// A directory, a bundle file, or a bundle at a location.
    pub source: Source,
    /// Overrides the group's setting.
    pub file_exists_behavior: Option<FileExistsBehavior>,
    /// Name of the appspec file.
    pub appspec_name: Option<String>,
    /// Go on when an old script fails.
    pub ignore_application_stop_failures: bool,
    /// Leave the last deployment's files.
    pub no_cleanup: bool,
    /// Do not return to the last good revision.
    pub no_rollback: bool,
    /// What to call the revision, unless the release document says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<Label>,
    /// The signed release document that came with the bundle, as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<String>,
}

impl DeployRequest {
    /// The group's policy, with this deployment's settings on top.
    pub fn policy(&self, group: Policy) -> Policy {
        Policy {
            ignore_application_stop_failures: group.ignore_application_stop_failures
                || self.ignore_application_stop_failures,
            cleanup: group.cleanup && !self.no_cleanup,
            rollback: if self.no_rollback { RollbackPolicy::Never } else { group.rollback },
            file_exists_behavior: self.file_exists_behavior.unwrap_or(group.file_exists_behavior),
            appspec_only: self.appspec_name.is_some(),
            appspec_name: self.appspec_name.clone().or(group.appspec_name),
            max_revisions: group.max_revisions,
            max_revision_bytes: group.max_revision_bytes,
            bake_seconds: group.bake_seconds,
            keep_bundle: group.keep_bundle,
        }
    }
}

/// A deployment by hand as the state machine takes it.
///
/// # Errors
/// Verification failed when this host requires signatures for deployments by hand and the release lacks them.
pub fn deploy_request(
    setup: &Setup,
    wish: DeployRequest,
    policy: Policy,
    asked_by: String,
) -> Result<Request, Failure> {
    let (mut revision, trust) = signatures::by_hand(setup, &wish.key, location(&wish.source), wish.release.as_deref())?;
    if revision.digest.is_some() && matches!(&wish.source, Source::Path { path } if path.is_dir()) {
        let message = "a directory has no digest that a release could name";
        return Err(Failure::say(ExitCode::Usage, message).hint("give the bundle file that was released"));
    }
    revision.label = revision.label.or(wish.label);
    Ok(Request { revision, key: wish.key, purpose: Purpose::ByHand, asked_by, source: wish.source, trust, policy })
}

/// The policy for a group's removal: the group's own, and the command's choice about a failing ApplicationStop.
pub fn removal_policy(settings: &Settings, key: &GroupKey, ignore_application_stop_failures: bool) -> Policy {
    let policy = settings.policy(key);
    Policy {
        ignore_application_stop_failures: policy.ignore_application_stop_failures || ignore_application_stop_failures,
        cleanup: true,
        ..policy
    }
}

fn location(source: &Source) -> String {
    match source {
        Source::Path { path } => path.display().to_string(),
        Source::Location { location } => {
            location.parse::<Location>().map_or_else(|_| location.clone(), |place| place.shown())
        }
        Source::Store { store, key } => format!("{store}/{key}"),
        Source::Kept { deployment } => deployment.to_string(),
        Source::CodeDeploy { location, .. } => location.to_string(),
    }
}
