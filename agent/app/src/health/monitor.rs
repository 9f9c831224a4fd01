//! Runs the checks of the installed revisions, unless a deployment has taken them out of service.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hostler_core::health::{Check, Colour};
use hostler_core::ids::{DeploymentId, GroupKey};
use hostler_core::machine::state::{Group, Outcome};
use tokio::task::JoinSet;

use crate::controller::{Controller, View, Wake};
use crate::health::{Checkup, HealthWatch, Start};
use crate::setup::Setup;
use crate::tasks::kept;

/// The checks of one group; when they change, the checkup starts anew.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Subject {
    key: GroupKey,
    bundle: DeploymentId,
    checks: Vec<Check>,
    of_host: Vec<Check>,
}

/// Keeps one checkup a group going, each in tasks of its own: an application that answers late must not hold up the
/// checks of another one, so this controller begins and ends checkups and waits for none.
pub struct Monitor {
    health_watch: HealthWatch,
    asked: BTreeMap<String, (Subject, JoinSet<()>)>,
    just_started: bool,
}

impl Monitor {
    /// Nothing is checked yet.
    pub fn new(health_watch: HealthWatch) -> Self {
        Self { health_watch, asked: BTreeMap::new(), just_started: true }
    }
}

impl Controller for Monitor {
    const NAME: &'static str = "health";

    async fn reconcile(&mut self, View { setup, state, .. }: &View) -> Wake {
        let subjects: BTreeMap<String, Subject> =
            state.groups.values().filter_map(|group| Some((group.key.id(), subject(setup, group)?))).collect();
        // A checkup that ends here is aborted and its report removed, unless a deployment's own checks have set theirs.
        self.asked.retain(|id, (subject, _)| {
            let stays = subjects.get(id) == Some(subject);
            if !stays {
                self.health_watch.put(&subject.key, None);
            }
            stays
        });
        for (id, subject) in subjects {
            let last = state.groups.get(&id).and_then(|group| group.finished.last());
            // A deployment that succeeded while this agent ran was found healthy by these same checks.
            let proven = !self.just_started && last.is_some_and(|d| d.outcome == Some(Outcome::Succeeded));
            self.asked.entry(id).or_insert_with(|| {
                let start = if proven { Start::Healthy } else { Start::Unknown };
                let mut task = JoinSet::new();
                let (setup, of_task, health_watch) = (Arc::clone(setup), subject.clone(), self.health_watch.clone());
                task.spawn(kept("health of a group", move || {
                    ask(Arc::clone(&setup), of_task.clone(), start, health_watch.clone())
                }));
                (subject, task)
            });
        }
        self.just_started = false;
        Wake::on_state()
    }
}

/// The checks to run: none while a deployment has touched the host, since its own effects run them.
fn subject(setup: &Setup, group: &Group) -> Option<Subject> {
    let installed = group.installed.as_ref()?;
    let busy =
        group.active.as_ref().is_some_and(|d| d.has_touched_the_host() || d.request.purpose.rolls_back().is_some());
    let of_host = setup.settings.health(&group.key).to_vec();
    let any = !installed.health.is_empty() || !of_host.is_empty();
    (any && !busy).then(|| Subject {
        key: group.key.clone(),
        bundle: installed.archive.clone(),
        checks: installed.health.clone(),
        of_host,
    })
}

async fn ask(setup: Arc<Setup>, subject: Subject, start: Start, health_watch: HealthWatch) {
    let mut checkup = Checkup::begin(&setup, &subject.key, &subject.checks, &subject.bundle, start);
    let mut before = Colour::Grey;
    loop {
        let report = checkup.report();
        if let Some(report) = report.as_ref().filter(|report| report.colour != before) {
            let (group, causes) = (&subject.key, report.causes.join("; "));
            match report.colour {
                Colour::Red => log::error!(group:%; "{group} is unhealthy: {causes}"),
                Colour::Yellow => log::warn!(group:%; "{group}: a health check failed: {causes}"),
                Colour::Green | Colour::Grey => log::info!(group:%; "{group}: health is {}", report.colour.word()),
            }
            before = report.colour;
        }
        health_watch.put(&subject.key, report);
        checkup.next(Duration::from_secs(60)).await;
    }
}

#[cfg(test)]
mod tests;
