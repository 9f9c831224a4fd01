//! The health checks that a deployment would wait for.

use std::fmt;

use hostler_core::appspec::extension::HealthCheck;
use hostler_core::event_order::LifecycleEvent;
use hostler_core::health::Check;
use serde::Serialize;

/// A check, and by when it must be healthy.
#[derive(Debug, Serialize)]
pub struct PlannedCheck {
    event: LifecycleEvent,
    name: String,
    target: String,
    deadline_seconds: u64,
}

/// The checks of the appspec, then those that the configuration adds for the group.
pub fn planned(of_appspec: &[HealthCheck], of_host: &[Check]) -> Vec<PlannedCheck> {
    let all = of_appspec.iter().map(|found| &found.check).chain(of_host);
    all.map(|check| PlannedCheck {
        event: LifecycleEvent::ValidateService,
        name: check.name.clone(),
        target: check.probe.target().to_owned(),
        deadline_seconds: check.deadline_seconds,
    })
    .collect()
}

impl fmt::Display for PlannedCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { event, target, deadline_seconds, .. } = self;
        write!(f, "{event}: waits until the health check of {target} succeeds, at most {deadline_seconds} s")
    }
}
