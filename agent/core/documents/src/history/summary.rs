//! One line for each deployment: what its records say together.

use std::collections::{BTreeMap, HashMap, VecDeque};

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

/// A deployment by the record of its beginning.
fn started(entry: &Entry) -> Option<Summary> {
    let Kind::DeploymentStarted { deployment, group, purpose, revision, label, location, requested, .. } = &entry.kind
    else {
        return None;
    };
    Some(Summary {
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
    })
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

/// The wanted deployments of a history, and which records belong to them. It takes the memory of the wanted deployments and
/// of the groups' names, however long the history is.
#[derive(Debug, Clone)]
pub struct Selection {
    wanted: Wanted,
    deployments: VecDeque<Summary>,
    /// How many wanted deployments were let go again, because so many newer ones followed.
    passed: usize,
    /// Places among the wanted deployments, those that were let go included.
    places: HashMap<DeploymentId, usize>,
    /// The newest deployment of each group, whether it is wanted or not.
    newest_of: BTreeMap<GroupKey, DeploymentId>,
    left_out: u64,
}

impl Selection {
    /// A choice of which no record was read yet.
    pub fn new(wanted: Wanted) -> Self {
        Self {
            wanted,
            deployments: VecDeque::new(),
            passed: 0,
            places: HashMap::new(),
            newest_of: BTreeMap::new(),
            left_out: 0,
        }
    }

    /// Adds what the next record says, oldest first. Of a deployment whose beginning was not added, nothing is known.
    pub fn add(&mut self, entry: &Entry) {
        match &entry.kind {
            Kind::DeploymentStarted { deployment, group, .. } => {
                self.newest_of.insert(group.clone(), deployment.clone());
                let is_named = self.wanted.deployment.as_ref().is_none_or(|id| id == deployment);
                if let Some(summary) = started(entry).filter(|_| is_named && self.wanted.has_group(group)) {
                    self.begin(summary);
                }
            }
            Kind::EventFinished { deployment, event, outcome: EventOutcome::Failed, .. } => {
                if let Some(one) = self.known(deployment) {
                    one.failed_in = Some(event.clone());
                }
            }
            Kind::DeploymentFinished { deployment, outcome, .. } => {
                if let Some(one) = self.known(deployment) {
                    (one.finished_ms, one.outcome) = (Some(entry.time_ms), Some(*outcome));
                }
            }
            // It follows the end of the removal; older agents said only here that it was one.
            Kind::Removed { group, .. } => {
                let last = self.newest_of.get(group).cloned().and_then(|id| self.known(&id));
                if let Some(one) = last.filter(|one| one.purpose == DeploymentPurpose::ByHand) {
                    one.purpose = DeploymentPurpose::Removal;
                }
            }
            Kind::RecordsLeftOut { records } => self.left_out = self.left_out.saturating_add(*records),
            _ => {}
        }
    }

    fn begin(&mut self, summary: Summary) {
        self.places.insert(summary.deployment.clone(), self.passed + self.deployments.len());
        self.deployments.push_back(summary);
        if self.wanted.newest.is_some_and(|newest| self.deployments.len() > newest)
            && let Some(oldest) = self.deployments.pop_front()
        {
            // A record of a second beginning would have moved the place.
            if self.places.get(&oldest.deployment) == Some(&self.passed) {
                self.places.remove(&oldest.deployment);
            }
            self.passed += 1;
        }
    }

    fn known(&mut self, id: &DeploymentId) -> Option<&mut Summary> {
        let place = self.places.get(id)?.checked_sub(self.passed)?;
        self.deployments.get_mut(place)
    }

    /// The wanted deployments, oldest first.
    pub fn deployments(&self) -> impl Iterator<Item = &Summary> {
        self.deployments.iter()
    }

    /// Every group of the history to which something was deployed.
    pub fn groups(&self) -> impl Iterator<Item = &GroupKey> {
        self.newest_of.keys()
    }

    /// How many records of the whole history were never made, because the disk was full for too long.
    pub fn left_out(&self) -> u64 {
        self.left_out
    }

    /// Whether a record belongs to them. A record of the host alone, such as that of a repair, belongs to every group.
    pub fn takes(&self, entry: &Entry) -> bool {
        if self.wanted == Wanted::default() {
            return true;
        }
        match (&entry.kind, entry.kind.deployment()) {
            (_, Some(id)) | (Kind::Rollback { failed: Some(id), .. }, _) => self.places.contains_key(id),
            _ => {
                let first = self.deployments.front().map(|one| one.seq);
                let is_late = self.wanted.newest.is_none() || first.is_some_and(|first| entry.seq >= first);
                let has_group = entry.kind.group().is_none_or(|group| self.wanted.has_group(group));
                self.wanted.deployment.is_none() && is_late && has_group
            }
        }
    }
}

#[cfg(test)]
mod tests;
