//! How a deployment begins, and what it does next.

use crate::event_order::LifecycleEvent;
use crate::ids::DeploymentId;
use crate::machine::event::Work;
use crate::machine::retention::kept;
use crate::machine::service;
use crate::machine::state::{Deployment, Group, Request, RollbackExtent, Step, StepStatus};

/// A deployment that has not begun, with the events that what it is for has.
pub fn new_deployment(id: DeploymentId, request: Request, now_ms: u64) -> Deployment {
    let wanted = |event: &LifecycleEvent| match request.rolls_back.as_ref().map(|r| r.extent) {
        None | Some(RollbackExtent::StopAndReinstall) => true,
        Some(RollbackExtent::Reinstall) => !event.runs_old_revision(),
        Some(RollbackExtent::Restart) => {
            *event == LifecycleEvent::DownloadBundle || *event >= LifecycleEvent::ApplicationStart
        }
    };
    let of_removal = |event: &LifecycleEvent| event.runs_old_revision() || !event.has_scripts();
    let steps = LifecycleEvent::ORDER.into_iter().filter(wanted).filter(|e| !request.removes || of_removal(e));
    let steps = steps.filter(|event| request.stops.is_none() || service::of_stop(*event)).map(|event| Step {
        event,
        status: StepStatus::Pending,
        started_ms: None,
        finished_ms: None,
        scripts: Vec::new(),
        probe: None,
    });
    Deployment {
        id,
        steps: steps.collect(),
        request,
        started_ms: now_ms,
        finished_ms: None,
        in_flight: None,
        rebooting: false,
        installed: false,
        health: Vec::new(),
        warnings: Vec::new(),
        failure: None,
        outcome: None,
    }
}

/// What a deployment that waits for nothing does next.
pub fn next_work(group: &Group, deployment: &Deployment) -> Work {
    if deployment.rebooting {
        return Work::Reboot;
    }
    let Some(step) = deployment.current() else {
        let commit = deployment.failure.is_none();
        return Work::Finish { commit, keep: kept(group, deployment) };
    };
    match step.event {
        LifecycleEvent::DownloadBundle => Work::Prepare,
        LifecycleEvent::Install => Work::Install,
        event => {
            let next = step.scripts.iter().position(|s| s.outcome.is_none());
            if let (None, Some(phase)) = (next, step.probe) {
                return Work::Probe { phase };
            }
            let index = next.unwrap_or_default();
            let attempt = step.scripts.get(index).map_or(1, |s| s.attempts + 1);
            Work::RunHook { event, index, attempt }
        }
    }
}
