//! One line for each deployment: what its records say together.

use std::collections::{HashMap, HashSet};

use super::{DeploymentOutcome, DeploymentPurpose, Entry, EventOutcome, Kind, Requester, RequesterKind};
use crate::ids::{ApplicationName, DeploymentId, GroupKey, GroupName, Sha256Digest};
use crate::label::{Label, revision_name};

/// One deployment, by its records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// The deployment.
    pub deployment: DeploymentId,
    /// Its application and group.
    pub group: GroupKey,
    /// What it is for. From records of older agents, which did not say it, what follows from the caller.
    pub purpose: DeploymentPurpose,
    /// SHA-256 of the bundle, if it was known before the download.
    pub revision: Option<Sha256Digest>,
    /// The publisher's label of the revision.
    pub label: Option<Label>,
    /// The place of the bundle.
    pub location: String,
    /// The caller.
    pub requested: Requester,
    /// Number of the record of its beginning.
    pub seq: u64,
    /// When it began, milliseconds since 1970.
    pub started_ms: u64,
    /// When it ended; `None` while it goes on or waits to be resumed.
    pub finished_ms: Option<u64>,
    /// How it ended.
    pub outcome: Option<DeploymentOutcome>,
    /// The event that failed.
    pub failed_in: Option<String>,
}

impl Summary {
    /// The revision for people, as in `1.4.2 (4d8271e2)`; its place where the digest is not known.
    pub fn revision_name(&self) -> String {
        named(self.revision.as_ref(), self.label.as_ref(), &self.location)
    }
}

/// A revision for people by its parts (`Summary::revision_name`).
pub fn named(revision: Option<&Sha256Digest>, label: Option<&Label>, location: &str) -> String {
    revision.map_or_else(|| location.to_owned(), |digest| revision_name(label, digest))
}

/// The deployments whose beginning is among these records, oldest first.
pub fn summaries<'e>(entries: impl IntoIterator<Item = &'e Entry>) -> Vec<Summary> {
    let mut found: Vec<Summary> = Vec::new();
    let mut places: HashMap<DeploymentId, usize> = HashMap::new();
    for entry in entries {
        match &entry.kind {
            Kind::DeploymentStarted { deployment, group, purpose, revision, label, location, requested, .. } => {
                places.insert(deployment.clone(), found.len());
                found.push(Summary {
                    deployment: deployment.clone(),
                    group: group.clone(),
                    purpose: purpose.unwrap_or_else(|| of_requester(requested)),
                    revision: *revision,
                    label: label.clone(),
                    location: location.clone(),
                    requested: requested.clone(),
                    seq: entry.seq,
                    started_ms: entry.time_ms,
                    finished_ms: None,
                    outcome: None,
                    failed_in: None,
                });
            }
            Kind::EventFinished { deployment, event, outcome: EventOutcome::Failed, .. } => {
                if let Some(one) = places.get(deployment).and_then(|place| found.get_mut(*place)) {
                    one.failed_in = Some(event.clone());
                }
            }
            Kind::DeploymentFinished { deployment, outcome, .. } => {
                if let Some(one) = places.get(deployment).and_then(|place| found.get_mut(*place)) {
                    (one.finished_ms, one.outcome) = (Some(entry.time_ms), Some(*outcome));
                }
            }
            // It follows the end of the removal; older agents said only here that it was one.
            Kind::Removed { group, .. } => {
                let last = found.iter_mut().rev().find(|one| &one.group == group);
                if let Some(one) = last.filter(|one| one.purpose == DeploymentPurpose::ByHand) {
                    one.purpose = DeploymentPurpose::Removal;
                }
            }
            _ => {}
        }
    }
    found
}

fn of_requester(requested: &Requester) -> DeploymentPurpose {
    match requested.by {
        RequesterKind::Service => DeploymentPurpose::Commanded,
        RequesterKind::Channel => DeploymentPurpose::Release,
        RequesterKind::Cli => DeploymentPurpose::ByHand,
        RequesterKind::Lifecycle => DeploymentPurpose::Stop,
        RequesterKind::Rollback => DeploymentPurpose::Rollback,
    }
}

/// Which records are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Only those of this application.
    pub application: Option<ApplicationName>,
    /// Only those of groups with this name.
    pub group: Option<GroupName>,
    /// Only those of this deployment.
    pub deployment: Option<DeploymentId>,
    /// Only those of the newest so many deployments, and what was recorded since the first of them began.
    pub newest: Option<usize>,
}

impl Wanted {
    fn has_group(&self, key: &GroupKey) -> bool {
        self.application.as_ref().is_none_or(|name| name == &key.application)
            && self.group.as_ref().is_none_or(|name| name == &key.group)
    }
}

/// The wanted deployments among all, and which records belong to them.
#[derive(Debug, Clone)]
pub struct Selection {
    wanted: Wanted,
    deployments: Vec<Summary>,
    ids: HashSet<DeploymentId>,
}

impl Selection {
    /// Chooses among the deployments of a history, oldest first.
    pub fn new(wanted: Wanted, mut all: Vec<Summary>) -> Self {
        let is_wanted = |one: &Summary| wanted.deployment.as_ref().is_none_or(|id| id == &one.deployment);
        all.retain(|one| wanted.has_group(&one.group) && is_wanted(one));
        let surplus = wanted.newest.map_or(0, |newest| all.len().saturating_sub(newest));
        let deployments = all.split_off(surplus);
        let ids = deployments.iter().map(|one| one.deployment.clone()).collect();
        Self { wanted, deployments, ids }
    }

    /// The wanted deployments, oldest first.
    pub fn deployments(&self) -> &[Summary] {
        &self.deployments
    }

    /// Whether a record belongs to them. A record of the host alone, such as that of a repair, belongs to every group.
    pub fn takes(&self, entry: &Entry) -> bool {
        if self.wanted == Wanted::default() {
            return true;
        }
        match (&entry.kind, entry.kind.deployment()) {
            (_, Some(id)) | (Kind::Rollback { failed: Some(id), .. }, _) => self.ids.contains(id),
            _ => {
                let first = self.deployments.first().map(|one| one.seq);
                let is_late = self.wanted.newest.is_none() || first.is_some_and(|first| entry.seq >= first);
                let has_group = entry.kind.group().is_none_or(|group| self.wanted.has_group(group));
                self.wanted.deployment.is_none() && is_late && has_group
            }
        }
    }
}

#[cfg(test)]
mod tests;
