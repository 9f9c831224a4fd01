//! Runs the checks of the installed revisions, unless a deployment has taken them out of service.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hostler_core::health::{Check, Colour};
use hostler_core::ids::{DeploymentId, GroupKey};
use hostler_core::machine::State;
use hostler_core::machine::state::{Group, Outcome};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::health::{Checkup, HealthWatch, Start};
use crate::setup::{Setup, SetupWatch};
use crate::tasks::kept;

/// The checks of one group; when they change, the checkup starts anew.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Subject {
    key: GroupKey,
    bundle: DeploymentId,
    checks: Vec<Check>,
    of_host: Vec<Check>,
}

/// Runs until it is dropped.
pub async fn monitor(mut setup_watch: SetupWatch, mut state: watch::Receiver<Arc<State>>, health_watch: HealthWatch) {
    let mut asked: BTreeMap<String, (Subject, JoinSet<()>)> = BTreeMap::new();
    let mut just_started = true;
    loop {
        let (setup, now) = (setup_watch.now(), Arc::clone(&state.borrow_and_update()));
        let subjects: BTreeMap<String, Subject> =
            now.groups.values().filter_map(|group| Some((group.key.id(), subject(&setup, group)?))).collect();
        // A checkup that ends here is aborted and its report removed, unless a deployment's own checks have set theirs.
        asked.retain(|id, (subject, _)| {
            let stays = subjects.get(id) == Some(subject);
            if !stays {
                health_watch.put(&subject.key, None);
            }
            stays
        });
        for (id, subject) in subjects {
            let last = now.groups.get(&id).and_then(|group| group.finished.last());
            // A deployment that succeeded while this agent ran was found healthy by these same checks.
            let proven = !just_started && last.is_some_and(|d| d.outcome == Some(Outcome::Succeeded));
            asked.entry(id).or_insert_with(|| {
                let start = if proven { Start::Healthy } else { Start::Unknown };
                let mut task = JoinSet::new();
                let (setup, of_task, health_watch) = (Arc::clone(&setup), subject.clone(), health_watch.clone());
                task.spawn(kept("health of a group", move || {
                    ask(Arc::clone(&setup), of_task.clone(), start, health_watch.clone())
                }));
                (subject, task)
            });
        }
        just_started = false;
        let changed = tokio::select! {
            changed = state.changed() => changed,
            // The configured checks may have changed.
            () = setup_watch.changed() => Ok(()),
        };
        if changed.is_err() {
            return;
        }
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
                Colour::Red => log::error!(group:%; "unhealthy: {causes}"),
                Colour::Yellow => log::warn!(group:%; "a health check failed: {causes}"),
                Colour::Green | Colour::Grey => log::info!(group:%; "health is {}", report.colour.word()),
            }
            before = report.colour;
        }
        health_watch.put(&subject.key, report);
        checkup.next(Duration::from_secs(60)).await;
    }
}
