//! Whose output is shown.

use std::collections::BTreeSet;

use hostler_core::history::DeploymentPurpose;
use hostler_core::ids::{ApplicationName, DeploymentId, GroupKey, GroupName};
use hostler_core::status::{DeploymentStatus, GroupStatus, Status, deployment_status};
use hostler_host::{clock, ledger};

use crate::control::client::Client;
use crate::failure::Failure;
use crate::setup::Setup;
use crate::state_file::{is_closed, ledger_failure, read_state};

/// A deployment of this host.
#[derive(Debug, Clone)]
pub struct Known {
    /// Its group.
    pub key: GroupKey,
    /// The deployment.
    pub status: DeploymentStatus,
    /// Whether the agent remembers it, so that the status is its own.
    pub is_remembered: bool,
}

impl Known {
    /// Whether it has not ended.
    pub fn goes_on(&self) -> bool {
        self.is_remembered && self.status.outcome.is_none()
    }
}

/// Why there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unknown {
    /// No deployment has this id.
    Deployment(DeploymentId),
    /// Nothing was deployed to the named group; the groups of this host.
    Group(Vec<String>),
    /// Nothing was deployed.
    Nothing,
}

/// The named deployment, else the newest of the group, or of the host if no group is named. Where that is a rollback
/// after a failure, the failed deployment: its output says why. A rollback that failed itself is shown.
pub fn which(
    known: &[Known],
    application: Option<&ApplicationName>,
    group: Option<&GroupName>,
    id: Option<&DeploymentId>,
    has_output: impl Fn(&Known, &DeploymentId) -> bool,
) -> Result<Known, Unknown> {
    let is_named = |known: &&Known| {
        application.is_none_or(|name| name == &known.key.application)
            && group.is_none_or(|name| name == &known.key.group)
    };
    let of_group = known.iter().filter(is_named);
    if let Some(id) = id {
        let found = of_group.clone().find(|known| &known.status.id == id).cloned();
        // The daemon does not name all of them, and the output tells which group it is.
        let beside = || of_group.clone().find(|known| has_output(known, id)).map(|beside| forgotten(beside, id));
        return found.or_else(beside).ok_or_else(|| Unknown::Deployment(id.clone()));
    }
    let Some(newest) = of_group.clone().max_by_key(|known| known.status.started_ms) else {
        let groups: BTreeSet<String> = known.iter().map(|known| known.key.to_string()).collect();
        return Err(if groups.is_empty() { Unknown::Nothing } else { Unknown::Group(groups.into_iter().collect()) });
    };
    let failed = newest.status.rolls_back.as_ref().filter(|_| newest.status.failure.is_none());
    let failed = failed.and_then(|failed| known.iter().find(|known| &known.status.id == failed));
    Ok(failed.unwrap_or(newest).clone())
}

/// A deployment that the agent does not remember, whose output is still there: nothing but its id is known.
fn forgotten(beside: &Known, id: &DeploymentId) -> Known {
    let status = DeploymentStatus {
        id: id.clone(),
        purpose: DeploymentPurpose::default(),
        failure: None,
        finished_ms: None,
        outcome: None,
        event: None,
        rolls_back: None,
        ..beside.status.clone()
    };
    Known { status, is_remembered: false, ..beside.clone() }
}

/// The automatic rollback of a deployment.
pub fn rollback_of<'k>(known: &'k [Known], id: &DeploymentId) -> Option<&'k Known> {
    known.iter().find(|known| known.status.rolls_back.as_ref() == Some(id))
}

/// The deployments of this host: by the ledger, or by the daemon for a user who may not read the ledger. The daemon
/// names the running, the last and the failed one of each group.
pub async fn known(setup: &Setup) -> Result<Vec<Known>, Failure> {
    match ledger::peek(setup.layout.state(), &setup.limits) {
        Ok(snapshot) => {
            let state = read_state(&snapshot.map(|s| s.state).unwrap_or_default())?;
            let all = state.groups.values().flat_map(|g| g.finished.iter().chain(&g.active).map(|d| (&g.key, d)));
            let now = clock::now_ms();
            let known =
                all.map(|(key, d)| Known { key: key.clone(), status: deployment_status(d, now), is_remembered: true });
            Ok(known.collect())
        }
        Err(closed) if is_closed(&closed) => match Client::connect(setup).await {
            Some(mut client) => Ok(of_status(&client.status().await?)),
            None => Err(ledger_failure(closed)),
        },
        Err(error) => Err(ledger_failure(error)),
    }
}

fn of_status(status: &Status) -> Vec<Known> {
    let of_group = |group: &GroupStatus| {
        let shown = [&group.failed, &group.last, &group.active].into_iter().flatten();
        let known = shown.map(|d| Known { key: group.key.clone(), status: d.clone(), is_remembered: true });
        known.collect::<Vec<_>>()
    };
    status.groups.iter().flat_map(of_group).collect()
}

#[cfg(test)]
mod tests {
    use hostler_core::event_order::LifecycleEvent;
    use hostler_core::machine::event::FailureKind;
    use hostler_core::machine::state::{Creator, Failure as DeploymentFailure, Outcome};
    use hostler_core::release::Trust;

    use super::*;

    fn id(text: &str) -> DeploymentId {
        text.parse().unwrap()
    }

    fn deployed(name: &str, group: &str, started_ms: u64, rolls_back: Option<&str>, failed: bool) -> Known {
        let failure = failed.then(|| DeploymentFailure {
            event: LifecycleEvent::ValidateService,
            script: None,
            message: "no".to_owned(),
            tail: Vec::new(),
            kind: FailureKind::Other,
        });
        let status = DeploymentStatus {
            id: id(name),
            creator: Creator::Cli,
            purpose: DeploymentPurpose::ByHand,
            rolls_back: rolls_back.map(id),
            asked_by: "test".to_owned(),
            label: None,
            location: "/srv".to_owned(),
            revision: None,
            sequence: None,
            signature: Trust::Unsigned,
            started_ms,
            finished_ms: Some(started_ms + 1),
            outcome: Some(if failed { Outcome::Failed } else { Outcome::Succeeded }),
            event: None,
            event_started_ms: None,
            script: None,
            failure,
            warnings: Vec::new(),
            events: Vec::new(),
        };
        let key = GroupKey::new("shop".parse().unwrap(), group.parse().unwrap());
        Known { key, status, is_remembered: true }
    }

    fn chosen(known: &[Known], group: Option<&str>, named: Option<&str>) -> Result<String, Unknown> {
        let (group, named) = (group.map(|name| name.parse().unwrap()), named.map(id));
        let has_output = |known: &Known, id: &DeploymentId| known.key.group.as_str() == "web" && id.as_str() == "d-old";
        which(known, None, group.as_ref(), named.as_ref(), has_output).map(|known| known.status.id.to_string())
    }

    #[test]
    fn after_a_failure_its_output_is_shown_and_not_that_of_the_rollback() {
        let mut known = vec![
            deployed("d-1", "web", 1, None, false),
            deployed("d-2", "web", 2, None, true),
            deployed("d-3", "web", 3, Some("d-2"), false),
            deployed("d-9", "jobs", 2, None, false),
        ];
        assert_eq!(chosen(&known, None, None).as_deref(), Ok("d-2"));
        assert_eq!(chosen(&known, None, Some("d-3")).as_deref(), Ok("d-3"));
        assert_eq!(chosen(&known, Some("jobs"), None).as_deref(), Ok("d-9"));
        assert_eq!(rollback_of(&known, &id("d-2")).unwrap().status.id, id("d-3"));
        known[2] = deployed("d-3", "web", 3, Some("d-2"), true);
        assert_eq!(chosen(&known, None, None).as_deref(), Ok("d-3"), "the rollback failed");
        known.push(deployed("d-4", "web", 4, None, false));
        assert_eq!(chosen(&known, None, None).as_deref(), Ok("d-4"));
    }

    #[test]
    fn what_is_not_known_is_said_with_what_is() {
        let known = [deployed("d-1", "web", 1, None, false)];
        assert_eq!(chosen(&known, None, Some("d-old")).as_deref(), Ok("d-old"), "its output is still there");
        assert_eq!(chosen(&known, None, Some("d-no")), Err(Unknown::Deployment(id("d-no"))));
        assert_eq!(chosen(&known, Some("typo"), None), Err(Unknown::Group(vec!["shop/web".to_owned()])));
        assert_eq!(chosen(&[], Some("typo"), None), Err(Unknown::Nothing));
    }
}
