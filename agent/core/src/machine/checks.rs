//! Health checks in a deployment: ValidateService waits for them after its scripts, and AfterAllowTraffic bakes.

use serde::{Deserialize, Serialize};

use crate::event_order::LifecycleEvent;
use crate::health::Check;
use crate::machine::state::{Deployment, Group, Step};

/// What the checks must show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "snake_case")]
pub enum ProbePhase {
    /// Become healthy, each before its deadline.
    Validate,
    /// Stay healthy.
    Bake {
        /// For this many seconds.
        seconds: u64,
    },
}

/// What a bundle and the configuration say about a revision's health.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PreparedHealth {
    /// The checks of the appspec.
    pub checks: Vec<Check>,
    /// Whether there are checks at all, those of the host's configuration counted.
    pub any: bool,
    /// Seconds for which the checks must stay healthy after the host is back in service.
    pub bake_seconds: u64,
}

/// Notes in a deployment which of its events probe.
pub fn plan(deployment: &mut Deployment, health: PreparedHealth) {
    for step in deployment.steps.iter_mut().filter(|_| health.any) {
        step.probe = match step.event {
            LifecycleEvent::ValidateService => Some(ProbePhase::Validate),
            LifecycleEvent::AfterAllowTraffic if health.bake_seconds > 0 => {
                Some(ProbePhase::Bake { seconds: health.bake_seconds })
            }
            _ => None,
        };
    }
    deployment.health = health.checks;
}

/// Whether every script of an event has run, so that only the probing remains.
pub fn scripts_are_done(step: &Step) -> bool {
    step.scripts.iter().all(|script| script.outcome.is_some())
}

/// Whether a group's deployments leave this host in service: something is installed, and no deployment keeps the host
/// out. Fetching the next revision does not take it out, nor does the bake time.
pub fn in_service(group: &Group) -> bool {
    let Some(active) = &group.active else { return group.installed.is_some() };
    // AllowTraffic itself waits for the load balancer, which probes this host.
    let of_traffic = |step: &&Step| step.event < LifecycleEvent::AllowTraffic;
    let back = active.failure.is_none() && active.steps.iter().filter(of_traffic).all(|step| step.status.is_final());
    let untouched =
        group.installed.is_some() && active.request.purpose.rolls_back().is_none() && !active.has_touched_the_host();
    back || untouched
}
