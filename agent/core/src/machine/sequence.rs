//! How a deployment begins, and its next work.

use crate::event_order::LifecycleEvent;
use crate::ids::DeploymentId;
use crate::machine::admission;
use crate::machine::command::Commanded;
use crate::machine::event::Work;
use crate::machine::retention::kept;
use crate::machine::state::{Deployment, Group, Purpose, Request, RollbackExtent, RollsBack, Step};
use crate::traffic::TrafficPhase;

/// The lifecycle events that a purpose needs.
fn events(purpose: &Purpose) -> impl Iterator<Item = LifecycleEvent> {
    LifecycleEvent::ORDER.into_iter().filter(|event| match purpose {
        // The service names the next event, one at a time.
        Purpose::Commanded => false,
        Purpose::Release(_) | Purpose::ByHand | Purpose::RollBackByHand => true,
        Purpose::RollBack(RollsBack { extent, .. }) => match extent {
            RollbackExtent::StopAndReinstall => true,
            RollbackExtent::Reinstall => !event.runs_old_revision(),
            RollbackExtent::Restart => {
                *event == LifecycleEvent::DownloadBundle || *event >= LifecycleEvent::ApplicationStart
            }
        },
        Purpose::Remove => event.runs_old_revision() || !event.has_scripts(),
        Purpose::Stop(_) => admission::of_stop(*event),
    })
}

/// A deployment that has not begun.
pub fn new_deployment(id: DeploymentId, request: Request, now_ms: u64) -> Deployment {
    Deployment {
        id,
        steps: events(&request.purpose).map(Step::new).collect(),
        commanded: (request.purpose == Purpose::Commanded).then(Commanded::default),
        request,
        started_ms: now_ms,
        finished_ms: None,
        begun: None,
        lasted_ms: None,
        in_flight: None,
        not_undone: None,
        outdated_keys: false,
        rebooting: false,
        installed: false,
        health: Vec::new(),
        warnings: Vec::new(),
        warnings_left_out: 0,
        failure: None,
        outcome: None,
    }
}

/// The next work of a deployment that waits for no effect; `None` when it waits for a command. `withdrawn` says whether
/// the journal holds a place that this deployment's group has taken the host out of.
pub fn next_work(group: &Group, deployment: &Deployment, withdrawn: bool) -> Option<Work> {
    if deployment.rebooting {
        return Some(Work::Reboot);
    }
    let Some(step) = deployment.current() else {
        let commit = deployment.failure.is_none();
        let finish = Work::Finish { commit, keep: kept(group, deployment) };
        return (!deployment.waits_for_command()).then_some(finish);
    };
    Some(match step.event {
        LifecycleEvent::DownloadBundle => Work::Prepare,
        LifecycleEvent::Install => Work::Install,
        LifecycleEvent::BlockTraffic if deployment.commanded.is_none() => {
            Work::Traffic { phase: if withdrawn { TrafficPhase::Block } else { TrafficPhase::Look } }
        }
        LifecycleEvent::AllowTraffic if deployment.commanded.is_none() => Work::Traffic { phase: TrafficPhase::Allow },
        _ if deployment.commanded.as_ref().is_some_and(|c| c.checks_bundle_first) => Work::CheckBundle,
        event => {
            let next = step.scripts.iter().position(|s| s.outcome.is_none());
            if let (None, Some(phase)) = (next, step.probe) {
                return Some(Work::Probe { phase });
            }
            let index = next.unwrap_or_default();
            let attempt = step.scripts.get(index).map_or(1, |s| s.attempts + 1);
            Work::RunHook { event, index, attempt }
        }
    })
}
